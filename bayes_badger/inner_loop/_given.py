"""Tasks given what they share: the evidence of each, and a draw of its latents, at many lifetimes.

    log p(D_i | a) = log ∫ p(z | a) p(D_i | z, a) dz

Given a, tasks do not touch each other. Where one Gaussian is the posterior of z a climb gives the
integral in closed form; else a few experts climb, are refitted where asked for, and importance
weights of their points give it without bias. The points are the same at every lifetime but for the
experts' own places, so that what noise they have hardly differs from one lifetime to the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop import _small as small
from bayes_badger.inner_loop._chunks import each_task, over_chunks
from bayes_badger.inner_loop._climb import expand
from bayes_badger.inner_loop._offline import Effort, climbed_into, log_joint_of
from bayes_badger.inner_loop._plan import Plan, make_plan, prior_society
from bayes_badger.inner_loop._policy import Untaught
from bayes_badger.inner_loop._portions import at_one_length
from bayes_badger.inner_loop._refit import offered, refitted, weighed
from bayes_badger.inner_loop._society import Society
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.program import Data, OneTask, Program

# Lifetimes of a task that are computed at once, times rows and experts.
AT_ONCE = 2**17
# Lifetimes at which it is looked at whether tasks are straight.
LOOKED_AT = 3


class Given(eqx.Module):
    """A program in which all that tasks share is held fixed: a task's own flat vector is left."""

    program: Program
    lifetime: Float[Array, " lifetime"]
    discrete: Mapping[str, Array]

    @property
    def size(self) -> int:
        """Length of a task's own flat vector."""
        return self.program.task_size

    @property
    def information(self) -> str:
        """Where its information comes from."""
        return self.program.information

    @property
    def outcome(self) -> Any:
        """What is observed."""
        return self.program.outcome

    @property
    def example(self) -> Data:
        """As the program's."""
        return self.program.example

    def rows_and_factors(self, z: Float[Array, " z"], data: Data) -> tuple[Array, Array]:
        """Log likelihood of each row of one task, and of its own factors."""
        u = jnp.concatenate([self.lifetime, z])
        return self.program.rows_and_factors(u, data, self.discrete, own=True)

    def outcome_parameters(self, z: Float[Array, " z"], data: Data) -> tuple[Array, Array]:
        """The parameters of each outcome's family, and the information of an outcome on them."""
        u = jnp.concatenate([self.lifetime, z])
        return self.program.outcome_parameters(u, data, self.discrete)


class OfTasks(NamedTuple):
    """What tasks say of some lifetimes, `[lifetime, task, ...]`.

    Attributes:
        log_evidence: log p(D_i | a), in nats.
        latents: Draws of each task's flat vector given a, `[..., draw, z]`.
        states: Which assignment of the task's discrete latents each has, `[..., draw]`.
        effective: Effective number of the points that gave it; infinite for closed forms.
    """

    log_evidence: Any
    latents: Any
    states: Any
    effective: Any


def plan_given(program: Program, data: Data, discrete: Mapping[str, Array]) -> Plan:
    """How tasks are inferred, from rows as if of one task, at a few lifetimes: the most bent."""
    plans = []
    for i in range(LOOKED_AT):
        away = jax.random.normal(jax.random.key(i), (program.lifetime_size,))
        given = Given(program, away if i else jnp.zeros(program.lifetime_size), discrete)
        plans.append(make_plan(given, data))
    return max(plans, key=lambda plan: plan.directions.shape[1])


class Asked(NamedTuple):
    """What is asked of tasks, and how.

    Attributes:
        plan: How tasks are inferred.
        effort: How hard to try.
        experts: Of each task.
        states: Assignments of the task's discrete latents, by name `[s, *shape]`; empty for none.
        draws: Of each task, at each lifetime.
        search: Whether experts look around, and scouts go out, before they climb.
    """

    plan: Plan
    effort: Effort
    experts: int
    states: Mapping[str, np.ndarray]
    draws: int = 1
    search: bool = False


def tasks_at(
    program: Program,
    evidence: Evidence,
    lifetimes: Float[np.ndarray, "*task lifetime a"],
    discrete: Mapping[str, Array],
    asked: Asked,
    keys: tuple[Key[Array, " task"], Key[Array, " lifetime"]],
    report: Report = silent,
) -> OfTasks:
    """All tasks at some lifetimes.

    Args:
        program: The lifted program.
        evidence: Of the tasks.
        lifetimes: Coordinates that all tasks share, `[lifetime, a]`; or of each task its own,
            `[task, lifetime, a]`.
        discrete: Values of discrete latents that all tasks share, by name.
        asked: What of each task, and how.
        keys: One for each task, for its points; one for each lifetime, for the draws.
        report: Is told how far it has come.
    """
    straight = asked.plan.straight
    prior = prior_society(asked.plan, 1 if straight else asked.experts, program.task_size)
    points = jnp.asarray(lifetimes, jnp.float32)
    states = {name: jnp.asarray(x) for name, x in asked.states.items()}
    how = asked.effort, straight, asked.draws, asked.search

    def work(tasks: np.ndarray, data: Data, mask: np.ndarray) -> OfTasks:
        data, seen = at_one_length(data, mask)
        index = jnp.asarray(tasks)
        alone = points[index] if points.ndim == 3 else None
        own = data, seen, keys[0][index], index, alone
        shared = None if points.ndim == 3 else points
        return _of_chunk(program, prior, own, keys[1], shared, discrete, states, *how)

    found = over_chunks(evidence, work, report, "tasks")
    return OfTasks(*(np.swapaxes(x, 0, 1) for x in found))


