"""Quantiles without free parameters, tabulated once, on the host.

The log of a half-normal or a Gamma variable and the logit of a Beta variable are smooth in
u = Φ⁻¹(F(x)). Where the parameters are constant (a scale may vary) the quantile is computed at
knots in double precision, with its first two derivatives, which are known in closed form there:

    dl/du = φ(u) / g(l)      d²l/du² = dl/du (-u - g'(l)/g(l) dl/du)

with g the density of l. Between knots it is the quintic polynomial that agrees with all three at
both ends (Hermite); beyond the last it goes on as the tangent. It is off by less than 1e-6, and a
value costs one look-up and five products, where a quantile whose parameters depend on latents costs
some hundred evaluations of a density (`numerical_inverse`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import special
from scipy.stats import norm

# Knots on u, from minus the end to the end, and their distance.
END, STEP = 10.0, 0.125
# Concentrations that are tabulated; those beyond are left to the numerical inverse.
LEAST, MOST = 1e-4, 1e6
# Steps of Newton's method within a cell.
NEWTON = 3
# A value below which a Beta or Gamma variable follows its power law to rounding.
POWER_LAW = 1e-200
# The coefficients of the quintic on [0, 1] from value, slope and curvature at both ends.
_HERMITE = np.array(
    [
        [1, 0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
        [0, 0, 0.5, 0, 0, 0],
        [-10, -6, -1.5, 10, -4, 0.5],
        [15, 8, 1.5, -15, 7, -1.0],
        [-6, -3, -0.5, 6, -3, 0.5],
    ]
)


def log_gamma(concentration: Any, u: Float[Array, " ..."]) -> Float[Array, " ..."] | None:
    """Log x of a Gamma(concentration, 1) at Φ(u).

    Args:
        concentration: A number or an array of numbers, broadcast against u.
        u: Standard normal.

    Returns:
        None where the concentration is traced, or not one that is tabulated.

    Example:
        The median of a unit exponential is log 2:

        >>> f"{jnp.exp(log_gamma(1.0, jnp.float32(0.0))):.4f}"
        '0.6931'
    """
    return _tabulated(_of_gamma, u, concentration)


def logit_beta(one: Any, zero: Any, u: Float[Array, " ..."]) -> Float[Array, " ..."] | None:
    """Log x/(1 - x) of a Beta(one, zero) at Φ(u); None as of `log_gamma`.

    Example:
        >>> f"{jax.nn.sigmoid(logit_beta(1.0, 1.0, jnp.float32(1.0))):.4f}"
        '0.8413'
        >>> print(jax.jit(lambda a: logit_beta(a, 1.0, a) is None and a)(2.0))
        2.0
    """
    return _tabulated(_of_beta, u, one, zero)


def log_gamma_inverse(concentration: Any, log_value: Float[Array, " ..."]) -> Array | None:
    """U for log x of a Gamma(concentration, 1), the inverse of `log_gamma`; None likewise."""
    return _inverted(_of_gamma, log_value, concentration)


def logit_beta_inverse(one: Any, zero: Any, logit: Float[Array, " ..."]) -> Array | None:
    """U for the logit of a Beta(one, zero), the inverse of `logit_beta`; None likewise."""
    return _inverted(_of_beta, logit, one, zero)


def log_half_normal(u: Float[Array, " ..."]) -> Float[Array, " ..."]:
    """Log x of a HalfNormal(1) at Φ(u).

    Example:
        >>> f"{jnp.exp(log_half_normal(jnp.float32(0.0))):.4f}"
        '0.6745'
    """
    return _looked_up(_of_half_normal()[None], (), u)


def _tabulated(
    quintics_of: Callable[..., np.ndarray], u: Array, *parameters: Any
) -> Float[Array, " ..."] | None:
    """By the tables of all parameters, if there are such tables."""
    found = _tables(quintics_of, *parameters)
    return None if found is None else _looked_up(*found, u)


def _tables(
    quintics_of: Callable[..., np.ndarray], *parameters: Any
) -> tuple[np.ndarray, tuple[int, ...]] | None:
    """Quintics of each parameter, `[parameter, cell, 6]`, and the shape of the parameters."""
    if any(isinstance(x, jax.core.Tracer) for x in parameters):
        return None
    each = np.broadcast_arrays(*(np.asarray(x, float) for x in parameters))
    if not all(((x >= LEAST) & (x <= MOST)).all() for x in each) or not each[0].size:
        return None
    tables = [quintics_of(*x) for x in zip(*(x.ravel().tolist() for x in each), strict=True)]
    # Where a library's quantile is not a number, or not monotone, it is not used.
    if not all(np.isfinite(x).all() and (np.diff(x[:, 0]) > 0).all() for x in tables):
        return None
    return np.stack(tables), each[0].shape


def _inverted(
    quintics_of: Callable[..., np.ndarray], value: Array, *parameters: Any
) -> Float[Array, " ..."] | None:
    """U at which the table has a value: by Newton's method, from the line between two knots."""
    found = _tables(quintics_of, *parameters)
    if found is None:
        return None
    table, shape = found
    last = table[:, -1:] @ np.ones(6)
    knots = np.concatenate([table[:, :, 0], last], 1)
    value = jnp.broadcast_to(value, jnp.broadcast_shapes(jnp.shape(value), shape))
    fixed, which = jax.lax.stop_gradient(value), np.arange(len(table)).reshape(shape)
    each = jnp.asarray(knots, value.dtype)
    cell = jnp.clip((each[which] <= fixed[..., None]).sum(-1) - 1, 0, knots.shape[1] - 2)
    low, high = each[which, cell], each[which, cell + 1]
    u = -END + STEP * (cell + jnp.clip((fixed - low) / (high - low), 0.0, 1.0))

    def step(u: Array, value: Array) -> Array:
        at, slope = jax.jvp(lambda u: _looked_up(table, shape, u), (u,), (jnp.ones_like(u),))
        return u + (value - at) / slope

    u = jax.lax.fori_loop(0, NEWTON, lambda _, u: step(u, fixed), u)
    # Two more, so that first and second derivatives are those of the inverse.
    return step(step(jax.lax.stop_gradient(u), value), value)


