"""Learning that is killed and goes on: whether it ends bit for bit as if it had not been.

    uv run python -m benchmarks resume [KILLS]

A process that learns a prior by 400 steps of descent is killed (SIGKILL) at random moments and
started again with the same command, until it has been killed so often; its parameters are compared
with those of one that ran through.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import pandas as pd

import bayes_badger as bb
from bayes_badger.evidence import from_arrays
from bayes_badger.outer_loop import Settings, learn
from bayes_badger.program.parameters import as_table
from benchmarks.prior import levels

TASKS, SETTINGS = 64, Settings(steps=400, tasks=32, scoring=0)


def run(kills: str = "20") -> pd.DataFrame:
    """How often it was killed, how far it came between, and whether the ends are the same."""
    chance, starts = np.random.default_rng(0), []
    with tempfile.TemporaryDirectory() as name:
        whole, parts = Path(name, "whole"), Path(name, "parts")
        _begun(whole).wait()
        while True:
            process = _begun(parts)
            assert process.stdout is not None
            starts.append(int(process.stdout.readline() or -1))
            if len(starts) > int(kills):
                process.communicate()
                break
            process.stdout.readline()
            time.sleep(chance.uniform(0, 0.3))
            process.kill()
            process.communicate()
        ends = [dict(np.load(folder / "done.npz")) for folder in (whole, parts)]
    same = all(np.array_equal(ends[0][name], ends[1][name]) for name in ends[0])
    row = {"kills": int(kills), "steps done at each start": starts, "same bits": same}
    return pd.DataFrame([row])


def _begun(folder: Path) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    words = [sys.executable, "-m", "benchmarks.resume", str(folder)]
    root = Path(__file__).parents[1]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=root)


def _learn(folder: Path) -> None:
    """Goes on from whatever stands in the folder, and says each step."""
    program = bb.lift(levels)
    y = 4 + 2 * np.random.default_rng(0).normal(size=(TASKS, 1))
    evidence = from_arrays(program.signature, {"sigma": np.ones((TASKS, 1))}, y, {})

    def told(stage: str, done: int, total: int, note: str = "") -> None:
        print(done, flush=True)

    found = learn(program, evidence, jax.random.key(0), SETTINGS, told, folder, seconds=0.05)
    np.savez(folder / "done.npz", **as_table(found.program))  # type: ignore[arg-type]


if __name__ == "__main__":
    _learn(Path(sys.argv[1]))
