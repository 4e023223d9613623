"""A sine on a slope whose prior is not known, but learned from many tasks.

The curve is that of `sinusoid`; its frequency, the noise, and the mean and spread of slope,
amplitude, shift and level are parameters, learned by the outer loop. The world is that of
`sinusoid`, after Rothfuss et al. (2021), "PACOH".
"""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.distributions.constraints import positive

# Where the means start: of slope, amplitude, shift and level.
START = (0.0, 1.0, 0.0, 0.0)


def model(x, y=None):
    """Slope, amplitude, shift and level of each task."""
    frequency = numpyro.param("frequency", 1.0, constraint=positive)
    noise = numpyro.param("noise", 0.5, constraint=positive)
    mean = numpyro.param("mean", jnp.array(START))
    spread = numpyro.param("spread", jnp.ones(4), constraint=positive)
    with numpyro.plate("task", x.shape[0], dim=-2):
        slope = numpyro.sample("slope", dist.Normal(mean[0], spread[0]))
        amplitude = numpyro.sample("amplitude", dist.Normal(mean[1], spread[1]))
        shift = numpyro.sample("shift", dist.Normal(mean[2], spread[2]))
        level = numpyro.sample("level", dist.Normal(mean[3], spread[3]))
        curve = slope * x + amplitude * jnp.sin(frequency * (x - shift)) + level
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(curve, noise), obs=y)


def world(x, y=None):
    """How the tasks really are."""
    with numpyro.plate("task", x.shape[0], dim=-2):
        slope = numpyro.sample("slope", dist.Normal(0.5, 0.2))
        amplitude = numpyro.sample("amplitude", dist.Uniform(0.7, 1.3))
        shift = numpyro.sample("shift", dist.Normal(0, 0.1))
        level = numpyro.sample("level", dist.Normal(5, 0.1))
        curve = slope * x + amplitude * jnp.sin(1.5 * (x - shift)) + level
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(curve, 0.1), obs=y)


def inputs(key, tasks, steps):
    """Places between -5 and 5, all equally likely."""
    return {"x": jax.random.uniform(key, (tasks, steps), minval=-5.0, maxval=5.0)}
