"""A society of experts: weighted Gaussians over one task's flat vector, in square-root form."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayes_badger.belief import Mixture
from bayes_badger.inner_loop import _small as small
from bayes_badger.program import Latent

LOG_2PI = float(np.log(2 * np.pi))
# An expert of less than this share of an equal one's weight does not count as alive.
ALIVE = 1e-3


class Society(NamedTuple):
    """K experts.

    Attributes:
        log_weights: Normalised, `[k]`.
        mean: `[k, u]`.
        root: Lower triangular, the covariance is root rootᵀ, `[k, u, u]`.
        hidden: What a policy remembers, `[k, u, h]`.
    """

    log_weights: Float[Array, " k"]
    mean: Float[Array, "k u"]
    root: Float[Array, "k u u"]
    hidden: Float[Array, "k u h"]


def normalised(log_weights: Float[Array, " k"]) -> Float[Array, " k"]:
    """Log weights whose sum is one; equal ones where none is finite."""
    total = jax.scipy.special.logsumexp(log_weights)
    return jnp.where(jnp.isfinite(total), log_weights - total, -jnp.log(len(log_weights)))


def alive(log_weights: Float[Array, " k"]) -> Array:
    """Which experts have a weight that counts."""
    return log_weights > np.log(ALIVE / log_weights.shape[-1])


def log_standard_normal(u: Float[Array, "*n u"]) -> Float[Array, "*n"]:
    """Log density of N(0, I), in nats."""
    return -0.5 * (u**2).sum(-1) - 0.5 * u.shape[-1] * LOG_2PI


def log_densities(
    points: Float[Array, "m u"], mean: Float[Array, "k u"], root: Float[Array, "k u u"]
) -> Float[Array, "m k"]:
    """Log density of each point under each Gaussian, in nats."""
    size = mean.shape[-1]
    inverse = jax.vmap(small.inverse_lower)(root)
    constant = -jax.vmap(small.log_det)(root) - 0.5 * size * LOG_2PI
    if size > small.UNROLLED:
        centred = jnp.einsum("kij,mj->mki", inverse, points)
        noise = centred - jnp.einsum("kij,kj->ki", inverse, mean)
        return constant - 0.5 * (noise**2).sum(-1)
    away = [points[:, j, None] - mean[None, :, j] for j in range(size)]
    total = jnp.zeros(())
    for i in range(size):
        noise = sum((inverse[:, i, j] * away[j] for j in range(i + 1)), jnp.zeros(()))
        total = total + noise**2
    return constant - 0.5 * total


def all_alike(society: Society, experts: int) -> Society:
    """Many experts in place of one, `[task, 1, ...]`: all the same, with equal weights."""
    many = jax.tree.map(lambda x: jnp.repeat(x, experts, 1), society)
    return many._replace(log_weights=many.log_weights - np.log(experts))


def as_mixture(society: Society, latents: tuple[Latent, ...]) -> Mixture:
    """The same, as a belief."""
    return Mixture(society.log_weights, society.mean, society.root, latents)
