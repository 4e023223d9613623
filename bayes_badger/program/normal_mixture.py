"""The map of a mixture of normals, a prior with clusters: by the sum of its parts' tails.

Its u is found in closed form, Φ⁻¹ of the weighted sum of tail masses, in logs and from the smaller
tail. Its value at u lies between those of its parts, loc + scale u; it is bracketed by halving and
finished by Newton's method, and differentiated by the implicit function theorem.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from bayes_badger.program.normal_tails import from_log_tails, log_cdf, log_pdf

HALVINGS, NEWTON = 14, 3


def is_normal_mixture(fn: Any) -> bool:
    """Whether a distribution is a mixture of univariate normals."""
    if not isinstance(fn, dist.MixtureSameFamily):
        return False
    part = fn.component_distribution
    while isinstance(part, dist.ExpandedDistribution):
        part = part.base_dist
    return type(part) is dist.Normal


def forward(fn: Any, u: Float[Array, " ..."]) -> Float[Array, " ..."]:
    """The value at u.

    Example:
        >>> parts = dist.Normal(jnp.array([-5.0, 5.0]), 1.0)
        >>> fn = dist.MixtureSameFamily(dist.Categorical(jnp.array([0.5, 0.5])), parts)
        >>> [f"{value:.2f}" for value in forward(fn, jnp.array([-0.6745, 0.6745]))]
        ['-5.00', '5.00']
    """
    return _value(u, *_parts(fn))


def inverse(fn: Any, value: Float[Array, " ..."]) -> Float[Array, " ..."]:
    """The u of a value."""
    return _score(value, *_parts(fn))


def _parts(fn: Any) -> tuple[Array, Array, Array]:
    """Places, scales and log weights, `[..., part]`."""
    part = fn.component_distribution
    while isinstance(part, dist.ExpandedDistribution):
        shape, part = part.batch_shape, part.base_dist
        loc, scale = (jnp.broadcast_to(x, shape) for x in (part.loc, part.scale))
        part = dist.Normal(loc, scale)
    log_weights = jax.nn.log_softmax(fn.mixing_distribution.logits, axis=-1)
    loc, scale = (jnp.asarray(x, log_weights.dtype) for x in (part.loc, part.scale))
    return loc, scale, log_weights


def _score(value: Array, loc: Array, scale: Array, log_weights: Array) -> Array:
    away = (value[..., None] - loc) / scale
    return from_log_tails(_log_mass(away, log_weights), _log_mass(-away, log_weights))


def _log_mass(away: Array, log_weights: Array) -> Array:
    total: Array = jax.scipy.special.logsumexp(log_weights + log_cdf(away), axis=-1)
    return total


@jax.custom_jvp
def _value(u: Array, loc: Array, scale: Array, log_weights: Array) -> Array:
    # Seen from the side of the smaller tail, in which all masses have their digits.
    side = jnp.where(u < 0, 1.0, -1.0)
    target = log_cdf(-jnp.abs(u))
    each = side[..., None] * (loc + scale * u[..., None])
    low, high = each.min(-1), each.max(-1)

    def log_mass(place: Array) -> Array:
        return _log_mass((place[..., None] - side[..., None] * loc) / scale, log_weights)

    def halve(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = 0.5 * (low + high)
        below = log_mass(middle) < target
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    def newton(_: Any, place: Array) -> Array:
        away = (place[..., None] - side[..., None] * loc) / scale
        log_density = jax.scipy.special.logsumexp(
            log_weights + log_pdf(away) - jnp.log(scale), axis=-1
        )
        mass = _log_mass(away, log_weights)
        return jnp.clip(place - (mass - target) * jnp.exp(mass - log_density), low, high)

    low, high = jax.lax.fori_loop(0, HALVINGS, halve, (low, high))
    place = jax.lax.fori_loop(0, NEWTON, newton, 0.5 * (low + high))
    return side * place


@_value.defjvp
def _value_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    u, *parts = primals
    value = _value(u, *parts)
    one = jnp.ones_like(value)
    _, slope = jax.jvp(lambda value: _score(value, *parts), (value,), (one,))
    _, moved = jax.jvp(lambda *parts: _score(value, *parts), tuple(parts), tuple(tangents[1:]))
    return value, (tangents[0] - moved) / jnp.maximum(slope, 1e-30)
