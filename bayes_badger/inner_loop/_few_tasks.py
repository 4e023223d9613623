"""A lifetime of few tasks: all rounds of refits, and all draws, in one compiled program.

Where tasks are few it is the calls that cost, not the arithmetic: nine learning rules, a dozen
rounds each, half a dozen calls a round. Here a whole assignment of what is discrete and shared is
one loop, and all assignments are one call. Experts are in double precision, tasks in single.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from bayes_badger.compilation import jit_lightly
from bayes_badger.inner_loop import _rounds
from bayes_badger.inner_loop._chunks import CHUNK, Chunk
from bayes_badger.inner_loop._evidence_of_task import OfTasks
from bayes_badger.inner_loop._given import Asked, of_chunk
from bayes_badger.inner_loop._in_double import covered, density, prior_density
from bayes_badger.inner_loop._offline import Effort
from bayes_badger.inner_loop._plan import prior_society
from bayes_badger.inner_loop._rounds import Rounds
from bayes_badger.inner_loop._society import Society
from bayes_badger.inner_loop.protocol import Report
from bayes_badger.program import Data, Program

# Assignments of one call, and batches of draws.
SLAB, PARTS = 16, 8
# Seconds that a call may take before it is told how far it has come.
PATIENCE = 1.0


class Assignment(NamedTuple):
    """One joint value of what is discrete and shared.

    Attributes:
        discrete: The values, by name.
        asked: How tasks are asked.
        start: Experts before any of this evidence.
        log_weight: What was believed of it before, in nats; None where that is the prior.
    """

    discrete: Mapping[str, Any]
    asked: Asked
    start: Society
    log_weight: float | None


class Drawn(NamedTuple):
    """Draws of experts and the prior, `[batch, draw, ...]`, and what tasks said of each.

    Attributes:
        lifetimes: Coordinates of what is shared, `[..., a]`.
        log_weights: Log joint less the log density of all that propose, in nats.
        tasks: `[batch, task, draw, ...]`.
    """

    lifetimes: Float[Array, "batch draw a"]
    log_weights: Float[Array, "batch draw"]
    tasks: OfTasks


class _Tasks(NamedTuple):
    """The tasks, which are real, and the key of each; one task, and its own discrete latents."""

    data: Data
    seen: Bool[Array, "task step"]
    positions: Int[Array, " task"]
    real: Bool[Array, " task"]
    keys: Key[Array, " task"]
    one: Data
    first: Mapping[str, Array]
    states: Mapping[str, Array]


class _Each(NamedTuple):
    """Of each assignment, `[s, ...]`; the prior is that of a task's experts."""

    discrete: Mapping[str, Any]
    start: Society
    log_weight: Any
    prior: Society
    rounds: Any
    active: Any


class _Orders(NamedTuple):
    """What is to be done: refits until there were so many, or batches of draws from one on."""

    drawing: Bool[Array, ""]
    until: Int[Array, ""]
    batch: Int[Array, ""]
    keys: Key[Array, " 2"]


def few(tasks: int) -> bool:
    """Whether there are so few tasks that this is the way to infer what they share."""
    return tasks <= CHUNK and len(jax.local_devices()) == 1


class _Slab(NamedTuple):
    """Assignments of one call: `each` of them but for rounds, which they are, and how to ask."""

    each: _Each
    which: list[int]
    how: tuple[Effort, str, int, bool]


