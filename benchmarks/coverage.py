"""Empirical Bayes and full Bayes side by side: what it costs not to know the scale between tasks.

    uv run python -m benchmarks coverage [WORLDS]

y ~ N(z, 1), 3 rows each of J tasks, z ~ N(mu, tau²), with mu and tau drawn anew for each world from
the prior of the full Bayes program, N(0, 1) and HalfNormal(1). Empirical Bayes learns them by the
outer loop and takes them as known (`numpyro.param`, then recipe `exact`); full Bayes infers them
with the tasks (latents, then recipe `experts`). Coverage of central 90% intervals of z, with a
standard error over worlds; widths are of empirical Bayes in those of full Bayes.
"""

from __future__ import annotations

import sys

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
from jax import Array

import bayes_badger as bb
from bayes_badger.evidence import Evidence, from_arrays
from bayes_badger.inner_loop import registry
from bayes_badger.outer_loop import learn
from bayes_badger.program import Program

TASKS, STEPS, LEVEL = (3, 8, 30, 300), 3, 0.9


def empirical(x: Array, y: Array | None = None) -> None:
    """Mean and scale are parameters."""
    mu = numpyro.param("mu", 0.0)
    tau = numpyro.param("tau", 1.0, constraint=dist.constraints.positive)
    _tasks(x, y, mu, tau)


def full(x: Array, y: Array | None = None) -> None:
    """Mean and scale are latents."""
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    tau = numpyro.sample("tau", dist.HalfNormal(1))
    _tasks(x, y, mu, tau)


def _tasks(x: Array, y: Array | None, mu: Array, tau: Array) -> None:
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(mu, tau))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z + 0 * x, 1), obs=y)


def run(worlds: str = "40") -> pd.DataFrame:
    """A row for each number of tasks."""
    programs = bb.lift(empirical), bb.lift(full)
    rows = []
    for many in TASKS:
        held: list[tuple[float, float]] = []
        widths = []
        for seed in range(int(worlds)):
            rng = np.random.default_rng([many, seed])
            z = rng.normal() + abs(rng.normal()) * rng.normal(size=(many, 1))
            y = z + rng.normal(size=(many, STEPS))
            columns = {"x": np.zeros_like(y)}
            evidence = [from_arrays(p.signature, columns, y, {}) for p in programs]
            key = jax.random.key(seed)
            learned = learn(programs[0], evidence[0], key).program
            ends = [
                _interval(learned, evidence[0], "exact"),
                _interval(programs[1], evidence[1], "experts"),
            ]
            inside = [float(((lo <= z[:, 0]) & (z[:, 0] <= hi)).mean()) for lo, hi in ends]
            held.append((inside[0], inside[1]))
            widths.append(
                float((ends[0][1] - ends[0][0]).mean() / (ends[1][1] - ends[1][0]).mean())
            )
        share, error = np.mean(held, 0), np.std(held, 0, ddof=1) / np.sqrt(int(worlds))
        rows.append(
            {
                "J": many,
                "empirical": share[0],
                "se": error[0],
                "full": share[1],
                "full se": error[1],
                "width": np.mean(widths),
            }
        )
        print(rows[-1], file=sys.stderr, flush=True)
    return pd.DataFrame(rows)


def _interval(program: Program, evidence: Evidence, recipe: str) -> tuple[np.ndarray, np.ndarray]:
    module = registry.module(recipe)
    found = module.make(module.Settings()).infer(program, evidence, jax.random.key(1))
    z = found.draws.values["z"].reshape(-1, evidence.n_tasks)
    low, high = np.quantile(z, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high
