"""How fast does it fade? An amount that decays in each task at its own rate, measured with noise.

Where little time has passed, amount and rate can hardly be told from each other.
"""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist


def model(t, y=None, *, noise=0.1):
    """The amount at t = 0 and the rate of each task; `noise` is a standard deviation."""
    with numpyro.plate("task", t.shape[0], dim=-2):
        amount = numpyro.sample("amount", dist.LogNormal(0, 1))
        rate = numpyro.sample("rate", dist.LogNormal(0, 1))
        left = amount * jnp.exp(-rate * t)
        with numpyro.plate("step", t.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(left, noise), obs=y)


def inputs(key, tasks, steps):
    """Times between 0 and 3, all equally likely."""
    return {"t": jax.random.uniform(key, (tasks, steps), maxval=3.0)}
