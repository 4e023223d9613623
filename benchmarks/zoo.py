"""Posteriors of programs drawn from the table of all distributions, each against a reference.

    uv run python -m benchmarks zoo [FROM:TO] [RECIPE]

Programs FROM to TO (by default 0 to 60) of `_zoo_programs`, each with six tasks of five rows that
it simulated, by the default recipe or by another one, against `_zoo_reference`: dense quadrature,
or long NUTS where there are more than three dimensions. Each is kept as soon as it is known, and is
not run again; so parts of the programs can be run by several processes. References are kept apart,
and serve all recipes.

- `off`: the largest difference of a mean, in standard deviations of the reference. A latent whose
  posterior has a kurtosis above 9 is compared as arcsinh((latent - median) / interquartile range):
  means and standard deviations of so heavy tails say little, or do not exist.
- `least`, `most`: ratios of standard deviations, fit to reference; only where the Monte Carlo error
  of the ratio is below 3% (it is not for a discrete latent that is nearly certain).
- `noise`: the largest Monte Carlo error of a difference of means, of both sides.
- `z`: log evidence less that of the quadrature, over the stated error (and the rounding of single
  precision, 1e-4 nats).

A posterior is *within* where each mean is within .1 and each ratio within 10%; *open* where one is
beyond that by less than three of its Monte Carlo errors; else *wrong*, with a doubt that the run
names about its posterior, or without. A program that takes more than four minutes of the processor
has no answer.
"""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
from numpyro.diagnostics import effective_sample_size

import bayes_badger as bb
from bayes_badger.errors import BadgerError
from bayes_badger.evidence import from_arrays
from bayes_badger.program import read_signature
from benchmarks._kept import Kept, between
from benchmarks._zoo_programs import ZOO, Drawn, drawn
from benchmarks._zoo_reference import Known, Reference, as_json, from_json, reference

PROGRAMS, LIMIT = 60, 240
MEAN, SD, NOISY, ROUNDING = 0.1, 0.1, 0.03, 1e-4
WITHIN, OPEN, FLAGGED, WRONG = "within", "open", "wrong, flagged", "wrong without a flag"


def run(programs: str = "", recipe: str = "auto") -> pd.DataFrame:
    """A row for each program of a range; those that are kept are not run again."""
    kept, wanted = Kept("zoo"), between(programs, PROGRAMS)
    for number in wanted:
        key = f"{recipe}:{number}"
        if key not in kept.rows():
            kept.add(key, _row(number, recipe))
            print(kept.rows()[key], file=sys.stderr, flush=True)
    known = kept.rows()
    rows = [known[f"{recipe}:{number}"] for number in wanted]
    for line in counted(rows):
        print(line)
    left = ("key", "families", "doubt", "worst")
    return pd.DataFrame([{k: v for k, v in row.items() if k not in left} for row in rows])


def counted(rows: list[dict[str, Any]]) -> list[str]:
    """What all programs together say, in lines."""
    families = {name for row in rows for name in row.get("families", ())}
    results = Counter(row["result"] for row in rows)
    lines = [
        f"{len(families)} of {len(ZOO)} families of the table are in {len(rows)} programs",
        *(f"{result}: {n}" for result, n in results.most_common()),
    ]
    doubted = sum(row["result"] == WITHIN and row["doubts"] > 0 for row in rows)
    lines.append(f"within, though the run names a doubt: {doubted}")
    lines += [
        f"  {row['number']}: {row['result']}: {row.get('doubt', '')}"
        for row in rows
        if row["result"] not in (WITHIN, OPEN)
    ]
    z = np.array([row["z"] for row in rows if row.get("z") is not None])
    if len(z):
        inside = f"{(np.abs(z) <= 2).sum()} of {len(z)}"
        lines.append(f"log evidence within 2 stated errors of quadrature: {inside}")
    return lines


class _NoAnswer(Exception):  # noqa: N818 - it is a verdict, and no error
    """A program took too long."""


