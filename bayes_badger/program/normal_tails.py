"""The standard normal in both tails: logs of tail masses, and back.

A map between a latent and a standard normal goes through a probability, and a probability near one
has no digits left in float32. So whatever is exchanged here is the log of the *smaller* tail mass,
and derivatives are written down instead of taken through `log(1 - p)`.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import log_ndtr, ndtr, ndtri
from jaxtyping import Array, Float

LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)
# Below this log mass exp() nears float32's smallest number, and an asymptotic series takes over.
_SMALLEST = -80.0
# exp() of the log of float32's largest number would be infinite by rounding.
_NEAR = 1e-5


@jax.custom_jvp
def log_cdf(u: Float[Array, " ..."]) -> Float[Array, " ..."]:
    """Returns log Φ(u), also where Φ(u) is so near one that `log(ndtr(u))` has no digits left.

    `log_cdf(-u)` is the log of the upper tail. Derivatives of every order are finite.

    Example:
        >>> f"{log_cdf(jnp.float32(4.5)):.3e}", f"{log_cdf(jnp.float32(-4.5)):.4f}"
        ('-3.398e-06', '-12.5924')
    """
    return jnp.where(
        u > 0.0,
        jnp.log1p(-ndtr(-jnp.maximum(u, 0.0))),
        log_ndtr(jnp.minimum(u, 0.0)),
    )


@log_cdf.defjvp
def _log_cdf_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (u,), (du,) = primals, tangents
    value = log_cdf(u)
    return value, jnp.exp(log_pdf(u) - value) * du


def log_pdf(u: Float[Array, " ..."]) -> Float[Array, " ..."]:
    """Returns the log density of a standard normal, log φ(u)."""
    return -0.5 * u * u - LOG_SQRT_2PI


def exp_within(log_value: Float[Array, " ..."]) -> Float[Array, " ..."]:
    """Returns exp of a log, kept between the smallest and the largest number that there is.

    Half of all draws of an InverseGamma(.001, .001) are beyond what float32 holds. Kept within it,
    neither they nor their derivatives are infinite.

    Example:
        >>> [f"{x:.2e}" for x in exp_within(jnp.array([-1e4, 0.0, 1e4], jnp.float32))]
        ['1.18e-38', '1.00e+00', '3.40e+38']
    """
    limits = jnp.finfo(jnp.result_type(log_value, float))
    return jnp.exp(jnp.clip(log_value, math.log(limits.tiny) + _NEAR, math.log(limits.max) - _NEAR))


@jax.custom_jvp
def from_log_cdf(log_mass: Float[Array, " ..."]) -> Float[Array, " ..."]:
    """Returns u with log Φ(u) = `log_mass`; meant for masses below, say, .95.

    Example:
        >>> masses = jnp.array([jnp.log(0.025), -5000.0])
        >>> [f"{u:.3f}" for u in from_log_cdf(masses)]
        ['-1.960', '-99.945']
    """
    central = ndtri(jnp.exp(jnp.maximum(log_mass, _SMALLEST)))
    # Φ(u) ≈ φ(u)/|u|; two Newton steps on the log finish it.
    far = jnp.minimum(log_mass, _SMALLEST)
    square = -2.0 * (far + LOG_SQRT_2PI)
    tail = -jnp.sqrt(square - jnp.log(square))
    for _ in range(2):
        error = log_ndtr(tail) - far
        tail = tail - error * jnp.exp(log_ndtr(tail) - log_pdf(tail))
    return jnp.where(log_mass > _SMALLEST, central, tail)


@from_log_cdf.defjvp
def _from_log_cdf_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (log_mass,), (tangent,) = primals, tangents
    u = from_log_cdf(log_mass)
    return u, jnp.exp(log_mass - log_pdf(u)) * tangent


def from_log_tails(
    log_lower: Float[Array, " ..."], log_upper: Float[Array, " ..."]
) -> Float[Array, " ..."]:
    """Returns u from the logs of the masses below and above it, using the smaller of the two.

    Example:
        >>> p = jnp.float32(1e-12)
        >>> f"{from_log_tails(jnp.log1p(-p), jnp.log(p)):.4f}"
        '7.0345'
    """
    below = log_lower < log_upper
    u = from_log_cdf(jnp.minimum(log_lower, log_upper))
    return jnp.where(below, u, -u)


def to_exponential(u: Float[Array, " ..."]) -> Float[Array, " ..."]:
    """Returns -log Φ(-u): a unit exponential that increases with u."""
    return -log_cdf(-u)


def from_exponential(value: Float[Array, " ..."]) -> Float[Array, " ..."]:
    """Returns u for a unit exponential; the inverse of `to_exponential`.

    Example:
        >>> u = jnp.array([-4.5, 0.0, 6.0])
        >>> bool(jnp.allclose(from_exponential(to_exponential(u)), u, atol=1e-5))
        True
    """
    value = jnp.maximum(value, jnp.finfo(jnp.result_type(value, float)).tiny)
    return from_log_tails(jnp.log(-jnp.expm1(-value)), -value)