class FewTasks:
    """All that stays the same between calls."""

    def __init__(
        self,
        program: Program,
        chunk: Chunk,
        keys: tuple[Key[Array, " task"], Key[Array, ""], Key[Array, ""]],
        one: Data,
        own: Mapping[str, np.ndarray],
        points: int,
        batches: int,
        report: Report,
    ) -> None:
        """Of a program's tasks.

        Args:
            program: Of which some latents with coordinates are shared.
            chunk: All tasks.
            keys: One for each task, for refits, and for draws.
            one: One task.
            own: Assignments of a task's discrete latents.
            points: Of each expert.
            batches: Of draws that are wanted in the end, each of as many as a round proposes.
            report: Is told how far it has come.
        """
        self.program, self.points, self.batches, self.report = program, points, batches, report
        self.count = chunk.real
        self.keys = jnp.stack(keys[1:])
        states = {name: jnp.asarray(x) for name, x in own.items()}
        index = jnp.asarray(chunk.tasks)
        self.tasks = _Tasks(
            chunk.data,
            jnp.asarray(chunk.mask),
            index,
            jnp.arange(len(index)) < chunk.real,
            keys[0][index],
            one,
            {name: x[0] for name, x in states.items()},
            states,
        )
        # Tasks come sorted by length, and some only fill up.
        self.back = np.argsort(chunk.tasks[: chunk.real], kind="stable")
        self.priors: dict[tuple[bytes, int], Society] = {}

    def near(self, assignments: Sequence[Assignment], most: int) -> list[Rounds]:
        """Experts near the posterior under each assignment, by so many rounds at most."""
        found: dict[int, Rounds] = {}
        width = _width(len(assignments))
        for slab in self._slabs(assignments, width):
            with jax.enable_x64(True):
                each = jax.vmap(_rounds.begun)(jax.tree.map(jnp.asarray, slab.each.start))
            rounds, count, until = jax.tree.map(np.asarray, each), 0, 1
            while count < most and not rounds.done[: len(slab.which)].all():
                started, before = time.monotonic(), count
                rounds, _ = self._call(slab, rounds, until)
                count, lowest = int(rounds.made.max()), float(rounds.lowest.max())
                note = f"{lowest:.3f} nats from it" if np.isfinite(lowest) else ""
                self.report(f"what {self.count} tasks share", count, most, note)
                seconds = (time.monotonic() - started) / max(count - before, 1)
                until = min(most, count + max(1, int(PATIENCE / seconds)))
            found |= {i: _at(rounds, at) for at, i in enumerate(slab.which)}
        return [found[i] for i in range(len(assignments))]

    def draws(self, near: Sequence[tuple[Assignment, Rounds]], of: int) -> list[Drawn]:
        """Weighed draws from the experts under some of so many assignments, in batches."""
        found: dict[int, Drawn] = {}
        batches, size, width = self.batches, min(self.batches, PARTS), _width(of)
        for slab in self._slabs([x for x, _ in near], width):
            rounds = _stacked([near[i][1] for i in _filled(slab.which, width)])
            parts = []
            for batch in range(0, batches, size):
                self.report("drawing what tasks share", batch, batches)
                parts.append(self._call(slab, rounds, 0, batch)[1])
            whole = jax.tree.map(lambda *xs: np.concatenate(xs, 1)[:, :batches], *parts)
            tasks = OfTasks(*(x[:, :, self.back] for x in whole.tasks))
            whole = whole._replace(tasks=tasks)
            found |= {i: _at(whole, at) for at, i in enumerate(slab.which)}
        return [found[i] for i in range(len(near))]

    def _call(
        self, slab: _Slab, rounds: Rounds, until: int, batch: int | None = None
    ) -> tuple[Rounds, Drawn]:
        """Refits, or batches of draws from one on; on the host. Compiled once for both."""
        with jax.enable_x64(True):
            ends = [jnp.asarray(x, jnp.int32) for x in (until, batch or 0)]
            size = min(self.batches, PARTS)
            orders = _Orders(jnp.asarray(batch is not None), ends[0], ends[1], self.keys)
            each = jax.tree.map(jnp.asarray, slab.each._replace(rounds=rounds))
            found: tuple[Rounds, Drawn] = jax.tree.map(
                np.asarray,
                _worked(self.program, self.tasks, each, orders, slab.how, size),
            )
        return found

    def _slabs(self, assignments: Sequence[Assignment], width: int) -> list[_Slab]:
        slabs = []
        for straight in (False, True):
            alike = [i for i, x in enumerate(assignments) if x.asked.plan.straight == straight]
            for start in range(0, len(alike), width):
                which = alike[start : start + width]
                slabs.append(self._slab([assignments[i] for i in _filled(which, width)], which))
        return slabs

    def _slab(self, some: list[Assignment], which: list[int]) -> _Slab:
        asked = some[0].asked
        each = _Each(
            {n: np.stack([np.asarray(x.discrete[n]) for x in some]) for n in some[0].discrete},
            jax.tree.map(lambda x: x.astype(float), _stacked([x.start for x in some])),
            np.array([x.log_weight or 0.0 for x in some]),
            _stacked([self._prior(x.asked) for x in some]),
            None,
            np.arange(len(some)) < len(which),
        )
        carried = some[0].log_weight is not None
        return _Slab(each, which, (asked.effort, asked.kind, self.points, carried))

    def _prior(self, asked: Asked) -> Society:
        experts = 1 if asked.plan.straight else asked.experts
        key = asked.plan.directions.tobytes(), experts
        if key not in self.priors:
            made = prior_society(asked.plan, experts, self.program.task_size)
            self.priors[key] = jax.tree.map(np.asarray, made)
        return self.priors[key]


