"""Where is the bump? A hill of unknown place, width and height in each task, on flat ground.

Away from the hill nothing is learned of its width or height, and until a point falls on it the
posterior of its place has a gap where points have been.
"""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist


def model(x, y=None, *, noise=0.2):
    """Place, log width and height of each task's bump; `noise` is a standard deviation."""
    with numpyro.plate("task", x.shape[0], dim=-2):
        place = numpyro.sample("place", dist.Normal(0, 1.5))
        log_width = numpyro.sample("log_width", dist.Normal(-0.5, 0.3))
        height = numpyro.sample("height", dist.Normal(2, 0.5))
        hill = height * jnp.exp(-0.5 * ((x - place) / jnp.exp(log_width)) ** 2)
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(hill, noise), obs=y)


def inputs(key, tasks, steps):
    """Places between -5 and 5, all equally likely."""
    return {"x": jax.random.uniform(key, (tasks, steps), minval=-5.0, maxval=5.0)}
