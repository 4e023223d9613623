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

from collections.abc import Mapping
from typing import Any, NamedTuple

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
from bayes_badger.inner_loop._given import Asked, OfTasks, plan_given, tasks_by_effort
from bayes_badger.inner_loop._offline import Effort
from bayes_badger.inner_loop._plan import Plan, prior_society, rows_to_look_at
from bayes_badger.inner_loop._refit import Offer
from bayes_badger.inner_loop._society import Society
from bayes_badger.inner_loop._split import assignments, count_of
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.program import LIFETIME, TASK, Program

# Tasks of the first portion, and how much larger each is than the one before.
FIRST, FACTOR = 32, 4
# Rounds of refits at most: of the first portion, of those between, and of all tasks.
ROUNDS, BETWEEN, LAST = 20, 5, 8
# No more rounds where experts are this close to the posterior, in nats.
CLOSE = 0.01
# While fewer points count than so many for each dimension and one, experts are gathered around the
# mean and covariance of the weights, flattened until as many count; refits would starve.
SPARSE = 10.0
# Refits of tasks that share nothing with a coordinate.
ALONE = 3
# The least standard deviation that experts are gathered with.
NO_LESS = 1e-5
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
        discrete: The assignment.
        asked: How tasks are asked.
        society: The experts.
        log_evidence: Roughly, in nats.
        before: What was believed before, to go on from; None where that is the prior.
        after: The experts a step of EM nearer to the posterior, to be carried on.
    """

    discrete: Mapping[str, Array]
    asked: Asked
    society: Society
    log_evidence: float
    before: Carried | None
    after: Society


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
    near = [
        work.near(
            {name: jnp.asarray(x[i]) for name, x in states.items()}, begun[i] if begun else None
        )
        for i in range(count_of(states))
    ]
    highest = max(x.log_evidence for x in near)
    if not np.isfinite(highest):
        raise BadgerError(
            f"{program.name}: the evidence is impossible, or its log density not a number, at all "
            "values that experts tried of what tasks share: check the data, or the prior"
        )
    kept = [i for i, x in enumerate(near) if x.log_evidence > highest + NEGLIGIBLE]
    each = [work.posterior(near[i]) for i in kept]
    log_weights = np.stack([x.log_weights for x in each])
    tasks = OfTasks(*(np.stack(x)[:, :, back] for x in zip(*(y.tasks for y in each), strict=True)))
    effective = np.stack([x.effective for x in each])[:, back]
    count = log_weights.shape[1]
    total = float(np.logaddexp.reduce(log_weights.ravel()))
    share = np.exp(log_weights - total)
    ess = float(1.0 / (share**2).sum()) if count > 1 else float(draws)
    if count > 1:
        variance = max(1.0 / ess - 1.0 / share.size, 0.0)
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
        self.keys = jax.random.split(key, 4)
        self.task_keys = jax.random.split(self.keys[0], evidence.n_tasks)
        self.counts = _portions(evidence.n_tasks)
        some = evidence.select(np.flatnonzero(evidence.lengths)[:LOOKED_AT])
        block = some.padded()
        self.rows = rows_to_look_at(data_of(block), block.mask) if some.n_rows else None
        self.one = data_of(evidence.select(np.arange(1)).padded())
        self.first = {name: jnp.asarray(x[0]) for name, x in own.items()}

    def near(self, discrete: Mapping[str, Array], before: Carried | None) -> _Near:
        """Experts near the posterior under one assignment."""
        start = _prior(self.program, self.sizes) if before is None else before.society
        near = _Near(discrete, self._asked(discrete), start, 0.0, before, start)
        for i, count in enumerate(self.counts):
            last = i == len(self.counts) - 1
            most = LAST + (ROUNDS if i == 0 else 0) if last else (ROUNDS if i == 0 else BETWEEN)
            evidence = self.evidence.select(np.arange(count))
            if self.program.lifetime_size:
                near = self._learned(near, start, evidence, most, i, last)
        return near

    def posterior(self, near: _Near) -> _Assigned:
        """Points of the posterior under one assignment, more than there are draws."""
        society, asked = near.society, near.asked
        if not self.program.lifetime_size:
            return self._alone(near)
        size = len(double.points(society, self.keys[1], self.sizes.points).points)
        total: list[tuple[np.ndarray, np.ndarray, OfTasks]] = []
        for i in range(-(-self.draws // size) + 1):
            key = jax.random.fold_in(self.keys[2], i)
            points, proposed = double.drawn(society, key, size)
            joint, of_tasks = self._joint(near, points, self.evidence, asked, key)
            total.append(
                (points, np.where(np.isfinite(joint), joint - proposed, -np.inf), of_tasks)
            )
        lifetimes, log_weights = (np.concatenate([x[i] for x in total]) for i in range(2))
        tasks = OfTasks(*(np.concatenate(x) for x in zip(*(y[2] for y in total), strict=True)))
        share = np.exp(log_weights - np.logaddexp.reduce(log_weights))
        with np.errstate(invalid="ignore"):
            each = np.where(share[:, None] > 0, share[:, None] * tasks.effective, 0.0)
        return _Assigned(lifetimes, tasks, log_weights, each.sum(0))

    def _alone(self, near: _Near) -> _Assigned:
        """Where nothing that is shared has a coordinate: one point is all there is."""
        effort = self.sizes.effort._replace(refits=ALONE)
        asked = near.asked._replace(draws=self.draws, experts=self.sizes.alone, effort=effort)
        at = np.zeros((1, 0))
        joint, tasks = self._joint(near, at, self.evidence, asked, self.keys[2], self.report)
        return _Assigned(at, tasks, joint, tasks.effective[0])

    def _learned(
        self, near: _Near, start: Society, evidence: Evidence, most: int, portion: int, last: bool
    ) -> _Near:
        """The best of some rounds of refits to some tasks, and the log evidence by its points."""
        society, lowest, polished = near.society, np.inf, False
        best, none = near._replace(log_evidence=-np.inf), jnp.zeros(len(start.log_weights))
        for i in range(most):
            name = f"what {evidence.n_tasks} tasks share"
            self.report(name, i, most, f"{lowest:.3f} nats from it" if np.isfinite(lowest) else "")
            key = jax.random.fold_in(jax.random.fold_in(self.keys[1], portion), i)
            society = double.reborn(society, none)
            offer = double.points(society, key, self.sizes.points)
            points = np.asarray(offer.points)
            joint, _ = self._joint(near, offer.points, evidence, near.asked, key)
            if not np.isfinite(joint).any():
                return best._replace(log_evidence=-np.inf)
            joint = np.where(np.isfinite(joint), joint, -np.inf)
            after, check = double.refit(society, offer, joint - joint.max())
            divergence, ess = float(check.divergence), float(check.ess)
            if divergence < lowest:
                lowest = divergence
                log_evidence = float(check.log_evidence) + float(joint.max())
                carried = _matched(after, offer, joint)
                best = near._replace(society=society, log_evidence=log_evidence, after=carried)
            # What is carried on is polished by a step more: what is off by little in each portion
            # of tasks, and to the same side, adds up.
            if divergence < CLOSE and (polished or not last):
                break
            polished = divergence < CLOSE
            sparse = ess < SPARSE * (points.shape[1] + 1)
            society = _gathered(start, offer, joint) if sparse else after
        self.report(name, most, most, f"{lowest:.3f} nats from it")
        return best

    def _joint(
        self,
        near: _Near,
        points: Any,
        evidence: Evidence,
        asked: Asked,
        key: PRNGKeyArray,
        report: Report = silent,
    ) -> tuple[np.ndarray, OfTasks]:
        """Log p(a, D) at some points, and what each task said."""
        lifetimes = np.asarray(points, float)
        sizes, tasks = self.sizes, evidence.n_tasks
        harder = asked._replace(experts=sizes.of_hard, effort=sizes.effort_of_hard, search=True)
        of_tasks = tasks_by_effort(
            self.program,
            evidence,
            lifetimes,
            near.discrete,
            (asked, harder),
            self.hard[:tasks],
            (self.task_keys[:tasks], key),
            report,
        )
        if near.before is None:
            given = {**near.discrete, **self.first}
            own = double.log_prior(self.program, lifetimes, self.one, given)
        else:
            own = near.before.log_weight + double.log_density(near.before.society, lifetimes)
        return own + of_tasks.log_evidence.astype(float).sum(1), of_tasks

    def _asked(self, discrete: Mapping[str, Array]) -> Asked:
        plan = Plan(np.zeros((self.program.task_size, 0)), "")
        if self.rows is not None and self.program.task_size:
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


def _matched(society: Society, offer: Offer, joint: np.ndarray) -> Society:
    """Experts moved and stretched together, to the mean and covariance of weighed points.

    A refit keeps experts of few points from becoming too narrow. In one fit that costs nothing, for
    draws are weighed; carried from portion to portion it would make the first count for less.
    """
    points = np.asarray(offer.points)
    logs = np.asarray(offer.base) + joint - np.asarray(offer.proposed)
    weights = np.exp(logs - logs.max())
    shares = np.exp(np.asarray(society.log_weights))
    means, roots = np.asarray(society.mean), np.asarray(society.root)
    mean, root = _moments(weights / weights.sum(), points, np.zeros((1, 1, 1)))
    own, own_root = _moments(shares / shares.sum(), means, roots @ np.swapaxes(roots, 1, 2))
    stretch = root @ np.linalg.inv(own_root)
    if not np.isfinite(stretch).all():
        return society
    return society._replace(mean=mean + (means - own) @ stretch.T, root=stretch @ roots)


def _moments(
    weights: np.ndarray, means: np.ndarray, within: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean, and root of the covariance, of a mixture."""
    mean = weights @ means
    apart = means - mean
    covariance = apart.T @ (weights[:, None] * apart) + (weights[:, None, None] * within).sum(0)
    try:
        return mean, np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return mean, np.full_like(covariance, np.nan)


def _gathered(prior: Society, offer: Offer, joint: np.ndarray) -> Society:
    """The prior's experts moved to where points weigh, by flattened weights' first two moments."""
    points, base = np.asarray(offer.points), np.asarray(offer.base)
    log_weights = np.where(np.isfinite(joint), joint - np.asarray(offer.proposed), -np.inf)

    def share(power: float) -> np.ndarray:
        logs = base + np.where(np.isfinite(log_weights), power * log_weights, -np.inf)
        weights = np.exp(logs - logs.max())
        return weights / weights.sum()

    low, high = 0.0, 1.0
    for _ in range(30):
        middle = 0.5 * (low + high)
        fits = 1.0 / (share(middle) ** 2).sum() >= SPARSE * (points.shape[1] + 1)
        low, high = (middle, high) if fits else (low, middle)
    weights = share(low)
    mean = weights @ points
    apart = points - mean
    covariance = apart.T @ (weights[:, None] * apart)
    # However few the points are, no direction is lost.
    root = np.linalg.cholesky(covariance + NO_LESS**2 * np.eye(len(mean)))
    experts = mean + np.asarray(prior.mean) @ root.T
    return prior._replace(mean=experts, root=root @ np.asarray(prior.root))
