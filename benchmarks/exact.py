"""Exact answers to measure others by: log q(truth | D) of many tasks, by `grid`, kept as a table.

    uv run python -m benchmarks exact [PROGRAM ...]

Takes an hour for 2,048 waves, so each part is kept in `.cache/` as it is done, and the table of a
program, `benchmarks/data/exact/PROGRAM.csv`, is not computed again: delete it to have it so. Tasks
come in batches that do not depend on how many there are: the first 256 of 2,048 are those of 256.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pandas as pd

from bayes_badger.evidence import Evidence, from_arrays
from bayes_badger.inner_loop import registry
from bayes_badger.program import Program, from_inputs, lift
from bayes_badger.shelves import load_program
from benchmarks.ceilings import Lifetime, log_joint

STEPS = (2, 5, 10, 50, 200, 1000)
BATCH, SEED = 256, 1
# How many tasks of each program.
TASKS = {"wave": 2048, "sinusoid": 256, "decay": 256, "bump": 256, "logistic": 256, "counts": 256}
FOLDER = Path(__file__).parent / "data" / "exact"
PARTS = Path(__file__).parent.parent / ".cache" / "exact"


class Batch(NamedTuple):
    """Tasks with 1000 steps each, and their latents."""

    program: Program
    lifetime: Lifetime

    def first(self, steps: int) -> tuple[Evidence, dict[str, np.ndarray]]:
        """The first steps of each task, and what is true of it."""
        return self.lifetime.first(steps)


def run(*programs: str) -> pd.DataFrame:
    """Computes the tables that are missing; a summary of all."""
    rows = []
    for name in programs or TASKS:
        path = FOLDER / f"{name}.csv"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            table = pd.DataFrame({f"T{steps}": _column(name, steps) for steps in STEPS})
            table.to_csv(path, index_label="task", float_format="%.5f")
        for column, values in pd.read_csv(path, index_col="task").items():
            rows.append(
                {"program": name, "T": column, "tasks": len(values), "log q": values.mean()}
            )
    return pd.DataFrame(rows)


def exact(name: str, steps: int, tasks: int) -> np.ndarray:
    """Log q(truth | D) of the first tasks, in the user's own space, nats, `[task]`."""
    return pd.read_csv(FOLDER / f"{name}.csv")[f"T{steps}"].to_numpy()[:tasks]


def batches(name: str, tasks: int) -> Iterator[Batch]:
    """The tasks, 256 at a time: from the program's own prior, whatever it is."""
    loaded = load_program(name)
    groups, inputs = loaded.optional("columns"), loaded.optional("inputs")
    program = lift(loaded.model, inputs=inputs, groups=groups, name=name)
    for i in range(-(-tasks // BATCH)):
        query_key, key = jax.random.split(jax.random.fold_in(jax.random.key(SEED), i))
        queries = from_inputs(program.signature, inputs, query_key, BATCH, STEPS[-1])
        drawn = program.simulate(key, queries)
        columns = {name: np.asarray(x) for name, x in queries.columns.items()}
        evidence = from_arrays(program.signature, columns, np.asarray(drawn.outcome))
        truth = {x.name: np.asarray(drawn.values[x.name]) for x in program.latents}
        yield Batch(program, Lifetime(evidence, truth))


def _column(name: str, steps: int) -> np.ndarray:
    return np.concatenate([_part(name, i, steps) for i in range(TASKS[name] // BATCH)])


def _part(name: str, i: int, steps: int) -> np.ndarray:
    """One batch, from `.cache/` where it is there."""
    path = PARTS / f"{name}-{i}-{steps}.csv"
    if not path.exists():
        started = time.monotonic()
        batch = list(batches(name, (i + 1) * BATCH))[i]
        evidence, truth = batch.first(steps)
        module = registry.module("grid")
        loop = module.make(module.Settings(chains=1, draws=1))
        posterior = loop.infer(batch.program, evidence, jax.random.key(0))
        if posterior.warnings:
            print(f"{name} {i} {steps}: {posterior.warnings}", file=sys.stderr)
        log_q = log_joint(batch.program, evidence, truth) - posterior.log_evidence_by_task
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame({"log_q": log_q}).to_csv(path, index=False)
        print(f"{path.name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return pd.read_csv(path)["log_q"].to_numpy()
