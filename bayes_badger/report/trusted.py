"""Can it be trusted: the run's own warnings, chains, effective draws, divergences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bayes_badger.report.contents import group, is_independent, posterior
from bayes_badger.report.diagnostics import Diagnostics, diagnose
from bayes_badger.report.section import Block, Bullets, Section, Table
from bayes_badger.report.text import label, many, number, plain
from bayes_badger.runs.run import Run
from bayes_badger.trust import ESS_PER_CHAIN, R_HAT, beyond

title = "Can it be trusted?"

# The share of transitions that may diverge; NUTS warns beyond the same.
DIVERGED = 1e-3
MOST_REASONS = 20


def build(run: Run) -> Section:
    """Always applies."""
    if not posterior(run).data_vars:
        return Section(
            title=title, alarming=True, lead="Not to be trusted: the run has no posterior draws."
        )
    found = diagnose(run)
    reasons = doubts(run, found)
    blocks: list[Block] = []
    if len(reasons) > 1:
        blocks.append(Bullets(sentences=[f"{plain(x)}." for x in reasons[1:MOST_REASONS]]))
    rows = _rows(run, found)
    if rows:
        blocks.append(
            Table(
                caption="The worst of all scalars",
                columns=("", "of", "worst", "wanted"),
                rows=rows,
                words=2,
            )
        )
    flagged = _flagged(run)
    if flagged:
        blocks.append(
            Table(
                caption="Tasks that may be misjudged",
                columns=("task", "missed", "Pareto k", "draws that count", "what was done"),
                rows=flagged,
                words=1,
            )
        )
    rough = _rough(run, found)
    if rough:
        blocks.append(Bullets(sentences=[rough]))
    if found.total > len(found.names):
        told = f"Of {found.total:,} scalars, {len(found.names):,} were looked at, evenly spread."
        blocks.append(Bullets(sentences=[told]))
    if not reasons:
        return Section(title=title, lead=_fine(run, found), blocks=blocks)
    more = f" And {many(len(reasons) - 1, 'more reason')}." if len(reasons) > 1 else ""
    lead = f"Not to be trusted: {plain(reasons[0]).rstrip('.')}.{more}"
    return Section(title=title, lead=lead, blocks=blocks, alarming=True)


def doubts(run: Run, found: Diagnostics | None = None) -> list[str]:
    """The run's warnings, and what its draws show that no warning tells."""
    reasons = list(run.warnings)
    found = diagnose(run) if found is None else found
    broken = [name for name, x in zip(found.names, _finite(found), strict=True) if not x]
    if broken:
        reasons.append(f"draws of {broken[0]} are not finite, {many(len(broken), 'scalar')} in all")
    diverged, transitions = divergences(run)
    if diverged > DIVERGED * transitions and not _said(reasons, "diverged"):
        reasons.append(f"{diverged} of {transitions} transitions diverged")
    if is_independent(run):
        return reasons
    worst, name = _extreme(found, found.r_hat, np.nanargmax)
    if worst > R_HAT and not _said(reasons, "r_hat"):
        reasons.append(
            f"r_hat of {name} is {beyond(worst, R_HAT)}, above {R_HAT}: the chains disagree"
        )
    least, name = _extreme(found, found.bulk, np.nanargmin)
    if least < _wanted(found) and not _said(reasons, "effective draws"):
        reasons.append(f"{name} has {least:.0f} effective draws, fewer than {_wanted(found)}")
    if len(found.draws) == 1 and not _said(reasons, "one chain"):
        reasons.append("one chain alone cannot show that it has converged")
    return reasons


def divergences(run: Run) -> tuple[int, int]:
    """How many transitions diverged, of how many; of none where the sampler has none."""
    stats = group(run, "sample_stats")
    if "diverging" not in stats or stats["diverging"].dtype.kind not in "biu":
        return 0, 0
    return int((stats["diverging"].values != 0).sum()), stats["diverging"].size


