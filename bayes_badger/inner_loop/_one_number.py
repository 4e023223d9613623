"""One row whose outcome depends on u through one number: the filter's step in O(u²), and fast.

With the number's gradient j at an expert's mean, its information i, and a = √i Sᵀj, the precision
in units of the expert's root S is I + a aᵀ, so that no matrix is factorised:

    S' = S (I - c a aᵀ),  c = 1 / (r (r + 1)),  r² = 1 + aᵀa

Arrays have the experts in their *last* axis: then each operation is one run through memory.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from bayes_badger.belief.gaussian import LOG_2_PI, triangular
from bayes_badger.inner_loop import _small as small
from bayes_badger.inner_loop._climb import HARDER, ROUNDING, SHORT, SOFTER
from bayes_badger.inner_loop._policy import Advice, Look, Policy
from bayes_badger.inner_loop._predictive import NORMAL, log_predictive
from bayes_badger.inner_loop._society import (
    Society,
    information_gain,
    relative_weights,
    reweighted,
)
from bayes_badger.program import Data, Program


class Lanes(NamedTuple):
    """A society with its experts in the last axis; roots need not be triangular.

    Attributes:
        log_weights: `[k]`.
        mean: `[u, k]`.
        root: `[u, u, k]`.
        hidden: `[u, h, k]`.
    """

    log_weights: Float[Array, " k"]
    mean: Float[Array, "u k"]
    root: Float[Array, "u u k"]
    hidden: Float[Array, "u h k"]


class _Row(NamedTuple):
    """The row at some points: log likelihood, its gradient, the number's, and its information."""

    value: Float[Array, " k"]
    score: Float[Array, "u k"]
    slope: Float[Array, "u k"]
    information: Float[Array, " k"]
    number: Float[Array, " k"]


class _Place(NamedTuple):
    """Where the experts are, in units of their roots, and the row there."""

    noise: Array
    height: Array
    row: _Row
    damping: Array
    done: Array
    moves: Array


def to_lanes(society: Society) -> Lanes:
    """Experts last."""
    return Lanes(*(jnp.moveaxis(x, 0, -1) for x in society))


def from_lanes(lanes: Lanes) -> Society:
    """Experts first, and roots triangular again."""
    society = Society(*(jnp.moveaxis(x, -1, 0) for x in lanes))
    return society._replace(root=jax.vmap(triangular)(society.root))


