"""The prior-normal coordinate of a latent: u = Φ⁻¹(F(latent | parents)), so that u ~ N(0, I).

Whatever the prior, a funnel, a Cauchy, a correlation matrix, it is a standard normal in u: the flat
vector of a program has the prior N(0, I) exactly, and a learned prior is one more map. The maps are
pure, and differentiable in u and in the distribution's parameters, which may depend on other
latents. Univariate families use F itself, so u increases with the value.

| families | how |
|---|---|
| Normal, LogNormal, Cauchy, Laplace, Uniform, Weibull, ... | closed forms (`closed_forms`) |
| Gamma, Beta, StudentT, InverseGamma, Chi2 | numerical inverse (`numerical_families`) |
| a mixture of normals, but no other mixture | its parts' tails (`normal_mixture`) |
| any other continuous univariate family | numerical inverse of its `log_prob` (`generic_inverse`) |
| multivariate normals, Dirichlet, LKJ, Wishart | independent pieces (`multivariate_maps`) |
| truncated, expanded, masked, independent, transformed | through what they wrap |
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro.distributions.discrete import HurdleProbs
from numpyro.distributions.transforms import AbsTransform, ComposeTransform, L1BallTransform

from bayes_badger.errors import BadgerError
from bayes_badger.program.closed_forms import UNIVARIATE
from bayes_badger.program.generic_inverse import generic_from_normal, generic_to_normal
from bayes_badger.program.multivariate_maps import MULTIVARIATE
from bayes_badger.program.normal_mixture import forward as mixture_forward
from bayes_badger.program.normal_mixture import inverse as mixture_inverse
from bayes_badger.program.normal_mixture import is_normal_mixture
from bayes_badger.program.numerical_families import NUMERICAL
from bayes_badger.program.truncation import truncate, untruncate

_WRAPPERS = (dist.ExpandedDistribution, dist.Independent, dist.MaskedDistribution)
_TRUNCATED = (
    dist.LeftTruncatedDistribution,
    dist.RightTruncatedDistribution,
    dist.TwoSidedTruncatedDistribution,
    dist.LeftTruncatedGamma,
    dist.RightTruncatedGamma,
    dist.TwoSidedTruncatedGamma,
)
# Continuous in name, but with an atom, without a density, or with several peaks.
_NO_MAP = (
    dist.MixtureSameFamily,
    dist.MixtureGeneral,
    dist.ImproperUniform,
    dist.Delta,
    dist.Unit,
    HurdleProbs,
    dist.LeftCensoredDistribution,
    dist.RightCensoredDistribution,
    dist.IntervalCensoredDistribution,
)
_MANY_TO_ONE = (AbsTransform, L1BallTransform)


def normal_shape(fn: Any) -> tuple[int, ...] | None:
    """Returns the shape of u for one draw of a distribution, or None where there is no map.

    Args:
        fn: A NumPyro distribution.

    Returns:
        `fn.batch_shape` followed by as many numbers as an event has free ones: `()` for a scalar,
        `(d,)` for a multivariate normal, `(k - 1,)` for a Dirichlet, `(d (d - 1) / 2,)` for an LKJ.
        None for discrete and improper families, and for multivariate ones that are not known.

    Example:
        >>> normal_shape(dist.Gamma(2.0, 1.0).expand((3,)))
        (3,)
        >>> normal_shape(dist.LKJCholesky(4, 2.0)), normal_shape(dist.Poisson(1.0))
        ((6,), None)
    """
    family = type(fn)
    batch = tuple(fn.batch_shape)
    if family in UNIVARIATE or family in NUMERICAL or is_normal_mixture(fn):
        return batch
    if family in MULTIVARIATE:
        return batch + MULTIVARIATE[family].shape(fn)
    if isinstance(fn, _NO_MAP):
        return None
    if isinstance(fn, _WRAPPERS):
        inner = normal_shape(fn.base_dist)
        if inner is None or isinstance(fn, dist.Independent):
            return inner
        return batch + inner[len(fn.base_dist.batch_shape) :]
    if family in _TRUNCATED:
        return None if normal_shape(fn.base_dist) is None else batch
    if _is_transformed(fn):
        return normal_shape(fn.base_dist)
    return batch if _is_generic(fn) else None


def has_closed_form(fn: Any) -> bool:
    """Whether the map costs a few operations, rather than some hundred evaluations of a density.

    Example:
        >>> has_closed_form(dist.HalfNormal(1.0)), has_closed_form(dist.Beta(2.0, 2.0))
        (True, False)
    """
    family = type(fn)
    if family in UNIVARIATE:
        return True
    if family in MULTIVARIATE:
        return MULTIVARIATE[family].closed
    if family in NUMERICAL or isinstance(fn, _NO_MAP):
        return False
    if isinstance(fn, _WRAPPERS) or family in _TRUNCATED or _is_transformed(fn):
        return has_closed_form(fn.base_dist)
    return False


def from_normal(fn: Any, u: Float[Array, " ..."] | float) -> Float[Array, " ..."]:
    """Returns the latent at u.

    Args:
        fn: A NumPyro distribution that has a map.
        u: Standard normal, of shape `normal_shape(fn)`.

    Returns:
        The value, of shape `fn.shape()`.

    Raises:
        BadgerError: Where there is no map, or u has another shape.

    Example:
        >>> print(from_normal(dist.Exponential(2.0), jnp.float32(0.0)).round(4))
        0.3466
        >>> from_normal(dist.Dirichlet(jnp.ones(3)), jnp.zeros(2)).shape
        (3,)
    """
    shape = _known_shape(fn)
    if jnp.shape(u) != shape:
        raise BadgerError(
            f"{type(fn).__name__}: u has shape {jnp.shape(u)}, but one draw needs {shape}"
        )
    return jnp.broadcast_to(_forward(fn, jnp.asarray(u, jnp.result_type(u, float))), fn.shape())


def to_normal(fn: Any, value: Float[Array, " ..."] | float) -> Float[Array, " ..."]:
    """Returns u of a latent, the inverse of `from_normal`.

    Args:
        fn: A NumPyro distribution that has a map.
        value: A value inside the support, of shape `fn.shape()`.

    Returns:
        u, of shape `normal_shape(fn)`.

    Raises:
        BadgerError: Where there is no map, or the value has another shape.

    Example:
        >>> fn = dist.HalfCauchy(5.0)
        >>> print(to_normal(fn, from_normal(fn, jnp.float32(-1.5))).round(4))
        -1.5
    """
    shape = _known_shape(fn)
    if jnp.shape(value) != fn.shape():
        raise BadgerError(
            f"{type(fn).__name__}: the value has shape {jnp.shape(value)}, not {fn.shape()}"
        )
    value = jnp.asarray(value, jnp.result_type(value, float))
    return jnp.broadcast_to(_inverse(fn, value), shape)


def _known_shape(fn: Any) -> tuple[int, ...]:
    shape = normal_shape(fn)
    if shape is None:
        raise BadgerError(
            f"{type(fn).__name__} has no map from a standard normal: it is discrete, improper, or "
            "of an unknown multivariate family"
        )
    return shape


def _forward(fn: Any, u: Array) -> Array:
    """The map for u with any leading axes that broadcast with the batch, expanded or not."""
    family = type(fn)
    for maps in (UNIVARIATE, NUMERICAL, MULTIVARIATE):
        if family in maps:
            return maps[family].forward(fn, u)
    if isinstance(fn, _WRAPPERS):
        return _forward(fn.base_dist, u)
    if family in _TRUNCATED:
        return _truncated(fn, u)
    if _is_transformed(fn):
        value = _forward(fn.base_dist, u * _sign(fn))
        for transform in fn.transforms:
            value = transform(value)
        return value
    return mixture_forward(fn, u) if is_normal_mixture(fn) else generic_from_normal(fn, u)


def _inverse(fn: Any, value: Array) -> Array:
    family = type(fn)
    for maps in (UNIVARIATE, NUMERICAL, MULTIVARIATE):
        if family in maps:
            return maps[family].inverse(fn, value)
    if isinstance(fn, _WRAPPERS):
        return _inverse(fn.base_dist, value)
    if family in _TRUNCATED:
        return _truncated_inverse(fn, value)
    if _is_transformed(fn):
        for transform in reversed(fn.transforms):
            value = transform.inv(value)
        return _inverse(fn.base_dist, value) * _sign(fn)
    return mixture_inverse(fn, value) if is_normal_mixture(fn) else generic_to_normal(fn, value)


def _is_transformed(fn: Any) -> bool:
    """Whether a transformed distribution's own map is its base's, then its transforms."""
    return (
        isinstance(fn, dist.TransformedDistribution)
        and not isinstance(fn, dist.FoldedDistribution)
        and not any(isinstance(transform, _MANY_TO_ONE) for transform in fn.transforms)
        and normal_shape(fn.base_dist) is not None
    )


def _sign(fn: Any) -> Any:
    """-1 where a scalar transform decreases, so that u still increases with the value."""
    if fn.event_shape:
        return 1.0
    try:
        return ComposeTransform(fn.transforms).sign
    except NotImplementedError:
        return 1.0


def _is_generic(fn: Any) -> bool:
    if fn.event_shape or fn.is_discrete or fn.support is None:
        return False
    try:
        dist.biject_to(fn.support)
    except NotImplementedError:
        return False
    return type(fn).log_prob is not dist.Distribution.log_prob


def _ends(fn: Any) -> tuple[Any, Any]:
    """Where a truncation cuts, in the normal coordinate of its base."""
    low, high = (
        _inverse(fn.base_dist, jnp.asarray(getattr(fn, name))) if hasattr(fn, name) else None
        for name in ("low", "high")
    )
    return low, high


def _truncated(fn: Any, u: Array) -> Array:
    cut = truncate(u, *_ends(fn))
    value = _forward(fn.base_dist, cut.value)
    for name, side, sign in (("low", 0, 1.0), ("high", 1, -1.0)):
        if hasattr(fn, name):
            end = getattr(fn, name)
            # A normal keeps the digits of its distance from the cut; other bases only where the
            # cut is at their median.
            next_to = cut.next_to[side]
            if next_to is not None and type(fn.base_dist) is dist.Normal:
                beside = end + sign * fn.base_dist.scale * cut.distance[side]
                value = jnp.where(next_to, beside, value)
            value = jnp.maximum(value, end) if sign > 0 else jnp.minimum(value, end)
    return value


def _truncated_inverse(fn: Any, value: Array) -> Array:
    distance: tuple[Any, Any] = (None, None)
    if type(fn.base_dist) is dist.Normal:
        scale = fn.base_dist.scale
        distance = (
            (value - fn.low) / scale if hasattr(fn, "low") else None,
            (fn.high - value) / scale if hasattr(fn, "high") else None,
        )
    return untruncate(_inverse(fn.base_dist, value), *_ends(fn), distance)
