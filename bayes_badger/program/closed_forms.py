"""Quantile functions of univariate families in closed form, as maps from a standard normal.

One `Map` per family: `forward(fn, u)` is F⁻¹(Φ(u)) and `inverse(fn, value)` its inverse, both
increasing, elementwise, and accurate in float32 in both tails: each half works with the mass of
its own tail, and a `where` at u = 0 joins two branches that are both finite everywhere, so that the
derivative at 0, where every search starts, is the true one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import erf, erfinv, log_ndtr, ndtr
from jaxtyping import Array

from bayes_badger.program.normal_tails import (
    exp_within,
    from_exponential,
    from_log_cdf,
    from_log_tails,
    log_cdf,
    to_exponential,
)
from bayes_badger.program.tabulated import log_half_normal

LOG_2 = math.log(2.0)
SQRT_2 = math.sqrt(2.0)


class Map(NamedTuple):
    """A family's map from a standard normal and back."""

    forward: Callable[[Any, Array], Array]
    inverse: Callable[[Any, Array], Array]


def by_halves(u: Array, lower: Callable[[Array], Array], upper: Callable[[Array], Array]) -> Array:
    """Joins a function for u < 0 and one for u >= 0, neither of which sees the other's half.

    Not by `minimum` and `maximum`, whose derivative at a tie is one half.

    Example:
        >>> print(by_halves(jnp.array([-4.0, 4.0]), lambda u: -u, jnp.sqrt))
        [4. 2.]
    """
    return jnp.where(u < 0.0, lower(jnp.where(u < 0.0, u, 0.0)), upper(jnp.where(u < 0.0, 0.0, u)))


def _positive(value: Array) -> Array:
    """Keeps a log from minus infinity where a value has underflowed."""
    return jnp.maximum(value, jnp.finfo(jnp.result_type(value, float)).tiny)


def _from_tails(lower: Array, upper: Array) -> Array:
    return from_log_tails(jnp.log(_positive(lower)), jnp.log(_positive(upper)))


def _uniform(fn: Any, u: Array) -> Array:
    width = fn.high - fn.low
    return by_halves(u, lambda u: fn.low + width * ndtr(u), lambda u: fn.high - width * ndtr(-u))


def _uniform_inverse(fn: Any, value: Array) -> Array:
    width = fn.high - fn.low
    return _from_tails((value - fn.low) / width, (fn.high - value) / width)


def _half_normal(fn: Any, u: Array) -> Array:
    return fn.scale * jnp.exp(log_half_normal(u))


def _half_normal_inverse(fn: Any, value: Array) -> Array:
    z = value / fn.scale
    return from_log_tails(jnp.log(_positive(erf(z / SQRT_2))), log_ndtr(-z) + LOG_2)


def _half_cauchy(fn: Any, u: Array) -> Array:
    def upper(u: Array) -> Array:
        return 1.0 / jnp.tan(0.5 * jnp.pi * _positive(ndtr(-u)))

    return fn.scale * by_halves(u, lambda u: jnp.tan(0.5 * jnp.pi * ndtr(u)), upper)


def _half_cauchy_inverse(fn: Any, value: Array) -> Array:
    z = value / fn.scale
    one = jnp.ones_like(z)
    return _from_tails(2.0 / jnp.pi * jnp.arctan2(z, one), 2.0 / jnp.pi * jnp.arctan2(one, z))


def _cauchy(fn: Any, u: Array) -> Array:
    # Three pieces: tan is exact about 0, and its reciprocal in the tails.
    edge = 0.7
    below, above = u < -edge, u > edge
    middle = jnp.tan(0.5 * jnp.pi * erf(jnp.where(below | above, 0.0, u) / SQRT_2))
    lower = -1.0 / jnp.tan(jnp.pi * _positive(ndtr(jnp.where(below, u, -edge))))
    upper = 1.0 / jnp.tan(jnp.pi * _positive(ndtr(-jnp.where(above, u, edge))))
    return fn.loc + fn.scale * jnp.where(below, lower, jnp.where(above, upper, middle))


def _cauchy_inverse(fn: Any, value: Array) -> Array:
    z = (value - fn.loc) / fn.scale
    one = jnp.ones_like(z)
    central = jnp.abs(z) < 1.0
    middle = SQRT_2 * erfinv(2.0 / jnp.pi * jnp.arctan(jnp.where(central, z, 0.0)))
    tails = _from_tails(jnp.arctan2(one, -z) / jnp.pi, jnp.arctan2(one, z) / jnp.pi)
    return jnp.where(central, middle, tails)


def _laplace(fn: Any, u: Array) -> Array:
    z = by_halves(u, lambda u: log_cdf(u) + LOG_2, lambda u: -log_cdf(-u) - LOG_2)
    return fn.loc + fn.scale * z


def _laplace_inverse(fn: Any, value: Array) -> Array:
    z = (value - fn.loc) / fn.scale
    u = from_log_cdf(-jnp.abs(z) - LOG_2)
    return jnp.where(z < 0.0, u, -u)


def _logistic(fn: Any, u: Array) -> Array:
    return fn.loc + fn.scale * (log_cdf(u) - log_cdf(-u))


