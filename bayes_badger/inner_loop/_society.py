"""A society of experts: weighted Gaussians over one task's flat vector, in square-root form."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from bayes_badger.belief import Mixture
from bayes_badger.belief.gaussian import LOG_2_PI, log_standard_normal
from bayes_badger.inner_loop import _small as small
from bayes_badger.program import Latent

# An expert of less than this share of an equal one's weight does not count as alive.
ALIVE = 1e-3
# How much wider than what it covers a Gaussian proposes, in one dimension.
WIDER = 1.8


class Society(NamedTuple):
    """K experts.

    Attributes:
        log_weights: Normalised, `[k]`.
        mean: `[k, u]`.
        root: Lower triangular, the covariance is root rootᵀ, `[k, u, u]`.
        hidden: What a policy remembers, `[k, u, h]`.
    """

    log_weights: Float[Array, " k"]
    mean: Float[Array, "k u"]
    root: Float[Array, "k u u"]
    hidden: Float[Array, "k u h"]


def normalised(log_weights: Float[Array, " k"]) -> Float[Array, " k"]:
    """Log weights whose sum is one; equal ones where none is finite."""
    total = jax.scipy.special.logsumexp(log_weights)
    return jnp.where(jnp.isfinite(total), log_weights - total, -jnp.log(len(log_weights)))


def reweighted(
    log_weights: Float[Array, " k"], scores: Float[Array, " k"]
) -> tuple[Float[Array, " k"], Float[Array, ""]]:
    """Weights after an outcome that each expert gave a log score, and the society's log score.

    Where no expert holds the outcome possible the weights stay.
    """
    joint = log_weights + scores
    log_score = jax.scipy.special.logsumexp(joint)
    return jnp.where(jnp.isfinite(log_score), joint - log_score, log_weights), log_score


def information_gain(
    before: Float[Array, " k"], after: Float[Array, " k"], each: Float[Array, " k"]
) -> Float[Array, ""]:
    """KL of a society from what it was: of its log weights, and of each expert, in nats."""
    weights = jnp.exp(after)
    return (weights * (jnp.where(weights > 0, after - before, 0.0) + each)).sum()


def relative_weights(log_weights: Float[Array, " k"]) -> Float[Array, " k"]:
    """Log of each weight in units of an equal one."""
    return log_weights + jnp.log(len(log_weights))


def alive(log_weights: Float[Array, " k"]) -> Array:
    """Which experts have a weight that counts."""
    return log_weights > np.log(ALIVE / log_weights.shape[-1])


def log_densities(
    points: Float[Array, "m u"], mean: Float[Array, "k u"], root: Float[Array, "k u u"]
) -> Float[Array, "m k"]:
    """Log density of each point under each Gaussian, in nats."""
    size = mean.shape[-1]
    inverse = jax.vmap(small.inverse_lower)(root)
    constant = -jax.vmap(small.log_det)(root) - 0.5 * size * LOG_2_PI
    if size > small.UNROLLED:
        centred = jnp.einsum("kij,mj->mki", inverse, points)
        noise = centred - jnp.einsum("kij,kj->ki", inverse, mean)
        return constant - 0.5 * (noise**2).sum(-1)
    return constant - 0.5 * _squares(points, mean, inverse)


@jax.custom_vjp
def _squares(
    points: Float[Array, "m u"], mean: Float[Array, "k u"], inverse: Float[Array, "k u u"]
) -> Float[Array, "m k"]:
    """Of the distance of each point to each mean, in few dimensions, each written out."""
    return small.total([noise**2 for noise in _in_its_units(points, mean, inverse)])


def _in_its_units(points: Array, mean: Array, inverse: Array) -> list[Float[Array, "m k"]]:
    size = mean.shape[-1]
    away = [points[:, j, None] - mean[None, :, j] for j in range(size)]
    return [small.total([inverse[:, i, j] * away[j] for j in range(i + 1)]) for i in range(size)]


def _squares_and_what_they_need(
    points: Array, mean: Array, inverse: Array
) -> tuple[Array, tuple[Array, Array, Array]]:
    return _squares(points, mean, inverse), (points, mean, inverse)


def _slopes_of_squares(
    given: tuple[Array, Array, Array], slope: Float[Array, "m k"]
) -> tuple[Array, Array, Array]:
    """By products of matrices: left to itself XLA computes all of it anew for each entry."""
    points, mean, inverse = given
    noise = _in_its_units(points, mean, inverse)
    heavy = jax.lax.optimization_barrier([2.0 * slope * each for each in noise])
    totals = [each.sum(0)[:, None] for each in heavy]
    of_points = [each @ inverse[:, i] for i, each in enumerate(heavy)]
    of_mean = [-each * inverse[:, i] for i, each in enumerate(totals)]
    of_inverse = [each.T @ points - all_ * mean for each, all_ in zip(heavy, totals, strict=True)]
    return small.total(of_points), small.total(of_mean), jnp.stack(of_inverse, 1)


_squares.defvjp(_squares_and_what_they_need, _slopes_of_squares)


def all_alike(society: Society, experts: int) -> Society:
    """Many experts in place of one, `[task, 1, ...]`: all the same, with equal weights."""
    many = jax.tree.map(lambda x: jnp.repeat(x, experts, 1), society)
    return many._replace(log_weights=many.log_weights - np.log(experts))


def as_mixture(society: Society, latents: tuple[Latent, ...]) -> Mixture:
    """The same, as a belief."""
    return Mixture(society.log_weights, society.mean, society.root, latents)


def with_tails(society: Society, share: float) -> Society:
    """Experts, a wider copy of each, and one that is wider than all of them together.

    Experts that were fitted to weighed points end where the points did. What lies beyond is for
    these: a prior that proposes few points there leaves them rare and heavy, so that the evidence
    is mostly too low and its stated error too small. A copy tells what is beyond one mode of
    several; the one around all tells what is beyond a mode that several narrow experts share.

    Args:
        society: The experts, by normalised weights.
        share: Of the weight, that of the copies, and as much that of the one around all.
    """
    count, dims = society.mean.shape
    mean, root = _around(society)
    logs = np.log([1.0 - 2.0 * share, share])
    return Society(
        jnp.concatenate([*(society.log_weights + x for x in logs), jnp.full(1, logs[1])]),
        jnp.concatenate([society.mean, society.mean, mean[None]]),
        jnp.concatenate([society.root, wider(dims) * society.root, wider(dims) * root[None]]),
        society.hidden[np.append(np.tile(np.arange(count), 2), 0)],
    )


def _around(society: Society) -> tuple[Float[Array, " u"], Float[Array, "u u"]]:
    """The mean of all experts together and a root of their covariance."""
    shares = jnp.exp(society.log_weights)
    mean = shares @ society.mean
    away = society.mean - mean
    within = jnp.einsum("k,kij,klj->il", shares, society.root, society.root)
    covariance = within + (away * shares[:, None]).T @ away
    root = small.cholesky(covariance)
    # A ridge may be too narrow for the precision of its covariance.
    level = jnp.diag(jnp.sqrt(jnp.diagonal(covariance)))
    return mean, jnp.where(jnp.isfinite(root).all(), root, level)


def wider(dims: int) -> float:
    """How much wider than what it covers a Gaussian proposes, so that no tail is left unseen.

    The excess over one is divided by the root of the dimensions, for the volume of a wider Gaussian
    grows with each.

    Example:
        >>> print(wider(1), wider(4))
        1.8 1.4
    """
    return 1.0 + float((WIDER - 1.0) / np.sqrt(max(dims, 1)))


def defended(
    society: Society, key: PRNGKeyArray, n: int, share: float
) -> tuple[Float[Array, "n u"], Float[Array, " n"]]:
    """Draws from experts by their weights and a share from the prior; the log density of both."""
    keys, size = jax.random.split(key, 3), society.mean.shape[1]
    from_prior = max(int(share * n), 1)
    ranks = (jnp.arange(n - from_prior) + jax.random.uniform(keys[0])) / (n - from_prior)
    cumulative = jnp.cumsum(jnp.exp(society.log_weights))
    which = jnp.minimum(jnp.searchsorted(cumulative, ranks), len(cumulative) - 1)
    noise = jax.random.normal(keys[1], (n - from_prior, size))
    own = society.mean[which] + jnp.einsum("nij,nj->ni", society.root[which], noise)
    places = jnp.concatenate([own, jax.random.normal(keys[2], (from_prior, size))])
    each = log_densities(places, society.mean, society.root) + society.log_weights
    of_experts = jax.scipy.special.logsumexp(each, axis=1) + np.log(1 - from_prior / n)
    return places, jnp.logaddexp(of_experts, log_standard_normal(places) + np.log(from_prior / n))