def assimilate_one_number(
    program: Program,
    predictive: str,
    policy: Policy,
    lanes: Lanes,
    data: Data,
    real: Bool[Array, ""],
    moves: int,
) -> tuple[Lanes, Float[Array, ""], Float[Array, ""]]:
    """Takes one row in: the experts after it, its log score and what it told, in nats."""
    root, experts = lanes.root, len(lanes.log_weights)
    start = _row(program, predictive, lanes.mean, data)

    def whitened(vector: Array) -> Array:
        return small.total([root[i] * vector[i] for i in range(len(vector))])

    def moved(noise: Array) -> Array:
        return lanes.mean + small.total([root[:, j] * noise[j] for j in range(len(noise))])

    relative = relative_weights(lanes.log_weights)
    shrinkage = 0.5 * jnp.log(small.total([root[:, j] ** 2 for j in range(len(root))]))

    def advised(row: _Row, hidden: Array) -> tuple[Array, Array, Array, Array]:
        slope = whitened(row.slope)
        look = Look(whitened(row.score), row.information * slope**2, shrinkage, relative, hidden)
        axes = Look._make((1, 1, 1, 0, 2))
        advice, remembered = jax.vmap(policy, (axes,), (Advice._make((1, 1, 0)), 2))(look)
        return advice.damping, jnp.sqrt(advice.tempering), advice.stopping, remembered

    share, trust, stopping, remembered = advised(start, lanes.hidden)
    first = whitened(start.slope) * jnp.sqrt(start.information)
    square = _dot(first, first)
    if predictive == NORMAL:
        variance = (1.0 + square) / start.information
        away = _outcome(data) - start.number
        scores = -0.5 * (away**2 / variance + jnp.log(variance) + LOG_2_PI)
    else:
        scores = jax.vmap(lambda m, s: log_predictive(program, predictive, m, s, data), (1, 2))(
            lanes.mean, root
        )

    def direction(place: _Place, easy: Array | float) -> tuple[Array, Array]:
        """The slope of an expert and its row, and the step that it asks for, times `easy`."""
        along = whitened(place.row.slope * trust) * jnp.sqrt(place.row.information)
        slope = whitened(place.row.score * trust) - place.noise
        return slope, slope - along * _dot(along, slope) / (easy + _dot(along, along))

    def settled(place: _Place) -> Array:
        """Which experts are at their highest point, up to what a row's step is worth."""
        left = 0.5 * _dot(*direction(place, 1.0))
        return place.done | (left < SHORT + ROUNDING * jnp.abs(place.height))

    def move(place: _Place) -> _Place:
        easy = 1.0 + place.damping
        slope, step = direction(place, easy)
        there = place.noise + share * step / easy
        row = _row(program, predictive, moved(there), data)
        height = row.value - 0.5 * _dot(there, there)
        better = (height >= place.height) & ~stopping
        small_gain = 0.5 * _dot(slope, step) / easy < SHORT + ROUNDING * jnp.abs(place.height)
        noise, height, row = jax.tree.map(
            lambda new, old: jnp.where(better, new, old),
            (there, height, row),
            (place.noise, place.height, place.row),
        )
        damping = jnp.where(
            better, SOFTER * place.damping, jnp.maximum(1.0, HARDER * place.damping)
        )
        return _Place(noise, height, row, damping, place.done | small_gain, place.moves + 1)

    zero = jnp.zeros_like(lanes.mean)
    place = _Place(zero, start.value, start, jnp.zeros(experts), stopping, jnp.zeros((), int))
    place = move(place)
    place = jax.lax.while_loop(lambda p: ~settled(p).all() & (p.moves < moves), move, place)
    along = whitened(place.row.slope * trust) * jnp.sqrt(place.row.information)
    square = _dot(along, along)
    r = jnp.sqrt(1.0 + square)
    sideways = small.total([root[:, j] * along[j] for j in range(len(along))])
    after_root = root - sideways[:, None] * along[None, :] / (r * (r + 1.0))
    after_mean = moved(place.noise)

    log_weights, log_score = reweighted(lanes.log_weights, scores)
    fine = jnp.isfinite(after_mean).all(0) & jnp.isfinite(square) & jnp.isfinite(log_score) & real
    each = 0.5 * (_dot(place.noise, place.noise) - square / (1.0 + square)) + jnp.log(r)
    gain = information_gain(lanes.log_weights, log_weights, jnp.where(fine, each, 0.0))
    after = Lanes(
        jnp.where(real, log_weights, lanes.log_weights),
        jnp.where(fine, after_mean, lanes.mean),
        jnp.where(fine, after_root, root),
        jnp.where(fine, remembered, lanes.hidden),
    )
    return after, jnp.where(real, log_score, 0.0), jnp.where(real, gain, 0.0)


def _dot(left: Array, right: Array) -> Array:
    return small.total([left[i] * right[i] for i in range(len(left))])


def _outcome(data: Data) -> Array:
    return jnp.asarray(data.outcome, jnp.float32).reshape(())


def _row(program: Program, predictive: str, mean: Array, data: Data) -> _Row:
    def number(u: Array) -> tuple[Array, tuple[Array, Array]]:
        theta, information = program.outcome_parameters(u, data)
        return theta[0, 0], (theta[0, -1], information[0, 0, 0])

    def value(u: Array) -> Array:
        return program.rows_and_factors(u, data)[0][0]

    (number_there, (last, information)), slope = jax.vmap(
        jax.value_and_grad(number, has_aux=True), 1, ((0, (0, 0)), 1)
    )(mean)
    if predictive == NORMAL:
        away = _outcome(data) - number_there
        height = -0.5 * (away**2 * information + LOG_2_PI) - last
        return _Row(height, away * information * slope, slope, information, number_there)
    height, score = jax.vmap(jax.value_and_grad(value), 1, (0, 1))(mean)
    return _Row(height, score, slope, information, number_there)
