"""Importance refits: population Monte Carlo in which each expert learns from its own points.

Expert k proposes points from its own Gaussian, the prior proposes a share of all; a point weighs
W = p(u, D) / q(u), with q the mixture that all points together are drawn from (the balance
heuristic, Veach and Guibas 1995). Then ∫ p r_k f, with the responsibility r_k of expert k, is
estimated from the points of expert k alone: a step of EM (Cappé et al. 2008) towards the smallest
KL(p, q). The points of an expert have exactly its mean and covariance, so that where p/q is
constant nothing moves: the noise is that of p/q, not of the points.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from scipy.stats import norm

from bayes_badger.belief.gaussian import log_standard_normal
from bayes_badger.inner_loop import _small as small
from bayes_badger.inner_loop._climb import LogJoint
from bayes_badger.inner_loop._points import cloud, clouds, turned
from bayes_badger.inner_loop._society import (
    Society,
    log_densities,
    normalised,
)

# Of the points, this share is the prior's; of the experts' points, this share is equal for all.
PRIOR, EQUAL = 0.05, 0.2
# An expert is re-born where its weight is below this share of an equal one, before these rounds.
REBORN = {0: 1e-3, 2: 1e-2}
# A society whose weights are this even is not moved any more.
EVEN = 0.995
# Points whose log densities are held at once, times experts.
AT_ONCE = 2**21


class Check(NamedTuple):
    """How a society stands to the posterior, by importance weights of fresh points.

    Attributes:
        log_evidence: In nats, relative to the reference of the log joint.
        divergence: KL(posterior, society), estimated, in nats.
        ess: Effective number of points.
    """

    log_evidence: Float[Array, ""]
    divergence: Float[Array, ""]
    ess: Float[Array, ""]


class _Weighted(NamedTuple):
    """Points and their weights: `noise [k, n, u]`, `prior_points [p, u]`, shares of the sum."""

    noise: Array
    prior_points: Array
    share: Array
    prior_share: Array
    prior_densities: Array
    check: Check


def refitted(
    log_joint: LogJoint,
    society: Society,
    searching: Float[Array, " k"],
    splitting: Float[Array, " k"],
    key: PRNGKeyArray,
    rounds: int,
    points: int,
) -> tuple[Society, Check]:
    """The best society of some rounds, by its divergence on points that it was not fitted to.

    Args:
        log_joint: Log p(u, evidence) in nats, up to a constant, of points `[m, u]` to `[m]`.
        society: Where to start.
        searching: Factor on the scale of proposals, by expert.
        splitting: Added to the log of an expert's share of those that are re-born, by expert.
        key: For the turns of the points.
        rounds: Of refits; one more looks at the last.
        points: Of each expert; at least twice the dimensions are taken.
    """
    points = max(points, 2 * society.mean.shape[1])
    reborn = np.array([REBORN.get(i, 0.0) for i in range(rounds + 1)]) * (rounds > 0)

    def one(
        carry: tuple[Society, Society, Check], xs: tuple[Array, Array]
    ) -> tuple[tuple[Society, Society, Check], None]:
        now, best, known = carry
        key, threshold = xs
        now = reborn_as_splits(now, threshold, splitting)
        weighted = _weighted(log_joint, now, searching, key, points)
        check = weighted.check
        better = check.divergence < known.divergence
        best, known = jax.tree.map(
            lambda new, old: jnp.where(better, new, old), (now, check), (best, known)
        )
        moved = _moved(now, searching, weighted)
        total = points * len(now.log_weights)
        enough = check.ess > EVEN * total
        now = jax.tree.map(lambda new, old: jnp.where(enough, old, new), moved, now)
        return (now, best, known), None

    unknown = Check(jnp.array(jnp.nan), jnp.array(jnp.inf), jnp.zeros(()))
    xs = jax.random.split(key, rounds + 1), jnp.asarray(reborn)
    (_, best, known), _ = jax.lax.scan(one, (society, society, unknown), xs)
    return best, known


def _weighted(
    log_joint: LogJoint, society: Society, scale: Array, key: PRNGKeyArray, points: int
) -> _Weighted:
    """Points of experts and of the prior, and the share that each has of all weight."""
    experts, size = society.mean.shape
    n, n_prior = points, max(64, 2 * int(0.5 * PRIOR * experts * points))
    turn_key, prior_key = jax.random.split(key)
    # Each expert's points are turned by themselves, and all of them together by chance.
    points_of = jnp.asarray(clouds(experts, n, size), jnp.float32)
    noise = jax.vmap(small.matmul, (0, None))(points_of, turned(turn_key, size))
    root = society.root * scale[:, None, None]
    own = society.mean[:, None] + jax.vmap(lambda r, e: small.matmul(r, e.T).T)(root, noise)
    prior_points = jnp.asarray(cloud(n_prior, size, 1), jnp.float32) @ turned(prior_key, size).T
    everything = jax.lax.optimization_barrier(
        jnp.concatenate([own.reshape(-1, size), prior_points])
    )

    weights = jnp.exp(society.log_weights)
    shares = (1 - PRIOR) * ((1 - EQUAL) * weights + EQUAL / experts)

    def both(some: Array) -> tuple[Array, Array]:
        """Log density of the proposals without the prior, and of the society itself."""
        # Without the barriers XLA on a CPU computes each density three times: 4 times slower.
        each = jax.lax.optimization_barrier(log_densities(some, society.mean, root))
        top = each.max(1, keepdims=True)
        density = jax.lax.optimization_barrier(jnp.exp(each - top))
        sums = jnp.maximum(density @ jnp.stack([shares, weights], 1), 1e-37)
        proposed, itself = (jnp.log(sums) + top).T
        return proposed, itself

    proposed, itself = _in_parts(both, everything, experts)
    log_prior = log_standard_normal(everything)
    proposed = jnp.logaddexp(proposed, log_prior + np.log(PRIOR))
    joint = log_joint(everything)
    base = jnp.concatenate(
        [jnp.repeat(jnp.log(shares / n), n), jnp.full(n_prior, np.log(PRIOR / n_prior))]
    )
    log_weight = jnp.where(jnp.isfinite(joint), base + joint - proposed, -jnp.inf)
    log_evidence = jax.scipy.special.logsumexp(log_weight)
    share = jnp.exp(log_weight - log_evidence)
    share = jnp.where(jnp.isfinite(share), share, 0.0)
    away = jnp.where(share > 0, joint - itself, 0.0)
    check = Check(
        log_evidence,
        jnp.where(share.sum() > 0, (share * away).sum() - log_evidence, jnp.inf),
        1.0 / jnp.maximum((share**2).sum(), 1e-30),
    )
    tempered = _tempered(log_weight, base, 2.0 * (size + 1))
    prior_densities = log_densities(prior_points, society.mean, root) + jnp.log(shares)
    return _Weighted(
        noise,
        prior_points,
        tempered[: experts * n].reshape(experts, n),
        tempered[experts * n :],
        prior_densities,
        check,
    )


def _in_parts(
    function: Callable[[Array], tuple[Array, Array]], points: Array, experts: int
) -> tuple[Array, Array]:
    """Of many points, some at a time, so that memory stays small."""
    size = max(256, AT_ONCE // experts)
    m = len(points)
    if m <= size:
        return function(points)
    parts = -(-m // size)
    padded = jnp.concatenate([points, jnp.zeros((parts * size - m, points.shape[1]))])
    done = jax.lax.map(function, padded.reshape(parts, size, -1))
    first, second = (x.reshape(-1)[:m] for x in done)
    return first, second


def _tempered(log_weight: Array, base: Array, enough: float) -> Array:
    """Shares of the points, flattened towards those of the proposals until enough points count."""

    def share(power: Array) -> Array:
        log_share = jnp.where(
            jnp.isfinite(log_weight), base + power * (log_weight - base), -jnp.inf
        )
        return jax.nn.softmax(log_share)

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = 0.5 * (low + high)
        fits = 1.0 / (share(middle) ** 2).sum() >= enough
        return jnp.where(fits, middle, low), jnp.where(fits, high, middle)

    def flattened() -> Array:
        low, _ = jax.lax.fori_loop(0, 10, halve, (jnp.zeros(()), jnp.ones(())))
        return share(low)

    whole = share(jnp.ones(()))
    found = jax.lax.cond(1.0 / (whole**2).sum() >= enough, lambda: whole, flattened)
    return jnp.where(jnp.isfinite(found), found, 0.0)


def _moved(society: Society, scale: Array, points: _Weighted) -> Society:
    """One step of EM, in units of each expert's own root, held back where few points count."""
    size = society.mean.shape[-1]
    joined = jax.lax.optimization_barrier(
        jax.nn.softmax(points.prior_densities, axis=1) * points.prior_share[:, None]
    )

    def one(
        mean: Array, root: Array, scale: Array, noise: Array, own: Array, theirs: Array
    ) -> tuple[Array, Array, Array]:
        away = small.inverse_lower(root)
        far = small.matmul(away, (points.prior_points - mean).T)
        # Written out once: on a CPU XLA would compute it for each of the sums anew.
        places, weights = jax.lax.optimization_barrier(
            (jnp.concatenate([scale * noise.T, far], 1), jnp.concatenate([own, theirs]))
        )
        mass = weights.sum()
        safe = jnp.maximum(mass, 1e-30)
        weighted = weights * places
        move = weighted.sum(1) / safe
        spread = small.products(weighted, places) / safe - move[:, None] * move
        count = mass**2 / jnp.maximum((weights**2).sum(), 1e-30)
        trust = jnp.where(mass > 1e-12, count / (count + size + 1), 0.0)
        # A share of the points is as if drawn from the expert as it was.
        spread = trust * spread + (1 - trust) * jnp.eye(size)
        spread += trust * (1 - trust) * move[:, None] * move
        moved = small.matmul(root, small.cholesky(spread))
        okay = jnp.isfinite(moved).all() & jnp.isfinite(move).all()
        return (
            jnp.log(safe),
            jnp.where(okay, mean + trust * small.matvec(root, move), mean),
            jnp.where(okay, moved, root),
        )

    log_weights, mean, root = jax.vmap(one, (0, 0, 0, 0, 0, 1))(
        society.mean, society.root, scale, points.noise, points.share, joined
    )
    return Society(normalised(log_weights), mean, root, society.hidden)


