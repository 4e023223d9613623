"""The mode of one task's posterior, and how the posterior curves there.

Damped Fisher scoring, as an expert climbs (`_climb`), from one place and against the whole prior
N(0, I): without a policy, and with the evidence expanded at one place of the compiled program.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from bayes_badger.inner_loop import _small as small
from bayes_badger.inner_loop._climb import HARDER, ROUNDING, SHORT, SOFTER, expand
from bayes_badger.program import Data, OneTask


class _Place(NamedTuple):
    """Where the climb is, the height, score and information there, and how it goes on."""

    mean: Float[Array, " z"]
    height: Float[Array, ""]
    score: Float[Array, " z"]
    information: Float[Array, "z z"]
    damping: Float[Array, ""]
    done: Bool[Array, ""]
    moves: Int[Array, ""]


def mode_of(
    program: OneTask, start: Float[Array, " z"], data: Data, mask: Array, moves: int
) -> tuple[Float[Array, " z"], Float[Array, "z z"]]:
    """The mode, and the root of the inverse of prior precision and information there.

    Args:
        program: Whose prior is N(0, I).
        start: Where the climb begins.
        data: Of one task, `[1, step, ...]`.
        mask: Which rows are real, `[step]`.
        moves: At most so many.
    """
    eye = jnp.eye(program.size)

    def move(place: _Place) -> _Place:
        first = place.moves == 0
        precision = eye + place.information
        slope = place.score - place.mean
        damped = precision + place.damping * jnp.diag(jnp.diagonal(precision))
        half = small.root_of_inverse(damped)
        step = jnp.where(first, 0.0, small.matvec(half, small.matvec(half.T, slope)))
        there = place.mean + step
        width = small.root_of_inverse(precision)
        at = expand(program, there, width, data, mask)
        score, information = jnp.nan_to_num(at.score), jnp.nan_to_num(at.information)
        height = at.value - 0.5 * small.square(there)
        finite = jnp.isfinite(at.information).all() & jnp.isfinite(height)
        better = first | ((height >= place.height) & finite)
        promised = 0.5 * (slope * step).sum()
        ends = ~first & (promised < SHORT + ROUNDING * jnp.abs(place.height))
        damping = jnp.where(
            better, SOFTER * place.damping, jnp.maximum(1.0, HARDER * place.damping)
        )
        new = _Place(
            there,
            jnp.where(finite, height, -jnp.inf),
            score,
            information,
            damping,
            ends,
            place.moves + 1,
        )
        old = place._replace(damping=damping, done=ends, moves=place.moves + 1)
        return jax.tree.map(lambda x, y: jnp.where(better, x, y), new, old)

    begun = _Place(
        start,
        jnp.asarray(-jnp.inf),
        jnp.zeros_like(start),
        jnp.zeros((program.size, program.size)),
        jnp.zeros(()),
        jnp.zeros((), bool),
        jnp.zeros((), int),
    )
    place = jax.lax.while_loop(lambda p: ~p.done & (p.moves <= moves), move, begun)
    return place.mean, small.root_of_inverse(eye + place.information)
