"""Outcomes outside the support of their distribution: they have no density.

Where NumPyro does not validate (`numpyro.enable_validation(False)`, `python -O`), it gives a value
outside a support whatever the formula of the density says there: an exponential that starts at a
latent guarantee time is densest *before* that time, and the posterior of the guarantee time would
grow beyond all that was observed. Where it does, derivatives of the log density outside of the
support may be no numbers. Where a support depends on latents, the log density of an outcome outside
of it is -inf here, with derivatives of 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from bayes_badger.compilation import jit_by_work

if TYPE_CHECKING:
    from bayes_badger.program.program import Program
    from bayes_badger.program.walk import Data

DRAWS = 3


def supported(fn: Any, value: Array) -> Bool[Array, " ..."]:
    """Whether each entry of a value is one that the distribution can give.

    A transformed distribution is asked for its base, too: its own support is that of its transform,
    which is the whole line for `AffineTransform(start, 1.0)` without a domain.

    Args:
        fn: A NumPyro distribution.
        value: Of the shape of its batch and event.

    Returns:
        Of the value's shape; entries of one event share their answer where the support is one of
        whole events, as a simplex is.

    Example:
        >>> late = dist.transforms.AffineTransform(2.0, 1.0)
        >>> fn = dist.TransformedDistribution(dist.Exponential(1.0), late)
        >>> print(supported(fn.expand((2,)), jnp.array([1.5, 2.5])))
        [False  True]
    """
    if isinstance(fn, dist.MaskedDistribution):
        inside = supported(fn.base_dist, value)
        return inside | _unmasked(jnp.asarray(fn._mask), inside.ndim, jnp.shape(value))
    if isinstance(fn, (dist.ExpandedDistribution, dist.Independent)):
        return supported(fn.base_dist, value)
    inside = jnp.asarray(fn.support(value))
    inside = inside.reshape(inside.shape + (1,) * (jnp.ndim(value) - inside.ndim))
    inside = jnp.broadcast_to(inside, jnp.shape(value))
    if isinstance(fn, dist.TransformedDistribution):
        base = jnp.where(inside, value, _feasible(fn, value))
        for transform in reversed(fn.transforms):
            base = transform.inv(base)
        within = supported(fn.base_dist, base)
        if within.shape == inside.shape:
            return inside & within
    return inside


def _unmasked(mask: Array, axes: int, shape: tuple[int, ...]) -> Array:
    """True where a mask leaves a value out, whatever it is."""
    missing = axes - mask.ndim if mask.ndim else 0
    return jnp.broadcast_to(~mask.reshape(mask.shape + (1,) * missing), shape)


def _feasible(fn: Any, value: Array) -> Array:
    """Values inside a support, in the place of such as are not: derivatives stay finite there."""
    return jnp.asarray(fn.support.feasible_like(value), jnp.result_type(value))


def log_prob_within(fn: Any, value: Array) -> Float[Array, " ..."]:
    """The log density of a value, nats, of the shape of the batch; -inf outside the support.

    Its derivatives are finite there, and 0.

    Example:
        >>> print(log_prob_within(dist.Uniform(0.0, 2.0).expand((2,)), jnp.array([1.0, 3.0])))
        [-0.6931472       -inf]
    """
    inside = supported(fn, value)
    try:
        safe = jnp.where(inside, value, _feasible(fn, value))
    except NotImplementedError:
        safe = value
    log_prob = fn.log_prob(safe)
    axes = tuple(range(log_prob.ndim, inside.ndim))
    return jnp.where(inside.all(axes), log_prob, -jnp.inf)


def settled(fn: Any, value: Array) -> Array:
    """A value that was rounded when it was stored, moved onto a support that is an equation.

    NumPyro judges whether numbers sum to zero, or have length one, by the rounding of their own
    precision: numbers that were stored in single precision, or read from a table, are outside in
    double precision. How far outside an outcome may be is judged before, once (`supported`).

    Args:
        fn: A NumPyro distribution.
        value: Of the shape of its batch and event.

    Example:
        >>> fn = dist.ZeroSumNormal(1.0, event_shape=(2,))
        >>> print(settled(fn, jnp.array([1.0, -1.5])))
        [ 1.25 -1.25]
    """
    while isinstance(fn, (dist.MaskedDistribution, dist.ExpandedDistribution, dist.Independent)):
        fn = fn.base_dist
    support = fn.support
    if isinstance(support, type(dist.constraints.zero_sum(1))):
        for axis in range(-support.event_dim, 0):
            value = value - jnp.mean(value, axis=axis, keepdims=True)
    if support is dist.constraints.sphere:
        value = value / jnp.linalg.norm(value, axis=-1, keepdims=True)
    return value


def support_moves(program: Program, data: Data, key: PRNGKeyArray) -> bool:
    """Whether the support of the outcome depends on latents."""
    # Here, since that file builds on what this one builds on.
    from bayes_badger.program.proof import prior_values

    @jit_by_work
    def bounds(key: PRNGKeyArray, number: Array) -> list[Array]:
        draw = jax.random.fold_in(key, number)
        walked = program.walk_at(prior_values(program, draw, data), data)
        return [jnp.asarray(x) for x in _bounds(walked.sites[program.outcome.site].fn)]

    first, *others = [bounds(key, np.int32(i)) for i in range(DRAWS)]
    return not all(
        np.array_equal(np.asarray(x), np.asarray(y), equal_nan=True)
        for other in others
        for x, y in zip(first, other, strict=True)
    )


def _bounds(fn: Any) -> list[Any]:
    """All numbers that say where a distribution has its support."""
    if isinstance(fn, (dist.MaskedDistribution, dist.ExpandedDistribution, dist.Independent)):
        return _bounds(fn.base_dist)
    found = jax.tree.leaves(fn.support)
    if isinstance(fn, dist.TransformedDistribution):
        inner = fn.base_dist
        while isinstance(inner, (dist.ExpandedDistribution, dist.Independent)):
            inner = inner.base_dist
        if inner.support is not dist.constraints.real:
            found = [*found, *jax.tree.leaves(fn.transforms), *_bounds(inner)]
    return [x for x in found if jnp.issubdtype(jnp.result_type(x), jnp.number)]
