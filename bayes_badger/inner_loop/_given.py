"""Tasks given what they share: the evidence of each, and a draw of its latents, at many lifetimes.

    log p(D_i | a) = log ∫ p(z | a) p(D_i | z, a) dz

Given a, tasks do not touch each other. Each is asked in one of several ways (`_evidence_of_task`):
in closed form, by one Gaussian at its mode, or by several experts; points that cover its posterior
around these give the integral by quadrature in one and two dimensions, by importance weights in
more (`_covering`). The points are the same at every lifetime but for the Gaussians' own places, so
that what error they have hardly differs from one lifetime to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from bayes_badger.compilation import jit_lightly
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import data_of
from bayes_badger.inner_loop._chunks import (
    CHUNK,
    Chunk,
    chunk_of,
    each_task,
    in_batches,
    positions,
    through_chunks,
)
from bayes_badger.inner_loop._evidence_of_task import (
    Given,
    OfTasks,
    single_one,
    straight_one,
    weighed_one,
    without_latents,
)
from bayes_badger.inner_loop._offline import Effort
from bayes_badger.inner_loop._plan import Plan, bent_plan, make_plan, prior_society
from bayes_badger.inner_loop._portions import at_one_length
from bayes_badger.inner_loop._society import Society
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.program import Data, Program

# Lifetimes of a task that are computed at once, times rows and experts.
AT_ONCE = 2**17
# Of so many tasks and more there are so many times more in a chunk: what a call costs then shows.
MANY, WIDE = 512, 4
# Padded cells for each row up to which all tasks are padded at once.
EVEN = 2
# Lifetimes at which the directions are sought in which tasks are nonlinear.
LOOKED_AT = 3
# How a task is asked: in closed form, by one Gaussian at its mode, by several experts.
STRAIGHT, SINGLE, SEVERAL = "straight", "single", "several"


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

    @property
    def kind(self) -> str:
        """The way in which a task is asked."""
        if self.plan.straight:
            return STRAIGHT
        return SINGLE if self.experts == 1 and not self.effort.refits else SEVERAL


class Portion(NamedTuple):
    """Some tasks, those of each kind by themselves, for each kind is asked in its own way.

    Attributes:
        kinds: Chunks of the tasks of each kind; none where there is no such task.
    """

    kinds: tuple[Sequence[Chunk], ...]

    @property
    def tasks(self) -> int:
        """How many there are."""
        return sum(chunk.real for kind in self.kinds for chunk in kind)


def portion_given(evidence: Evidence, kind: Int[np.ndarray, " task"], kinds: int) -> Portion:
    """All tasks, by the number of their kind, `[task]`, of so many kinds."""
    found: list[Sequence[Chunk]] = []
    for i in range(kinds):
        at = np.flatnonzero(kind == i)
        if len(at) == evidence.n_tasks:
            found.append(chunks_given(evidence))
            continue
        made = chunks_given(evidence.select(at)) if len(at) else []
        found.append([x._replace(tasks=at[x.tasks]) for x in made])
    return Portion(tuple(found))


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
    starts: Float[np.ndarray, "lifetime z"] | None = None,
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
        starts: Where, at each lifetime, the climb to a single mode begins; by default at 0.
    """
    work = _asking(program, lifetimes, discrete, asked, keys, starts)
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
    starts: np.ndarray | None = None,
) -> Callable[[np.ndarray, Data, Any], OfTasks]:
    alone = asked.kind != SEVERAL
    prior = prior_society(asked.plan, 1 if alone else asked.experts, program.task_size)
    points = jnp.asarray(lifetimes, jnp.float32)
    begin = np.zeros((points.shape[-2], program.task_size)) if starts is None else starts
    begun = jnp.asarray(begin, jnp.float32)
    states = {name: jnp.asarray(x) for name, x in asked.states.items()}
    how = asked.effort, asked.kind, asked.draws, asked.search
    of_tasks = np.asarray(jax.random.key_data(keys[0]))

    def work(tasks: np.ndarray, data: Data, seen: Any) -> OfTasks:
        index = jnp.asarray(tasks)
        alone = points[index] if points.ndim == 3 else None
        own = data, seen, jax.random.wrap_key_data(jnp.asarray(of_tasks[tasks])), index, alone
        shared = None if points.ndim == 3 else points
        return _of_chunk(program, prior, own, (keys[1], begun), shared, discrete, states, *how)

    return work


