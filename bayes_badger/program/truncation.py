"""A standard normal cut at one or both ends, as a map from a whole one.

A truncated family is its base's map applied to a truncated standard normal, so this is all that
truncation needs. Masses are added, never subtracted, where they can be: from below the cut up,
Φ(v) = Φ(low) + Φ(low, high) Φ(u), from above down likewise, and the smaller side decides. Next to a
cut neither side has digits for the little mass in between; there a series in that mass gives the
distance from the cut itself.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from bayes_badger.program.normal_tails import from_log_tails, log_cdf, log_pdf

# Up to this distance, times 1 + |cut|, the series is good to 1e-6.
_NEAR = 0.03


class Cut(NamedTuple):
    """A value in the truncated normal, and how far from each end where it is next to one."""

    value: Array
    next_to: tuple[Array | None, Array | None]
    distance: tuple[Array | None, Array | None]


def truncate(
    u: Float[Array, " ..."], low: Float[Array, " ..."] | None, high: Float[Array, " ..."] | None
) -> Cut:
    """Returns the quantile, at Φ(u), of a standard normal kept between `low` and `high`.

    Args:
        u: Standard normal.
        low: Where it is cut below, or None.
        high: Where it is cut above, or None.

    Example:
        The median of a half normal, and the 3.4e-6 quantile, 4.3e-6:

        >>> cut = truncate(jnp.array([0.0, -4.5]), jnp.float32(0.0), None)
        >>> f"{cut.value[0]:.4f}", f"{cut.value[1]:.3e}"
        ('0.6745', '4.258e-06')
    """
    between = log_between(low, high)
    below = -math.inf if low is None else log_cdf(low)
    above = -math.inf if high is None else log_cdf(-high)
    value = from_log_tails(
        jnp.logaddexp(below, between + log_cdf(u)) if low is not None else between + log_cdf(u),
        jnp.logaddexp(above, between + log_cdf(-u)) if high is not None else between + log_cdf(-u),
    )
    next_to: list[Array | None] = [None, None]
    distance: list[Array | None] = [None, None]
    for side, (end, sign) in enumerate(((low, 1.0), (high, -1.0))):
        if end is not None:
            near, far = _step(sign * end, between + log_cdf(sign * u))
            value = jnp.where(near, end + sign * far, value)
            next_to[side], distance[side] = near, far
    return Cut(value, (next_to[0], next_to[1]), (distance[0], distance[1]))


def untruncate(
    value: Float[Array, " ..."],
    low: Float[Array, " ..."] | None,
    high: Float[Array, " ..."] | None,
    distance: tuple[Any, Any] = (None, None),
) -> Float[Array, " ..."]:
    """Returns u for a value between the cuts; the inverse of `truncate`.

    Args:
        value: Inside.
        low: Where it is cut below, or None.
        high: Where it is cut above, or None.
        distance: How far the value is from each end, where that is known better than from its
            difference.

    Example:
        >>> low = jnp.float32(1.0)
        >>> f"{untruncate(truncate(jnp.float32(-2.0), low, None).value, low, None):.3f}"
        '-2.000'
    """
    between = log_between(low, high)
    logs = []
    for end, sign, known in ((low, 1.0, distance[0]), (high, -1.0, distance[1])):
        if end is None:
            logs.append(log_cdf(sign * value) - between)
            continue
        far = jnp.maximum(sign * (value - end) if known is None else known, 0.0)
        start = sign * end
        near = far * (1.0 + jnp.abs(start)) < _NEAR
        far_near = jnp.where(near, jnp.maximum(far, jnp.finfo(far.dtype).tiny), _NEAR)
        little = log_pdf(start) + jnp.log(far_near) + jnp.log(_density_series(start, far_near))
        much = log_between(start, jnp.where(near, start + 1.0, start + far))
        logs.append(jnp.where(near, little, much) - between)
    return from_log_tails(logs[0], logs[1])


def log_between(low: Any, high: Any) -> Any:
    """Log of the standard normal's mass between two points, None meaning infinity.

    Example:
        >>> f"{log_between(jnp.float32(8.0), jnp.float32(9.0)):.3f}"
        '-35.014'
    """
    if low is None:
        return 0.0 if high is None else log_cdf(high)
    if high is None:
        return log_cdf(-low)
    # Both points above 0: the difference of two small tails, not of two masses near one.
    turned = low > 0.0
    far, near = jnp.where(turned, -high, low), jnp.where(turned, -low, high)
    log_far, log_near = log_cdf(far), log_cdf(near)
    return log_near + jnp.log(-jnp.expm1(log_far - log_near))


def _step(start: Array, log_mass: Array) -> tuple[Array, Array]:
    """How far above `start` that much mass reaches, and whether it is little enough to say."""
    log_ratio = log_mass - log_pdf(start)
    near = log_ratio + jnp.log1p(jnp.abs(start)) < math.log(_NEAR)
    mass = jnp.exp(jnp.where(near, log_ratio, -100.0))
    square = start * start
    series = 1.0 + mass * (
        start / 2.0
        + mass * ((2.0 * square + 1.0) / 6.0 + mass * start * (6.0 * square + 7.0) / 24.0)
    )
    return near, mass * series


def _density_series(start: Array, far: Array) -> Array:
    """The mean density over a short way up from `start`, in units of that at its foot."""
    square = start * start
    return 1.0 - far * (
        start / 2.0 - far * ((square - 1.0) / 6.0 - far * start * (square - 3.0) / 24.0)
    )
