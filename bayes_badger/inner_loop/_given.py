"""Tasks given what they share: the evidence of each, and a draw of its latents, at many lifetimes.

    log p(D_i | a) = log ∫ p(z | a) p(D_i | z, a) dz

Given a, tasks do not touch each other. Where one Gaussian is the posterior of z a climb gives the
integral in closed form; else a few experts climb, are refitted where asked for, and points that
cover the posterior around them give it: by quadrature in one and two dimensions, by importance
weights in more (`_covering`). The points are the same at every lifetime but for the experts' own
places, so that what error they have hardly differs from one lifetime to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import data_of
from bayes_badger.inner_loop import _small as small
from bayes_badger.inner_loop._chunks import (
    CHUNK,
    Chunk,
    chunk_of,
    each_task,
    in_batches,
    positions,
    through_chunks,
)
from bayes_badger.inner_loop._climb import expand
from bayes_badger.inner_loop._covering import drawn, integral, proposals
from bayes_badger.inner_loop._held import Held
from bayes_badger.inner_loop._offline import Effort, climbed_into, log_joint_of
from bayes_badger.inner_loop._plan import Plan, bent_plan, make_plan, prior_society
from bayes_badger.inner_loop._policy import Untaught
from bayes_badger.inner_loop._portions import at_one_length
from bayes_badger.inner_loop._refit import refitted
from bayes_badger.inner_loop._society import Society
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.program import Data, OneTask, Program
from bayes_badger.program.program import SIGMA_POINTS

# Lifetimes of a task that are computed at once, times rows and experts.
AT_ONCE = 2**17
# Of so many tasks and more there are so many times more in a chunk: what a call costs then shows.
MANY, WIDE = 512, 4
# Padded cells for each row up to which all tasks are padded at once.
EVEN = 2
# Lifetimes at which the directions are sought in which tasks are nonlinear.
LOOKED_AT = 3


class Given(Held):
    """A program in which all that tasks share is held fixed: a task's own flat vector is left."""

    program: Program
    lifetime: Float[Array, " lifetime"]
    discrete: Mapping[str, Array]

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
        error: Estimated error of the log evidence, in nats.
    """

    log_evidence: Any
    latents: Any
    states: Any
    effective: Any
    error: Any


def plan_given(program: Program, data: Data, discrete: Mapping[str, Array]) -> Plan:
    """How tasks are inferred, from rows as if of one task, at a few lifetimes: the most bent."""
    plans = [make_plan(Given(program, jnp.zeros(program.lifetime_size), discrete), data)]
    if plans[0].straight:  # proved, so that it is so at all lifetimes
        return plans[0]
    for i in range(1, LOOKED_AT):
        away = jax.random.normal(jax.random.key(i), (program.lifetime_size,))
        plans.append(bent_plan(Given(program, away, discrete), data))
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


def portion_given(evidence: Evidence, hard: np.ndarray) -> Portion:
    """All tasks, of which some are hard, `[task]`."""
    if not hard.any():
        return Portion(chunks_given(evidence), ())
    kinds = []
    for kind in (~hard, hard):
        at = np.flatnonzero(kind)
        made = chunks_given(evidence.select(at)) if len(at) else []
        kinds.append([x._replace(tasks=at[x.tasks]) for x in made])
    return Portion(*kinds)


def chunks_given(evidence: Evidence) -> list[Chunk]:
    """Tasks as they are asked, at the length that their rows need: made once for many lifetimes."""
    each, size = positions(evidence, CHUNK if evidence.n_tasks < MANY else WIDE * CHUNK)
    longest = int(evidence.lengths.max(initial=1))
    if evidence.n_tasks * longest > EVEN * evidence.n_rows:
        made = (chunk_of(evidence, tasks, size) for tasks in each)
        return [Chunk(x.tasks, x.real, *at_one_length(x.data, x.mask, longest)) for x in made]
    block = evidence.padded()
    whole = jax.tree.map(np.asarray, at_one_length(data_of(block), block.mask, longest))
    chunks = []
    for tasks in each:
        filled = np.concatenate([tasks, np.repeat(tasks[:1], size - len(tasks))])
        data, seen = jax.tree.map(lambda x, at=filled: x[at], whole)
        seen[len(tasks) :] = False
        chunks.append(Chunk(filled, len(tasks), jax.tree.map(jnp.asarray, data), jnp.asarray(seen)))
    return chunks


def tasks_at(
    program: Program,
    chunks: Sequence[Chunk],
    lifetimes: Float[np.ndarray, "*task lifetime a"],
    discrete: Mapping[str, Array],
    asked: Asked,
    keys: tuple[Key[Array, " task"], Key[Array, " lifetime"]],
    report: Report = silent,
) -> OfTasks:
    """All tasks at some lifetimes.

    Args:
        program: The lifted program.
        chunks: Of the tasks, by `chunks_given`.
        lifetimes: Coordinates that all tasks share, `[lifetime, a]`; or of each task its own,
            `[task, lifetime, a]`.
        discrete: Values of discrete latents that all tasks share, by name.
        asked: What of each task, and how.
        keys: One for each task, for its points; one for each lifetime, for the draws.
        report: Is told how far it has come.
    """
    work = _asking(program, lifetimes, discrete, asked, keys)
    found = _through(chunks, work, report)
    return OfTasks(*(np.swapaxes(x, 0, 1) for x in found))


def log_evidence_at(
    program: Program,
    chunks: Sequence[Chunk],
    lifetimes: Float[np.ndarray, "lifetime a"],
    discrete: Mapping[str, Array],
    asked: Asked,
    keys: tuple[Key[Array, " task"], Key[Array, " lifetime"]],
) -> Float[np.ndarray, " lifetime"]:
    """Log evidence of all tasks together at some lifetimes, in nats, in double precision.

    Arguments as of `tasks_at`.
    """
    if without_draws(chunks, asked):
        asked = asked._replace(draws=0)
    work = _asking(program, lifetimes, discrete, asked, keys)

    def told(tasks: np.ndarray, data: Data, seen: Any) -> Array:
        return work(tasks, data, seen).log_evidence

    return _through(chunks, told, silent).sum(0, dtype=float)


def without_draws(chunks: Sequence[Chunk], asked: Asked) -> bool:
    """Whether in rounds tasks are asked for no draws: a compilation more, worth it for many."""
    return asked.plan.straight and sum(chunk.real for chunk in chunks) >= MANY


def _through(
    chunks: Sequence[Chunk], work: Callable[[np.ndarray, Data, Any], Any], report: Report
) -> Any:
    made = [lambda chunk=chunk: chunk for chunk in chunks]
    return through_chunks(made, sum(chunk.real for chunk in chunks), work, report, "tasks")


def _asking(
    program: Program,
    lifetimes: np.ndarray,
    discrete: Mapping[str, Array],
    asked: Asked,
    keys: tuple[Key[Array, " task"], Key[Array, " lifetime"]],
) -> Callable[[np.ndarray, Data, Any], OfTasks]:
    straight = asked.plan.straight
    prior = prior_society(asked.plan, 1 if straight else asked.experts, program.task_size)
    points = jnp.asarray(lifetimes, jnp.float32)
    states = {name: jnp.asarray(x) for name, x in asked.states.items()}
    how = asked.effort, straight, asked.draws, asked.search
    of_tasks = np.asarray(jax.random.key_data(keys[0]))

    def work(tasks: np.ndarray, data: Data, seen: Any) -> OfTasks:
        index = jnp.asarray(tasks)
        alone = points[index] if points.ndim == 3 else None
        own = data, seen, jax.random.wrap_key_data(jnp.asarray(of_tasks[tasks])), index, alone
        shared = None if points.ndim == 3 else points
        return _of_chunk(program, prior, own, keys[1], shared, discrete, states, *how)

    return work


class Portion(NamedTuple):
    """Some tasks, as they are asked.

    Attributes:
        easy: Those that are asked as usual.
        hard: Those that are known to be hard, asked otherwise.
    """

    easy: Sequence[Chunk]
    hard: Sequence[Chunk]

    @property
    def tasks(self) -> int:
        """How many there are."""
        return sum(chunk.real for kind in self for chunk in kind)


def tasks_by_effort(
    program: Program,
    portion: Portion,
    lifetimes: Float[np.ndarray, "lifetime a"],
    discrete: Mapping[str, Array],
    asked: tuple[Asked, Asked],
    keys: tuple[Key[Array, " task"], Key[Array, ""]],
    report: Report = silent,
) -> OfTasks:
    """All tasks at some lifetimes, as `tasks_at`, of which those that are hard are asked otherwise.

    Args:
        program: The lifted program.
        portion: The tasks.
        lifetimes: Coordinates that all tasks share.
        discrete: Values of discrete latents that all tasks share, by name.
        asked: What of tasks, and what of hard ones.
        keys: One for each task, for its points; one for the draws.
        report: Is told how far it has come.
    """
    found, order = [], []
    for chunks, how, own in zip(portion, asked, _draw_keys(keys[1], len(lifetimes)), strict=True):
        if chunks:
            both = keys[0], own
            found.append(tasks_at(program, chunks, lifetimes, discrete, how, both, report))
            order.append(np.sort(np.concatenate([x.tasks[: x.real] for x in chunks])))
    if len(found) == 1:
        return found[0]
    back = np.argsort(np.concatenate(order))
    return OfTasks(*(np.concatenate(x, 1)[:, back] for x in zip(*found, strict=True)))


def log_evidence_by_effort(
    program: Program,
    portion: Portion,
    lifetimes: Float[np.ndarray, "lifetime a"],
    discrete: Mapping[str, Array],
    asked: tuple[Asked, Asked],
    keys: tuple[Key[Array, " task"], Key[Array, ""]],
) -> Float[np.ndarray, " lifetime"]:
    """Log evidence of all tasks, as `log_evidence_at`; arguments as of `tasks_by_effort`."""
    total = np.zeros(len(lifetimes))
    for chunks, how, own in zip(portion, asked, _draw_keys(keys[1], len(lifetimes)), strict=True):
        if chunks:
            total += log_evidence_at(program, chunks, lifetimes, discrete, how, (keys[0], own))
    return total


def _draw_keys(key: Key[Array, ""], lifetimes: int) -> tuple[Array, Array]:
    """Draws of tasks of both kinds must not be alike."""
    return jax.random.split(key, lifetimes), jax.random.split(jax.random.fold_in(key, 1), lifetimes)


def of_chunk(
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
    search: bool = False,
) -> OfTasks:
    """What the tasks of a chunk say, `[task, lifetime, ...]`, within what is compiled."""
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
            error = jnp.where(share > 0, share * each.error, 0.0).sum()
            return OfTasks(total, latents, which, effective, error)

        return in_batches(at, (at_which, draw_keys), batch)

    return each_task(one, tasks)


_of_chunk = eqx.filter_jit(of_chunk)


def without_latents(given: Given, data: Data, seen: Array, draws: int) -> OfTasks:
    rows, factors = given.rows_and_factors(jnp.zeros(0), data)
    total = jnp.where(seen, rows, 0.0).sum() + factors
    latents, states = jnp.zeros((draws, 0)), jnp.zeros(draws, int)
    return OfTasks(total, latents, states, jnp.array(jnp.inf), jnp.zeros(()))


def straight_one(given: OneTask, data: Data, seen: Array, key: Array, draws: int) -> OfTasks:
    """Of one task, in closed form: at its mode, for in single precision far from it is rough."""
    eye, zero = jnp.eye(given.size), jnp.zeros(given.size)
    at = expand(given, zero, eye, data, seen)
    half = small.root_of_inverse(eye + at.information)
    mode = small.matvec(half, small.matvec(half.T, at.score))
    # The information is the same everywhere: it is not asked for again.
    height, score = _height_and_slope(given, mode, data, seen)
    slope = small.matvec(half.T, score - mode)
    log_evidence = height - 0.5 * small.square(mode) + 0.5 * small.square(slope)
    log_evidence += small.log_det(half)
    mean = mode + small.matvec(half, slope)
    z = mean + jax.random.normal(key, (draws, given.size)) @ half.T
    return OfTasks(
        log_evidence, z, jnp.zeros(draws, int), jnp.array(jnp.inf), jnp.zeros_like(log_evidence)
    )


def _height_and_slope(given: OneTask, z: Array, data: Data, seen: Array) -> tuple[Array, Array]:
    if given.information == SIGMA_POINTS:
        at = expand(given, z, jnp.eye(given.size), data, seen)
        return at.value, at.score

    def value(z: Array) -> Array:
        rows, factors = given.rows_and_factors(z, data)
        return jnp.where(seen, rows, 0.0).sum() + factors

    return jax.value_and_grad(value)(z)


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
    """What one task says, by points that cover its posterior around its experts."""
    keys = jax.random.split(key, 4)
    policy = Untaught()
    near = climbed_into(
        given, policy, prior, data, seen, seen, keys[:3], effort, search, False
    ).society
    best = near.mean[jnp.argmax(near.log_weights)]
    log_joint, relative = log_joint_of(given, data, seen, best)
    society = near
    if effort.refits:
        society, _ = refitted(log_joint, near, policy, keys[3], effort.refits, effort.points)
    found = proposals(society, max(effort.points, 2 * given.size))
    whole = integral(found, log_joint(found.points))
    latents = drawn(log_joint, found, whole, draw, draws)
    total = whole.log_evidence + relative
    return OfTasks(total, latents, jnp.zeros(draws, int), whole.effective, whole.error)