def tasks_by_effort(
    program: Program,
    portion: Portion,
    lifetimes: Float[np.ndarray, "lifetime a"],
    discrete: Mapping[str, Array],
    asked: Sequence[Asked],
    keys: tuple[Key[Array, " task"], Key[Array, ""]],
    report: Report = silent,
) -> OfTasks:
    """All tasks at some lifetimes, as `tasks_at`, those of each kind as is asked of that kind.

    Args:
        program: The lifted program.
        portion: The tasks.
        lifetimes: Coordinates that all tasks share.
        discrete: Values of discrete latents that all tasks share, by name.
        asked: What of the tasks of each kind.
        keys: One for each task, for its points; one for the draws.
        report: Is told how far it has come.
    """
    found, order = [], []
    draw_keys = _draw_keys(keys[1], len(lifetimes), len(asked))
    for chunks, how, own in zip(portion.kinds, asked, draw_keys, strict=True):
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
    asked: Sequence[Asked],
    keys: tuple[Key[Array, " task"], Key[Array, ""]],
) -> Float[np.ndarray, " lifetime"]:
    """Log evidence of all tasks, as `log_evidence_at`; arguments as of `tasks_by_effort`."""
    total = np.zeros(len(lifetimes))
    draw_keys = _draw_keys(keys[1], len(lifetimes), len(asked))
    for chunks, how, own in zip(portion.kinds, asked, draw_keys, strict=True):
        if chunks:
            total += log_evidence_at(program, chunks, lifetimes, discrete, how, (keys[0], own))
    return total


def _draw_keys(key: Key[Array, ""], lifetimes: int, kinds: int) -> list[Array]:
    """Draws of tasks of different kinds must not be alike."""
    each = [key, *(jax.random.fold_in(key, i) for i in range(1, kinds))]
    return [jax.random.split(x, lifetimes) for x in each]


def of_chunk(
    program: Program,
    prior: Society,
    tasks: tuple[Data, Array, Key[Array, " task"], Array, Array | None],
    at_each: tuple[Key[Array, " lifetime"], Float[Array, "lifetime z"]],
    lifetimes: Array | None,
    discrete: Mapping[str, Array],
    states: Mapping[str, Array],
    effort: Effort,
    kind: str,
    draws: int,
    search: bool = False,
) -> OfTasks:
    """What the tasks of a chunk say, `[task, lifetime, ...]`, within what is compiled.

    `at_each` lifetime there is a key for draws, and a place where a climb to a single mode begins.
    """
    batch = max(1, AT_ONCE // (tasks[0].steps * len(prior.log_weights)))

    def one(xs: tuple[Data, Array, Array, Array, Array | None]) -> OfTasks:
        data, seen, key, index, alone = xs
        at_which = lifetimes if alone is None else alone
        data = jax.tree.map(lambda x: x[None], data)

        def at(xs: tuple[Array, tuple[Array, Array]]) -> OfTasks:
            lifetime, (draw_key, start) = xs
            draw = jax.random.split(jax.random.fold_in(draw_key, index), 2)

            def under(state: Mapping[str, Array]) -> OfTasks:
                given = Given(program, lifetime, {**discrete, **state})
                if not given.size:
                    return without_latents(given, data, seen, draws)
                if kind == STRAIGHT:
                    return straight_one(given, data, seen, draw[0], draws)
                if kind == SINGLE:
                    return single_one(given, start, data, seen, draw[0], effort, draws)
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

        return in_batches(at, (at_which, at_each), batch)

    return each_task(one, tasks)


_of_chunk = jit_lightly(of_chunk)
