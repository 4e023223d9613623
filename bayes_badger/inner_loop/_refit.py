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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from bayes_badger.belief.gaussian import log_standard_normal
from bayes_badger.inner_loop import _small as small
from bayes_badger.inner_loop._climb import LogJoint
from bayes_badger.inner_loop._points import cloud, clouds, turned
from bayes_badger.inner_loop._policy import Counsel, Policy, Survey
from bayes_badger.inner_loop._reborn import reborn_as_splits
from bayes_badger.inner_loop._society import (
    Society,
    log_densities,
    normalised,
    relative_weights,
)

# Of the points, this share is the prior's; of the experts' points, this share is equal for all.
PRIOR, EQUAL = 0.05, 0.2
# An expert is re-born where its weight is below this share of an equal one, before these rounds.
REBORN = {0: 1e-3, 2: 1e-2}
# A society whose weights are this even is not moved any more.
EVEN = 0.995
# A policy's advice fades where the effective number of points is above 1 less this share of all.
FADING = 0.1
# It fades where the root of the mean variance is below this share of the prior's: with many rows
# experts are as they are without a policy.
NARROW = 0.1
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


class Offer(NamedTuple):
    """Points before their log joint is known.

    Attributes:
        points: All of them, those of the experts first, `[m, u]`.
        noise: Points of the experts in units of their roots, `[k, n, u]`.
        proposed: Log density of all that propose, together, `[m]`.
        itself: Log density of the society, `[m]`.
        base: Log of each point's share of the proposals, `[m]`.
        prior_densities: Log density of the prior's points under each expert's share, `[p, k]`.
    """

    points: Array
    noise: Array
    proposed: Array
    itself: Array
    base: Array
    prior_densities: Array


class Weighted(NamedTuple):
    """Points and their weights.

    Attributes:
        points: All of them, those of the experts first, `[m, u]`.
        exact: Share of each of all weight, `[m]`.
        noise: Points of the experts in units of their roots, `[k, n, u]`.
        share: Of the experts' points, tempered, `[k, n]`.
        prior_share: Of the prior's, `[p]`.
        prior_densities: Log density of the prior's points under each expert's share, `[p, k]`.
        check: What they tell of the society.
    """

    points: Array
    exact: Array
    noise: Array
    share: Array
    prior_share: Array
    prior_densities: Array
    check: Check


class _Moments(NamedTuple):
    """What its points say of each expert: mass, and mean and covariance in units of its root."""

    mass: Float[Array, " k"]
    effective: Float[Array, " k"]
    move: Float[Array, "k u"]
    spread: Float[Array, "k u u"]


class Round(NamedTuple):
    """A society before its points were weighed, and what they said of it.

    Attributes:
        society: The experts.
        check: How it stood to the posterior.
        cross_entropy: -Σ share · log density of the experts, over points and shares as they are:
            its slope is that of KL(posterior, society) in the experts alone.
        weighted: Its points.
        scale: How much wider than themselves experts proposed them, `[k]`.
        left: Share of the rounds that are to come.
        done: Whether nothing moves any more.
    """

    society: Society
    check: Check
    cross_entropy: Float[Array, ""]
    weighted: Weighted
    scale: Float[Array, " k"]
    left: Float[Array, ""]
    done: Bool[Array, ""]


def refitted(
    log_joint: LogJoint,
    society: Society,
    policy: Policy,
    key: PRNGKeyArray,
    rounds: int,
    points: int,
) -> tuple[Society, Check]:
    """The best society of some rounds, by its divergence on points that it was not fitted to.

    Args:
        log_joint: Log p(u, evidence) in nats, up to a constant, of points `[m, u]` to `[m]`.
        society: Where to start.
        policy: Advises between rounds.
        key: For the turns of the points.
        rounds: Of refits; one more looks at the last.
        points: Of each expert; at least twice the dimensions are taken.
    """
    unknown = Check(jnp.array(jnp.nan), jnp.array(jnp.inf), jnp.zeros(()))

    def keep(best: tuple[Society, Check], now: Round) -> tuple[tuple[Society, Check], None]:
        better = now.check.divergence < best[1].divergence
        return jax.tree.map(
            lambda new, old: jnp.where(better, new, old), (now.society, now.check), best
        ), None

    return _rounds(log_joint, society, policy, key, rounds, points, keep, (society, unknown))[0]


def cross_entropies(
    log_joint: LogJoint,
    society: Society,
    policy: Policy,
    key: PRNGKeyArray,
    rounds: int,
    points: int,
) -> tuple[Float[Array, " round"], Check]:
    """Of the society of each round, and how it stood: what a policy is taught by.

    Its slope in the policy is that of KL(posterior, society), but for the noise of the points; the
    values themselves are known up to a constant of each round. Arguments as of `refitted`.
    """

    def keep(_: None, now: Round) -> tuple[None, tuple[Array, Check]]:
        return None, (now.cross_entropy, now.check)

    return _rounds(log_joint, society, policy, key, rounds, points, keep, None)[1]


