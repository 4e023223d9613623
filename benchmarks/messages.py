"""How long it takes until a mistake is told: each in a process of its own, as a user makes it.

    uv run python -m benchmarks messages

Seconds from the command to its end, the best of three, on files in a temporary folder; `cpu` is
the processor's time of the same run. The first row is `badger --help`, which checks nothing; the
last three are mistakes that only the program itself shows, which needs JAX.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

REPEATS = 3
PROGRAM = """
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

def model(exposure, events=None):
    spread = numpyro.sample("spread", dist.HalfNormal(1.0))
    with numpyro.plate("task", exposure.shape[0], dim=-2):
        level = numpyro.sample("level", dist.Normal(0.0, spread))
        with numpyro.plate("step", exposure.shape[1], dim=-1):
            numpyro.sample("events", dist.Poisson(jnp.exp(level + exposure)), obs=events)
"""
FLAT = """
import numpyro, numpyro.distributions as dist, jax.numpy as jnp

def model(patient, exposure, events=None):
    with numpyro.plate("patients", 3):
        a = numpyro.sample("a", dist.Normal(0, 1))
    with numpyro.plate("N", exposure.shape[0]):
        numpyro.sample("events", dist.Poisson(jnp.exp(a[patient] + exposure)), obs=events)
"""
TABLE = "patient,exposure,events\nann,0.5,2\nbob,1.0,0\nann,1.5,4\nbob,-0.5,1\n"
LARGE, MEAN = "large", "exposure.mean(1)"
FIT = ("fit", "visits.py", "--data", "visits.csv", "--task", "patient")
FILES = {"visits.py": PROGRAM, "visits.csv": TABLE}

# What is wrong, the command, and the files that differ.
MISTAKES: list[tuple[str, tuple[str, ...], dict[str, str]]] = [
    ("nothing: --help", ("--help",), {}),
    ("no such table", ("fit", "visits.py", "--data", "visit.csv"), {}),
    ("an empty table", FIT, {"visits.csv": ""}),
    ("only a header", FIT, {"visits.csv": TABLE[:24]}),
    ("semicolons", FIT, {"visits.csv": TABLE.replace(",", ";")}),
    ("no outcome in the table", FIT, {"visits.csv": TABLE.replace("events", "evnts")}),
    ("a misspelt task column", (*FIT[:-1], "pateint"), {}),
    ("text for a number", FIT, {"visits.csv": TABLE.replace("1.0", "low")}),
    ("a negative count", FIT, {"visits.csv": TABLE.replace("1.0,0", "1.0,-3")}),
    ("a missing value", FIT, {"visits.csv": TABLE.replace("1.0,", ",")}),
    ("text in row 1 of 1,000,000", FIT, {"visits.csv": LARGE}),
    ("a syntax error", FIT, {"visits.py": PROGRAM.replace("exposure, e", "exposure e")}),
    ("no outcome in the program", FIT, {"visits.py": PROGRAM.replace("=None", "")}),
    ("index style", FIT, {"visits.py": FLAT}),
    ("no such program", ("fit", "radn"), {}),
    ("no such recipe", (*FIT, "-i", "nutz"), {}),
    ("no such setting", (*FIT, "--set", "inference.nuts.drws=9"), {}),
    ("a setting out of its range", (*FIT, "--set", "inference.nuts.draws=0"), {}),
    ("a negative rate", FIT, {"visits.py": PROGRAM.replace("jnp.exp(level + exposure)", "level")}),
    ("shapes that do not fit", FIT, {"visits.py": PROGRAM.replace("exposure)", f"{MEAN})")}),
    (
        "a mean over rows",
        FIT,
        {"visits.py": PROGRAM.replace("exposure)", f"{MEAN[:-1]}, keepdims=True))")},
    ),
]


def told(words: tuple[str, ...], folder: Path) -> tuple[float, float, str]:
    """Seconds, seconds of the processor, and what was said last."""
    command = [sys.executable, "-c", "import sys; from bayes_badger.cli import main; main()"]
    before, started = os.times(), time.monotonic()
    done = subprocess.run([*command, *words], cwd=folder, capture_output=True, text=True)
    seconds, after = time.monotonic() - started, os.times()
    used = sum(after[2:4]) - sum(before[2:4])
    return seconds, used, (done.stderr.splitlines() or [""])[-1]


def run() -> pd.DataFrame:
    """A row for each mistake."""
    rows = []
    for what, words, files in MISTAKES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for file, text in {**FILES, **files}.items():
                if text == LARGE:
                    text = TABLE[:24] + "ann,low,2\n" + "bob,1.25,3\n" * 1_000_000
                (folder / file).write_text(text)
            best = min(told(words, folder) for _ in range(REPEATS))
        rows.append({"mistake": what, "s": best[0], "cpu": best[1], "says": best[2][8:]})
        print(rows[-1], file=sys.stderr, flush=True)
    return pd.DataFrame(rows)
