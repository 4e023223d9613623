"""A smooth curve of each task's own: a Gaussian process whose length and scale are not known.

y = f(x) + noise, f ~ GP(0, scale² exp(-(x - x')² / 2 length²)): the one-dimensional regression task
of Nguyen and Grover (2022), "Transformer Neural Processes". The kernel is expanded in sines on
[-3.2, 3.2], after Solin and Särkkä (2020), "Hilbert space methods for reduced-rank Gaussian process
regression": given length and scale the curve is linear in its weights, and they are integrated in
closed form. The kernel is right to .0004 scale² for x in [-2, 2], and to .002 at lengths below .12.
"""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

SINES, REACH = 64, 3.2


def model(x, y=None, *, noise=0.02):
    """Length and scale of each task, and weights of its sines; `noise` is a standard deviation."""
    with numpyro.plate("task", x.shape[0], dim=-2):
        length = numpyro.sample("length", dist.Uniform(0.1, 0.6))[..., None]
        scale = numpyro.sample("scale", dist.Uniform(0.1, 1.0))
        weights = numpyro.sample("weights", dist.Normal(0, 1).expand([SINES]).to_event(1))
        frequency = jnp.pi * jnp.arange(1, SINES + 1) / (2 * REACH)
        sines = jnp.sin(frequency * (x[..., None] + REACH)) / jnp.sqrt(REACH)
        density = jnp.sqrt(2 * jnp.pi) * length * jnp.exp(-((length * frequency) ** 2) / 2)
        curve = scale * (sines * jnp.sqrt(density) * weights).sum(-1)
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(curve, noise), obs=y)


def inputs(key, tasks, steps):
    """Places between -2 and 2, all equally likely."""
    return {"x": jax.random.uniform(key, (tasks, steps), minval=-2.0, maxval=2.0)}