def _row(number: int, recipe: str) -> dict[str, Any]:
    """One program: fitted, and compared."""

    def too_long(*_: Any) -> None:
        raise _NoAnswer

    row: dict[str, Any] = {"number": number}
    raised = "the program raised"
    before = signal.signal(signal.SIGPROF, too_long)
    signal.setitimer(signal.ITIMER_PROF, LIMIT)
    begun = time.process_time()
    try:
        problem = drawn(number)
        row |= {"about": problem.about, "families": list(problem.families)}
        signature = read_signature(problem.model)
        x, age = problem.columns["x"], problem.columns["age"]
        evidence = from_arrays(signature, {"x": x}, problem.outcome, {"age": age})
        raised = "raised"
        fit = bb.fit(problem.model, evidence, inference=recipe)
        row["fit s"] = time.process_time() - begun
        signal.setitimer(signal.ITIMER_PROF, LIMIT)
        begun, raised = time.process_time(), "the reference raised"
        right = _reference(problem)
        row["reference s"] = time.process_time() - begun
        row |= _compared(fit, right)
    except BadgerError as error:
        row |= {"result": "refused", "doubt": str(error)}
    except _NoAnswer:
        row |= {"result": "no answer", "doubt": f"more than {LIMIT} s of the processor"}
    except Exception as error:
        row |= {"result": raised, "doubt": f"{type(error).__name__}: {str(error)[:300]}"}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    return row


def _reference(problem: Drawn) -> Reference | str:
    """What is right, computed once for all recipes."""
    kept, key = Kept("zoo_references"), str(problem.number)
    if key not in kept.rows():
        found = reference(problem.model, problem.columns, problem.outcome)
        kept.add(key, {"about": problem.about} | as_json(found))
    return from_json(kept.rows()[key])


def _compared(fit: Any, right: Reference | str) -> dict[str, Any]:
    """What a fit says beside what is right."""
    result, doubts = fit.spec["result"], list(fit.warnings)
    notes = [str(x) for x in result["notes"]]
    by = next((x.split(":")[0] for x in notes if x.startswith("auto picked")), "")
    row: dict[str, Any] = {
        "by": by.removeprefix("auto picked "),
        "doubts": len(doubts),
        "doubt": "; ".join(doubts)[:300],
    }
    if isinstance(right, str):
        return row | {"result": "no reference", "doubt": right}
    found = {name: compared(_draws(fit, name), one) for name, one in right.numbers.items()}
    found = {name: each for name, each in found.items() if each is not None}
    off, noise, ratio, of_ratio = np.array(list(found.values())).T
    steady = of_ratio < NOISY
    excess = np.maximum(off - MEAN, 0) / noise
    excess_sd = np.where(steady, np.maximum(np.abs(ratio - 1) - SD, 0) / of_ratio, 0.0)
    both = np.maximum(excess, excess_sd)
    worst = list(found)[int(both.argmax() if both.max() > 0 else off.argmax())]
    row |= {
        "reference": right.how,
        "its error": right.error,
        "numbers": len(found),
        "off": off.max(),
        "noise": noise.max(),
        "least": ratio[steady].min() if steady.any() else np.nan,
        "most": ratio[steady].max() if steady.any() else np.nan,
        "sds left out": int((~steady).sum()),
        "worst": str(worst),
    }
    if both.max() == 0:
        row["result"] = WITHIN
    elif both.max() < 3:
        row["result"] = OPEN
    else:
        row["result"] = FLAGGED if doubts else WRONG
    told = result.get("log_evidence")
    if right.log_evidence is not None and told is not None:
        error = float(result.get("log_evidence_error") or 0.0)
        away = float(told) - right.log_evidence
        row |= {"evidence off": away, "stated": error, "z": away / np.hypot(error, ROUNDING)}
    return row


def _draws(fit: Any, name: tuple[Any, ...]) -> np.ndarray:
    return np.asarray(fit.posterior[name[0]].values, float)[:, :, *name[1:]]


def compared(draws: np.ndarray, right: Known) -> tuple[float, float, float, float] | None:
    """Difference of means and its error, ratio of standard deviations and its error.

    Args:
        draws: Of one number, `[chain, draw]`.
        right: The same number of the reference.

    Returns:
        The first two in standard deviations of the reference; None for a constant.
    """
    mean, sd, kurtosis = right.mean, right.sd, right.kurtosis
    if sd <= 1e-6 * max(1.0, abs(mean)):
        return None
    if right.bent is not None:
        low, middle, high = right.quartiles
        draws = np.arcsinh((draws - middle) / (high - low))
        mean, sd, kurtosis = right.bent
    own = effective_sample_size(draws) if draws.std() else draws.size
    share = 1 / min(own, draws.size) + 1 / right.effective
    return (
        float(abs(draws.mean() - mean) / sd),
        float(np.sqrt(share)),
        float(draws.std() / sd),
        float(np.sqrt(max(kurtosis - 1, 0.1) / 4 * share)),
    )


__all__ = ["Drawn", "compared", "counted", "run"]
