"""The map between a standard normal and a variable known only by an unnormalised log density.

A *kernel* is a log density g(s; θ) on the real line with its mode at s = 0, tails that fall at
least exponentially, and any constant added. With F its cumulative distribution,

    quantile(kernel, u, θ) = F⁻¹(Φ(u); θ)          normal_score(kernel, s, θ) = Φ⁻¹(F(s; θ))

**How.** The bracket where g has fallen by 32 nats is cut into panels, narrow near the mode and wide
in the tails; each is integrated by Gauss-Legendre. That table gives the mass below and above every
edge, normalised by its own total, so that a normalising constant with float32 noise (the log
gamma function of 1,000 is off by 5e-4) never enters. A u finds its panel, and Newton's method on
the log of the *smaller* tail mass finds its place in it. Beyond the bracket (|u| > 8) the density
goes on as an exponential, so both maps stay monotone and finite for every u.

**Derivatives** follow from the implicit function theorem, log F(s; θ) = log Φ(u):

    ds = (φ(u) du - ∂F/∂θ dθ) / f(s)

where ∂F/∂θ differentiates the quadrature at fixed nodes. Nothing iterates in them, so forward and
reverse mode both work, more than once, and in parameters for which no library has a derivative
(the concentrations of the incomplete beta and gamma functions).

One value costs about 300 evaluations of the kernel, its derivative in θ about 150 more.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayes_badger.program.normal_tails import from_log_cdf, log_cdf, log_pdf

Kernel = Callable[[Array, Any], Array]

_DROP = 32.0  # nats below the mode where the bracket ends: |u| of about 8
_PANELS = 8  # on each side of the mode
_NODES = 8
_STEPS = 5  # of Newton's method within a panel
# Panels grow linearly with the distance from the mode, so a bend near it is resolved although an
# exponential tail may be hundreds of times longer.
_EDGES = (np.arange(_PANELS + 1) / _PANELS) ** 2
_LEGENDRE = np.polynomial.legendre.leggauss(_NODES)
_X, _W = (_LEGENDRE[0] + 1) / 2, _LEGENDRE[1] / 2
# From a Beta of concentrations 1e14 to one of 1e-10.
_WIDTHS = np.geomspace(1e-7, 1e12, 96)


class _Table(NamedTuple):
    """Masses below and above each edge, `[edges, ...]`, and slopes at both ends, `[2, ...]`."""

    edges: Array
    lower: Array
    upper: Array
    slope: Array
    total: Array


def drop_width(
    drops: Float[Array, "grid ..."], widths: np.ndarray, level: float
) -> Float[Array, " ..."]:
    """The distance at which a density has fallen by `level` nats for the last time.

    Args:
        drops: How far the log density has fallen at each distance, nats.
        widths: The increasing distances, `[grid]`.
        level: Nats.

    Example:
        >>> widths = np.geomspace(0.1, 100.0, 12)
        >>> print(drop_width(jnp.asarray(0.5 * widths**2), widths, 8.0).round(3))
        4.0
    """
    drops = jnp.where(jnp.isnan(drops), jnp.inf, drops)
    inside = jnp.sum(jnp.cumulative_sum((drops < level)[::-1], axis=0)[::-1] > 0, axis=0)
    right = jnp.clip(inside, 1, len(widths) - 1)
    log_drops = jnp.log(jnp.clip(drops, 1e-6, 1e30))
    log_widths = jnp.log(jnp.asarray(widths, log_drops.dtype))
    at_left = _take(log_drops, right - 1)
    rise = jnp.maximum(_take(log_drops, right) - at_left, 1e-6)
    share = jnp.clip((np.log(level) - at_left) / rise, 0.0, 1.0)
    return jnp.exp(log_widths[right - 1] + share * (log_widths[right] - log_widths[right - 1]))


def _take(table: Array, index: Array) -> Array:
    return jnp.take_along_axis(table, index[None], axis=0)[0]


def _column(values: np.ndarray, like: Array, extra: int = 0) -> Array:
    """Puts numbers on a leading axis in front of `like`'s axes."""
    return jnp.asarray(values, like.dtype).reshape(values.shape + (1,) * (like.ndim + extra))


