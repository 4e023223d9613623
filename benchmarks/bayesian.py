"""Is it Bayesian? How often each fault is caught, and how often a sound learner is suspected.

    uv run python -m benchmarks bayesian [WORLDS]

Learners of a coin and of a level, sound or with one fault, examined with the settings that
`is_it_bayesian` has by default, at one false-alarm rate of 1 % for all tests together. Shares of
worlds in which a test of each kind fails; `any` of a sound learner is its false-alarm rate.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd

from bayes_badger.measures.definitions.is_it_bayesian import examined
from bayes_badger.measures.learners import Learner, Seen
from benchmarks._learners import Counter, Level

LEARNERS: dict[str, Learner] = {
    "coin, sound": Counter(),
    "coin, counts decay by .95": Counter(decay=0.95),
    "coin, counts decay by .80": Counter(decay=0.8),
    "level, sound": Level(),
    "level, sd x 0.9": Level(width=0.9),
    "level, sd x 0.8": Level(width=0.8),
    "level, sd x 0.6": Level(width=0.6),
    "level, sd x 1.3": Level(width=1.3),
    "level, mean off by .2 sd": Level(bias=0.2),
    "level, mean off by .5 sd": Level(bias=0.5),
}
KINDS = ("martingale", "order", "calibration", "coverage")
OBSERVED = 6


def run(worlds: str = "300") -> pd.DataFrame:
    """A row for each learner."""
    rows = []
    for name, learner in LEARNERS.items():
        failed = []
        for seed in range(int(worlds)):
            places = np.arange(OBSERVED)[None]
            seen = Seen(places, learner.simulate(places, 10_000 * seed + 1)[1])
            found = examined(learner, observed=seen, seed=10_000 * seed + 2000)
            failed.append([any(x.startswith(kind) for x in found.failed) for kind in KINDS])
        shares = np.array(failed).mean(0)
        row = dict(zip(KINDS, shares, strict=True))
        rows.append({"learner": name, **row, "any": float(np.any(failed, 1).mean())})
        print(rows[-1], file=sys.stderr, flush=True)
    return pd.DataFrame(rows)
