"""Discrete latents too many to sum: experts with one assignment each, against the whole sum.

    uv run python -m benchmarks assigned [SEEDS]

Twenty switches and twenty slopes of each of two tasks of 20 rows: y ~ N(Σ on w x, 1/4), where
w ~ N(0, 1) and on ~ Bernoulli(.3). Two predictors are nearly one, so that either switch will do.
The reference sums all 1,048,576 joint values, slopes in closed form, in double precision: the tool
does not do that. For each seed: log evidence less the reference, and its own error; the largest
difference of the probability that a switch is on; seconds of processor time, the first with
compilation.
"""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd

import bayes_badger as bb
from bayes_badger.evidence import from_arrays
from bayes_badger.inner_loop import experts

SWITCHES, TASKS, ROWS, SHARE, NOISE = 20, 2, 20, 0.3, 0.5
BATCH = 2**13


def switches(X, y=None):  # noqa: N803 - the usual name of a design matrix
    """Slopes of which most are switched off."""
    with numpyro.plate("task", X.shape[0], dim=-2):
        on = numpyro.sample("on", dist.Bernoulli(jnp.full(SWITCHES, SHARE)).to_event(1))
        w = numpyro.sample("w", dist.Normal(0, 1).expand([SWITCHES]).to_event(1))
        with numpyro.plate("step", X.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal((X * (on * w)).sum(-1), NOISE), obs=y)


def run(seeds: str = "4") -> pd.DataFrame:
    """A row for each seed of the experts, on the same tasks."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(TASKS, ROWS, SWITCHES))
    x[:, :, 1] = x[:, :, 0] + 0.05 * rng.normal(size=(TASKS, ROWS))
    w = rng.normal(size=(TASKS, SWITCHES)) * (rng.uniform(size=(TASKS, SWITCHES)) < SHARE)
    w[:, 0], w[:, 1] = 1.5, 0.0
    y = (x * w[:, None]).sum(-1) + NOISE * rng.normal(size=(TASKS, ROWS))
    exact = [_exact(x[i], y[i]) for i in range(TASKS)]
    program = bb.lift(
        switches, inputs=lambda key, t, s: {"X": jax.random.normal(key, (t, s, SWITCHES))}
    )
    evidence = from_arrays(program.signature, {"X": x}, y)
    loop, rows = experts.make(experts.Settings()), []
    for seed in range(int(seeds)):
        started = time.process_time()
        found = loop.infer(program, evidence, jax.random.key(seed))
        seconds = time.process_time() - started
        off = float(found.log_evidence or 0.0) - sum(log_evidence for log_evidence, _ in exact)
        on = found.draws.values["on"].mean((0, 1)) - np.stack([share for _, share in exact])
        row = {"seed": seed, "log evidence off": off, "its error": found.log_evidence_error}
        warned = len(found.warnings)
        rows.append(row | {"probability off": np.abs(on).max(), "s": seconds, "warnings": warned})
    return pd.DataFrame(rows)


def _exact(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Log evidence of one task, and the probability that each switch is on."""
    total, on = -np.inf, np.zeros(SWITCHES)
    for start in range(0, 2**SWITCHES, BATCH):
        states = (np.arange(start, start + BATCH)[:, None] >> np.arange(SWITCHES)) & 1
        root = np.linalg.cholesky(NOISE**2 * np.eye(ROWS) + (x * states[:, None]) @ x.T)
        noise = np.linalg.solve(root, np.broadcast_to(y[:, None], (BATCH, ROWS, 1)))[..., 0]
        logs = -0.5 * (noise**2).sum(1) - np.log(np.diagonal(root, axis1=1, axis2=2)).sum(1)
        logs += states.sum(1) * np.log(SHARE) + (1 - states).sum(1) * np.log(1 - SHARE)
        logs -= 0.5 * ROWS * np.log(2 * np.pi)
        new = np.logaddexp(total, np.logaddexp.reduce(logs))
        on = on * np.exp(total - new) + np.exp(logs - new) @ states
        total = new
    return float(total), on