def _bracket(kernel: Kernel, like: Array, params: Any) -> tuple[Array, Array]:
    # One call of the kernel: what it costs to compile is paid per call.
    at = np.concatenate([[0.0], -_WIDTHS, _WIDTHS])
    heights = kernel(_column(at, like) * jnp.ones_like(like), params)
    drops = (heights[0] - heights[1:]).reshape(2, len(_WIDTHS), *like.shape)
    return drop_width(drops[0], _WIDTHS, _DROP), drop_width(drops[1], _WIDTHS, _DROP)


def _integral(kernel: Kernel, start: Array, stop: Array, params: Any) -> Array:
    width = stop - start
    nodes = start + _column(_X, start) * width
    return width * jnp.sum(_column(_W, start) * jnp.exp(kernel(nodes, params)), axis=0)


def _tabulate(kernel: Kernel, like: Array, params: Any) -> _Table:
    # Where the panels lie is a choice, not a function of θ: no derivative goes through it.
    left, right = jax.lax.stop_gradient(_bracket(kernel, like, jax.lax.stop_gradient(params)))
    edges = jnp.concatenate(
        [-left * _column(_EDGES[:0:-1], like), right * _column(_EDGES, like)], axis=0
    )
    masses = _integral(kernel, edges[:-1], edges[1:], params)
    ends = jnp.stack([edges[0], edges[-1]])
    heights, slopes = jax.jvp(lambda at: kernel(at, params), (ends,), (jnp.ones_like(ends),))
    # A density that is flat at its end by rounding still has to end.
    slopes = jnp.stack([jnp.maximum(slopes[0], 0.1 / left), jnp.maximum(-slopes[1], 0.1 / right)])
    beyond = jnp.exp(heights) / slopes
    lower = jnp.cumulative_sum(jnp.concatenate([beyond[:1], masses]), axis=0)
    upper = jnp.cumulative_sum(jnp.concatenate([masses, beyond[1:]])[::-1], axis=0)[::-1]
    return _Table(edges, lower, upper, slopes, lower[-1] + beyond[1])


def _log_tail(kernel: Kernel, table: _Table, s: Array, params: Any, below: Array) -> Array:
    """Log mass below s where `below`, above it elsewhere."""
    first, last = table.edges[0], table.edges[-1]
    inside = jnp.clip(s, first, last)
    panel = jnp.sum(table.edges[1:-1] <= inside, axis=0)
    start = jnp.where(below, _take(table.edges, panel), inside)
    stop = jnp.where(below, inside, _take(table.edges, panel + 1))
    whole = jnp.where(below, _take(table.lower, panel), _take(table.upper, panel + 1))
    log_mass = jnp.log(whole + _integral(kernel, start, stop, params))
    beyond = jnp.where(below, table.slope[0] * (s - inside), -table.slope[1] * (s - inside))
    # On the far side of a tail the mass is all but one already: nothing more to add.
    outside = jnp.where(below, s < first, s > last)
    return log_mass + jnp.where(outside, beyond, 0.0) - jnp.log(table.total)