def _rounds(
    log_joint: LogJoint,
    society: Society,
    policy: Policy,
    key: PRNGKeyArray,
    rounds: int,
    points: int,
    keep: Callable[[Any, Round], tuple[Any, Any]],
    kept: Any,
) -> tuple[Any, Any]:
    """All rounds, each told to `keep`, a step of `lax.scan`."""
    apart = jax.lax.optimization_barrier
    points = max(points, 2 * society.mean.shape[1])
    experts = len(society.log_weights)
    reborn = np.array([REBORN.get(i, 0.0) for i in range(rounds + 1)]) * (rounds > 0)
    taught = who_is_taught(experts)
    none = jnp.zeros(experts)

    def one(carry: Any, xs: tuple[Array, Array, Array]) -> tuple[Any, Any]:
        now, searching, splitting, kept = carry
        key, threshold, left = xs
        # Barriers, here and below: without them XLA on a CPU computes much of a round again for
        # each slope that a policy is taught by.
        now, origin = apart(reborn_as_splits(now, threshold, splitting))
        scale = jnp.exp(searching[origin])
        offer = apart(offered(now, scale, key, points))
        weighted = apart(weighed(offer, apart(log_joint(offer.points))))
        check = weighted.check
        evenness = check.ess / len(weighted.exact)

        def advised() -> tuple[Society, Array, Array]:
            found = apart(_moments(now, scale, weighted))
            survey = apart(_survey(now, found, evenness, left))
            counsel, hidden = policy.counsel(survey)
            counsel = apart(_bounded(counsel, taught, survey))
            moved = _moved(now, found, counsel)._replace(hidden=hidden)
            return moved, counsel.searching, counsel.splitting

        done = (left == 0) | (evenness > EVEN * points * experts / len(weighted.exact))
        after = jax.lax.cond(done, lambda: (now, none, none), advised)
        entropy = _cross_entropy(now, weighted)
        kept, told = keep(kept, Round(now, check, entropy, weighted, scale, left, done))
        return (*after, kept), told

    left = 1.0 - np.arange(rounds + 1) / max(rounds, 1)
    xs = jax.random.split(key, rounds + 1), jnp.asarray(reborn), jnp.asarray(left, jnp.float32)
    start: Any = (society, none, none, kept)
    (*_, kept), told = jax.lax.scan(one, start, xs)
    return kept, told


def who_is_taught(experts: int) -> Bool[Array, " k"]:
    """Half of the experts, by rank of weight, do without the policy."""
    return jnp.arange(experts) % 2 == 1


def offered(society: Society, scale: Array, key: PRNGKeyArray, points: int) -> Offer:
    """Points of experts and of the prior, and how likely it was that they are these.

    Args:
        society: The experts that propose.
        scale: How much wider than themselves they propose, `[k]`.
        key: For the turns of the points.
        points: Of each expert.
    """
    experts, size = society.mean.shape
    n, n_prior = points, of_prior(experts, points)
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
        top = jax.lax.stop_gradient(each.max(1, keepdims=True))
        density = jax.lax.optimization_barrier(jnp.exp(each - top))
        sums = jnp.maximum(density @ jnp.stack([shares, weights], 1), 1e-37)
        proposed, itself = (jnp.log(sums) + top).T
        return proposed, itself

    proposed, itself = _in_parts(both, everything, experts)
    log_prior = log_standard_normal(everything)
    proposed = jnp.logaddexp(proposed, log_prior + np.log(PRIOR))
    base = jnp.concatenate(
        [jnp.repeat(jnp.log(shares / n), n), jnp.full(n_prior, np.log(PRIOR / n_prior))]
    )
    prior_densities = log_densities(prior_points, society.mean, root) + jnp.log(shares)
    return Offer(everything, noise, proposed, itself, base, prior_densities)


def of_prior(experts: int, points: int) -> int:
    """How many points the prior proposes where each expert proposes so many."""
    return max(64, 2 * int(0.5 * PRIOR * experts * points))


def weighed(offer: Offer, joint: Float[Array, " m"]) -> Weighted:
    """The share that each point has of all weight, from the log joint at each."""
    experts, n, size = offer.noise.shape
    base, itself = offer.base, offer.itself
    log_weight = jnp.where(jnp.isfinite(joint), base + joint - offer.proposed, -jnp.inf)
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
    return Weighted(
        offer.points,
        share,
        offer.noise,
        tempered[: experts * n].reshape(experts, n),
        tempered[experts * n :],
        offer.prior_densities,
        check,
    )


