"""How often does it happen? Counts whose rate rises or falls with x, in each task by itself.

The rate is 1 at the prior's centre; at the ends of x, three standard deviations are a factor of 30.
"""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist


def model(x, count=None):
    """The log rate of each task is a line: its `level` at x = 0, and its `slope`."""
    with numpyro.plate("task", x.shape[0], dim=-2):
        level = numpyro.sample("level", dist.Normal(0, 1))
        slope = numpyro.sample("slope", dist.Normal(0, 0.5))
        rate = jnp.exp(level + slope * x)
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("count", dist.Poisson(rate), obs=count)


def inputs(key, tasks, steps):
    """Places between -1 and 1, all equally likely."""
    return {"x": jax.random.uniform(key, (tasks, steps), minval=-1.0, maxval=1.0)}