def _log_density(kernel: Kernel, table: _Table, s: Array, params: Any) -> Array:
    inside = jnp.clip(s, table.edges[0], table.edges[-1])
    beyond = s - inside
    fall = jnp.where(beyond < 0.0, table.slope[0] * beyond, -table.slope[1] * beyond)
    return kernel(inside, params) + fall - jnp.log(table.total)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def quantile(kernel: Kernel, u: Float[Array, " ..."], params: Any) -> Float[Array, " ..."]:
    """Returns s = F⁻¹(Φ(u)) of a kernel.

    Args:
        kernel: The log density of s, `kernel(s, params)`, with its mode at 0. It is evaluated with
            leading axes in front of those of `u`, and closes over no traced value.
        u: Standard normal; the parameters broadcast against it.
        params: Arrays, in any tree.

    Example:
        A logistic variable, whose quantile is known:

        >>> def logistic(s, scale):
        ...     return jax.nn.log_sigmoid(s / scale) + jax.nn.log_sigmoid(-s / scale)
        >>> s = quantile(logistic, jnp.array([-3.0, 3.0]), jnp.float32(2.0))
        >>> [f"{value:.3f}" for value in s]
        ['-13.213', '13.213']
    """
    table = _tabulate(kernel, u, params)
    below = u < 0.0
    target = log_cdf(-jnp.abs(u))
    scaled = jnp.where(below, table.lower, table.upper) / table.total
    logs = jnp.log(jnp.maximum(scaled, jnp.finfo(u.dtype).tiny))
    reached = jnp.where(below, logs[1:-1] <= target, logs[1:-1] > target)
    panel = jnp.sum(reached, axis=0)
    start, stop = _take(table.edges, panel), _take(table.edges, panel + 1)
    at_start, at_stop = _take(logs, panel), _take(logs, panel + 1)
    gap = at_stop - at_start
    share = (target - at_start) / jnp.where(jnp.abs(gap) > 1e-6, gap, 1e-6)
    s = start + jnp.clip(share, 0.0, 1.0) * (stop - start)

    def improve(_: Any, s: Array) -> Array:
        log_tail = _log_tail(kernel, table, s, params, below)
        step = (target - log_tail) * jnp.exp(log_tail - _log_density(kernel, table, s, params))
        return jnp.clip(s + jnp.where(below, step, -step), start, stop)

    s = jax.lax.fori_loop(0, _STEPS, improve, s)
    outer = jnp.where(below, target < logs[0], target < logs[-1])
    exponential = jnp.where(
        below,
        table.edges[0] + (target - logs[0]) / table.slope[0],
        table.edges[-1] - (target - logs[-1]) / table.slope[1],
    )
    return jnp.where(outer, exponential, s)


@quantile.defjvp
def _quantile_jvp(kernel: Kernel, primals: Any, tangents: Any) -> tuple[Array, Array]:
    (u, params), (du, dparams) = primals, tangents
    s = quantile(kernel, u, params)
    below = u < 0.0
    moved, log_density = _tail_motion(kernel, s, params, dparams, below)
    mass = jnp.exp(log_cdf(-jnp.abs(u)) - log_density)
    ds = jnp.exp(log_pdf(u) - log_density) * du - mass * moved
    return s, ds


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def normal_score(kernel: Kernel, s: Float[Array, " ..."], params: Any) -> Float[Array, " ..."]:
    """Returns u = Φ⁻¹(F(s)) of a kernel, the inverse of `quantile`.

    Args:
        kernel: The log density of s; see `quantile`.
        s: Where, broadcast with the parameters.
        params: Arrays, in any tree.

    Example:
        >>> normal = lambda s, scale: -0.5 * (s / scale) ** 2
        >>> u = normal_score(normal, jnp.array([-4.0, 2.0, 12.0]), jnp.float32(2.0))
        >>> [f"{value:.3f}" for value in u]
        ['-2.000', '1.000', '6.000']
    """
    table = _tabulate(kernel, s, params)
    below = _nearer_below(table, s)
    u = from_log_cdf(jnp.minimum(_log_tail(kernel, table, s, params, below), -0.01))
    return jnp.where(below, u, -u)


@normal_score.defjvp
def _normal_score_jvp(kernel: Kernel, primals: Any, tangents: Any) -> tuple[Array, Array]:
    (s, params), (ds, dparams) = primals, tangents
    u = normal_score(kernel, s, params)
    below = u < 0.0
    moved, log_density = _tail_motion(kernel, s, params, dparams, below)
    mass = jnp.exp(log_cdf(-jnp.abs(u)) - log_pdf(u))
    return u, jnp.exp(log_density - log_pdf(u)) * ds + mass * moved


def _nearer_below(table: _Table, s: Array) -> Array:
    panel = jnp.sum(table.edges[1:-1] <= s, axis=0)
    return _take(table.lower, panel) < _take(table.upper, panel + 1)


def _tail_motion(
    kernel: Kernel, s: Array, params: Any, dparams: Any, below: Array
) -> tuple[Array, Array]:
    """±∂ log tail/∂θ dθ at fixed s (its sign as of the mass below), and log f(s)."""

    def tail_and_density(values: Any) -> tuple[Array, Array]:
        table = _tabulate(kernel, s, values)
        tail = _log_tail(kernel, table, s, values, below)
        return jnp.where(below, tail, -tail), _log_density(kernel, table, s, values)

    (_, log_density), (moved, _) = jax.jvp(tail_and_density, (params,), (dparams,))
    return moved, log_density
