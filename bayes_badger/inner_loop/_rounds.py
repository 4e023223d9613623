"""Rounds of refits over what tasks share: who proposes, and what is learned from the answer.

In a round experts propose lifetimes, hear the log joint at each, and are refitted (population Monte
Carlo). Between the two the tasks are asked, which is no business of this file: its functions are
pure, so that rounds run one by one, or many of them compiled together. All is in double precision.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from bayes_badger.inner_loop._reborn import reborn_as_splits
from bayes_badger.inner_loop._refit import Offer, of_prior, offered, relearned, weighed
from bayes_badger.inner_loop._society import Society

# Below this share of an equal weight an expert is re-born as part of a heavy one.
REBORN = 1e-2
# No more rounds where experts are this close to the posterior, in nats.
CLOSE = 0.01
# While fewer points count than so many for each dimension and one, experts are gathered around the
# mean and covariance of the weights, flattened until as many count; refits would starve.
SPARSE = 10.0
# The least standard deviation that experts are gathered with.
NO_LESS = 1e-5


class Rounds(NamedTuple):
    """How far refits have come.

    Attributes:
        society: The experts that propose next.
        best: Those closest to the posterior so far.
        after: The same a step of EM nearer to it, to be carried on.
        lowest: KL(posterior, best), estimated, in nats; infinite before any round.
        log_evidence: By the points of the best; minus infinity where none is possible.
        made: Rounds so far.
        polished: Whether the round before came close.
        done: Whether there is nothing more to do.
    """

    society: Society
    best: Society
    after: Society
    lowest: Float[Array, ""]
    log_evidence: Float[Array, ""]
    made: Int[Array, ""]
    polished: Bool[Array, ""]
    done: Bool[Array, ""]


def begun(society: Society) -> Rounds:
    """Before the first round."""
    infinite, no = jnp.asarray(jnp.inf), jnp.zeros((), bool)
    count = jnp.zeros((), jnp.int32)
    return Rounds(society, society, society, infinite, -infinite, count, no, no)


def proposed(society: Society, key: Key[Array, ""], points: int) -> tuple[Society, Offer]:
    """Experts, those of no weight re-born, and the points that they and the prior propose."""
    none = jnp.zeros_like(society.log_weights)
    society, _ = reborn_as_splits(society, jnp.asarray(REBORN), none)
    return society, offered(society, jnp.ones_like(none), key, _each(society, points))


def proposals(society: Society, points: int) -> int:
    """How many points are proposed, of so many of each expert."""
    experts, each = len(society.log_weights), _each(society, points)
    return experts * each + of_prior(experts, each)


def _each(society: Society, points: int) -> int:
    return max(points, 2 * society.mean.shape[1])


def heard(
    rounds: Rounds,
    start: Society,
    offer: Offer,
    joint: Float[Array, " m"],
    last: Bool[Array, ""],
) -> Rounds:
    """After a round.

    Args:
        rounds: With the society that proposed.
        start: The experts before any evidence, after whose pattern they are gathered.
        offer: What was proposed.
        joint: Its log joint, in nats.
        last: Whether all evidence is in.
    """
    possible = jnp.isfinite(joint)
    joint = jnp.where(possible, joint, -jnp.inf)
    top = jnp.where(possible.any(), joint.max(), 0.0)
    found = weighed(offer, joint - top)
    after = relearned(rounds.society, jnp.ones_like(rounds.society.log_weights), found)
    divergence, ess = found.check.divergence, found.check.ess
    better = possible.any() & (divergence < rounds.lowest)
    now = (rounds.society, _matched(after, offer, joint), divergence)
    before = (rounds.best, rounds.after, rounds.lowest)
    best, carried, lowest = jax.tree.map(lambda x, y: jnp.where(better, x, y), now, before)
    log_evidence = jnp.where(better, found.check.log_evidence + top, rounds.log_evidence)
    # What is carried on is polished by a step more: what is off by little in each portion of tasks,
    # and to the same side, adds up.
    close = divergence < CLOSE
    sparse = ess < SPARSE * (offer.points.shape[1] + 1)
    society = jax.lax.cond(sparse, lambda: _gathered(start, offer, joint), lambda: after)
    count = rounds.made + 1
    finished = (close & (rounds.polished | ~last)) | ~possible.any()
    return Rounds(
        society,
        best,
        carried,
        lowest,
        jnp.where(possible.any(), log_evidence, -jnp.inf),
        count,
        close,
        finished,
    )


def _matched(society: Society, offer: Offer, joint: Array) -> Society:
    """Experts moved and stretched together, to the mean and covariance of weighed points.

    A refit keeps experts of few points from becoming too narrow. In one fit that costs nothing, for
    draws are weighed; carried from portion to portion it would make the first count for less.
    """
    weights = jax.nn.softmax(offer.base + joint - offer.proposed)
    shares = jnp.exp(society.log_weights)
    root = society.root
    mean, wanted = _moments(weights, offer.points, jnp.zeros((1, 1, 1)))
    own, own_root = _moments(shares / shares.sum(), society.mean, root @ jnp.swapaxes(root, 1, 2))
    stretch = wanted @ jnp.linalg.inv(own_root)
    fine = jnp.isfinite(stretch).all()
    moved = mean + (society.mean - own) @ stretch.T
    return society._replace(
        mean=jnp.where(fine, moved, society.mean), root=jnp.where(fine, stretch @ root, root)
    )


def _moments(weights: Array, means: Array, within: Array) -> tuple[Array, Array]:
    """Mean, and root of the covariance, of a mixture; not a number where it has no root."""
    mean = weights @ means
    apart = means - mean
    covariance = apart.T @ (weights[:, None] * apart) + (weights[:, None, None] * within).sum(0)
    return mean, jnp.linalg.cholesky(covariance)


def _gathered(start: Society, offer: Offer, joint: Array) -> Society:
    """The first experts moved to where points weigh, by flattened weights' first two moments."""
    points = offer.points
    log_weights = jnp.where(jnp.isfinite(joint), joint - offer.proposed, -jnp.inf)

    def share(power: Array) -> Array:
        flat = jnp.where(jnp.isfinite(log_weights), power * log_weights, -jnp.inf)
        return jax.nn.softmax(offer.base + flat)

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = 0.5 * (low + high)
        fits = 1.0 / (share(middle) ** 2).sum() >= SPARSE * (points.shape[1] + 1)
        return jnp.where(fits, middle, low), jnp.where(fits, high, middle)

    low, _ = jax.lax.fori_loop(0, 30, halve, (jnp.zeros(()), jnp.ones(())))
    weights = share(low)
    mean = weights @ points
    apart = points - mean
    covariance = apart.T @ (weights[:, None] * apart)
    # However few the points are, no direction is lost.
    root = jnp.linalg.cholesky(covariance + NO_LESS**2 * jnp.eye(len(mean)))
    return start._replace(mean=mean + start.mean @ root.T, root=root @ start.root)
