"""Exact answers to measure others by: log q(truth | D) of many tasks, by `grid`, kept as a table.

    uv run python -m benchmarks exact [PROGRAM ...]

Takes 45 minutes for 2,048 waves, so each part is kept in `.cache/` as it is done, and the table of
a program, `benchmarks/data/exact/PROGRAM.csv`, is not computed again: delete it to have it so.
Tasks come in batches that do not depend on how many there are: the first 256 of 2,048 are those of
256. The few whose answer the grid itself says to be rough have none.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pandas as pd

from bayes_badger.belief import Posterior
from bayes_badger.evidence import Evidence, from_arrays
from bayes_badger.inner_loop import registry
from bayes_badger.inner_loop.protocol import InnerLoop
from bayes_badger.program import Program, from_inputs, lift
from bayes_badger.shelves import load_program
from benchmarks.ceilings import Lifetime, log_joint

STEPS = (2, 5, 10, 50, 200, 1000)
BATCH, SEED = 256, 1
# Where grid's own error is above this, in nats, there is no exact answer.
ALLOWED = 0.01
# How many tasks of each program.
TASKS = {"wave": 2048, "sinusoid": 256, "decay": 256, "bump": 256, "logistic": 256, "counts": 256}
FOLDER = Path(__file__).parent / "data" / "exact"
PARTS = Path(__file__).parent.parent / ".cache" / "exact"


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


def batch(name: str, i: int) -> tuple[Program, Lifetime]:
    """256 tasks with 1000 steps each, from the program's own prior, whatever it is."""
    loaded = load_program(name)
    groups, inputs = loaded.optional("columns"), loaded.optional("inputs")
    program = lift(loaded.model, inputs=inputs, groups=groups, name=name)
    query_key, key = jax.random.split(jax.random.fold_in(jax.random.key(SEED), i))
    queries = from_inputs(program.signature, inputs, query_key, BATCH, STEPS[-1])
    drawn = program.simulate(key, queries)
    columns = {name: np.asarray(x) for name, x in queries.columns.items()}
    evidence = from_arrays(program.signature, columns, np.asarray(drawn.outcome))
    truth = {x.name: np.asarray(drawn.values[x.name]) for x in program.latents}
    return program, Lifetime(evidence, truth)


@functools.lru_cache(maxsize=1)
def tasks_of(name: str, tasks: int) -> tuple[Program, Lifetime]:
    """A program and its first tasks."""
    found = [batch(name, i) for i in range(-(-tasks // BATCH))]
    parts = [lifetime for _, lifetime in found]

    def joined(arrays: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([x.reshape(BATCH, -1, *x.shape[1:]) for x in arrays])

    columns = {n: joined([x.evidence.columns[n] for x in parts]) for n in parts[0].evidence.columns}
    outcome = joined([x.evidence.outcome for x in parts])
    truth = {n: np.concatenate([x.truth[n] for x in parts]) for n in parts[0].truth}
    program, _ = found[0]
    return program, Lifetime(from_arrays(program.signature, columns, outcome), truth)


def _rough(
    loop: InnerLoop,
    program: Program,
    evidence: Evidence,
    tasks: np.ndarray,
    posterior: Posterior,
) -> Iterator[int]:
    """Which tasks of a posterior the grid does not know to `ALLOWED`, by its own estimate."""
    if (posterior.log_evidence_error or 0.0) > ALLOWED:
        if len(tasks) == 1:
            yield int(tasks[0])
        else:
            for half in np.array_split(tasks, 2):
                found = loop.infer(program, evidence.select(half), jax.random.key(0))
                yield from _rough(loop, program, evidence, half, found)


def _column(name: str, steps: int) -> np.ndarray:
    return np.concatenate([_part(name, i, steps) for i in range(TASKS[name] // BATCH)])


def _part(name: str, i: int, steps: int) -> np.ndarray:
    """One batch, from `.cache/` where it is there."""
    path = PARTS / f"{name}-{i}-{steps}.csv"
    if not path.exists():
        started = time.monotonic()
        program, lifetime = batch(name, i)
        evidence, truth = lifetime.first(steps)
        module = registry.module("grid")
        loop = module.make(module.Settings(chains=1, draws=1))
        posterior = loop.infer(program, evidence, jax.random.key(0))
        if posterior.warnings:
            print(f"{name} {i} {steps}: {posterior.warnings}", file=sys.stderr)
        log_q = log_joint(program, evidence, truth) - posterior.log_evidence_by_task
        log_q[list(_rough(loop, program, evidence, np.arange(BATCH), posterior))] = np.nan
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame({"log_q": log_q}).to_csv(path, index=False)
        print(f"{path.name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return pd.read_csv(path)["log_q"].to_numpy()