def reborn_as_splits(
    society: Society, threshold: Float[Array, ""], splitting: Float[Array, " k"]
) -> Society:
    """Experts of no weight become parts of heavy ones; mean and covariance of each whole stay.

    A whole of c parts is cut across its longest axis: its parts have the share 1/c of its variance
    along that axis, and their centres, at the quantiles of a normal, the rest.

    Args:
        society: The experts.
        threshold: Below this share of an equal weight an expert is re-born; 0 for none.
        splitting: Added to the log of an expert's share of those that are re-born.
    """
    experts = len(society.log_weights)
    order = jnp.argsort(-society.log_weights)
    society = jax.tree.map(lambda x: x[order], society)
    dead = society.log_weights < jnp.log(threshold / experts)
    dead = dead & (jnp.arange(experts) > 0)
    share = jnp.where(dead, -jnp.inf, 0.5 * society.log_weights + splitting[order])
    living, place = (~dead).sum(), jnp.arange(experts)
    position = (place - living + 0.5) / jnp.maximum(dead.sum(), 1)
    chosen = jnp.searchsorted(jnp.cumsum(jax.nn.softmax(share)), position)
    parent = jnp.where(dead, jnp.minimum(chosen, living - 1), place)
    parts = jnp.zeros(experts, int).at[parent].add(1)[parent]
    by_parent = jnp.argsort(parent, stable=True)
    first = jnp.searchsorted(parent[by_parent], parent[by_parent])
    rank = jnp.zeros(experts, int).at[by_parent].set(place - first)

    old = jax.tree.map(lambda x: x[parent], society)
    quantile = jax.scipy.stats.norm.ppf((rank + 0.5) / parts)
    left = 1.0 / parts
    offset = quantile * jnp.sqrt((1 - left) / jnp.asarray(_square_quantiles(experts))[parts])

    def cut(mean: Array, root: Array, offset: Array, left: Array) -> tuple[Array, Array]:
        axis = _longest_axis(root)
        kept = jnp.eye(len(axis)) - (1 - left) * axis[:, None] * axis
        part = small.matmul(root, small.cholesky(kept))
        return mean + offset * small.matvec(root, axis), part

    mean, root = jax.vmap(cut)(old.mean, old.root, jnp.where(parts > 1, offset, 0.0), left)
    whole = (parts == 1)[:, None]
    return Society(
        old.log_weights - jnp.log(parts),
        jnp.where(whole, old.mean, mean),
        jnp.where(whole[..., None], old.root, root),
        old.hidden,
    )


def _longest_axis(root: Array) -> Array:
    """The unit vector v, in units of the root, for which root v is longest."""
    v = jnp.cos(jnp.arange(1.0, root.shape[-1] + 1))
    for _ in range(12):
        v = small.matvec(root.T, small.matvec(root, v))
        v = v / jnp.sqrt((v**2).sum())
    return v


def _square_quantiles(most: int) -> np.ndarray:
    """Mean square of the c quantiles of a normal, for each c; 1 where there are none to spread."""
    means = [np.mean(norm.ppf((np.arange(c) + 0.5) / c) ** 2) for c in range(2, most + 1)]
    return np.array([1.0, 1.0, *means], np.float32)[: most + 1]
