"""Bred for ten steps, run for a hundred thousand: the streaming filter against the exact posterior.

Waves of 100,000 rows each, 64 experts, one pass row by row, 16 tasks at a time, in memory that does
not grow. At the end the posterior is normal to far beyond the digits shown, so that the exact mean
is the mode, which Newton's method finds in float64 from the truth. Columns: squared distance from
the mean of the experts to that of the exact posterior, in units of the Cramér-Rao bound (the trace
of the inverse information at the truth); how many tasks are above a tenth; how many sit in a wrong
mode (further than ten standard deviations); seconds.
"""

from __future__ import annotations

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from bayes_badger.inner_loop import experts
from bayes_badger.inner_loop._plan import make_plan, prior_society
from bayes_badger.inner_loop._stream import through
from bayes_badger.program import Data
from benchmarks.ceilings import simulated

SEED, AT_ONCE, STEPS = 2, 16, 100_000
ALLOWED, FAR = 0.1, 100.0
LOC, SCALE, NOISE = np.array([0.0, 1.0, 0.0]), np.array([0.5, 0.3, 1.0]), 0.3


def run(tasks: str = "1024", steps: str = str(STEPS)) -> pd.DataFrame:
    """So many tasks of so many steps."""
    program, _ = simulated("wave")
    loop = experts.make(experts.Settings(sweeps=0, refits=0))
    plan, length = make_plan(program, _example()), int(steps)
    start = prior_society(plan, 64, program.size)
    society = jax.tree.map(lambda x: jnp.broadcast_to(x, (AT_ONCE, *x.shape)), start)
    rng, rows = np.random.default_rng(SEED), []
    mask = jnp.ones((AT_ONCE, length), bool)
    for i in range(-(-int(tasks) // AT_ONCE)):
        z = rng.normal(size=(AT_ONCE, 3))
        x = rng.uniform(-5, 5, (AT_ONCE, length))
        y = _waves(z, x)[0] + NOISE * rng.normal(size=x.shape)
        data = Data({"x": jnp.asarray(x, jnp.float32)}, {}, jnp.asarray(y, jnp.float32))
        started = time.monotonic()
        after, _ = through(program, plan.predictive, loop.policy, society, data, mask)
        jax.block_until_ready(after)
        seconds = time.monotonic() - started
        weights = np.exp(np.asarray(after.log_weights, float))
        mean = (weights[..., None] * np.asarray(after.mean, float)).sum(1)
        exact, bound = _exact(z, x, y)
        ratio = ((mean - exact) ** 2).sum(1) / bound
        sane = np.isfinite(np.asarray(after.root)).all((1, 2, 3))
        rows += [(r, b, s, seconds) for r, b, s in zip(ratio, bound, sane, strict=True)]
        if i % 8 == 0:
            print(f"{len(rows)} tasks: {seconds:.1f} s each {AT_ONCE}", file=sys.stderr, flush=True)
    ratio, bound, sane, took = (np.array(x) for x in zip(*rows, strict=True))
    return pd.DataFrame(
        [
            {
                "tasks": len(ratio),
                "steps": length,
                "median ratio": np.median(ratio),
                "99% below": np.quantile(ratio, 0.99),
                "above a tenth": (ratio > ALLOWED).mean(),
                "wrong mode": (ratio > FAR).mean(),
                "not finite": (~sane | ~np.isfinite(ratio)).sum(),
                "median bound": np.median(bound),
                "seconds for 16": np.median(took[AT_ONCE:]) if len(took) > AT_ONCE else took[0],
            }
        ]
    )


def _example() -> Data:
    x = np.linspace(-5, 5, 32)
    y = _waves(np.zeros((1, 3)), x[None])[0]
    return Data({"x": jnp.asarray(x[None], jnp.float32)}, {}, jnp.asarray(y, jnp.float32))


def _waves(u: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values `[task, step]` and their slopes in coordinates `[task, step, 3]`."""
    z = LOC + SCALE * u
    size, angle = np.exp(z[:, :1]), z[:, 1:2] * x + z[:, 2:]
    value, slope = size * np.sin(angle), size * np.cos(angle)
    return value, np.stack([value * SCALE[0], slope * x * SCALE[1], slope * SCALE[2]], -1)


def _exact(u: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The posterior's mode, `[task, 3]`, and the Cramér-Rao bound at the truth, `[task]`."""
    slopes = _waves(u, x)[1]
    information = np.einsum("tsi,tsj->tij", slopes, slopes) / NOISE**2
    bound = np.trace(np.linalg.inv(information), axis1=1, axis2=2)
    mode = u.copy()
    for _ in range(8):
        value, slopes = _waves(mode, x)
        precision = np.eye(3) + np.einsum("tsi,tsj->tij", slopes, slopes) / NOISE**2
        slope = np.einsum("tsi,ts->ti", slopes, y - value) / NOISE**2 - mode
        mode = mode + np.linalg.solve(precision, slope[..., None])[..., 0]
    return mode, bound
