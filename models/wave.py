"""Which sine wave is it? Three numbers of each task, tied to each other and with several answers.

A few points of a wave fit several frequencies, each with its own phase: the posterior of a task
has several modes until there are enough of them.
"""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist


def model(x, y=None, *, noise=0.3):
    """Log amplitude, frequency and phase of each task; `noise` is a standard deviation."""
    with numpyro.plate("task", x.shape[0], dim=-2):
        log_amplitude = numpyro.sample("log_amplitude", dist.Normal(0, 0.5))
        frequency = numpyro.sample("frequency", dist.Normal(1, 0.3))
        phase = numpyro.sample("phase", dist.Normal(0, 1))
        wave = jnp.exp(log_amplitude) * jnp.sin(frequency * x + phase)
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(wave, noise), obs=y)


def inputs(key, tasks, steps):
    """Places between -5 and 5, all equally likely."""
    return {"x": jax.random.uniform(key, (tasks, steps), minval=-5.0, maxval=5.0)}