def _flagged(run: Run) -> list[list[str]]:
    """The tasks that were flagged when the belief was judged, the worst first."""
    table = group(run, "trust")
    if "flagged" not in table:
        return []
    bad = np.flatnonzero(table["flagged"].values)
    worst = bad[np.argsort(-table["missed"].values[bad], kind="stable")][:MOST_REASONS]
    labels = table[run.task_name].values if run.task_name in table.coords else None
    return [
        [
            label(str(i if labels is None else labels[i])),
            _known(table, "missed", int(i), 1, 100.0, "%"),
            _known(table, "pareto_k", int(i), 2),
            _known(table, "ess", int(i), 0),
            plain(str(table["done"].values[i])),
        ]
        for i in worst
    ]


def _known(table: Any, name: str, i: int, places: int, times: float = 1.0, unit: str = "") -> str:
    """A number of a task's verdict; nothing where it was not looked for."""
    value = float(table[name].values[i]) if name in table else np.nan
    return "" if np.isnan(value) else number(times * value, places) + unit


def _fine(run: Run, found: Diagnostics) -> str:
    if "ess" in (judged := group(run, "trust")):
        return (
            "Nothing speaks against these numbers: draws were weighed by the true density, task "
            f"by task, and at least {float(judged['ess'].min()):,.0f} of each task's count."
        )
    if is_independent(run):
        return "Nothing speaks against these numbers: the draws are independent, not from chains."
    worst, _ = _extreme(found, found.r_hat, np.nanargmax)
    least, _ = _extreme(found, found.bulk, np.nanargmin)
    if not (np.isfinite(worst) and np.isfinite(least)):
        return "Nothing speaks against these numbers, but no scalar of theirs could be diagnosed."
    diverged, transitions = divergences(run)
    but = f"; {diverged} of {transitions:,} transitions diverged, which is few" if diverged else ""
    looked = " that was looked at" if found.total > len(found.names) else ""
    return (
        f"Nothing speaks against these numbers: {many(len(found.draws), 'chain')} agree (r_hat at "
        f"most {worst:.3f}), and each scalar{looked} has {least:,.0f} effective draws or more{but}."
    )


def _rows(run: Run, found: Diagnostics) -> list[list[str]]:
    rows: list[list[str]] = []
    if not is_independent(run):
        for what, values, pick, places, wanted in (
            ("r_hat", found.r_hat, np.nanargmax, 3, f"at most {R_HAT}"),
            ("effective draws, bulk", found.bulk, np.nanargmin, 0, f"at least {_wanted(found)}"),
            ("effective draws, tail", found.tail, np.nanargmin, 0, f"at least {_wanted(found)}"),
        ):
            worst, name = _extreme(found, values, pick)
            if name:
                rows.append([what, label(name), number(worst, places), wanted])
    diverged, transitions = divergences(run)
    if transitions:
        rows.append(
            ["divergences", "all transitions", f"{diverged:,} of {transitions:,}", "next to none"]
        )
    return rows


def _rough(run: Run, found: Diagnostics) -> str:
    """What the tails lack, which says nothing against means."""
    least, name = _extreme(found, found.tail, np.nanargmin)
    if is_independent(run) or not least < _wanted(found):
        return ""
    return (
        f"The ends of the interval of {name} are rough: {least:.0f} effective draws in the tails, "
        f"fewer than {_wanted(found)}."
    )


def _extreme(found: Diagnostics, values: np.ndarray, pick: Any) -> tuple[float, str]:
    """The worst number and whose it is; NaN and nobody where there is none."""
    if not np.isfinite(values).any():
        return np.nan, ""
    at = int(pick(np.where(np.isfinite(values), values, np.nan)))
    return float(values[at]), found.names[at]


def _finite(found: Diagnostics) -> np.ndarray:
    return np.asarray(np.isfinite(found.draws).all((0, 1)))


def _wanted(found: Diagnostics) -> int:
    return ESS_PER_CHAIN * len(found.draws)


def _said(reasons: Sequence[str], words: str) -> bool:
    return any(words in reason for reason in reasons)
