"""What is compiled for a fit, and what that costs, in seconds of the processor.

    uv run python -m benchmarks compile                       # each program by recipe auto
    uv run python -m benchmarks compile auto,experts,nuts eight_schools wave

Each row is a fit in a process of its own: `cold` with nothing kept from before, `kept` with what
the first has left on the disk, `again` a second fit in that process, with another seed. Operations
are those of StableHLO, which JAX lowers traced equations to. They and the compilations are exact
numbers: `tests/test_compile_budget.py` holds some of them to `tests/compile_budget.json`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import Any

import pandas as pd

PROGRAMS = (
    "coin", "gaussian", "wave", "logistic", "counts", "cauchy", "eight_schools", "radon", "rats",
    "sleepstudy", "clinics", "schools_in_districts", "bandit_learners", "learning_rules",
)  # fmt: skip


def run(recipes: str = "auto", *programs: str) -> pd.DataFrame:
    """A row for each program and recipe."""
    rows = []
    for name in programs or PROGRAMS:
        for recipe in recipes.split(","):
            with tempfile.TemporaryDirectory() as kept:
                cold, warm = (measured(name, recipe, kept) for _ in range(2))
            row = {"program": name, "recipe": recipe} | {
                word: cold[word] for word in ("operations", "compilations", "again compilations")
            }
            row |= {"s cold": cold["s fit"], "s kept": warm["s fit"]}
            row |= {"s again": cold["s again fit"], "s imports": warm["s imports"]}
            print(json.dumps(row), file=sys.stderr, flush=True)
            rows.append(row)
    return pd.DataFrame(rows)


def measured(name: str, recipe: str, kept: str | None = None) -> dict[str, Any]:
    """Two fits in a process of their own.

    Args:
        name: Of the program.
        recipe: Of the inference.
        kept: The folder of what is compiled; by default the one of this process.
    """
    least = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    environment = os.environ | least | ({"JAX_COMPILATION_CACHE_DIR": kept} if kept else {})
    command = [sys.executable, "-m", "benchmarks._compiled", name, recipe]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
