"""Breeds the policy that all experts share, on tasks that are simulated from programs.

    φ* = argmin E KL(p(u | D), q_φ(u))

over tasks of many programs. Experts go as far as they do without a policy; then all refits are
differentiated, through the points that experts propose and what these weigh, but not through the
last points, on which a society is judged. So the slope is that of the divergence, with the noise
of a few hundred points: that of log q(truth), the same in expectation, is a hundred times noisier.
A task counts the less the further from its posterior the experts are, for one lost mode would
drown what a hundred tasks say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key
from pydantic import BaseModel, ConfigDict, Field

from bayes_badger.compilation import jit_lightly
from bayes_badger.evidence import Evidence, from_arrays
from bayes_badger.inner_loop._chunks import each_task, over_chunks
from bayes_badger.inner_loop._offline import Effort, climbed_into, log_joint_of
from bayes_badger.inner_loop._plan import Plan, plan_of_example, prior_society
from bayes_badger.inner_loop._policy import Policy
from bayes_badger.inner_loop._portions import at_one_length
from bayes_badger.inner_loop._refit import cross_entropies
from bayes_badger.inner_loop._society import Society
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.outer_loop import descent
from bayes_badger.outer_loop.drive import drive
from bayes_badger.outer_loop.penalty import penalty
from bayes_badger.program import Data, Program, from_inputs

# A task's slope is divided by its divergence plus so many nats, above this one.
FAR = 0.05


class Settings(BaseModel):
    """How to breed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(1000, ge=0)
    rate: float = Field(0.015, gt=0)
    tasks: int = Field(64, ge=1, description="of one step, all of one program")
    rows: int = Field(10, ge=1, description="of a task at most; at least one")
    experts: int = Field(32, ge=4)
    refits: int = Field(4, ge=1)
    sweeps: int = Field(8, ge=1)
    points: int = Field(32, ge=4, multiple_of=2)
    penalty: float = Field(0.0, ge=0, description="λ, of what a policy says beyond its start")


class Source(NamedTuple):
    """Where tasks come from.

    Attributes:
        program: Whose posteriors experts are to come near.
        inputs: `inputs(key, tasks, rows)` gives its columns, where tasks are simulated.
        truth: What outcomes are simulated from, where that is not the program.
        evidence: Tasks that are there already, in place of simulated ones.
    """

    program: Program
    inputs: Callable[..., Any]
    truth: Program | None = None
    evidence: Evidence | None = None


class State(NamedTuple):
    """All that changes: where descent is, and sums over the steps since the last look.

    Attributes:
        place: Where descent is.
        divergence: Of each program's steps, the median over tasks.
        steps: Of each program.
        tasks: Of all.
        slope: Norms of the slope, in nats of a task for each number of the policy.
        steepest: The largest of them.
    """

    place: descent.Place
    divergence: Float[np.ndarray, " program"]
    steps: Float[np.ndarray, " program"]
    tasks: float | np.ndarray
    slope: float | np.ndarray
    steepest: float | np.ndarray


class Bred(NamedTuple):
    """A policy, how many steps it took, its learning curve, and whether that was all of it."""

    policy: Policy
    steps: int
    curve: list[dict[str, Any]]
    finished: bool


def breed(
    policy: Policy,
    sources: Sequence[Source],
    key: Key[Any, ""],
    settings: Settings | None = None,
    report: Report = silent,
    folder: Path | None = None,
    seconds: float = 30.0,
) -> Bred:
    """Learns a policy on tasks simulated from programs, one program a step, in turn.

    Args:
        policy: Where it starts.
        sources: Programs that tasks are simulated from.
        key: Of everything random.
        settings: How to breed.
        report: Is told how far it has come. A KeyboardInterrupt ends it with what there is.
        folder: Where checkpoints are written, and where it goes on from if there are any.
        seconds: Between checkpoints.
    """
    settings = settings or Settings()
    work = _Work(policy, sources, key, settings)
    driven = drive(work, settings.steps, report, folder, seconds)
    found = work.policy_at(descent.best(driven.state.place))
    return Bred(found, driven.steps, driven.curve, driven.finished)


