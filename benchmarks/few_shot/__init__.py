"""Few points to go by, and a prior that is learned from other tasks, or known.

    uv run python -m benchmarks few_shot [PART [SEEDS]]

PART is `sinusoid`, `cauchy`, `gp` or `sinusoid_maml`, each in a file of its own that says what its
worlds are; SEEDS is how many worlds. Columns: root mean squared error of the predictive mean; mean
log density of an outcome by itself (marginal), and of a task's outcomes together, per outcome
(joint), in nats. Means over worlds, each with its own tasks, and their standard errors; the rows
that begin with "less" are paired differences, a prior minus the best that can be done.
"""

from __future__ import annotations

import importlib
import sys
import time

import pandas as pd

PARTS = ("sinusoid", "cauchy", "gp", "sinusoid_maml")


def run(part: str = "", seeds: str = "10") -> pd.DataFrame:
    """So many worlds of one part; without a part, of each."""
    tables = []
    for name in (part,) if part else PARTS:
        one = importlib.import_module(f"benchmarks.few_shot.{name}").world
        rows = []
        for seed in range(int(seeds)):
            started = time.monotonic()
            for row in one(seed):
                rows.append({"seed": seed, **row})
                seconds = time.monotonic() - started
                print(name, rows[-1], f"{seconds:.0f} s", file=sys.stderr, flush=True)
        found = summary(pd.DataFrame(rows))
        tables.append(found.assign(part=name))
    return pd.concat(tables, ignore_index=True)


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over worlds with standard errors, and differences to the ceiling, paired.

    Args:
        rows: One for each world ("seed") and prior ("prior"), and numbers; the ceiling comes first.
    """
    wide = rows.pivot(index="seed", columns="prior")
    names = list(dict.fromkeys(rows["prior"]))
    kinds = [name for name in rows if name not in ("seed", "prior")]
    found = [{"prior": name, **_told(wide, kinds, name)} for name in names]
    found += [
        {"prior": f"{name} less {names[0]}", **_told(wide, kinds, name, names[0])}
        for name in names[1:]
    ]
    return pd.DataFrame(found)


def _told(wide: pd.DataFrame, kinds: list[str], name: str, less: str = "") -> dict[str, float]:
    told = {}
    for kind in kinds:
        each = wide[kind][name] - (wide[kind][less] if less else 0.0)
        told[kind] = float(each.mean())
        told[f"{kind} se"] = float(each.sem()) if len(each) > 1 else float("nan")
    return told
