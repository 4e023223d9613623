"""Tasks asked round by round what they share, under each value of what is discrete and shared.

An ascent (`_ascent`) finds where what is shared is most probable and how its density curves there;
experts begin as that Gaussian, and a few rounds of refits correct them. Where the ascent does not
arrive, evidence is let in as 32 tasks, then 128, 512, ...: each portion narrows the belief by a
factor of two in each direction, which a refit can follow. Few tasks under many values are one
compiled program (`_few_tasks`); tasks whose rows what is shared moves only through z are looked at
once (`_reused`). Tasks are asked by one Gaussian each, by several experts where one Gaussian is not
close to their posterior (`_kinds`), and with more effort where they are known to be hard.
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
from bayes_badger.inner_loop._ascent import Summit, ascended, batch
from bayes_badger.inner_loop._carried import Carried
from bayes_badger.inner_loop._evidence_of_task import OfTasks
from bayes_badger.inner_loop._few_tasks import Assignment, Drawn, FewTasks, few
from bayes_badger.inner_loop._given import (
    STRAIGHT,
    Asked,
    Portion,
    chunks_given,
    log_evidence_by_effort,
    plan_given,
    portion_given,
    tasks_by_effort,
    without_draws,
)
from bayes_badger.inner_loop._kinds import HARD, KINDS, LOOKS, SEVERAL_MODES, SINGLE_MODE, kinds_of
from bayes_badger.inner_loop._looked_up import LookedUp
from bayes_badger.inner_loop._offline import Effort
from bayes_badger.inner_loop._plan import Plan, prior_society, rows_to_look_at, straight_plan
from bayes_badger.inner_loop._points import cloud
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
# An ascent looks at so many tasks first where there are more.
CLIMBED = 256
# Refits after an ascent, and how near to the posterior, in nats, is then near enough: draws are
# weighed. Experts that more refits leave so far from it begin anew.
REFITS, NEAR = 4, 0.1
ASTRAY = 1.0
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
        self.own, self.draws = own, draws
        self.kind = np.where(hard, HARD, SINGLE_MODE)
        self.judged = False
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
        reused = self.looked_up is not None and not assignments[0].asked.plan.straight
        hard = (self.kind == HARD).any()
        together = alike and len(assignments) > 1 and not hard and not reused
        if not (together and few(self.evidence.n_tasks)):
            return [Near(x, self._near(x)) for x in assignments]
        (chunk,) = chunks_given(self.evidence)
        keys = self.task_keys, jax.random.fold_in(self.keys[1], 0), self.keys[2]
        points, own, batches = self.sizes.points, self.own, self._batches(assignments[0].start)
        self.few = FewTasks(self.program, chunk, keys, self.one, own, points, batches, self.report)
        self.kind = np.full_like(self.kind, SEVERAL_MODES)
        rounds = self.few.near(assignments, ROUNDS + LAST)
        return [Near(*x) for x in zip(assignments, rounds, strict=True)]

    def _near(self, assignment: Assignment) -> Rounds:
        """By an ascent and rounds of refits; by more and more tasks where that leads astray."""
        if assignment.log_weight is not None:
            tasks, portion = self._tasks(), len(self.counts) - 1
            rounds = self._learned(assignment, double.begun(assignment.start), tasks, 1, portion)
            if float(rounds.lowest) < AT_ONCE:
                most = ROUNDS + LAST
                return self._learned(assignment, rounds, tasks, most, portion)
        climbed = self._climbed(assignment)
        if float(climbed.lowest) < ASTRAY:
            return climbed
        society = assignment.start
        for i, count in enumerate(self.counts):
            last = i == len(self.counts) - 1
            most = LAST + (ROUNDS if i == 0 else 0) if last else (ROUNDS if i == 0 else BETWEEN)
            tasks = self._tasks(count)
            rounds = self._learned(assignment, double.begun(society), tasks, most, i, last)
            society = rounds.best
        return rounds

    def _climbed(self, assignment: Assignment) -> Rounds:
        """Experts at the summits of the log density, refitted to all tasks."""
        size, count = self.program.lifetime_size, self.evidence.n_tasks
        mean, root = _moments(assignment.start)
        for tasks in sorted({min(CLIMBED, count), count}):
            portion = self._tasks(tasks)
            name = f"what {tasks} tasks share"

            def joint(points: np.ndarray, portion: Portion = portion) -> np.ndarray:
                return self._joint(assignment, points, portion, self.keys[1])

            def told(step: int, gain: float, name: str = name) -> None:
                note = f"{gain:.3g} nats to the top" if np.isfinite(gain) else ""
                self.report(name, step, ROUNDS + LAST, note)

            summits = ascended(joint, mean, root, told)
            mean, root = summits[0].mean, 2.0 * summits[0].root
            if not np.isfinite(summits[0].height):
                return double.begun(assignment.start)
        if not self.judged and assignment.asked.kind != STRAIGHT and not self.served:
            # What is said of tasks under one assignment is taken to hold under the others.
            self.judged = True
            at = summits[0].mean + cloud(LOOKS, size, 0) @ summits[0].root.T
            single = self._kinds_asked(assignment.asked)[SINGLE_MODE]
            self.kind = kinds_of(
                self.program,
                self._tasks().kinds[SINGLE_MODE],
                self.kind,
                at,
                assignment.discrete,
                single,
                (self.task_keys, self.keys[3]),
                batch(size),
            )
        rounds = double.begun(at_summits(assignment.start, summits))
        portion, turn = self._tasks(), len(self.counts)
        for most in (REFITS, ROUNDS + LAST):
            rounds = self._learned(assignment, rounds, portion, most, turn)
            if float(rounds.lowest) < NEAR:
                break
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
        if without_draws(tasks.kinds[0], assignment.asked):
            # This is compiled for itself in any case.
            size = -(-int(MORE * self.draws) // batches)
        for i in range(batches):
            self.report("drawing what tasks share", i, batches)
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
        name, note = f"what {tasks.tasks} tasks share", ""
        while int(rounds.made) < most and not bool(rounds.done):
            self.report(name, int(rounds.made), most, note)
            key = jax.random.fold_in(jax.random.fold_in(self.keys[1], portion), int(rounds.made))
            society, offer = double.proposed(rounds.society, key, self.sizes.points)
            joint = self._joint(assignment, np.asarray(offer.points), tasks, key)
            rounds = rounds._replace(society=society)
            rounds = double.heard(rounds, assignment.start, offer, joint, last)
            lowest = float(rounds.lowest)
            note = f"{lowest:.3f} nats from it" if np.isfinite(lowest) else ""
        self.report(name, most, most, note)
        return rounds

    def _joint(
        self,
        assignment: Assignment,
        points: np.ndarray,
        tasks: Portion,
        key: PRNGKeyArray,
    ) -> np.ndarray:
        """Log p(a, D) of some tasks at some lifetimes."""
        joint = self._believed(assignment, points)
        reused = self._reused(assignment, points, tasks, joint, key)
        if reused is not None:
            return joint + reused.log_evidence.sum(1, dtype=float)
        asked, keys = self._kinds_asked(assignment.asked), (self.task_keys, key)
        size = batch(self.program.lifetime_size)
        said = [
            log_evidence_by_effort(
                self.program, tasks, x, assignment.discrete, asked, (keys[0], own)
            )
            for x, own in _batches(points, size, key)
        ]
        return joint + np.concatenate(said)[: len(points)]

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
            kinds = self._kinds_asked(asked)
            size = batch(lifetimes.shape[1]) if asked.draws == 1 else len(lifetimes)
            said = [
                tasks_by_effort(
                    self.program,
                    portion,
                    x,
                    assignment.discrete,
                    kinds,
                    (self.task_keys, draw_key),
                    report,
                )
                for x, draw_key in _batches(lifetimes, size, key)
            ]
            each = zip(*said, strict=True)
            of_tasks = OfTasks(*(np.concatenate(x)[: len(lifetimes)] for x in each))
        return own + of_tasks.log_evidence.sum(1, dtype=float), of_tasks

    @property
    def served(self) -> bool:
        """Whether tasks were answered for by points that serve all lifetimes."""
        return self.looked_up is not None and self.looked_up.served

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
            return portion_given(self.evidence, self.kind, KINDS)
        return portion_given(self.evidence.select(np.arange(count)), self.kind[:count], KINDS)

    def _kinds_asked(self, asked: Asked) -> tuple[Asked, ...]:
        """How tasks of each kind are asked: by one Gaussian, by several experts, and hard ones."""
        sizes = self.sizes
        single = asked._replace(experts=1) if self.program.lifetime_size else asked
        hard = asked._replace(experts=sizes.of_hard, effort=sizes.effort_of_hard, search=True)
        return single, asked, hard

    def _asked(self, discrete: Mapping[str, Array]) -> Asked:
        plan = straight_plan(self.program.task_size, "")
        if self.rows is not None:
            plans = [
                plan_given(self.program, self.rows, {**discrete, **one}) for one in _each(self.own)
            ]
            plan = max(plans, key=lambda plan: plan.directions.shape[1])
        return Asked(plan, self.sizes.effort, self.sizes.of_task, self.own)


def _batches(points: np.ndarray, size: int, key: PRNGKeyArray) -> list[tuple[np.ndarray, Array]]:
    """Lifetimes in batches of one size, the last filled up with its first; a key for each batch."""
    found = []
    for i, start in enumerate(range(0, len(points), size)):
        some = points[start : start + size]
        filled = np.concatenate([some, np.repeat(some[:1], size - len(some), 0)])
        found.append((filled, jax.random.fold_in(key, i)))
    return found


def _moments(society: Society) -> tuple[np.ndarray, np.ndarray]:
    """Mean, and root of the covariance, of experts together."""
    shares = np.exp(np.asarray(society.log_weights, float))
    means, roots = (np.asarray(x, float) for x in (society.mean, society.root))
    mean = shares @ means
    within = np.einsum("k,kij,klj->il", shares, roots, roots)
    away = means - mean
    return mean, np.linalg.cholesky(within + (away * shares[:, None]).T @ away)


def at_summits(pattern: Society, summits: Sequence[Summit]) -> Society:
    """Experts at the summits, of each its share, laid out there as a pattern is about 0.

    Args:
        pattern: Experts whose mean is about 0 and whose covariance is about the identity.
        summits: Ends of ascents.
    """
    count = len(pattern.log_weights)
    centre, spread = _moments(pattern)
    masses = np.array([x.height + np.log(np.diagonal(x.root)).sum() for x in summits])
    shares = np.exp(masses - np.logaddexp.reduce(masses))
    which = np.searchsorted(np.cumsum(shares), (np.arange(count) + 0.5) / count)
    which = np.minimum(which, len(summits) - 1)
    means, roots = (np.asarray(x, float).copy() for x in (pattern.mean, pattern.root))
    for i, top in enumerate(summits):
        at = which == i
        turn = top.root @ np.linalg.inv(spread)
        means[at] = top.mean + (means[at] - centre) @ turn.T
        roots[at] = turn @ roots[at]
    return pattern._replace(mean=jnp.asarray(means), root=jnp.asarray(roots))


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