class _Work:
    """What stays the same while it breeds."""

    def __init__(
        self,
        policy: Policy,
        sources: Sequence[Source],
        key: Key[Any, ""],
        settings: Settings,
    ) -> None:
        self.sources, self.key, self.settings = sources, key, settings
        weights, self.rest = eqx.partition(policy, eqx.is_inexact_array)
        first, self.unflatten = ravel_pytree(weights)
        self.first = np.asarray(first, float)
        self.every = descent.EVERY
        self.plans = [plan_of_example(program, key) for program, *_ in sources]

    def policy_at(self, point: Any) -> Policy:
        """The policy with other weights."""
        found: Policy = eqx.combine(self.unflatten(jnp.asarray(point, jnp.float32)), self.rest)
        return found

    def start(self) -> State:
        """Before the first step."""
        none = np.zeros(len(self.sources))
        return State(descent.start(self.first), none, none, 0.0, 0.0, 0.0)

    def step(self, state: State, done: int) -> State:
        """One step, on tasks of one program."""
        settings, i = self.settings, done % len(self.sources)
        source, plan = self.sources[i], self.plans[i]
        keys = jax.random.split(jax.random.fold_in(self.key, done), 3)
        evidence = simulated(source, keys[0], settings.tasks, settings.rows)
        policy = self.policy_at(state.place.point)
        turn = done // len(self.sources)
        found, slopes = losses_and_slopes(
            policy, source.program, plan, evidence, keys[1], settings, turn
        )
        rows, share = settings.tasks, done / max(settings.steps, 1)
        # Of all tasks together, as in `loop`: a step bears its share.
        weight = settings.penalty / max(settings.steps, 1)
        cost = penalty(np.asarray(state.place.point, float), self.first, weight)
        # Descent goes up what it is given, as a log evidence.
        place = descent.moved(state.place, -found[:, 0], -slopes, cost, rows, settings.rate, share)
        here = np.eye(len(self.sources))[i]
        norm = float(np.sqrt((slopes.mean(0) ** 2).sum()))
        return State(
            place,
            state.divergence + here * np.median(found[:, 1]),
            state.steps + here,
            state.tasks + settings.tasks,
            state.slope + norm,
            np.maximum(state.steepest, norm),
        )

    def look(self, state: State, done: int) -> tuple[State, dict[str, Any]]:
        """The median divergence after the refits, by program, and its mean over programs."""
        steps = np.maximum(state.steps, 1)
        line: dict[str, Any] = {"stage": "breeding", "step": done}
        line["divergence"] = float(np.mean((state.divergence / steps)[state.steps > 0]))
        for (program, *_), x in zip(self.sources, state.divergence / steps, strict=True):
            line[program.name] = float(x)
        line |= {"slope": float(state.slope / max(state.steps.sum(), 1))}
        line |= {"steepest": float(state.steepest), **descent.told(state.place)}
        none = np.zeros(len(self.sources))
        return State(state.place, none, none, 0.0, 0.0, 0.0), line

    def at_rest(self, state: State) -> bool:
        """It cannot tell."""
        return False

    def tasks_seen(self, state: State) -> float:
        """Since the last look."""
        return float(state.tasks)

    def note(self, line: dict[str, Any]) -> str:
        """A line of the curve in words."""
        return f"{line['divergence']:.4f} nats, {line['tasks_per_second']:.0f} tasks/s"


def simulated(source: Source, key: Key[Any, ""], tasks: int, rows: int) -> Evidence:
    """Tasks of 1 to `rows` rows; or, where there are tasks already, some of these."""
    keys, program = jax.random.split(key, 3), source.program
    if source.evidence is not None:
        there = np.flatnonzero(source.evidence.lengths)
        chance = np.random.default_rng(np.asarray(jax.random.key_data(keys[0])).ravel())
        return source.evidence.select(chance.choice(there, tasks, replace=tasks > len(there)))
    truth = source.truth or program
    data = from_inputs(program.signature, source.inputs, keys[0], tasks, rows)
    evidence = from_arrays(
        program.signature,
        {name: np.asarray(x) for name, x in data.columns.items()},
        np.asarray(truth.simulate(keys[1], data).outcome),
        {name: np.asarray(x) for name, x in data.task_columns.items()},
    )
    counts = np.asarray(jax.random.randint(keys[2], (tasks, 1), 1, rows + 1))
    kept = (np.arange(rows) < counts).ravel()
    return evidence.select_rows(np.flatnonzero(kept))


def losses_and_slopes(
    policy: Policy,
    program: Program,
    plan: Plan,
    evidence: Evidence,
    key: Key[Any, ""],
    settings: Settings,
    turn: int = 0,
) -> tuple[Float[np.ndarray, "task 2"], Float[np.ndarray, "task p"]]:
    """What each task says of a policy.

    Returns:
        Its loss, and its divergence after the refits, in nats; and the loss's slope in the policy's
        numbers.
    """
    effort = Effort(settings.sweeps, settings.refits, settings.points)
    start = prior_society(plan, settings.experts, program.size, policy.width, turn)
    keys = jax.random.split(key, evidence.n_tasks)

    def work(tasks: np.ndarray, data: Data, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        data, seen = at_one_length(data, mask)
        found = _of_tasks(policy, program, start, data, seen, keys[jnp.asarray(tasks)], effort)
        values, slopes = (np.asarray(x, float) for x in found)
        return values, slopes

    found: tuple[np.ndarray, np.ndarray] = over_chunks(evidence, work, silent, "breeding")
    return found


@jit_lightly
def _of_tasks(
    policy: Policy,
    program: Program,
    start: Society,
    data: Data,
    seen: Array,
    keys: Key[Array, " task"],
    effort: Effort,
) -> tuple[Float[Array, "task 2"], Float[Array, "task p"]]:
    weights, rest = eqx.partition(policy, eqx.is_inexact_array)
    flat, unflatten = ravel_pytree(weights)

    def one(xs: tuple[Data, Array, Key[Array, ""]]) -> tuple[Array, Array]:
        data, seen, key = xs
        data = jax.tree.map(lambda x: x[None], data)
        keys = jax.random.split(key, 3)
        near = climbed_into(program, policy, start, data, seen, seen, keys, effort, True, False)
        society = jax.lax.stop_gradient(near.society)
        best = society.mean[jnp.argmax(society.log_weights)]
        log_joint, _ = log_joint_of(program, data, seen, best)

        def loss(flat: Array) -> tuple[Array, Array]:
            now: Policy = eqx.combine(unflatten(flat), rest)
            each, check = cross_entropies(
                log_joint, society, now, keys[2], effort.refits, effort.points
            )
            divergence = jnp.maximum(jax.lax.stop_gradient(check.divergence), 0.0)
            # Later rounds count more: fewer refits should do, and the last one most.
            counts = jnp.arange(len(each)) / (divergence + FAR)
            total = (counts * each).sum() / jnp.arange(len(each)).sum()
            return total, jnp.stack([total, divergence[-1]])

        slope, told = jax.grad(loss, has_aux=True)(flat)
        fine = jnp.isfinite(slope).all() & jnp.isfinite(told).all()
        return jnp.where(fine, told, 0.0), jnp.where(fine, slope, 0.0)

    return each_task(one, (data, seen, keys))
