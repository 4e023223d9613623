"""A task's evidence all at once: portions of it, each climbed into and then refitted to.

The first portion finds a society from the prior, the others carry it on: an expert climbs, from its
own component, into the rows that are new, and importance refits then correct the society for all
rows so far. The log joint of the refits is that of the program itself, so that no approximation
made on the way is in it, and no row counts twice.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from bayes_badger.belief.gaussian import log_standard_normal
from bayes_badger.compilation import jit_lightly
from bayes_badger.inner_loop._chunks import each_task
from bayes_badger.inner_loop._climb import LogJoint, climb
from bayes_badger.inner_loop._hoisted import hoisted
from bayes_badger.inner_loop._policy import Policy
from bayes_badger.inner_loop._portions import Portion
from bayes_badger.inner_loop._refit import Check, refitted
from bayes_badger.inner_loop._search import look_around, send_scouts, with_scouts
from bayes_badger.inner_loop._society import Society, normalised, relative_weights
from bayes_badger.program import Data, OneTask

# Points whose log likelihoods are computed at once, times rows.
AT_ONCE = 2**19


class Effort(NamedTuple):
    """How hard to try: sweeps of a climb, refits, and points of each expert."""

    sweeps: int
    refits: int
    points: int


class Found(NamedTuple):
    """The experts of some tasks.

    Attributes:
        society: With an axis of tasks in front.
        check: How it stands to the posterior, `[task]`; the log evidence is of all rows so far.
        sweeps: The most that an expert took of them, `[task]`.
    """

    society: Society
    check: Check
    sweeps: Int[Array, " task"]


@jit_lightly
def take_in(
    program: OneTask,
    policy: Policy,
    society: Society,
    portion: Portion,
    keys: Key[Array, " task"],
    effort: Effort,
    first: bool,
    straight: bool,
) -> Found:
    """Takes a portion of each task in.

    Args:
        program: The program.
        policy: What is left open to it.
        society: Of each task before the portion, `[task, k, ...]`.
        portion: All rows so far, and which are new.
        keys: One for each task.
        effort: How hard to try.
        first: Whether the society is the prior, so that each expert looks around before it climbs.
        straight: Whether one Gaussian is the posterior, as in linear-Gaussian programs.
    """

    def one(xs: tuple[Society, Data, Array, Array, Array]) -> Found:
        experts, data, seen, new, key = xs
        data = jax.tree.map(lambda x: x[None], data)
        keys = jax.random.split(key, 3)
        near = climbed_into(
            program, policy, experts, data, seen, new, keys, effort, first, straight
        )
        if straight:
            # Laplace's approximation is the posterior: there is nothing to refit.
            count = jnp.asarray(float(effort.points * len(experts.log_weights)))
            exact = Check(near.log_evidence, jnp.zeros(()), count)
            return Found(near.society, exact, near.moves)
        return _refitted(program, policy, near.society, data, seen, keys[2], effort, near.moves)

    return each_task(one, (society, portion.data, portion.seen, portion.new, keys))


class Near(NamedTuple):
    """The experts of a task at the modes of its posterior.

    Attributes:
        society: The experts.
        log_evidence: By Laplace's approximation at each.
        moves: The most that an expert took.
    """

    society: Society
    log_evidence: Float[Array, ""]
    moves: Int[Array, ""]


def climbed_into(
    program: OneTask,
    policy: Policy,
    experts: Society,
    data: Data,
    seen: Array,
    new: Array,
    keys: Key[Array, " 3"],
    effort: Effort,
    first: bool,
    straight: bool,
) -> Near:
    """The experts of one task after they have climbed into rows that are new; as in `take_in`."""
    log_joint, relative = log_joint_of(program, data, seen, experts.mean[0])
    start = experts.mean
    if first and not straight:
        start = look_around(log_joint, experts, effort.points, keys[0])
    climbed = jax.vmap(
        lambda m, s, h, w, u: climb(
            program, policy, (m, s), h, w, data, new, effort.sweeps, u, first
        )
    )(experts.mean, experts.root, experts.hidden, relative_weights(experts.log_weights), start)
    joint = experts.log_weights + climbed.log_joint
    total = jax.scipy.special.logsumexp(joint)
    after = Society(normalised(joint), climbed.mean, climbed.root, climbed.hidden)
    if first and not straight and len(experts.mean) >= 4:
        scouts = send_scouts(program, policy, log_joint, after, data, new, effort.sweeps, keys[1])
        after = with_scouts(log_joint, after, scouts, total - relative)
    return Near(after, total, climbed.moves.max())


@jit_lightly
def refit_only(
    program: OneTask,
    policy: Policy,
    society: Society,
    data: Data,
    seen: Array,
    keys: Key[Array, " task"],
    effort: Effort,
) -> Found:
    """Refits a society that is near the posterior already to all rows of each task."""

    def one(xs: tuple[Society, Data, Array, Array]) -> Found:
        experts, data, seen, key = xs
        data = jax.tree.map(lambda x: x[None], data)
        none = jnp.zeros((), int)
        return _refitted(program, policy, experts, data, seen, key, effort, none)

    return each_task(one, (society, data, seen, keys))


def _refitted(
    program: OneTask,
    policy: Policy,
    experts: Society,
    data: Data,
    seen: Array,
    key: PRNGKeyArray,
    effort: Effort,
    sweeps: Array,
) -> Found:
    best = experts.mean[jnp.argmax(experts.log_weights)]
    log_joint, relative = log_joint_of(program, data, seen, best)
    society, check = refitted(log_joint, experts, policy, key, effort.refits, effort.points)
    check = check._replace(log_evidence=check.log_evidence + relative)
    return Found(society, check, sweeps)


def log_joint_of(
    program: OneTask, data: Data, seen: Array, at: Array, inline: bool = False
) -> tuple[LogJoint, Float[Array, ""]]:
    """Log p(u, rows) of points relative to the rows' log likelihood at a point, and the latter.

    In single precision the sum over a million rows is known to .1 nats only; a sum of differences
    is as precise as they are small. Inlined (`hoisted`) it is cheaper, and must not be
    differentiated.
    """
    reference = jnp.nan_to_num(
        program.rows_and_factors(at, data)[0], nan=0.0, posinf=0.0, neginf=0.0
    )
    batch = max(64, AT_ONCE // len(seen))

    def one(u: Array) -> Array:
        rows, factors = program.rows_and_factors(u, data)
        return jnp.where(seen, rows - reference, 0.0).sum() + factors

    likelihood_at = hoisted(one, at, inline)

    def of(points: Array) -> Array:
        if len(points) <= batch:
            likelihood = jax.vmap(likelihood_at)(points)
        else:
            likelihood = jax.lax.map(likelihood_at, points, batch_size=batch)
        return log_standard_normal(points) + likelihood

    return of, jnp.where(seen, reference, 0.0).sum()
