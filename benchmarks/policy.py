"""Breeds the policy that is shipped with the package, on the programs of `families`.

    uv run python -m benchmarks policy [STEPS [FOLDER]]

Writes `universal.safetensors` into FOLDER, by default a new one in `benchmarks/results/`; the table
is the learning curve. Checkpoints stand in FOLDER too: the same command goes on from them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import pandas as pd

from bayes_badger.inner_loop import _taught
from bayes_badger.outer_loop.breeding import Settings, breed
from benchmarks.families import sources

SEED = 0


def run(steps: str = "1000", folder: str = "benchmarks/results/policy") -> pd.DataFrame:
    """The learning curve."""
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)

    def told(stage: str, done: int, total: int, note: str = "") -> None:
        if done % 25 == 0:
            print(done, total, note, file=sys.stderr, flush=True)

    keys = jax.random.split(jax.random.key(SEED))
    policy = _taught.Taught(keys[0])
    found = breed(policy, sources(), keys[1], Settings(steps=int(steps)), told, place)
    _taught.save(found.policy, place / "universal.safetensors")
    return pd.DataFrame(found.curve)
