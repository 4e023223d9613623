"""Programs and tables whose right answers are known: is each fit right, or does it say a doubt?

    uv run python -m benchmarks cases FOLDER [NAME[:RECIPE] ...]

FOLDER holds, for each NAME, a program `NAME.py`, a table `NAME.csv` and what is right,
`NAME.expected.json`: `{"values": {latent: {"mean": [...], "sd": [...]}}, "log_evidence": ...}`.
The task is the first column of the table that the program does not ask for. A latent is right where
each mean is within .1 standard deviations and each standard deviation within 10%, the log evidence
where it is within .05 nats; `beyond` counts what is not.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

import bayes_badger as bb
from bayes_badger.fitting import program_at
from bayes_badger.signature import read_signature

MEAN, SD, NATS = 0.1, 0.1, 0.05


def run(folder: str, *names: str) -> pd.DataFrame:
    """A row for each case."""
    place = Path(folder)
    every = sorted(path.name.partition(".")[0] for path in place.glob("*.expected.json"))
    return pd.DataFrame([_row(place, *_split(name)) for name in names or every])


def _split(name: str) -> tuple[str, str]:
    before, _, recipe = name.partition(":")
    return before, recipe or "auto"


def _row(place: Path, name: str, recipe: str) -> dict[str, object]:
    path, expected = place / f"{name}.py", place / f"{name}.expected.json"
    table, known = pd.read_csv(place / f"{name}.csv"), json.loads(expected.read_text())
    signature = read_signature(program_at(path).model)
    asked = {*signature.names, signature.outcome}
    task = next(column for column in table.columns if column not in asked)
    started = time.process_time()
    fit = bb.fit(path, table, task=task, inference=recipe)
    row: dict[str, object] = {
        "case": name,
        "by": str(fit.spec["result"]["notes"][0]).partition(":")[0].removeprefix("auto picked "),
        "processor s": time.process_time() - started,
    }
    beyond, means, ratios = 0, [0.0], [1.0]
    for latent, right in known["values"].items():
        if latent in fit.posterior:
            draws = np.asarray(fit.posterior[latent].values, float)
            mean, sd = (np.ravel(right[key]) for key in ("mean", "sd"))
            off = np.abs(draws.mean((0, 1)).ravel() - mean) / sd
            ratio = draws.std((0, 1)).ravel() / sd
            beyond += int((off > MEAN).sum() + (np.abs(ratio - 1) > SD).sum())
            means += [*off]
            ratios += [*ratio]
    row |= {"mean off, sd": max(means), "sd ratio, least": min(ratios), "most": max(ratios)}
    if "log_evidence" in known and fit.spec["result"].get("log_evidence") is not None:
        off = float(fit.spec["result"]["log_evidence"]) - known["log_evidence"]
        beyond += int(abs(off) > NATS)
        row |= {"log evidence off": off, "stated": fit.spec["result"].get("log_evidence_error")}
    row |= {"beyond": beyond, "doubts": len(fit.warnings)}
    print(row, file=sys.stderr, flush=True)
    return row
