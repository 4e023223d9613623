"""What tasks share: experts over it alone, every task's own latents integrated out given it.

    p(a | D) ∝ p(a) Π_i p(D_i | a)

Experts hold Gaussians over `a`, propose lifetimes, hear from each task what its evidence is there,
and are refitted (population Monte Carlo), while evidence is let in as 32 tasks, then 128, 512, ...:
each portion narrows the belief by a factor of two in each direction, which a refit can follow. A
joint Gaussian over a and z could not learn a scale: where z is 0 a task says nothing of it.

Costs are linear in the tasks, and memory is that of the draws. Tasks are taken in an order that
their evidence gives, so that the order in which they came is nothing to the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from bayes_badger.belief.importance import resampled, smoothed
from bayes_badger.errors import BadgerError, listed
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
from bayes_badger.inner_loop._plan import Plan, prior_society, rows_to_look_at
from bayes_badger.inner_loop._reused import POINTS, reusable
from bayes_badger.inner_loop._rounds import Rounds, proposals
from bayes_badger.inner_loop._society import Society
from bayes_badger.inner_loop._split import assignments, count_of
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.program import LIFETIME, TASK, Program

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
# Assignments of discrete latents that are so many nats below the best do without draws.
NEGLIGIBLE = -12.0
# Assignments of a task's discrete latents, and tasks, from which it is read how to infer them.
PLANS = 3
LOOKED_AT = 256


class Shared(NamedTuple):
    """The belief about a lifetime.

    Attributes:
        lifetimes: Draws of what tasks share, `[draw, a]`.
        tasks: Of each task's own, `[draw, task, z]`.
        discrete: Of discrete latents by name, `[draw, ...]`, `[draw, task, ...]` of a task's.
        log_evidence: Of all outcomes, in nats.
        log_evidence_error: Its standard error by the spread of the weights.
        ess: Effective number of the weighed points of which the draws are some.
        points: How many points those are.
        effective: Of each task, the least number of points that count, in the mean over lifetimes.
        log_weights: Of points under the most likely assignment, for Pareto's k.
        by_task: Log evidence of each task where they share nothing, `[task]`; else None.
        messages: Log evidence of each task given what is shared, `[draw, task]`; None likewise.
        carried: What is believed of what tasks share, as experts, to go on from.
        looked_up: Whether points of the tasks served all lifetimes.
    """

    lifetimes: np.ndarray
    tasks: np.ndarray
    discrete: dict[str, np.ndarray]
    log_evidence: float
    log_evidence_error: float
    ess: float
    points: int
    effective: np.ndarray
    log_weights: np.ndarray
    by_task: np.ndarray | None = None
    messages: np.ndarray | None = None
    carried: tuple[Carried, ...] = ()
    looked_up: bool = False


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
    effort: Effort = Effort(8, 0, 16)
    of_hard: int = 32
    effort_of_hard: Effort = Effort(32, 3, 32)


# Fewer weighed points, or fewer of a task's, do not carry what is said.
ENOUGH, ENOUGH_OF_TASK, PARETO_K, EVEN = 400.0, 10.0, 0.7, 0.5


def told(found: Shared, sizes: Sizes) -> str:
    """How it was come by, in one sentence."""
    if found.points == 1:
        return (
            f"{sizes.alone} experts for each task and each joint value of its discrete latents; "
            f"draws were weighed by the true density: {found.effective.min():.0f} or more count"
        )
    if np.isinf(found.effective).all():
        tasks = "each task in closed form given it"
    elif found.looked_up:
        tasks = f"each task by {POINTS} points, weighed anew at each lifetime"
    else:
        tasks = f"each task by {sizes.of_task} given it"
    return (
        f"{sizes.experts} experts over what tasks share, {tasks}; draws were weighed by the true "
        f"density: of {found.points}, {found.ess:.0f} count"
    )


def doubts(found: Shared, evidence: Evidence) -> tuple[str, ...]:
    """Why its numbers are not to be trusted, one sentence each."""
    doubts = []
    _, k, own = smoothed(found.log_weights)
    # Of weights that are nearly equal k says nothing.
    if found.ess < ENOUGH or (k > PARETO_K and own < EVEN * len(found.log_weights)):
        doubts.append(
            f"the experts missed what tasks share: of {found.points} weighed points only "
            f"{found.ess:.0f} count (Pareto k {k:.2f}); raise inference.shared, or use recipe nuts"
        )
    missed = told_missed(found.effective, evidence)
    return (*doubts, missed) if missed else tuple(doubts)


def told_missed(effective: np.ndarray, evidence: Evidence) -> str:
    """Which tasks' points were too few, in one sentence; empty where none were."""
    few = np.flatnonzero(effective < ENOUGH_OF_TASK)
    if not len(few):
        return ""
    names = listed([f"'{evidence.tasks[i]}'" for i in few], 3)
    return (
        f"{len(few)} of {evidence.n_tasks} tasks were missed by their experts ({names}): fit with "
        "trust = refine, raise inference.given, or use recipe nuts"
    )


