"""Sines of many sizes and phases, their frequency to be learned: the first task of MAML.

y = amplitude sin(x - phase), amplitude in [.1, 5] and phase in [0, π], x in [-5, 5], after Finn et
al. (2017), "Model-Agnostic Meta-Learning". There y has no noise; a density needs some: .01 in the
world, and no less in the program, whose likelihood would grow without bound.
"""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.distributions.constraints import greater_than, positive

LEAST = 0.01


def model(x, y=None):
    """Amplitude and phase of each task; frequency, noise, means and spreads are learned."""
    frequency = numpyro.param("frequency", 0.7, constraint=positive)
    noise = numpyro.param("noise", 0.5, constraint=greater_than(LEAST))
    mean = numpyro.param("mean", jnp.array([1.0, 0.0]))
    spread = numpyro.param("spread", jnp.ones(2), constraint=positive)
    with numpyro.plate("task", x.shape[0], dim=-2):
        amplitude = numpyro.sample("amplitude", dist.Normal(mean[0], spread[0]))
        phase = numpyro.sample("phase", dist.Normal(mean[1], spread[1]))
        curve = amplitude * jnp.sin(frequency * x - phase)
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(curve, noise), obs=y)


def world(x, y=None):
    """How the tasks really are."""
    with numpyro.plate("task", x.shape[0], dim=-2):
        amplitude = numpyro.sample("amplitude", dist.Uniform(0.1, 5.0))
        phase = numpyro.sample("phase", dist.Uniform(0.0, jnp.pi))
        curve = amplitude * jnp.sin(x - phase)
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(curve, LEAST), obs=y)


def inputs(key, tasks, steps):
    """Places between -5 and 5, all equally likely."""
    return {"x": jax.random.uniform(key, (tasks, steps), minval=-5.0, maxval=5.0)}