def _looked_up(table: np.ndarray, shape: tuple[int, ...], u: Array) -> Array:
    """The quintics of a table `[parameter, cell, 6]` at u, parameters broadcast against it."""
    inside = jnp.clip(u, -END, END)
    cells = table.shape[1]
    at = (inside + END) / STEP
    cell = jnp.clip(jax.lax.stop_gradient(at).astype(int), 0, cells - 1)
    share = at - cell
    which = np.arange(len(table)).reshape(shape)
    numbers = jnp.asarray(table, u.dtype)
    coefficients = numbers[which, cell] if shape else numbers[0][cell]
    value = coefficients[..., 5]
    for i in range(4, -1, -1):
        value = value * share + coefficients[..., i]
    return value + (u - inside) * _slope_at_end(table, which, u)


def _slope_at_end(table: np.ndarray, which: np.ndarray, u: Array) -> Array:
    """Of each parameter's tangent beyond the last knot, on the side of u."""
    low, high = table[:, 0, 1] / STEP, table[:, -1] @ np.arange(6) / STEP
    of_low, of_high = (jnp.asarray(x[which], u.dtype) for x in (low, high))
    return jnp.where(u < 0, of_low, of_high)


def _knots() -> np.ndarray:
    return np.arange(-END, END + STEP / 2, STEP)


def _quintics(u: np.ndarray, value: np.ndarray, slope: np.ndarray, bend: np.ndarray) -> np.ndarray:
    """The polynomial of each cell, `[cell, 6]`, from values and derivatives at the knots."""
    of_cells = np.stack([value, STEP * slope, STEP**2 * bend])
    return np.concatenate([of_cells[:, :-1], of_cells[:, 1:]]).T @ _HERMITE.T


@functools.cache
def _of_half_normal() -> np.ndarray:
    u = _knots()
    # Below the median from the mass below, above it from the mass above.
    x = np.where(u < 0, np.sqrt(2) * special.erfinv(special.ndtr(u)), norm.isf(norm.sf(u) / 2))
    slope = np.exp(norm.logpdf(u) - np.log(2 * x) - norm.logpdf(x))
    return _quintics(u, np.log(x), slope, slope * (-u - (1 - x**2) * slope))


@functools.lru_cache(maxsize=256)
def _of_gamma(concentration: float) -> np.ndarray:
    u = _knots()
    with np.errstate(divide="ignore", under="ignore", over="ignore"):
        x = np.where(
            u < 0,
            special.gammaincinv(concentration, special.ndtr(u)),
            special.gammainccinv(concentration, special.ndtr(-u)),
        )
        power_law = (special.log_ndtr(u) + special.gammaln(concentration + 1)) / concentration
        value = np.where(x > POWER_LAW, np.log(x), power_law)
    x = np.exp(value)
    log_density = concentration * value - x - special.gammaln(concentration)
    slope = np.exp(norm.logpdf(u) - log_density)
    return _quintics(u, value, slope, slope * (-u - (concentration - x) * slope))


@functools.lru_cache(maxsize=256)
def _of_beta(one: float, zero: float) -> np.ndarray:
    u = _knots()
    # Each half from the mass of its own tail, unless that end is where the variable is not.
    value = np.where(u < 0, _logit(one, zero, u), -_logit(zero, one, -u))
    p, q = special.expit(value), special.expit(-value)
    log_p, log_q = special.log_expit(value), special.log_expit(-value)
    log_density = one * log_p + zero * log_q - special.betaln(one, zero)
    with np.errstate(over="ignore", invalid="ignore"):
        slope = np.exp(norm.logpdf(u) - log_density)
        return _quintics(u, value, slope, slope * (-u - (one * q - zero * p) * slope))


def _logit(one: float, zero: float, u: np.ndarray) -> np.ndarray:
    """The logit of a Beta below its median, by x; where x has rounded to 1, by 1 - x."""
    u = np.minimum(u, 0.0)
    with np.errstate(divide="ignore", under="ignore", over="ignore", invalid="ignore"):
        x = special.betaincinv(one, zero, special.ndtr(u))
        y = special.betaincinv(zero, one, special.ndtr(-u))
        power_law = (special.log_ndtr(u) + np.log(one) + special.betaln(one, zero)) / one
        log_x = np.where(x > POWER_LAW, np.log(x), power_law)
        log_y = (special.log_ndtr(-u) + np.log(zero) + special.betaln(one, zero)) / zero
        log_y = np.where(y > POWER_LAW, np.log(y), log_y)
        return np.where(x < 0.999, log_x - np.log1p(-x), np.log1p(-y) - log_y)
