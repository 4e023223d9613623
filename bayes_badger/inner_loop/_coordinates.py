"""Which coordinates suit a sampler: the prior's (whitened), or the latents' own (centred).

In whitened coordinates a hierarchy has no funnel, but data that say more about a task than its
prior does make them long and curved; there the latents' own coordinates mix better (on dense data
about three times). So a Gaussian with independent coordinates is fitted first, and where it lies
the data's curvature is compared with the prior's, which is 1 in whitened coordinates. (A mode will
not do: that of eight schools has a spread between schools far above the posterior's.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key, PRNGKeyArray

from bayes_badger.inner_loop._density import Part, log_density
from bayes_badger.program import LIFETIME, UNCONSTRAINED, WHITENED, Data, Program

# Of the fit: steps, samples of each, first rate. Of the comparison: draws, and tasks at most.
STEPS, SAMPLES, RATE = 600, 8, 0.05
DRAWS, TASKS = 16, 64


class Pilot(eqx.Module):
    """A rough Gaussian fit: mean and standard deviation of each coordinate."""

    lifetime: tuple[Float[Array, " lifetime"], Float[Array, " lifetime"]]
    task: tuple[Float[Array, "task size"], Float[Array, "task size"]]

    @property
    def centre(self) -> tuple[Array, Array]:
        """Its mean."""
        return self.lifetime[0], self.task[0]

    def draw(self, key: PRNGKeyArray) -> tuple[Array, Array]:
        """A point drawn from it."""
        keys = jax.random.split(key)
        return _drawn(self.lifetime, keys[0]), _drawn(self.task, keys[1])


def _drawn(normal: tuple[Array, Array], key: PRNGKeyArray) -> Array:
    mean, sd = normal
    return mean + sd * jax.random.normal(key, mean.shape)


@eqx.filter_jit
def pilot(program: Program, tasks: int, parts: Sequence[Part], key: PRNGKeyArray) -> Pilot:
    """Fits a Gaussian by a fixed number of steps up the evidence lower bound.

    Kucukelbir et al. (2017), "Automatic differentiation variational inference", JMLR 18.
    """
    zero = [jnp.zeros(part.mask.shape) for part in parts]

    def gaussian(flat: Any) -> Pilot:
        (a, z), (a_scale, z_scale) = flat
        return Pilot((a, jnp.exp(a_scale)), (z, jnp.exp(z_scale)))

    def loss(flat: Any, key: PRNGKeyArray) -> Array:
        fitted = gaussian(flat)
        entropy = sum(scale.sum() for scale in flat[1])

        def one(key: PRNGKeyArray) -> Array:
            return log_density(program, *fitted.draw(key), parts, zero)

        return -entropy - jax.vmap(one)(jax.random.split(key, SAMPLES)).mean()

    optimiser = optax.chain(
        optax.zero_nans(),
        optax.clip_by_global_norm(100.0),
        optax.adam(optax.cosine_decay_schedule(RATE, STEPS)),
    )
    sizes = ((program.lifetime_size,), (tasks, program.task_size))
    start = (tuple(map(jnp.zeros, sizes)), tuple(jnp.full(size, -1.0) for size in sizes))

    def step(carry: Any, key: PRNGKeyArray) -> tuple[Any, None]:
        flat, state = carry
        change, state = optimiser.update(jax.grad(loss)(flat, key), state)
        return (optax.apply_updates(flat, change), state), None

    keys = jax.random.split(key, STEPS)
    return gaussian(jax.lax.scan(step, (start, optimiser.init(start)), keys)[0][0])


@eqx.filter_jit
def _information(
    program: Program, fitted: Pilot, part: Part, keys: Key[Array, " draw"]
) -> Float[Array, "draw task size"]:
    """Curvature of each task's log likelihood in each of its coordinates, at several draws."""

    def at(key: PRNGKeyArray) -> Array:
        lifetime, task = fitted.draw(key)
        each = jax.vmap(one, in_axes=(None, 0, 0, 0))
        return each(lifetime, task[part.tasks], part.data, part.mask)

    def one(lifetime: Array, z: Array, data: Data, mask: Array) -> Array:
        def rows(z: Array) -> Array:
            lead = jax.tree.map(lambda x: x[None], data)
            likelihood = program.terms(lifetime, z[None], lead).log_likelihood
            return jnp.where(mask, likelihood[0], 0.0).sum()

        return -jnp.diag(jax.hessian(rows)(z))

    return jax.lax.map(at, keys)


def suited(
    program: Program, fitted: Pilot, parts: Sequence[Part], key: PRNGKeyArray
) -> tuple[dict[str, str], str]:
    """The coordinates that suit each latent, and why, in one sentence.

    A task's latent is centred where the data of the median task say more about it than its prior.
    A lifetime's latent is whitened where its map is a cheap closed form.
    """
    some, left, keys = [], TASKS, jax.random.split(key, DRAWS)
    for part in parts:
        few = jax.tree.map(lambda x, n=left: x[:n], part)
        if len(few.tasks):
            some.append(np.asarray(_information(program, fitted, few, keys)))
        left -= len(few.tasks)
    information = np.median(np.nan_to_num(np.concatenate(some, 1)), (0, 1))
    kinds: dict[str, str] = {}
    at, told = 0, []
    for latent in program.latents:
        available = dict(latent.shapes)
        if latent.scope == LIFETIME:
            kind = WHITENED if latent.closed_form else UNCONSTRAINED
        else:
            own = float(information[at : at + latent.size].mean())
            at += latent.size
            kind = UNCONSTRAINED if own > 1 else WHITENED
            name = "centred" if kind == UNCONSTRAINED else "whitened"
            told.append(f"{latent.name} {name} (data / prior information {own:.2g})")
        kinds[latent.name] = kind if kind in available else next(iter(available))
    return kinds, "coordinates: " + ", ".join(told) if told else ""
