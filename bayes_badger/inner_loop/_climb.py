"""One expert takes in evidence: damped Fisher scoring from its own component of the prior.

With a prior N(m0, S0 S0ᵀ), score g and information F of the evidence at u, a move from u goes to
u + P (g - P0⁻¹(u - m0)) with P⁻¹ = P0⁻¹ + F: written for all evidence at once this is the sweep
m0 + P Σ [g + F (u - m0)]. A move that is no ascent is taken back, and the next is damped after
Levenberg and Marquardt. Whatever was seen before is in (m0, S0), so that one step of a filter is a
climb on one row, and a sweep is a climb on all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from bayes_badger.inner_loop import _small as small
from bayes_badger.inner_loop._policy import Look, Policy
from bayes_badger.program import Data, OneTask
from bayes_badger.program.program import EXPECTED, SIGMA_POINTS
from bayes_badger.program.sigma_points import nearest_psd, stein_score_and_hessian

# After a move that is no ascent, and after one that is.
HARDER, SOFTER = 8.0, 0.2
# A move that promises less than this many nats, or less than rounding, is the last.
SHORT, ROUNDING = 1e-6, 3e-7

# Log p(u, evidence) in nats up to a constant, of points `[m, u]` to `[m]`.
LogJoint = Callable[[Array], Array]


class Expansion(NamedTuple):
    """The log likelihood of some evidence around a point: value, score and information."""

    value: Float[Array, ""]
    score: Float[Array, " u"]
    information: Float[Array, "u u"]


class Climbed(NamedTuple):
    """Where an expert came to.

    Attributes:
        mean: `[u]`.
        root: Of its covariance, `[u, u]`.
        log_joint: Log of its own component of the prior (without weight), times the likelihood,
            integrated by Laplace's approximation: log p(evidence | component).
        hidden: `[u, h]`.
        moves: How many it took.
    """

    mean: Float[Array, " u"]
    root: Float[Array, "u u"]
    log_joint: Float[Array, ""]
    hidden: Float[Array, "u h"]
    moves: Int[Array, ""]


def expand(
    program: OneTask, u: Array, root: Array, data: Data, mask: Array, with_factors: bool = True
) -> Expansion:
    """Score and information of one task's evidence at a point, or around it without a gradient.

    Args:
        program: Its `information` says where the information comes from.
        u: The point, `[u]`.
        root: The width over which to average where there is no gradient, `[u, u]`.
        data: Of one task, `[1, step, ...]`.
        mask: Which rows are real, `[step]`.
        with_factors: Whether the program's factors are part of the evidence.
    """

    def value(u: Array) -> Array:
        rows, factors = program.rows_and_factors(u, data)
        return jnp.where(mask, rows, 0.0).sum() + (factors if with_factors else 0.0)

    if program.information == SIGMA_POINTS:
        score, hessian = stein_score_and_hessian(value, u, root)
        return Expansion(value(u), score, nearest_psd(-hessian))
    if program.information != EXPECTED:
        height, score = jax.value_and_grad(value)(u)
        return Expansion(height, score, nearest_psd(-jax.hessian(value)(u)))

    def outcomes(u: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        theta, own = program.outcome_parameters(u, data)
        height = value(u)
        return (theta, height), (own, height)

    # The parameters' slopes are taken forward in any case; the score is one row more.
    (slopes, score), (own, height) = jax.jacfwd(outcomes, has_aux=True)(u)
    slopes = jnp.moveaxis(slopes, (2, 1, 0), (0, 1, 2))
    own = jnp.moveaxis(own * mask[:, None, None], 0, -1)
    parts = range(len(own))
    if len(parts) > small.UNROLLED:
        heavy = jnp.einsum("pqt,iqt->ipt", own, slopes)
    else:
        each = [small.total([own[p, q] * slopes[:, q] for q in parts]) for p in parts]
        heavy = jnp.stack(each, 1)
    # Written out once: on a CPU XLA would compute them for each entry anew.
    left, right = jax.lax.optimization_barrier((heavy, slopes))
    information = small.products(left.reshape(len(u), -1), right.reshape(len(u), -1))
    return Expansion(height, score, information)


class _Place(NamedTuple):
    """Where a climb is: the point, its root, the height there, and the evidence's expansion."""

    mean: Array
    root: Array
    height: Array
    at: Expansion
    damping: Array
    hidden: Array
    done: Array
    moves: Array


