"""Importance weights of fresh draws: from a belief, from a second opinion, and from the prior.

A belief that lost a mode has good weights on its own draws. So a second society, from other starts,
and the prior propose as well; each draw is weighed against the mixture of all that propose. The
experts of both are then one belief: what one lost, or gave too little density, the other has. How
much weight each expert has is what the draws say: one step of EM.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PRNGKeyArray

from bayes_badger.belief.gaussian import log_standard_normal
from bayes_badger.compilation import jit_lightly
from bayes_badger.inner_loop._chunks import each_task
from bayes_badger.inner_loop._offline import log_joint_of
from bayes_badger.inner_loop._society import Society, log_densities
from bayes_badger.program import Data, Program

# Shares of the draws: of the belief and of the second opinion together, and of the prior.
PRIOR = 0.05
# An expert of so many draws keeps half of its old weight: none is lost by chance.
ENOUGH = 2.0
# A density that is too low by this many nats counts as missed.
TOO_LOW = 1.0


class Weighed(NamedTuple):
    """Draws of a task and their weights.

    Attributes:
        joined: The experts of both societies, `[2k, ...]`, their weights by the draws.
        points: `[n, u]`.
        log_weights: `[n]`, in nats; their mean exponential is the evidence.
        missed: The share of the posterior to which the experts together give too little density.
        prior_share: The share of all weight that draws from the prior have, beyond their due.
    """

    joined: Society
    points: Array
    log_weights: Array
    missed: Array
    prior_share: Array


@jit_lightly
def weighed(
    program: Program,
    belief: Society,
    second: Society,
    data: Data,
    seen: Array,
    keys: Key[Array, " task"],
    n: int,
) -> Weighed:
    """Draws and weights of some tasks, `[task, ...]`; n draws of each.

    Args:
        program: The program.
        belief: What is judged, `[task, k, ...]`.
        second: Proposes as well, `[task, k', ...]`.
        data: `[task, step, ...]`.
        seen: Which rows are real, `[task, step]`.
        keys: One for each task.
        n: Draws of each task.
    """
    from_prior = max(int(PRIOR * n), 1)
    first = (n - from_prior + 1) // 2
    other = n - from_prior - first
    shares = np.log(np.array([first, other, from_prior]) / n)

    def one(xs: tuple[Society, Society, Data, Array, Array]) -> Weighed:
        belief, second, data, seen, key = xs
        data = jax.tree.map(lambda x: x[None], data)
        keys = jax.random.split(key, 3)
        prior = jax.random.normal(keys[2], (from_prior, belief.mean.shape[1]))
        points = jnp.concatenate(
            [_sample(belief, keys[0], first), _sample(second, keys[1], other), prior]
        )
        best = belief.mean[jnp.argmax(belief.log_weights)]
        log_joint, relative = log_joint_of(program, data, seen, best)
        joined = jax.tree.map(lambda *xs: jnp.concatenate(xs), belief, second)
        by_expert = log_densities(points, joined.mean, joined.root)
        parts = by_expert + joined.log_weights
        k = len(belief.log_weights)
        both = [_log_sum(parts[:, :k], axis=1), _log_sum(parts[:, k:], axis=1)]
        each = jnp.stack([*both, log_standard_normal(points)]) + shares[:, None]
        proposed = _log_sum(each, axis=0)
        joint = log_joint(points)
        log_weights = jnp.where(jnp.isfinite(joint), joint - proposed, -jnp.inf)
        total = _log_sum(log_weights)
        share = jnp.nan_to_num(jnp.exp(log_weights - total))
        # Both propose alike, so that half of each is the belief from which the step sets out.
        mass = share @ jax.nn.softmax(parts, axis=1)
        before = 0.5 * jnp.exp(joined.log_weights)
        heard = jnp.where(mass.sum() > 0, n * before / (n * before + ENOUGH), 0.0)
        mass = heard * mass + (1 - heard) * before
        joined = joined._replace(log_weights=jnp.log(mass / mass.sum()))
        itself = _log_sum(by_expert + joined.log_weights, axis=1)
        low = joint - (total - jnp.log(n)) - itself > TOO_LOW
        due = (share * jnp.exp(each[2] - proposed)).sum()
        beyond = jnp.maximum(share[-from_prior:].sum() - due, 0.0)
        missed = (share * low).sum()
        return Weighed(joined, points, log_weights + relative, missed, beyond)

    return each_task(one, (belief, second, data, seen, keys))


def _log_sum(x: Array, axis: int | None = None) -> Array:
    found: Array = jax.scipy.special.logsumexp(x, axis=axis)
    return found


def _sample(society: Society, key: PRNGKeyArray, n: int) -> Array:
    keys = jax.random.split(key)
    which = jax.random.categorical(keys[0], society.log_weights, shape=(n,))
    noise = jax.random.normal(keys[1], (n, society.mean.shape[1]))
    return society.mean[which] + jnp.einsum("nij,nj->ni", society.root[which], noise)
