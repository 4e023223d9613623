"""Tasks asked round by round what they share, under each value of what is discrete and shared.

Evidence is let in as 32 tasks, then 128, 512, ...: each portion narrows the belief by a factor of
two in each direction, which a refit can follow. Few tasks under many values are one compiled
program (`_few_tasks`); tasks whose rows what is shared moves only through z are looked at once
(`_reused`); hard ones are asked with more effort.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import data_of
from bayes_badger.inner_loop import _in_double as double
from bayes_badger.inner_loop._carried import Carried
from bayes_badger.inner_loop._few_tasks import Assignment, Drawn, FewTasks, few
from bayes_badger.inner_loop._given import (
    Asked,
    OfTasks,
    Portion,
    chunks_given,
    log_evidence_by_effort,
    plan_given,
    portion_given,
    tasks_by_effort,
    without_draws,
)
from bayes_badger.inner_loop._looked_up import LookedUp
from bayes_badger.inner_loop._offline import Effort
from bayes_badger.inner_loop._plan import Plan, prior_society, rows_to_look_at, straight_plan
from bayes_badger.inner_loop._reused import reusable
from bayes_badger.inner_loop._rounds import Rounds, proposals
from bayes_badger.inner_loop._society import Society
from bayes_badger.inner_loop._split import count_of
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.program import Program

# Tasks of the first portion, and how much larger each is than the one before.
FIRST, FACTOR = 32, 4
# Rounds of refits at most: of the first portion, of those between, and of all tasks.
ROUNDS, BETWEEN, LAST = 20, 5, 8
# Refits of tasks that share nothing with a coordinate.
ALONE = 3
# Where what was believed is so few nats from the posterior, all new tasks are taken in at once.
AT_ONCE = 1.0
# Weighed points for each draw that is wanted.
MORE = 1.3
# Assignments of a task's discrete latents, and tasks, from which it is read how to infer them.
PLANS = 3
LOOKED_AT = 256


class Sizes(NamedTuple):
    """How hard to try.

    Attributes:
        experts: Over what tasks share.
        points: Of each of these experts.
        of_task: Experts of a task, given what is shared.
        alone: Experts of a task, where all that is shared is discrete.
        effort: Sweeps, refits and points of the experts of a task.
        of_hard: Experts of a task that is known to be hard.
        effort_of_hard: And how hard they try; they look around before they climb.
    """

    experts: int = 32
    points: int = 32
    of_task: int = 8
    alone: int = 64
    effort: Effort = Effort(8, 0, 32)
    of_hard: int = 32
    effort_of_hard: Effort = Effort(32, 3, 32)


class Near(NamedTuple):
    """Experts near the posterior under one assignment of what is discrete and shared.

    Attributes:
        assignment: Which, and what was believed before.
        rounds: By which they came there; none where nothing that is shared has a coordinate.
    """

    assignment: Assignment
    rounds: Rounds | None = None

    @property
    def log_evidence(self) -> float:
        """Roughly, in nats."""
        return 0.0 if self.rounds is None else float(self.rounds.log_evidence)

    @property
    def after(self) -> Society:
        """The experts a step of EM nearer to the posterior, to be carried on."""
        return self.assignment.start if self.rounds is None else self.rounds.after


class Assigned(NamedTuple):
    """Points under one assignment of what is discrete and shared, weighed, and draws at each."""

    lifetimes: np.ndarray
    tasks: OfTasks
    log_weights: np.ndarray
    effective: np.ndarray


class Work:
    """What stays the same for all assignments of discrete latents."""

    def __init__(
        self,
        program: Program,
        evidence: Evidence,
        own: Mapping[str, np.ndarray],
        key: PRNGKeyArray,
        sizes: Sizes,
        draws: int,
        report: Report,
        hard: np.ndarray,
    ) -> None:
        self.program, self.evidence, self.sizes, self.report = program, evidence, sizes, report
        self.own, self.draws, self.hard = own, draws, hard
        self.few: FewTasks | None = None
        self.keys = jax.random.split(key, 4)
        self.task_keys = jax.random.split(self.keys[0], evidence.n_tasks)
        self.counts = _portions(evidence.n_tasks)
        self.rows = None
        if program.task_size and evidence.n_rows:
            block = evidence.select(np.flatnonzero(evidence.lengths)[:LOOKED_AT]).padded()
            self.rows = rows_to_look_at(data_of(block), block.mask)
        self.one = data_of(evidence.select(np.arange(1)).padded())
        self.first = {name: jnp.asarray(x[0]) for name, x in own.items()}
        serves = not hard.any() and reusable(program, evidence)
        self.looked_up = LookedUp(program, own) if serves else None

    def near(
        self, states: Sequence[Mapping[str, Array]], before: Sequence[Carried | None]
    ) -> list[Near]:
        """Experts near the posterior under each assignment."""
        prior = _prior(self.program, self.sizes)
        assignments = [
            Assignment(
                x,
                self._asked(x),
                prior if y is None else y.society,
                None if y is None else y.log_weight,
            )
            for x, y in zip(states, before, strict=True)
        ]
        if not self.program.lifetime_size:
            return [Near(x) for x in assignments]
        alike = len({x.start.mean.shape for x in assignments}) == 1
        # One assignment alone is not worth the longer compilation.
        served = self.looked_up is not None and not assignments[0].asked.plan.straight
        together = alike and len(assignments) > 1 and not self.hard.any() and not served
        if not (together and few(self.evidence.n_tasks)):
            return [Near(x, self._near(x)) for x in assignments]
        (chunk,) = chunks_given(self.evidence)
        keys = self.task_keys, jax.random.fold_in(self.keys[1], 0), self.keys[2]
        points, own, batches = self.sizes.points, self.own, self._batches(assignments[0].start)
        self.few = FewTasks(self.program, chunk, keys, self.one, own, points, batches, self.report)
        rounds = self.few.near(assignments, ROUNDS + LAST)
        return [Near(*x) for x in zip(assignments, rounds, strict=True)]

    def _near(self, assignment: Assignment) -> Rounds:
        """By rounds to more and more tasks; to all at once where the belief is close already."""
        if assignment.log_weight is not None:
            tasks, portion = self._tasks(), len(self.counts) - 1
            rounds = self._learned(assignment, double.begun(assignment.start), tasks, 1, portion)
            if float(rounds.lowest) < AT_ONCE:
                most = ROUNDS + LAST
                return self._learned(assignment, rounds, tasks, most, portion)
        society = assignment.start
        for i, count in enumerate(self.counts):
            last = i == len(self.counts) - 1
            most = LAST + (ROUNDS if i == 0 else 0) if last else (ROUNDS if i == 0 else BETWEEN)
            tasks = self._tasks(count)
            rounds = self._learned(assignment, double.begun(society), tasks, most, i, last)
            society = rounds.best
        return rounds

    def posteriors(self, near: Sequence[Near], of: int) -> list[Assigned]:
        """Points of the posterior under some of so many assignments, more than there are draws."""
        done = [(x.assignment, x.rounds) for x in near if x.rounds is not None]
        if not done:
            return [self._alone(x.assignment) for x in near]
        if self.few is None:
            tasks = self._tasks()
            return [self._posterior(*x, tasks) for x in done]
        return [_weighed(x) for x in self.few.draws(done, of)]

    def _batches(self, society: Society) -> int:
        """Of draws, each of as many as a round proposes."""
        return -(-self.draws // proposals(society, self.sizes.points)) + 1

    def _posterior(
        self,
        assignment: Assignment,
        rounds: Rounds,
        tasks: Portion,
    ) -> Assigned:
        total: list[tuple[np.ndarray, np.ndarray, OfTasks]] = []
        batches, size = self._batches(rounds.best), proposals(rounds.best, self.sizes.points)
        if without_draws(tasks.easy, assignment.asked):
            # This is compiled for itself in any case.
            size = -(-int(MORE * self.draws) // batches)
        for i in range(batches):
            key = jax.random.fold_in(self.keys[2], i)
            points, proposed = double.drawn(rounds.best, key, size)
            joint, of_tasks = self._said(assignment, points, tasks, assignment.asked, key)
            total.append(
                (points, np.where(np.isfinite(joint), joint - proposed, -np.inf), of_tasks)
            )
        lifetimes, log_weights = (np.concatenate([x[i] for x in total]) for i in range(2))
        said = OfTasks(*(np.concatenate(x) for x in zip(*(y[2] for y in total), strict=True)))
        return _assigned(lifetimes, log_weights, said)

    def _alone(self, assignment: Assignment) -> Assigned:
        """Where nothing that is shared has a coordinate: one point is all there is."""
        effort = self.sizes.effort._replace(refits=ALONE)
        sizes = self.sizes
        asked = assignment.asked._replace(draws=self.draws, experts=sizes.alone, effort=effort)
        at = np.zeros((1, 0))
        joint, tasks = self._said(assignment, at, self._tasks(), asked, self.keys[2], self.report)
        return Assigned(at, tasks, joint, tasks.effective[0])

    def _learned(
        self,
        assignment: Assignment,
        rounds: Rounds,
        tasks: Portion,
        most: int,
        portion: int,
        last: bool = True,
    ) -> Rounds:
        """Further rounds of refits to some tasks, until there were so many at most."""
        asked = assignment.asked, self._harder(assignment.asked)
        name, note = f"what {tasks.tasks} tasks share", ""
        while int(rounds.made) < most and not bool(rounds.done):
            self.report(name, int(rounds.made), most, note)
            key = jax.random.fold_in(jax.random.fold_in(self.keys[1], portion), int(rounds.made))
            society, offer = double.proposed(rounds.society, key, self.sizes.points)
            points = np.asarray(offer.points)
            joint = self._believed(assignment, points)
            reused = self._reused(assignment, points, tasks, joint, key)
            if reused is None:
                keys = self.task_keys, key
                joint = joint + log_evidence_by_effort(
                    self.program, tasks, points, assignment.discrete, asked, keys
                )
            else:
                joint = joint + reused.log_evidence.sum(1, dtype=float)
            rounds = rounds._replace(society=society)
            rounds = double.heard(rounds, assignment.start, offer, joint, last)
            lowest = float(rounds.lowest)
            note = f"{lowest:.3f} nats from it" if np.isfinite(lowest) else ""
        self.report(name, most, most, note)
        return rounds

    def _believed(self, assignment: Assignment, lifetimes: np.ndarray) -> np.ndarray:
        """Log density of what is shared before this evidence."""
        if assignment.log_weight is None:
            given = {**assignment.discrete, **self.first}
            return double.log_prior(self.program, lifetimes, self.one, given)
        return assignment.log_weight + double.log_density(assignment.start, lifetimes)

    def _said(
        self,
        assignment: Assignment,
        lifetimes: np.ndarray,
        portion: Portion,
        asked: Asked,
        key: PRNGKeyArray,
        report: Report = silent,
    ) -> tuple[np.ndarray, OfTasks]:
        """Log p(a, D) at some lifetimes, and what each task said."""
        own = self._believed(assignment, lifetimes)
        of_tasks = self._reused(assignment, lifetimes, portion, own, key)
        if of_tasks is None:
            of_tasks = tasks_by_effort(
                self.program,
                portion,
                lifetimes,
                assignment.discrete,
                (asked, self._harder(asked)),
                (self.task_keys, key),
                report,
            )
        return own + of_tasks.log_evidence.sum(1, dtype=float), of_tasks

    def _reused(
        self,
        assignment: Assignment,
        lifetimes: np.ndarray,
        portion: Portion,
        own: np.ndarray,
        key: PRNGKeyArray,
    ) -> OfTasks | None:
        """What tasks say by points that serve all lifetimes; None where these do not carry."""
        if self.looked_up is None or assignment.asked.plan.straight:
            return None
        some = self.evidence.select(np.arange(portion.tasks))
        return self.looked_up.at(
            some, np.asarray(lifetimes, float), assignment.discrete, own, (self.task_keys, key)
        )

    def _tasks(self, count: int | None = None) -> Portion:
        """The first so many tasks, or all."""
        if count is None:
            return portion_given(self.evidence, self.hard)
        return portion_given(self.evidence.select(np.arange(count)), self.hard[:count])

    def _harder(self, asked: Asked) -> Asked:
        """How tasks are asked that are known to be hard."""
        sizes = self.sizes
        return asked._replace(experts=sizes.of_hard, effort=sizes.effort_of_hard, search=True)

    def _asked(self, discrete: Mapping[str, Array]) -> Asked:
        plan = straight_plan(self.program.task_size, "")
        if self.rows is not None:
            plans = [
                plan_given(self.program, self.rows, {**discrete, **one}) for one in _each(self.own)
            ]
            plan = max(plans, key=lambda plan: plan.directions.shape[1])
        return Asked(plan, self.sizes.effort, self.sizes.of_task, self.own)


def _portions(tasks: int) -> list[int]:
    """How many tasks each portion has: the last has all.

    Example:
        >>> _portions(10), _portions(200)
        ([10], [32, 128, 200])
    """
    found = [min(FIRST, tasks)]
    while found[-1] < tasks:
        found.append(min(FACTOR * found[-1], tasks))
    return found


def _each(states: Mapping[str, np.ndarray]) -> list[dict[str, Array]]:
    """Some assignments, the first and the last among them."""
    some = np.unique(np.linspace(0, count_of(states) - 1, PLANS).astype(int))
    return [{name: jnp.asarray(x[i]) for name, x in states.items()} for i in some]


def _prior(program: Program, sizes: Sizes) -> Society:
    """The prior of what is shared, split along its first directions."""
    size = program.lifetime_size
    directions = np.eye(size)[:, : min(size, 3)]
    return prior_society(Plan(directions, ""), sizes.experts, size)


def _weighed(drawn: Drawn) -> Assigned:
    """Of draws in batches."""
    tasks = OfTasks(*(np.concatenate(np.swapaxes(np.asarray(x), 1, 2)) for x in drawn.tasks))
    lifetimes, log_weights = np.asarray(drawn.lifetimes), np.asarray(drawn.log_weights)
    return _assigned(np.concatenate(lifetimes), log_weights.ravel(), tasks)


def _assigned(lifetimes: np.ndarray, log_weights: np.ndarray, tasks: OfTasks) -> Assigned:
    share = np.exp(log_weights - np.logaddexp.reduce(log_weights))
    with np.errstate(invalid="ignore"):
        counted = share > 0
        effective = share[counted] @ tasks.effective[counted]
    return Assigned(lifetimes, tasks, log_weights, effective)