class _Near(NamedTuple):
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


class _Assigned(NamedTuple):
    """Points under one assignment of what is discrete and shared, weighed, and draws at each."""

    lifetimes: np.ndarray
    tasks: OfTasks
    log_weights: np.ndarray
    effective: np.ndarray


class Weighed(NamedTuple):
    """Points of the posterior of a lifetime, not yet drawn again.

    Attributes:
        states: Values of discrete latents that tasks share, of each assignment that counts, by name
            `[s, *shape]`.
        own: Of the discrete latents of tasks, all assignments, by name.
        lifetimes: What tasks share, `[s, n, a]`.
        tasks: What each task said there, and draws of its own, `[s, n, task, ...]`.
        log_weights: Log of the program's density over that of the proposal, `[s, n]`.
        log_evidence: Of all outcomes, in nats.
        log_evidence_error: Its standard error by the spread of the weights.
        ess: Effective number of the points.
        effective: Of each assignment and task, the points of the task that count, `[s, task]`.
        after: The experts of each assignment, to be carried on.
        looked_up: Whether points of the tasks served all lifetimes.
    """

    states: dict[str, np.ndarray]
    own: dict[str, np.ndarray]
    lifetimes: np.ndarray
    tasks: OfTasks
    log_weights: np.ndarray
    log_evidence: float
    log_evidence_error: float
    ess: float
    effective: np.ndarray
    after: tuple[Society, ...]
    looked_up: bool = False

    @property
    def share(self) -> np.ndarray:
        """Posterior probability of each point, `[s, n]`."""
        weights = np.exp(self.log_weights - self.log_weights.max())
        return np.asarray(weights / weights.sum())


def weighed_lifetimes(
    program: Program,
    evidence: Evidence,
    key: PRNGKeyArray,
    draws: int,
    sizes: Sizes,
    report: Report,
    begun: tuple[Carried, ...] = (),
    hard: np.ndarray | None = None,
) -> Weighed:
    """Weighed points of the posterior of a whole lifetime; arguments as of `infer_shared`.

    Where tasks share nothing with a coordinate there is one point for each assignment, and it has
    all draws of the tasks.

    Raises:
        BadgerError: Where the evidence is impossible at all lifetimes that were tried.
    """
    states, own = _assignments(program, LIFETIME), _assignments(program, TASK)
    order = _canonical(evidence)
    back = np.argsort(order)
    hard = np.zeros(evidence.n_tasks, bool) if hard is None else hard
    work = _Work(program, evidence.select(order), own, key, sizes, draws, report, hard[order])
    if begun:
        states = {name: np.stack([x.discrete[name] for x in begun]) for name in states}
    each_state = [
        {name: jnp.asarray(x[i]) for name, x in states.items()} for i in range(count_of(states))
    ]
    near = work.near(each_state, begun or (None,) * len(each_state))
    highest = max(x.log_evidence for x in near)
    if not np.isfinite(highest):
        raise BadgerError(
            f"{program.name}: the evidence is impossible, or its log density not a number, at all "
            "values that experts tried of what tasks share: check the data, or the prior"
        )
    kept = [i for i, x in enumerate(near) if x.log_evidence > highest + NEGLIGIBLE]
    each = work.posteriors([near[i] for i in kept], len(near))
    log_weights = np.stack([x.log_weights for x in each])
    tasks = OfTasks(*(np.stack(x)[:, :, back] for x in zip(*(y.tasks for y in each), strict=True)))
    effective = np.stack([x.effective for x in each])[:, back]
    count = log_weights.shape[1]
    looked_up = work.looked_up is not None and work.looked_up.served
    total = float(np.logaddexp.reduce(log_weights.ravel()))
    share = np.exp(log_weights - total)
    ess = float(1.0 / (share**2).sum()) if count > 1 else float(draws)
    if count > 1:
        variance = max(1.0 / ess - 1.0 / share.size, 0.0)
        if looked_up:
            # The same points at all lifetimes, and so the same error.
            variance += float(np.maximum(1 / _mean(share, effective) - 1 / POINTS, 0.0).sum())
    else:
        variance = float((1.0 / _mean(share, effective)).sum())
    return Weighed(
        {name: x[kept] for name, x in states.items()},
        own,
        np.stack([x.lifetimes for x in each]),
        tasks,
        log_weights,
        total - float(np.log(count)),
        float(np.sqrt(variance)),
        ess,
        effective,
        tuple(near[i].after for i in kept),
        looked_up,
    )