def relearned(society: Society, scale: Array, points: Weighted) -> Society:
    """One step of EM from weighed points, without a policy."""
    found = _moments(society, scale, points)
    each, one = jnp.zeros_like(society.mean), jnp.zeros_like(society.log_weights)
    return _moved(society, found, Counsel(each, each, one, one, one, one))


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


def _moments(society: Society, scale: Array, points: Weighted) -> _Moments:
    """Mass, mean and covariance of each expert's share of the posterior, in units of its root."""
    experts, n = points.share.shape
    prior_points = points.points[experts * n :]
    joined = jax.lax.optimization_barrier(
        jax.nn.softmax(points.prior_densities, axis=1) * points.prior_share[:, None]
    )

    def one(
        mean: Array, root: Array, scale: Array, noise: Array, own: Array, theirs: Array
    ) -> _Moments:
        away = small.inverse_lower(root)
        far = small.matmul(away, (prior_points - mean).T)
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
        return _Moments(mass, count, move, spread)

    return jax.vmap(one, (0, 0, 0, 0, 0, 1))(
        society.mean, society.root, scale, points.noise, points.share, joined
    )


def _survey(society: Society, found: _Moments, evenness: Array, left: Array) -> Survey:
    """What a policy sees: by coordinate, not by the axes of a root, which depend on their order."""
    sd = jnp.sqrt((society.root**2).sum(-1))
    move = jax.vmap(small.matvec)(society.root, found.move)
    around = jax.vmap(lambda r, s: small.matmul(small.matmul(r, s), r.T))(
        society.root, found.spread
    )
    variance = jnp.diagonal(around, axis1=1, axis2=2)
    return Survey(
        move=move / sd,
        spread=0.5 * jnp.log(jnp.maximum(variance, 1e-12 * sd**2) / sd**2),
        shrinkage=jnp.log(sd),
        place=society.mean,
        effective=jnp.log(found.effective / (sd.shape[-1] + 1) + 1e-3),
        surprise=jnp.log(jnp.maximum(found.mass, 1e-30)) - society.log_weights,
        relative_weight=relative_weights(society.log_weights),
        evenness=evenness,
        left=left,
        hidden=society.hidden,
    )


def _bounded(counsel: Counsel, taught: Array, survey: Survey) -> Counsel:
    """Advice that fades as the society becomes the posterior, and as that becomes narrow."""
    weights = jax.nn.softmax(survey.relative_weight)[:, None]
    apart = survey.place - (weights * survey.place).sum(0)
    variance = (weights * (jnp.exp(2 * survey.shrinkage) + apart**2)).sum(0)
    uneven = jnp.clip((1.0 - survey.evenness) / FADING, 0.0, 1.0)
    wide = jnp.clip(jnp.sqrt(variance.mean()) / NARROW, 0.0, 1.0)
    strength = uneven * wide

    def limited(x: Array) -> Array:
        heard = jnp.reshape(taught, taught.shape + (1,) * (x.ndim - 1))
        return jnp.where(heard & jnp.isfinite(x), strength * jnp.clip(x, -1.0, 1.0), 0.0)

    return jax.tree.map(limited, counsel)


def _moved(society: Society, found: _Moments, counsel: Counsel) -> Society:
    """One step of EM, held back where few points count, and as advised."""
    size = society.mean.shape[-1]

    def one(
        mean: Array, root: Array, found: _Moments, counsel: Counsel
    ) -> tuple[Array, Array, Array]:
        count = found.effective * jnp.exp(counsel.trusting)
        trust = jnp.where(found.mass > 1e-12, count / (count + size + 1), 0.0)
        # A share of the points is as if drawn from the expert as it was.
        spread = trust * found.spread + (1 - trust) * jnp.eye(size)
        spread += trust * (1 - trust) * found.move[:, None] * found.move
        moved = small.matmul(root, small.cholesky(spread)) * jnp.exp(counsel.tempering)[:, None]
        step = jnp.exp(counsel.damping) * small.matvec(root, found.move)
        okay = jnp.isfinite(moved).all() & jnp.isfinite(step).all()
        return (
            jnp.log(jnp.maximum(found.mass, 1e-30)) + counsel.weighing,
            jnp.where(okay, mean + trust * step, mean),
            jnp.where(okay, moved, root),
        )

    log_weights, mean, root = jax.vmap(one)(society.mean, society.root, found, counsel)
    return Society(normalised(log_weights), mean, root, society.hidden)


def _cross_entropy(society: Society, points: Weighted) -> Float[Array, ""]:
    places, share = jax.lax.stop_gradient((points.points, points.exact))
    each = log_densities(places, society.mean, society.root) + society.log_weights
    return -(share * jax.scipy.special.logsumexp(each, axis=1)).sum()
