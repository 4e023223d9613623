"""What do related tasks say of each other? A Gaussian hierarchy, where every answer is exact.

Each task has its own level z around a level a that all tasks share. With n readings of a task, D,
the information of two tasks about each other, of a task's readings about its level, and of all m
tasks about the shared level is, in nats,

    I(D_i; D_j)   = -½ log(1 - ρ²)      with ρ = γ² / (γ² + τ² + σ²/n)
    I(z; D)       = ½ log(1 + n (γ² + τ²) / σ²)
    I(z; D | a)   = ½ log(1 + n τ² / σ²)
    I(a; D_1..m)  = ½ log(1 + m γ² / (τ² + σ²/n))

for the settings γ = gamma, τ = tau, σ = sigma: standard deviations, all 1 by default.
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist


def model(reading, y=None, *, gamma=1.0, tau=1.0, sigma=1.0):
    """Levels `z` of tasks around the shared level `a`; `reading` counts the readings of each."""
    a = numpyro.sample("a", dist.Normal(0, gamma))
    with numpyro.plate("task", reading.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(a, tau))
        with numpyro.plate("step", reading.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z, sigma), obs=y)


def inputs(key, tasks, steps):
    """The readings of each task, numbered from 0."""
    return {"reading": jnp.broadcast_to(jnp.arange(float(steps)), (tasks, steps))}