def infer_shared(
    program: Program,
    evidence: Evidence,
    key: PRNGKeyArray,
    draws: int,
    sizes: Sizes,
    report: Report,
    begun: tuple[Carried, ...] = (),
    hard: np.ndarray | None = None,
) -> Shared:
    """Draws from the posterior of a whole lifetime.

    Args:
        program: Of prior-normal coordinates, but for discrete latents that can be listed.
        evidence: Of all tasks.
        key: For points and draws.
        draws: How many.
        sizes: How hard to try.
        report: Is told how far it has come.
        begun: What is believed of what tasks share before this evidence, in place of the prior;
            log evidence is then given what that belief rests on.
        hard: Which tasks are known to be hard, `[task]`.

    Raises:
        BadgerError: Where the evidence is impossible at all lifetimes that were tried.
    """
    found = weighed_lifetimes(program, evidence, key, draws, sizes, report, begun, hard)
    weights, count = found.share, found.log_weights.shape[1]
    chance = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    chosen = resampled(weights.ravel(), draws, chance)
    which, at = np.unravel_index(chosen, weights.shape)
    # Where only one point is needed it has all draws of the tasks; else each point has one.
    draw = chance.permutation(draws) if count == 1 else np.zeros(draws, int)
    told = found.tasks.log_evidence[which, at]
    share = weights.sum(1)
    carried = tuple(
        Carried({name: x[i] for name, x in found.states.items()}, float(np.log(share[i])), after)
        for i, after in enumerate(found.after)
        if share[i] > 0
    )
    alone = count == 1 and not found.states
    return Shared(
        found.lifetimes[which, at],
        found.tasks.latents[which, at, :, draw],
        {name: x[which] for name, x in found.states.items()}
        | {name: x[found.tasks.states[which, at, :, draw]] for name, x in found.own.items()},
        found.log_evidence,
        found.log_evidence_error,
        found.ess,
        int(weights.size),
        _mean(weights, found.effective),
        found.log_weights[share.argmax()],
        told[0].astype(float) if alone else None,
        None if alone else told,
        () if alone else carried,
        found.looked_up,
    )


def _mean(share: np.ndarray, effective: np.ndarray) -> np.ndarray:
    """Effective points of each task, over assignments by their share."""
    each = share.sum(1)[:, None]
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(each > 0, each * effective, 0.0).sum(0))