def climb(
    program: OneTask,
    policy: Policy,
    prior: tuple[Array, Array],
    hidden: Float[Array, "u h"],
    relative_weight: Float[Array, ""],
    data: Data,
    mask: Array,
    moves: int,
    start: Float[Array, " u"] | None = None,
    with_factors: bool = False,
) -> Climbed:
    """Moves one expert to where its prior and the evidence together are highest.

    Args:
        program: The program.
        policy: Advises damping, tempering and stopping.
        prior: Mean and root of the expert before this evidence.
        hidden: What the policy remembers of it.
        relative_weight: For the policy.
        data: Of one task, `[1, step, ...]`.
        mask: Which rows are real, `[step]`.
        moves: At most so many.
        start: Where to start; by default at the prior's mean.
        with_factors: Whether the program's factors are part of the evidence: once.
    """
    centre, start_root = prior
    start = centre if start is None else start
    to_noise = small.inverse_lower(start_root)

    def height_at(u: Array, value: Array) -> Array:
        return value - 0.5 * small.square(small.matvec(to_noise, u - centre))

    def whitened(place: _Place, tempering: Array) -> tuple[Array, Array]:
        """Gradient and precision in units of the expert's root."""
        root, back = place.root, small.matmul(to_noise, place.root)
        trust = jnp.sqrt(tempering)
        slope = small.matvec(root.T, trust * place.at.score)
        slope -= small.matvec(back.T, small.matvec(to_noise, place.mean - centre))
        information = place.at.information * (trust[:, None] * trust)
        inside = small.matmul(root.T, small.matmul(information, root))
        return slope, inside + small.matmul(back.T, back)

    def advised(place: _Place) -> tuple[Array, Array, Array, Array]:
        information = place.at.information
        look = Look(
            score=small.matvec(place.root.T, place.at.score),
            curvature=jnp.diagonal(
                small.matmul(place.root.T, small.matmul(information, place.root))
            ),
            shrinkage=0.5 * jnp.log(jnp.diagonal(small.matmul(place.root, place.root.T))),
            relative_weight=relative_weight,
            hidden=place.hidden,
        )
        advice, remembered = policy(look)
        return advice.damping, advice.tempering, advice.stopping, remembered

    def move(place: _Place) -> _Place:
        share, tempering, stopping, remembered = advised(place)
        slope, precision = whitened(place, tempering)
        scaled = precision + place.damping * jnp.diag(jnp.diagonal(precision))
        half = small.root_of_inverse(scaled)
        step = small.matvec(half, small.matvec(half.T, slope))
        there = place.mean + share * small.matvec(place.root, step)
        root = small.matmul(place.root, small.root_of_inverse(precision))
        at = expand(program, there, root, data, mask, with_factors)
        height = height_at(there, at.value)
        better = (height >= place.height) & jnp.isfinite(at.information).all() & ~stopping
        promised = 0.5 * (slope * step).sum()
        small_gain = promised < SHORT + ROUNDING * jnp.abs(place.height)
        kept = jax.tree.map(
            lambda new, old: jnp.where(better, new, old),
            (there, root, height, at),
            (place.mean, place.root, place.height, place.at),
        )
        damping = jnp.where(
            better, SOFTER * place.damping, jnp.maximum(1.0, HARDER * place.damping)
        )
        done = small_gain | stopping
        mean, root, height, at = kept
        return _Place(mean, root, height, at, damping, remembered, done, place.moves + 1)

    at = expand(program, start, start_root, data, mask, with_factors)
    first = _Place(
        start,
        start_root,
        height_at(start, at.value),
        at,
        jnp.zeros(()),
        hidden,
        jnp.zeros((), bool),
        jnp.zeros((), int),
    )
    place = jax.lax.while_loop(lambda p: ~p.done & (p.moves < moves), move, first)
    _, tempering, _, remembered = advised(place)
    _, precision = whitened(place, tempering)
    root = small.matmul(place.root, small.root_of_inverse(precision))
    log_joint = place.height + small.log_det(root) - small.log_det(start_root)
    return Climbed(place.mean, root, log_joint, remembered, place.moves)
