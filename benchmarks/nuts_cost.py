"""What a fit costs beside the same model in plain NumPyro, in seconds of the processor.

    uv run python -m benchmarks nuts_cost                     # ten minutes
    uv run python -m benchmarks nuts_cost clinics eight_schools
    uv run python -m benchmarks nuts_cost auto:clinics        # by another recipe

Each fit is a process of its own with nothing kept from before, and its seconds are those of all its
threads, imports and compiling included: so they depend less on what else the machine does than the
clock. Plain NumPyro makes 4 x (1,000 + 1,000) draws side by side, with its own defaults; `bb.fit`
makes as many, and the DataTree and all checks of a run beside. `least ess` is the effective sample
size of what tasks share, of the entry that has least.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np
import pandas as pd

NAMES = ("clinics", "sleepstudy", "eight_schools", "radon", "rats")


def run(*names: str) -> pd.DataFrame:
    """A row for each model: seconds of both, their ratio, compilations, effective draws."""
    rows = []
    for asked in names or NAMES:
        *given, name = asked.split(":")
        recipe = given[0] if given else "nuts"
        plain, ours = measured("plain", name), measured(f"badger:{recipe}", name)
        row = {"program": name, "recipe": recipe}
        row |= {"plain, s": plain["seconds"], "ours, s": ours["seconds"]}
        row |= {"ratio": ours["seconds"] / plain["seconds"]}
        row |= {"plain compilations": plain["compilations"], "compilations": ours["compilations"]}
        row |= {"plain least ess": plain["least ess"], "least ess": ours["least ess"]}
        row |= far(ours["moments"], plain["moments"])
        row |= {f"s {stage}": seconds for stage, seconds in ours["stages"].items()}
        print(json.dumps(row), file=sys.stderr, flush=True)
        rows.append(row)
    return pd.DataFrame(rows)


def far(ours: Any, plain: Any) -> dict[str, float]:
    """How far our means are from those of plain NumPyro in its sd, and the ratios of sds, at most.

    Draws of plain NumPyro have an error of their own: some .02 sd where 2,000 count.
    """
    (mean, sd), (other, spread) = (
        [np.concatenate([np.ravel(x[name][i]) for name in plain]) for i in range(2)]
        for x in (ours, plain)
    )
    ratios = np.maximum(sd / spread, spread / sd)
    return {"mean off, sd": float(np.abs((mean - other) / spread).max()), "sd x": ratios.max()}


def measured(how: str, name: str) -> dict[str, Any]:
    """One fit in a process of its own with nothing kept.

    Args:
        how: "plain", or "badger", or "badger:RECIPE".
        name: Of the model.
    """
    with tempfile.TemporaryDirectory() as kept:
        environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": kept}
        command = [sys.executable, "-m", "benchmarks._plain_cost", how, name]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
