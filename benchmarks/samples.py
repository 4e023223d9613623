"""Mutual information from 10,000 samples, on forty distributions of known truth.

    uv run python -m benchmarks samples [others] [SEED ...]

The tasks are those of Czyż et al. (2023), derived anew (`_sampled`); `others` are those of other
parameters, dimensions and families, on which thresholds were chosen. A task counts as right where
what is believed is within 10% and .02 nats of the truth, as wrong where it is believed and is not,
and as left open where nothing is believed.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import pandas as pd

import bayes_badger as bb
from bayes_badger.measures.labelled import doubts_of
from benchmarks import _sampled

SAMPLES = 10_000


def run(*parts: str) -> pd.DataFrame:
    """A row for each task and seed, the last one for all."""
    other = "others" in parts
    seeds = [int(x) for x in parts if x != "others"] or [0]
    rows = []
    for seed in seeds:
        for i, task in enumerate(_sampled.others() if other else _sampled.tasks()):
            x, y = task.draw(np.random.default_rng([seed, i, int(other)]), SAMPLES)
            started = time.monotonic()
            found = bb.measures.information_between_samples(x, y, seed=seed)
            said, off = found.attrs["believed"], float(found["information"]) - task.truth
            row = {
                "task": task.name,
                "seed": seed,
                "truth": task.truth,
                "found": float(found["information"]),
                "se": float(found["information_se"]),
                "believed": said or "-",
                "verdict": "open" if not said else "right" if _near(off, task.truth) else "WRONG",
                **{k: float(found[k]) for k in ("proven", "critic", "copula", "left_over")},
                "ksg": float(found.get("neighbours", np.nan)),
                "ksg 20": float(found.get("many_neighbours", np.nan)),
                "s": time.monotonic() - started,
                "why": "; ".join(doubts_of(found)),
            }
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
    table = pd.DataFrame(rows)
    told = table["verdict"].value_counts().to_dict()
    total = {"task": "all", "verdict": str(told), "s": table["s"].sum(), "why": ""}
    return pd.concat([table, pd.DataFrame([total])], ignore_index=True)


def _near(off: float, truth: float) -> bool:
    return abs(off) <= 0.1 * truth + 0.02
