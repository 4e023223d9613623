"""Points that cover a task's whole posterior, tails included, given Gaussians at its modes.

    log p(D | a) = log ∫ N(z; 0, I) p(D | z, a) dz

Experts that climbed to the modes know where the posterior is high and how it curves there, and not
how far its tails reach. So each Gaussian proposes as it is and wider, the prior proposes a share of
all points, and a point weighs p(z, D | a) / q(z) with q the mixture of everything that proposes
(the balance heuristic, Veach and Guibas 1995). In one and two dimensions the points of each
Gaussian are the nodes of a trapezoidal rule in its own coordinates, every Gaussian's rule shifted
by a different part of a cell: for smooth densities its error falls faster than any power of the
spacing. In more dimensions they are quasi-random.

The effective number of points says whether the proposals fit the posterior that they have seen; how
far the answers of every other expert disagree says how well the integral is known.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from bayes_badger.belief.gaussian import log_standard_normal
from bayes_badger.inner_loop import _small as small
from bayes_badger.inner_loop._climb import LogJoint
from bayes_badger.inner_loop._points import cloud
from bayes_badger.inner_loop._society import Society, log_densities, wider

# The prior's share of all proposals; and of the Gaussians' share, what is equal for all of them.
PRIOR, EQUAL = 0.03, 0.3
# By dimensions: nodes of a rule along each axis and their distance. The rule of one Gaussian alone
# is finer than those of several Gaussians, whose errors average out.
RULES_OF_ONE = {1: (20, 0.5), 2: (8, 0.9)}
RULES = {1: (12, 0.8), 2: (6, 1.1)}
RULES_OF_PRIOR = {1: (48, 0.25), 2: (8, 1.2)}
# Points of the prior in more dimensions.
OF_PRIOR = 64
# Steps of a random walk after a draw of the points, and its width in units of the posterior's over
# the root of the dimensions.
STEPS, STRIDE = 4, 1.2
# Multiples of these fill a cell evenly: powers of the golden and of the plastic number.
_EVENLY = {1: (0.6180339887498949,), 2: (0.7548776662466927, 0.5698402909980532)}


class Proposals(NamedTuple):
    """Points, before the posterior's density there is known.

    Attributes:
        points: `[m, z]`.
        log_base: Log of the share of all proposals that each point stands for, `[m]`.
        log_proposed: Log density of everything that proposes, `[m]`.
        halves: The log of base over proposed if only every other expert proposed, `[2, m]`; minus
            infinity at points of the others.
    """

    points: Float[Array, "m z"]
    log_base: Float[Array, " m"]
    log_proposed: Float[Array, " m"]
    halves: Float[Array, "2 m"]


class Integral(NamedTuple):
    """A task's evidence by weighed points.

    Attributes:
        log_evidence: In nats.
        log_weights: Of the points, normalised, `[m]`.
        effective: Effective number of points: their number times the share of it that as many
            independent draws of the proposals would have.
        error: Estimated error of the log evidence, in nats.
    """

    log_evidence: Float[Array, ""]
    log_weights: Float[Array, " m"]
    effective: Float[Array, ""]
    error: Float[Array, ""]


@functools.cache
def trapezoid(
    dims: int, per_axis: int, spacing: float, which: int
) -> tuple[np.ndarray, np.ndarray]:
    """A trapezoidal rule for integrals over the standard normal.

    Args:
        dims: Dimensions, one or two.
        per_axis: Nodes along each axis.
        spacing: Their distance.
        which: Rules of other numbers are shifted by other parts of a cell.

    Returns:
        Nodes `[n, dims]`, and the logs of their weights, `[n]`.

    Example:
        >>> points, logs = trapezoid(1, 12, 0.8, 3)
        >>> print(np.round(np.exp(logs) @ points[:, 0] ** 2, 5))
        0.99995
    """
    shift = np.array([(which * part) % 1.0 - 0.5 for part in _EVENLY[dims]])
    axis = np.arange(per_axis) - 0.5 * (per_axis - 1)
    index = np.stack(np.meshgrid(*[axis] * dims, indexing="ij"), -1).reshape(-1, dims)
    points = spacing * (index + shift)
    return points, log_standard_normal(points) + dims * np.log(spacing)


@functools.cache
def _rules(many: int, dims: int, points: int) -> tuple[np.ndarray, np.ndarray]:
    """A rule for each of many Gaussians: `[many, n, dims]` and `[many, n]`."""
    if dims in RULES:
        rule = (RULES_OF_ONE if many == 2 else RULES)[dims]
        each = [trapezoid(dims, *rule, i) for i in range(many)]
        return np.stack([x for x, _ in each]), np.stack([x for _, x in each])
    # Gaussians that are alike have one large set of points together.
    half = many // 2
    sets = [cloud(half * points, dims, seed).reshape(-1, half, dims) for seed in (2, 3)]
    found = np.concatenate([np.swapaxes(x, 0, 1) for x in sets])
    return found, np.full((many, points), -np.log(points))


@functools.cache
def _rule_of_prior(dims: int) -> tuple[np.ndarray, np.ndarray]:
    if dims in RULES_OF_PRIOR:
        return trapezoid(dims, *RULES_OF_PRIOR[dims], 0)
    return cloud(OF_PRIOR, dims, 1), np.full(OF_PRIOR, -np.log(OF_PRIOR))


def proposals(society: Society, points: int) -> Proposals:
    """Points that cover what the experts and the prior do.

    Args:
        society: Gaussians at the modes, with weights.
        points: Of each Gaussian and width where there are more than two dimensions; even.
    """
    experts, dims = society.mean.shape
    noise, logs = (jnp.asarray(x, jnp.float32) for x in _rules(2 * experts, dims, points))
    mean = jnp.concatenate([society.mean, society.mean])
    root = jnp.concatenate([society.root, wider(dims) * society.root])
    share = (1 - EQUAL) * jnp.exp(society.log_weights) + EQUAL / experts
    log_share = jnp.log((1 - PRIOR) * 0.5 * jnp.concatenate([share, share]))
    own = mean[:, None] + jax.vmap(lambda r, e: small.matmul(r, e.T).T)(root, noise)
    of_prior, of_prior_logs = (jnp.asarray(x, jnp.float32) for x in _rule_of_prior(dims))
    everywhere = jnp.concatenate([own.reshape(-1, dims), of_prior])
    each = jax.lax.optimization_barrier(log_densities(everywhere, mean, root) + log_share)
    prior = log_standard_normal(everywhere) + np.log(PRIOR)
    base = jnp.concatenate([(log_share[:, None] + logs).ravel(), of_prior_logs + np.log(PRIOR)])

    def of_some(some: np.ndarray) -> tuple[Array, Array]:
        """Log of base over proposed if only some experts proposed, with what all have as share."""
        whole = np.log(1 - PRIOR) - jax.scipy.special.logsumexp(log_share[some])
        proposed = jax.scipy.special.logsumexp(each[:, some], axis=1) + whole
        mine = np.isin(np.arange(2 * experts), some).repeat(noise.shape[1])
        of_experts = jnp.where(mine, base[: len(mine)] + whole, -jnp.inf)
        total = jnp.logaddexp(proposed, prior)
        return jnp.concatenate([of_experts, base[len(mine) :]]) - total, total

    everyone = np.arange(2 * experts)
    halves = [of_some(everyone[i::2])[0] for i in (0, 1)]
    return Proposals(everywhere, base, of_some(everyone)[1], jnp.stack(halves))


def integral(found: Proposals, log_joint: Float[Array, " m"]) -> Integral:
    """The evidence, from the log joint density at each point."""
    logs = found.log_base + log_joint - found.log_proposed
    logs = jnp.where(jnp.isfinite(log_joint), logs, -jnp.inf)
    total = jax.scipy.special.logsumexp(logs)
    log_weights = jnp.where(jnp.isfinite(total), logs - total, -jnp.inf)
    halves = jnp.where(jnp.isfinite(log_joint), found.halves + log_joint, -jnp.inf)
    first, second = jax.scipy.special.logsumexp(halves, axis=1)
    # Some nodes of a rule count for little by design: what matters is how evenly proposals weigh.
    spread = jax.scipy.special.logsumexp(2 * log_weights - found.log_base)
    effective = jnp.nan_to_num(len(logs) * jnp.exp(-spread))
    return Integral(total, log_weights, effective, jnp.abs(first - second))


def drawn(
    log_joint: LogJoint, found: Proposals, whole: Integral, key: PRNGKeyArray, draws: int
) -> Float[Array, "draw z"]:
    """Draws of the posterior: points by their weights, each moved by some steps of a random walk.

    The walk (Metropolis) leaves the posterior as it is, and takes draws off the nodes of the rule.
    """
    keys = jax.random.split(key)
    which = jax.random.categorical(keys[0], whole.log_weights, shape=(draws,))
    dims = found.points.shape[1]
    weights = jnp.exp(whole.log_weights)
    mean = weights @ found.points
    away = found.points - mean
    covariance = (away * weights[:, None]).T @ away
    root = small.cholesky(covariance + 1e-12 * jnp.eye(dims)) * (STRIDE / np.sqrt(dims))

    def step(state: tuple[Array, Array], keys: Array) -> tuple[tuple[Array, Array], None]:
        at, height = state
        new = at + jax.random.normal(keys[0], at.shape) @ root.T
        new_height = log_joint(new)
        rises = jnp.log(jax.random.uniform(keys[1], height.shape)) < new_height - height
        kept = jnp.where(rises[:, None], new, at), jnp.where(rises, new_height, height)
        return kept, None

    at, walk = found.points[which], jax.random.split(keys[1], (STEPS, 2))
    # The log joint of a point, up to a constant, is told by its weight.
    heights = whole.log_weights + found.log_proposed - found.log_base + whole.log_evidence
    start = at, heights[which]
    return jax.lax.scan(step, start, walk)[0][0]
