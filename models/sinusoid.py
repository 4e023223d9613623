"""A sine on a slope: the regression task of PACOH, its prior as it was drawn from.

y = slope x + amplitude sin(1.5 (x - shift)) + level + noise, after Rothfuss et al. (2021), "PACOH:
Bayes-Optimal Meta-Learning with PAC-Guarantees". With five points the best possible error is .154.
"""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist


def model(x, y=None, *, noise=0.1):
    """Slope, amplitude, shift and level of each task; `noise` is a standard deviation."""
    with numpyro.plate("task", x.shape[0], dim=-2):
        slope = numpyro.sample("slope", dist.Normal(0.5, 0.2))
        amplitude = numpyro.sample("amplitude", dist.Uniform(0.7, 1.3))
        shift = numpyro.sample("shift", dist.Normal(0, 0.1))
        level = numpyro.sample("level", dist.Normal(5, 0.1))
        curve = slope * x + amplitude * jnp.sin(1.5 * (x - shift)) + level
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(curve, noise), obs=y)


def inputs(key, tasks, steps):
    """Places between -5 and 5, all equally likely."""
    return {"x": jax.random.uniform(key, (tasks, steps), minval=-5.0, maxval=5.0)}