def _width(assignments: int) -> int:
    return min(SLAB, 1 << (assignments - 1).bit_length())


def _filled(which: list[int], width: int) -> list[int]:
    """The first again, so that all calls are of one shape."""
    return which + which[:1] * (width - len(which))


def _stacked(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *xs: np.stack([np.asarray(x) for x in xs]), *trees)


def _at(tree: Any, at: int) -> Any:
    return jax.tree.map(lambda x: x[at], tree)


@jit_lightly
def _worked(
    program: Program,
    tasks: _Tasks,
    each: _Each,
    orders: _Orders,
    how: tuple[Effort, str, int, bool],
    batches: int,
) -> tuple[Rounds, Drawn]:
    effort, kind, points, carried = how

    def of(own: _Each) -> tuple[Rounds, Drawn]:
        offer_of = jax.eval_shape(
            lambda key: _rounds.proposed(own.start, key, points)[1], orders.keys[0]
        )
        size = _rounds.proposals(own.start, points)

        def offered(rounds: Rounds, key: Array) -> Any:
            society, offer = _rounds.proposed(rounds.society, key, points)
            return society, offer, offer.points, offer.proposed

        def drawn_from(rounds: Rounds, key: Array) -> Any:
            nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), offer_of)
            return rounds.society, nothing, *covered(rounds.best, key, size)

        def believed(places: Array) -> Array:
            if carried:
                return own.log_weight + density(own.start, places)
            return prior_density(program, places, tasks.one, {**own.discrete, **tasks.first})

        def ask(places: Array, key: Array) -> OfTasks:
            single = places.astype(jnp.float32)
            with jax.enable_x64(False):
                inside = tasks.data, tasks.seen, tasks.keys, tasks.positions, None
                return of_chunk(
                    program,
                    own.prior,
                    inside,
                    (jax.random.split(key, size), jnp.zeros((size, program.task_size))),
                    single,
                    own.discrete,
                    tasks.states,
                    effort,
                    kind,
                    1,
                )

        def unfinished(state: tuple[Rounds, Drawn, Array]) -> Array:
            rounds, _, done = state
            refits = ~rounds.done & (rounds.made < orders.until)
            return own.active & jnp.where(orders.drawing, done < batches, refits)

        def one(state: tuple[Rounds, Drawn, Array]) -> tuple[Rounds, Drawn, Array]:
            rounds, drawn, done = state
            at = jnp.where(orders.drawing, orders.batch + done, rounds.made)
            key = jax.random.fold_in(orders.keys[orders.drawing.astype(int)], at)
            society, offer, places, proposed = jax.lax.cond(
                orders.drawing, drawn_from, offered, rounds, key
            )
            of_tasks = ask(places, key)
            said = of_tasks.log_evidence.astype(proposed.dtype)
            joint = believed(places) + jnp.where(tasks.real[:, None], said, 0.0).sum(0)

            def learn() -> tuple[Rounds, Drawn]:
                heard = _rounds.heard(
                    rounds._replace(society=society),
                    own.start,
                    offer,
                    joint,
                    jnp.ones((), bool),
                )
                return heard, drawn

            def keep() -> tuple[Rounds, Drawn]:
                weights = jnp.where(jnp.isfinite(joint), joint - proposed, -jnp.inf)
                new = Drawn(places, weights, of_tasks)
                return rounds, jax.tree.map(lambda x, y: x.at[done].set(y), drawn, new)

            return *jax.lax.cond(orders.drawing, keep, learn), done + 1

        shapes = jax.eval_shape(ask, jnp.zeros(offer_of.points.shape), orders.keys[0])
        empty = Drawn(jnp.zeros(offer_of.points.shape), jnp.zeros(size), shapes)
        empty = jax.tree.map(lambda x: jnp.zeros((batches, *x.shape), x.dtype), empty)
        state = own.rounds, empty, jnp.zeros((), jnp.int32)
        rounds, drawn, _ = jax.lax.while_loop(unfinished, one, state)
        return rounds, drawn

    return jax.lax.map(of, each)