def tasks_by_effort(
    program: Program,
    evidence: Evidence,
    lifetimes: Float[np.ndarray, "lifetime a"],
    discrete: Mapping[str, Array],
    asked: tuple[Asked, Asked],
    hard: np.ndarray,
    keys: tuple[Key[Array, " task"], Key[Array, ""]],
    report: Report = silent,
) -> OfTasks:
    """All tasks at some lifetimes, as `tasks_at`, of which those that are hard are asked otherwise.

    Args:
        program: The lifted program.
        evidence: Of the tasks.
        lifetimes: Coordinates that all tasks share.
        discrete: Values of discrete latents that all tasks share, by name.
        asked: What of tasks, and what of hard ones.
        hard: Which are hard, `[task]`.
        keys: One for each task, for its points; one for the draws.
        report: Is told how far it has come.
    """
    found, order = [], []
    for i, how in enumerate(asked):
        some = np.flatnonzero(hard == bool(i))
        if not len(some):
            continue
        # Draws of tasks of both kinds must not be alike.
        draws = jax.random.split(jax.random.fold_in(keys[1], i) if i else keys[1], len(lifetimes))
        of_tasks = evidence if len(some) == len(hard) else evidence.select(some)
        both = keys[0][some], draws
        found.append(tasks_at(program, of_tasks, lifetimes, discrete, how, both, report))
        order.append(some)
    back = np.argsort(np.concatenate(order))
    return OfTasks(*(np.concatenate(x, 1)[:, back] for x in zip(*found, strict=True)))


@eqx.filter_jit
def _of_chunk(
    program: Program,
    prior: Society,
    tasks: tuple[Data, Array, Key[Array, " task"], Array, Array | None],
    draw_keys: Key[Array, " lifetime"],
    lifetimes: Array | None,
    discrete: Mapping[str, Array],
    states: Mapping[str, Array],
    effort: Effort,
    straight: bool,
    draws: int,
    search: bool,
) -> OfTasks:
    batch = max(1, AT_ONCE // (tasks[0].steps * len(prior.log_weights)))

    def one(xs: tuple[Data, Array, Array, Array, Array | None]) -> OfTasks:
        data, seen, key, index, alone = xs
        at_which = lifetimes if alone is None else alone
        data = jax.tree.map(lambda x: x[None], data)

        def at(xs: tuple[Array, Array]) -> OfTasks:
            lifetime, draw_key = xs
            draw = jax.random.split(jax.random.fold_in(draw_key, index), 2)

            def under(state: Mapping[str, Array]) -> OfTasks:
                given = Given(program, lifetime, {**discrete, **state})
                if not given.size:
                    return without_latents(given, data, seen, draws)
                if straight:
                    return straight_one(given, data, seen, draw[0], draws)
                return weighed_one(given, prior, data, seen, key, draw[0], effort, draws, search)

            if not states:
                return under({})
            each = jax.lax.map(under, dict(states))
            total = jax.scipy.special.logsumexp(each.log_evidence)
            share = jnp.exp(each.log_evidence - total)
            which = jax.random.categorical(draw[1], each.log_evidence, shape=(draws,))
            latents = each.latents[which, jnp.arange(draws)]
            effective = jnp.where(share > 0, share * each.effective, 0.0).sum()
            return OfTasks(total, latents, which, effective)

        return jax.lax.map(at, (at_which, draw_keys), batch_size=batch)

    return each_task(one, tasks)


def without_latents(given: Given, data: Data, seen: Array, draws: int) -> OfTasks:
    rows, factors = given.rows_and_factors(jnp.zeros(0), data)
    total = jnp.where(seen, rows, 0.0).sum() + factors
    return OfTasks(total, jnp.zeros((draws, 0)), jnp.zeros(draws, int), jnp.array(jnp.inf))


def straight_one(given: OneTask, data: Data, seen: Array, key: Array, draws: int) -> OfTasks:
    """Of one task, in closed form: at its mode, for in single precision far from it is rough."""
    eye = jnp.eye(given.size)

    def move(_: Any, carry: tuple[Array, ...]) -> tuple[Array, ...]:
        z = carry[0]
        at = expand(given, z, eye, data, seen)
        half = small.root_of_inverse(eye + at.information)
        slope = small.matvec(half.T, at.score - z)
        height = at.value - 0.5 * small.square(z) + 0.5 * small.square(slope)
        return z + small.matvec(half, slope), half, height + small.log_det(half)

    start = jnp.zeros(given.size), eye, jnp.zeros(())
    mean, half, log_evidence = jax.lax.fori_loop(0, 2, move, start)
    z = mean + jax.random.normal(key, (draws, given.size)) @ half.T
    return OfTasks(log_evidence, z, jnp.zeros(draws, int), jnp.array(jnp.inf))


def weighed_one(
    given: Given,
    prior: Society,
    data: Data,
    seen: Array,
    key: Array,
    draw: Array,
    effort: Effort,
    draws: int,
    search: bool = False,
) -> OfTasks:
    """Of one task, by importance weights of its experts' points."""
    keys = jax.random.split(key, 5)
    policy = Untaught()
    near = climbed_into(
        given, policy, prior, data, seen, seen, keys[:3], effort, search, False
    ).society
    best = near.mean[jnp.argmax(near.log_weights)]
    log_joint, relative = log_joint_of(given, data, seen, best)
    society = near
    if effort.refits:
        society, _ = refitted(log_joint, near, policy, keys[3], effort.refits, effort.points)
    points = max(effort.points, 2 * given.size)
    offer = offered(society, jnp.ones(len(society.log_weights)), keys[4], points)
    found = weighed(offer, log_joint(offer.points))
    which = jax.random.categorical(draw, jnp.log(found.exact), shape=(draws,))
    total = found.check.log_evidence + relative
    return OfTasks(total, offer.points[which], jnp.zeros(draws, int), found.check.ess)
