"""How do eight features add up to y? Linear regressions whose weights have a common centre.

Each task has weights w ~ N(mu, I), and mu has the variance of a uniform number between -8 and 8.
Given mu, rows X say I(w; y | mu) = ½ log det(I + X Xᵀ / noise²) nats of the weights of their task.
"""

import jax
import numpyro
import numpyro.distributions as dist

columns = {"X": ["x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8"]}


def model(X, y=None, *, noise=0.5):  # noqa: N803 - the usual name of a design matrix
    """Weights `w` of each task, one per feature, around `mu`; `noise` is a standard deviation."""
    features = X.shape[-1]
    wide = (64 / 3) ** 0.5
    mu = numpyro.sample("mu", dist.Normal(0, wide).expand([features]).to_event(1))
    with numpyro.plate("task", X.shape[0], dim=-2):
        w = numpyro.sample("w", dist.Normal(mu, 1).to_event(1))
        with numpyro.plate("step", X.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal((X * w).sum(-1), noise), obs=y)


def inputs(key, tasks, steps):
    """Eight features of each row, from N(0, 1)."""
    return {"X": jax.random.normal(key, (tasks, steps, 8))}
