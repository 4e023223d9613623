"""The scale between tasks, by experts: y ~ N(z, 1), z ~ N(mu, tau²), against quadrature.

    uv run python -m benchmarks scales [J ...]

J tasks of 1 and of 10 rows, tau = .5: how far the posterior mean of log tau is off, in standard
deviations, and the ratio of standard deviations. The reference is recipe `grid`: a lattice over
tau, the rest in closed form. The prior of tau is half-normal with scale 1. Four chains of 10,000
draws of each, of 1,000 where there are more than 100 tasks.
"""

from __future__ import annotations

import sys
import time

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
from jax import Array

import bayes_badger as bb
from bayes_badger.evidence import from_arrays
from bayes_badger.inner_loop import registry

TASKS, ROWS, TAU = (8, 85, 1000, 10_000), (1, 10), 0.5


def hierarchy(x: Array, y: Array | None = None) -> None:
    """Levels of tasks around a mean."""
    mu = numpyro.sample("mu", dist.Normal(0, 3))
    tau = numpyro.sample("tau", dist.HalfNormal(1))
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(mu, tau))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z + 0 * x, 1), obs=y)


def run(*tasks: str) -> pd.DataFrame:
    """A row for each number of tasks and of rows."""
    rows = []
    for many in map(int, tasks or TASKS):
        for steps in ROWS:
            rng, program = np.random.default_rng(many + steps), bb.lift(hierarchy)
            z = 1 + TAU * rng.normal(size=(many, 1))
            y = z + rng.normal(size=(many, steps))
            evidence = from_arrays(program.signature, {"x": np.zeros_like(y)}, y, {})
            found, seconds = {}, {}
            for recipe in ("grid", "experts"):
                module = registry.module(recipe)
                loop = module.make(module.Settings(draws=10_000 if many < 100 else 1000))
                started = time.monotonic()
                draws = loop.infer(program, evidence, jax.random.key(0)).draws.values
                seconds[recipe] = time.monotonic() - started
                found[recipe] = np.log(draws["tau"].astype(float))
            sd = found["grid"].std()
            row = {
                "J": many,
                "n": steps,
                "mean off, sd": (found["experts"].mean() - found["grid"].mean()) / sd,
                "sd ratio": found["experts"].std() / sd,
                **{f"{name} s": x for name, x in seconds.items()},
            }
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
    return pd.DataFrame(rows)
