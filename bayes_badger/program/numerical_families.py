"""Univariate families without a closed quantile function, as maps from a standard normal.

Gamma and Beta have kernels written for float32: densities relative to their own mode, in the log
and the logit coordinate, so that concentrations of thousands lose no digits. Student's t is a Beta
in disguise: with δ the logit of a Beta(ν/2, ν/2), √ν sinh(δ/2) has a t distribution with ν degrees
of freedom. Every other continuous family goes by its `log_prob` alone (`generic_from_normal`).
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from bayes_badger.program import tabulated
from bayes_badger.program.closed_forms import Map
from bayes_badger.program.normal_tails import exp_within
from bayes_badger.program.numerical_inverse import normal_score, quantile

CONCENTRATIONS = (1e-10, 1e14)

_fast_quantile = jax.jit(quantile, static_argnums=0)
_fast_score = jax.jit(normal_score, static_argnums=0)


def _log_gamma_kernel(shift: Array, concentration: Array) -> Array:
    """Log density of log(x / mode) for a Gamma; its mode, in the log of x, is at x = a / rate."""
    return concentration * (shift - jnp.expm1(shift))


def _logit_beta_kernel(shift: Array, concentrations: tuple[Array, Array]) -> Array:
    """Log density of logit(x) less its mode, log(a / b), for a Beta(a, b)."""
    one, zero = concentrations
    # Written for the smaller concentration, so that 1 - p below has all its digits.
    flip = one > zero
    small, large = jnp.where(flip, zero, one), jnp.where(flip, one, zero)
    shift = jnp.where(flip, -shift, shift)
    total = small + large
    share = small / total
    near = jnp.log1p(share * jnp.expm1(jnp.minimum(shift, 0.5)))
    # log(1 - p + p exp(shift)) for large shifts: p below, exp above is what may overflow.
    logit = jnp.maximum(shift, 0.5) + jnp.log(small) - jnp.log(large)
    far = jnp.maximum(logit, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(logit))) + jnp.log1p(-share)
    return small * shift - total * jnp.where(shift < 0.5, near, far)


def log_gamma_quantile(concentration: ArrayLike, u: ArrayLike) -> Float[Array, " ..."]:
    """Returns log x of a Gamma(concentration, 1) at Φ(u).

    Example:
        The median of a unit exponential is log 2:

        >>> f"{jnp.exp(log_gamma_quantile(1.0, jnp.float32(0.0))):.4f}"
        '0.6931'
    """
    found = tabulated.log_gamma(concentration, *_floats(u))
    if found is not None:
        return found
    u, concentration = _floats(u, concentration)
    concentration = _possible(concentration)
    return jnp.log(concentration) + _fast_quantile(_log_gamma_kernel, u, concentration)


def log_gamma_score(concentration: ArrayLike, log_value: ArrayLike) -> Float[Array, " ..."]:
    """Returns u for log x of a Gamma(concentration, 1), the inverse of `log_gamma_quantile`."""
    found = tabulated.log_gamma_inverse(concentration, *_floats(log_value))
    if found is not None:
        return found
    log_value, concentration = _floats(log_value, concentration)
    concentration = _possible(concentration)
    return _fast_score(_log_gamma_kernel, log_value - jnp.log(concentration), concentration)


def logit_beta_quantile(
    concentration1: ArrayLike,
    concentration0: ArrayLike,
    u: ArrayLike,
) -> Float[Array, " ..."]:
    """Returns log x/(1 - x) of a Beta(concentration1, concentration0) at Φ(u).

    Example:
        >>> f"{jax.nn.sigmoid(logit_beta_quantile(1.0, 1.0, jnp.float32(1.0))):.4f}"
        '0.8413'
    """
    found = tabulated.logit_beta(concentration1, concentration0, *_floats(u))
    if found is not None:
        return found
    u, one, zero = _floats(u, concentration1, concentration0)
    one, zero = _possible(one), _possible(zero)
    return jnp.log(one) - jnp.log(zero) + _fast_quantile(_logit_beta_kernel, u, (one, zero))


def logit_beta_score(
    concentration1: ArrayLike,
    concentration0: ArrayLike,
    logit: ArrayLike,
) -> Float[Array, " ..."]:
    """Returns u for the logit of a Beta, the inverse of `logit_beta_quantile`."""
    found = tabulated.logit_beta_inverse(concentration1, concentration0, *_floats(logit))
    if found is not None:
        return found
    logit, one, zero = _floats(logit, concentration1, concentration0)
    one, zero = _possible(one), _possible(zero)
    shift = logit - jnp.log(one) + jnp.log(zero)
    return _fast_score(_logit_beta_kernel, shift, (one, zero))


def _floats(first: Any, *parameters: Any) -> list[Array]:
    """The arguments as arrays of floats, the first broadcast against all."""
    arrays = [jnp.asarray(value, jnp.result_type(value, float)) for value in (first, *parameters)]
    shape = jnp.broadcast_shapes(*(array.shape for array in arrays))
    return [jnp.broadcast_to(arrays[0], shape), *arrays[1:]]


def _possible(concentration: Array) -> Array:
    """A concentration within what the numerical inverse resolves.

    Where a program multiplies a draw from a vague prior, a concentration may underflow to 0, at
    which there is no distribution. Below 1e-10 all but some 1e-8 of the mass is at numbers that are
    0, or 1, in any precision.
    """
    return jnp.clip(concentration, *CONCENTRATIONS)


def _inside(value: Array, low: bool = True, high: bool = False) -> Array:
    """Keeps what rounds to an end of its support off it, so that densities stay finite."""
    limits = jnp.finfo(value.dtype)
    value = jnp.maximum(value, limits.tiny) if low else value
    return jnp.minimum(value, 1.0 - limits.epsneg) if high else value


def _gamma(fn: Any, u: Array) -> Array:
    return exp_within(log_gamma_quantile(fn.concentration, u) - jnp.log(fn.rate))


def _gamma_inverse(fn: Any, value: Array) -> Array:
    return log_gamma_score(fn.concentration, jnp.log(_inside(value)) + jnp.log(fn.rate))


def _inverse_gamma(fn: Any, u: Array) -> Array:
    return exp_within(jnp.log(fn.rate) - log_gamma_quantile(fn.concentration, -u))


def _inverse_gamma_inverse(fn: Any, value: Array) -> Array:
    return -log_gamma_score(fn.concentration, jnp.log(fn.rate) - jnp.log(_inside(value)))


def _beta(fn: Any, u: Array) -> Array:
    logit = logit_beta_quantile(fn.concentration1, fn.concentration0, u)
    return _inside(jax.nn.sigmoid(logit), high=True)


def _beta_inverse(fn: Any, value: Array) -> Array:
    value = _inside(value, high=True)
    logit = jnp.log(value) - jnp.log1p(-value)
    return logit_beta_score(fn.concentration1, fn.concentration0, logit)


def student_t_quantile(df: ArrayLike, u: ArrayLike) -> Float[Array, " ..."]:
    """Returns a standard Student t of `df` degrees of freedom at Φ(u).

    Example:
        >>> f"{student_t_quantile(1.0, jnp.float32(1.0)):.4f}"  # Cauchy: tan(π (Φ(1) - 1/2))
        '1.8373'
    """
    df = jnp.asarray(df)
    half = 0.5 * df
    away = 0.5 * logit_beta_quantile(half, half, u)
    most = 0.9 * math.log(jnp.finfo(away.dtype).max)
    return jnp.sqrt(df) * jnp.sinh(jnp.clip(away, -most, most))


def student_t_score(df: ArrayLike, value: ArrayLike) -> Float[Array, " ..."]:
    """Returns u for a standard Student t, the inverse of `student_t_quantile`."""
    df = jnp.asarray(df)
    half = 0.5 * df
    return logit_beta_score(half, half, 2.0 * jnp.arcsinh(jnp.asarray(value) / jnp.sqrt(df)))


NUMERICAL: dict[type, Map] = {
    dist.Gamma: Map(_gamma, _gamma_inverse),
    dist.Chi2: Map(_gamma, _gamma_inverse),
    dist.InverseGamma: Map(_inverse_gamma, _inverse_gamma_inverse),
    dist.Beta: Map(_beta, _beta_inverse),
    dist.BetaProportion: Map(_beta, _beta_inverse),
    dist.StudentT: Map(
        lambda fn, u: fn.loc + fn.scale * student_t_quantile(fn.df, u),
        lambda fn, value: student_t_score(fn.df, (value - fn.loc) / fn.scale),
    ),
}
