"""What experts do to each other: the belief of each with and without the messages of each other.

The message of an expert is taken away by asking the policy for counsel to all others alone: nothing
in a policy depends on how many experts there are. What it counsels the expert itself stays.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PRNGKeyArray

from bayes_badger.compilation import jit_lightly
from bayes_badger.inner_loop import _small as small
from bayes_badger.inner_loop._chunks import each_task
from bayes_badger.inner_loop._climb import LogJoint
from bayes_badger.inner_loop._offline import Effort, log_joint_of
from bayes_badger.inner_loop._policy import Counsel, Policy, Survey
from bayes_badger.inner_loop._refit import (
    Round,
    _bounded,
    _moments,
    _moved,
    _rounds,
    _survey,
    who_is_taught,
)
from bayes_badger.inner_loop._society import Society
from bayes_badger.program import Data, OneTask


class Influence(NamedTuple):
    """What each expert does to each other in a refit, in nats; experts by falling weight.

    Attributes:
        beliefs: KL of a receiver's Gaussian from what it is without a sender's messages, `[sender,
            receiver]`.
        weights: KL of all weights from what they are without them, `[sender]`.
        shares: The weight of each receiver, `[receiver]`.
    """

    beliefs: Float[Array, "*n k k"]
    weights: Float[Array, "*n k"]
    shares: Float[Array, "*n k"]


def influence_in(now: Round, policy: Policy) -> Influence:
    """What each expert does to each other in one refit; 0 where nothing moves any more."""
    society, weighted = now.society, now.weighted
    k = len(society.log_weights)
    found = _moments(society, now.scale, weighted)
    evenness = now.check.ess / len(weighted.exact)
    survey, taught = _survey(society, found, evenness, now.left), who_is_taught(k)
    whole = policy.counsel(survey)[0]

    def after(counsel: Counsel) -> Society:
        return _moved(society, found, _bounded(counsel, taught, survey))

    told = after(whole)

    def without(others: Array) -> tuple[Array, Array]:
        counsel = policy.counsel(_of_some(survey, others))[0]
        silent = after(jax.tree.map(lambda x, y: x.at[others].set(y), whole, counsel))
        each = jax.vmap(_divergence)(told.mean, told.root, silent.mean, silent.root)
        share = jnp.exp(told.log_weights)
        moved = jnp.where(share > 0, told.log_weights - silent.log_weights, 0.0)
        return each, (share * moved).sum()

    everyone = np.array([np.delete(np.arange(k), i) for i in range(k)])
    beliefs, weights = jax.lax.map(without, jnp.asarray(everyone))
    order = jnp.argsort(-society.log_weights)
    live = jnp.where(now.done, 0.0, 1.0)
    return Influence(
        live * beliefs[order][:, order], live * weights[order], jnp.exp(told.log_weights)[order]
    )


def influences(
    log_joint: LogJoint,
    society: Society,
    policy: Policy,
    key: PRNGKeyArray,
    rounds: int,
    points: int,
) -> Influence:
    """What experts do to each other in each of some refits, `[round, ...]`; as in `refitted`."""

    def keep(_: None, now: Round) -> tuple[None, Influence]:
        return None, influence_in(now, policy)

    found: Influence = _rounds(log_joint, society, policy, key, rounds, points, keep, None)[1]
    return jax.tree.map(lambda x: x[:rounds], found)


@jit_lightly
def influences_of_tasks(
    program: OneTask,
    policy: Policy,
    society: Society,
    data: Data,
    seen: Array,
    keys: Key[Array, " task"],
    effort: Effort,
) -> Influence:
    """The same for each task, `[task, round, ...]`; as in `refit_only`."""

    def one(xs: tuple[Society, Data, Array, Array]) -> Influence:
        experts, data, seen, key = xs
        data = jax.tree.map(lambda x: x[None], data)
        best = experts.mean[jnp.argmax(experts.log_weights)]
        log_joint, _ = log_joint_of(program, data, seen, best)
        return influences(log_joint, experts, policy, key, effort.refits, effort.points)

    return each_task(one, (society, data, seen, keys))


def _of_some(survey: Survey, which: Array) -> Survey:
    return Survey(*(x[which] if jnp.ndim(x) else x for x in survey))


def _divergence(mean: Array, root: Array, other: Array, other_root: Array) -> Array:
    """KL of N(mean, root rootᵀ) from the other; never below 0, and 0 where they are the same."""
    to_noise = small.inverse_lower(other_root)
    ratio = small.matmul(to_noise, root)
    move = small.matvec(to_noise, mean - other)
    found = 0.5 * ((ratio**2).sum() - len(mean) + (move**2).sum()) - small.log_det(ratio)
    same = jnp.all(mean == other) & jnp.all(root == other_root)
    return jnp.where(same, 0.0, jnp.maximum(found, 0.0))
