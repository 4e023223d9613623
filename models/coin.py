"""How biased is each coin? The smallest program: its exact posterior is a Beta distribution.

With p ~ Beta(a, b) and h heads in n tosses, the posterior of p is Beta(a + h, b + n - h).
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist


def model(toss, heads=None, *, a=1.0, b=1.0):
    """A bias `p` per coin; `toss` counts the tosses, `heads` is 1 or 0."""
    with numpyro.plate("task", toss.shape[0], dim=-2):
        p = numpyro.sample("p", dist.Beta(a, b))
        with numpyro.plate("step", toss.shape[1], dim=-1):
            numpyro.sample("heads", dist.Bernoulli(p), obs=heads)


def inputs(key, tasks, steps):
    """The tosses of each coin, numbered from 0."""
    return {"toss": jnp.broadcast_to(jnp.arange(float(steps)), (tasks, steps))}
