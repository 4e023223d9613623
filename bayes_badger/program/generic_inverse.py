"""The map from a standard normal to any continuous univariate family, from its `log_prob` alone.

The variable is put in a coordinate s with its mode at 0, a scale of one, and tails that fall
exponentially: s = (t - m) / σ with t unconstrained (`biject_to(support)`) where the support has an
end, x = m + σ sinh(s) on the whole line, where tails may be as heavy as Cauchy's. m and σ are found
by search and carry no derivative: the map is the same whatever they are.

A density with several modes is integrated as it is, with panels laid about the highest one: modes
much narrower than their distance from it are resolved poorly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float

from bayes_badger.program.numerical_inverse import drop_width, normal_score, quantile

_LIMIT = 87.0  # exp() of more leaves float32
_ZOOMS = 5
_POINTS = np.linspace(-1.0, 1.0, 65)
_WIDTHS = np.geomspace(1e-6, 1e8, 64)


@dataclass(frozen=True)
class _Generic:
    """A kernel; its parameters: the leaves of a distribution, m, σ and the height of the mode."""

    tree: Any
    whole_line: bool

    def coordinate(self, leaves: Any) -> tuple[Any, Any]:
        fn, support = jax.tree.unflatten(self.tree, leaves)
        # Values on the grid may round to an end of the support; that is no user's mistake.
        fn._validate_args = False
        return fn, None if self.whole_line else dist.biject_to(support)

    def density(self, t: Array, leaves: Any) -> Array:
        """Log density in t, the unconstrained coordinate."""
        fn, transform = self.coordinate(leaves)
        if transform is None:
            return fn.log_prob(t)
        value = transform(t)
        return fn.log_prob(value) + transform.log_abs_det_jacobian(t, value)

    def __call__(self, s: Array, params: Any) -> Array:
        leaves, mode, scale, height = params
        _, transform = self.coordinate(leaves)
        if transform is None:
            stretch = jnp.logaddexp(s, -s) - np.log(2.0)
            return self.density(mode + scale * jnp.sinh(s), leaves) + stretch - height
        return self.density(mode + scale * s, leaves) - height

    def value(self, s: Array, params: Any) -> Array:
        leaves, mode, scale, _ = params
        _, transform = self.coordinate(leaves)
        if transform is None:
            return mode + scale * jnp.sinh(s)
        return transform(mode + scale * s)

    def position(self, value: Array, params: Any) -> Array:
        leaves, mode, scale, _ = params
        _, transform = self.coordinate(leaves)
        if transform is None:
            return jnp.arcsinh((value - mode) / scale)
        # A value that has rounded to an end of the support has no place on the line.
        place = jnp.nan_to_num(transform.inv(value), nan=0.0, posinf=_LIMIT, neginf=-_LIMIT)
        return (jnp.clip(place, -_LIMIT, _LIMIT) - mode) / scale


def generic_from_normal(fn: Any, u: Float[Array, " ..."]) -> Float[Array, " ..."]:
    """Returns the value of a univariate distribution at Φ(u).

    Args:
        fn: A continuous NumPyro distribution without event axes.
        u: Standard normal, broadcast with the distribution's batch.

    Example:
        >>> import numpyro.distributions as dist
        >>> x = generic_from_normal(dist.Logistic(1.0, 2.0), jnp.array([0.0, 3.0]))
        >>> [f"{value:.3f}" for value in x]
        ['1.000', '14.213']
    """
    kernel, leaves = _kernel(fn)
    u = jnp.broadcast_to(u, jnp.broadcast_shapes(jnp.shape(u), fn.batch_shape))
    return _from_normal(kernel, leaves, u)


def generic_to_normal(fn: Any, value: Float[Array, " ..."]) -> Float[Array, " ..."]:
    """Returns u for a value of a univariate distribution; the inverse of `generic_from_normal`."""
    kernel, leaves = _kernel(fn)
    value = jnp.broadcast_to(value, jnp.broadcast_shapes(jnp.shape(value), fn.batch_shape))
    return _to_normal(kernel, leaves, value)


def _kernel(fn: Any) -> tuple[_Generic, Any]:
    # The support comes separately: some families lose theirs when they are taken apart.
    leaves, tree = jax.tree.flatten((fn, fn.support))
    whole_line = fn.support is dist.constraints.real
    return _Generic(tree, whole_line), [jnp.asarray(leaf) * 1.0 for leaf in leaves]


@partial(jax.jit, static_argnums=0)
def _from_normal(kernel: _Generic, leaves: Any, u: Array) -> Array:
    params = _located(kernel, leaves, u)
    return kernel.value(quantile(kernel, u, params), params)


@partial(jax.jit, static_argnums=0)
def _to_normal(kernel: _Generic, leaves: Any, value: Array) -> Array:
    params = _located(kernel, leaves, value)
    return normal_score(kernel, kernel.position(value, params), params)


def _located(kernel: _Generic, leaves: Any, like: Array) -> tuple[Any, Array, Array, Array]:
    """The leaves with the mode, the scale and the height of the density there."""
    fixed = jax.lax.stop_gradient(leaves)
    _, transform = kernel.coordinate(fixed)
    # On the whole line the search runs in arcsinh(x), which reaches every scale.
    to_t = jnp.sinh if transform is None else (lambda position: position)

    def density(t: Array) -> Array:
        value = kernel.density(t, fixed)
        return jnp.where(jnp.isfinite(value), value, -jnp.inf)

    column = (-1,) + (1,) * like.ndim
    points = jnp.asarray(_POINTS, like.dtype).reshape(column)

    def zoom(i: Any, centre: Array) -> Array:
        reach = _LIMIT * (2.0 / (len(_POINTS) - 1)) ** i
        positions = jnp.clip(centre + reach * points, -_LIMIT, _LIMIT)
        best = jnp.argmax(density(to_t(positions)), axis=0)
        return jnp.take_along_axis(positions, best[None], axis=0)[0]

    # A loop, so that the density is compiled once for all rounds.
    centre = jax.lax.fori_loop(0, _ZOOMS, zoom, jnp.zeros_like(like))
    mode = to_t(centre)
    height = kernel.density(mode, fixed)
    widths = jnp.asarray(_WIDTHS, like.dtype).reshape(column)
    drops = [height - density(mode + sign * widths) for sign in (-1.0, 1.0)]
    left, right = (drop_width(drop, _WIDTHS, 0.5) for drop in drops)
    # The geometric mean would let a hard edge on one side squeeze the scale of the other.
    mode, scale, height = jax.lax.stop_gradient((mode, 0.5 * (left + right), height))
    return leaves, mode, scale, height