class _Work:
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
    ) -> list[_Near]:
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
            return [_Near(x) for x in assignments]
        alike = len({x.start.mean.shape for x in assignments}) == 1
        # One assignment alone is not worth the longer compilation.
        served = self.looked_up is not None and not assignments[0].asked.plan.straight
        together = alike and len(assignments) > 1 and not self.hard.any() and not served
        if not (together and few(self.evidence.n_tasks)):
            return [_Near(x, self._near(x)) for x in assignments]
        (chunk,) = chunks_given(self.evidence)
        keys = self.task_keys, jax.random.fold_in(self.keys[1], 0), self.keys[2]
        points, own, batches = self.sizes.points, self.own, self._batches(assignments[0].start)
        self.few = FewTasks(self.program, chunk, keys, self.one, own, points, batches, self.report)
        rounds = self.few.near(assignments, ROUNDS + LAST)
        return [_Near(*x) for x in zip(assignments, rounds, strict=True)]

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

    def posteriors(self, near: Sequence[_Near], of: int) -> list[_Assigned]:
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
    ) -> _Assigned:
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

    def _alone(self, assignment: Assignment) -> _Assigned:
        """Where nothing that is shared has a coordinate: one point is all there is."""
        effort = self.sizes.effort._replace(refits=ALONE)
        sizes = self.sizes
        asked = assignment.asked._replace(draws=self.draws, experts=sizes.alone, effort=effort)
        at = np.zeros((1, 0))
        joint, tasks = self._said(assignment, at, self._tasks(), asked, self.keys[2], self.report)
        return _Assigned(at, tasks, joint, tasks.effective[0])

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
        plan = Plan(np.zeros((self.program.task_size, 0)), "")
        if self.rows is not None:
            plans = [
                plan_given(self.program, self.rows, {**discrete, **one}) for one in _each(self.own)
            ]
            plan = max(plans, key=lambda plan: plan.directions.shape[1])
        return Asked(plan, self.sizes.effort, self.sizes.of_task, self.own)


def _assignments(program: Program, scope: str) -> dict[str, np.ndarray]:
    found = assignments(program, scope)
    if isinstance(found, str):
        raise BadgerError(f"{program.name}: experts {found}")
    return found


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


def _canonical(evidence: Evidence) -> np.ndarray:
    """An order of tasks that their evidence gives, whatever order they came in."""
    each = [evidence.columns[n] for n in sorted(evidence.columns)]
    each += [] if evidence.outcome is None else [evidence.outcome]
    starts = np.concatenate([[0], np.cumsum(evidence.lengths)[:-1]])
    has = evidence.lengths > 0
    keys = [evidence.lengths]
    for name in sorted(evidence.task_columns):
        keys += list(np.asarray(evidence.task_columns[name], float).reshape(evidence.n_tasks, -1).T)
    for x in each:
        flat = np.asarray(x, float).reshape(len(x), -1)
        for column in flat.T:
            sums = np.zeros(evidence.n_tasks)
            sums[has] = np.add.reduceat(column, starts[has]) if len(column) else 0.0
            keys.append(sums)
    # Then by chance, so that the first portion is like the others.
    return np.lexsort(keys[::-1])[np.random.default_rng(0).permutation(evidence.n_tasks)]


def _each(states: Mapping[str, np.ndarray]) -> list[dict[str, Array]]:
    """Some assignments, the first and the last among them."""
    some = np.unique(np.linspace(0, count_of(states) - 1, PLANS).astype(int))
    return [{name: jnp.asarray(x[i]) for name, x in states.items()} for i in some]


def _prior(program: Program, sizes: Sizes) -> Society:
    """The prior of what is shared, split along its first directions."""
    size = program.lifetime_size
    directions = np.eye(size)[:, : min(size, 3)]
    return prior_society(Plan(directions, ""), sizes.experts, size)


def _weighed(drawn: Drawn) -> _Assigned:
    """Of draws in batches."""
    tasks = OfTasks(*(np.concatenate(np.swapaxes(np.asarray(x), 1, 2)) for x in drawn.tasks))
    lifetimes, log_weights = np.asarray(drawn.lifetimes), np.asarray(drawn.log_weights)
    return _assigned(np.concatenate(lifetimes), log_weights.ravel(), tasks)


def _assigned(lifetimes: np.ndarray, log_weights: np.ndarray, tasks: OfTasks) -> _Assigned:
    share = np.exp(log_weights - np.logaddexp.reduce(log_weights))
    with np.errstate(invalid="ignore"):
        counted = share > 0
        effective = share[counted] @ tasks.effective[counted]
    return _Assigned(lifetimes, tasks, log_weights, effective)