def _logistic_inverse(fn: Any, value: Array) -> Array:
    z = (value - fn.loc) / fn.scale
    return from_log_tails(-jnp.logaddexp(0.0, -z), -jnp.logaddexp(0.0, z))


def _gumbel(fn: Any, u: Array) -> Array:
    return fn.loc - fn.scale * jnp.log(_positive(to_exponential(-u)))


def _gumbel_inverse(fn: Any, value: Array) -> Array:
    # exp of more than 80 e-folds is beyond every u of this map.
    return -from_exponential(jnp.exp(jnp.minimum((fn.loc - value) / fn.scale, 80.0)))


def _weibull(fn: Any, u: Array) -> Array:
    log = jnp.log(_positive(to_exponential(u))) / fn.concentration
    return exp_within(jnp.log(fn.scale) + log)


def _weibull_inverse(fn: Any, value: Array) -> Array:
    log = jnp.log(_positive(value)) - jnp.log(fn.scale)
    return from_exponential(exp_within(fn.concentration * log))


def _kumaraswamy(fn: Any, u: Array) -> Array:
    base = -jnp.expm1(-to_exponential(u) / fn.concentration0)
    return exp_within(jnp.log(_positive(base)) / fn.concentration1)


def _kumaraswamy_inverse(fn: Any, value: Array) -> Array:
    power = fn.concentration1 * jnp.log(_positive(value))
    # log(1 - x^a), so that it keeps its digits where x is near 1, and where it is near 0.
    near = jnp.log(_positive(-jnp.expm1(jnp.maximum(power, -LOG_2))))
    far = jnp.log1p(-jnp.exp(jnp.minimum(power, -LOG_2)))
    return from_exponential(-fn.concentration0 * jnp.where(power > -LOG_2, near, far))


def _gompertz(fn: Any, u: Array) -> Array:
    return jnp.log1p(to_exponential(u) / fn.concentration) / fn.rate


def _gompertz_inverse(fn: Any, value: Array) -> Array:
    return from_exponential(fn.concentration * jnp.expm1(fn.rate * value))


def _log_uniform(fn: Any, u: Array) -> Array:
    ends = dist.Uniform(jnp.log(fn.low), jnp.log(fn.high))
    # exp of the log of an end may be beyond it by rounding.
    return jnp.clip(exp_within(_uniform(ends, u)), fn.low, fn.high)


def _log_uniform_inverse(fn: Any, value: Array) -> Array:
    ends = dist.Uniform(jnp.log(fn.low), jnp.log(fn.high))
    return _uniform_inverse(ends, jnp.log(value))


def _power(scale: Any, alpha: Any, u: Array) -> Array:
    """A Pareto: never below its scale, and never beyond the largest number."""
    most = math.log(jnp.finfo(jnp.result_type(u, float)).max) - jnp.log(scale) - 1e-4
    value = scale * jnp.exp(jnp.minimum(to_exponential(u) / alpha, most))
    # The scale itself is outside of the support.
    return jnp.maximum(value, scale * (1.0 + jnp.finfo(value.dtype).eps))


def _power_inverse(scale: Any, alpha: Any, value: Array) -> Array:
    return from_exponential(alpha * (jnp.log(value) - jnp.log(scale)))


UNIVARIATE: dict[type, Map] = {
    dist.Normal: Map(
        lambda fn, u: fn.loc + fn.scale * u, lambda fn, value: (value - fn.loc) / fn.scale
    ),
    dist.LogNormal: Map(
        lambda fn, u: exp_within(fn.loc + fn.scale * u),
        lambda fn, value: (jnp.log(_positive(value)) - fn.loc) / fn.scale,
    ),
    dist.HalfNormal: Map(_half_normal, _half_normal_inverse),
    dist.HalfCauchy: Map(_half_cauchy, _half_cauchy_inverse),
    dist.Cauchy: Map(_cauchy, _cauchy_inverse),
    dist.Uniform: Map(_uniform, _uniform_inverse),
    dist.Exponential: Map(
        lambda fn, u: to_exponential(u) / fn.rate,
        lambda fn, value: from_exponential(value * fn.rate),
    ),
    dist.Laplace: Map(_laplace, _laplace_inverse),
    dist.Logistic: Map(_logistic, _logistic_inverse),
    dist.Gumbel: Map(_gumbel, _gumbel_inverse),
    dist.Weibull: Map(_weibull, _weibull_inverse),
    dist.LogUniform: Map(_log_uniform, _log_uniform_inverse),
    dist.Pareto: Map(
        lambda fn, u: _power(fn.scale, fn.alpha, u),
        lambda fn, value: _power_inverse(fn.scale, fn.alpha, value),
    ),
    dist.LowerTruncatedPowerLaw: Map(
        lambda fn, u: _power(fn.low, -1.0 - fn.alpha, u),
        lambda fn, value: _power_inverse(fn.low, -1.0 - fn.alpha, value),
    ),
    dist.Kumaraswamy: Map(_kumaraswamy, _kumaraswamy_inverse),
    dist.Gompertz: Map(_gompertz, _gompertz_inverse),
}
