"""Weighed points of the posterior of a lifetime, and what each task said of each point.

Tasks are taken in an order that their evidence gives, so that the order in which they came is
nothing to the result.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from bayes_badger.errors import BadgerError
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop._carried import Carried
from bayes_badger.inner_loop._evidence_of_task import OfTasks
from bayes_badger.inner_loop._kinds import SINGLE_MODE
from bayes_badger.inner_loop._lifetime_rounds import Sizes, Work
from bayes_badger.inner_loop._reused import POINTS
from bayes_badger.inner_loop._society import Society
from bayes_badger.inner_loop._split import assignments, count_of
from bayes_badger.inner_loop.protocol import Report
from bayes_badger.program import LIFETIME, TASK, Program

# Assignments of discrete latents that are so many nats below the best do without draws.
NEGLIGIBLE = -12.0


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
        several: How many tasks were asked by more than one Gaussian.
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
    several: int = 0

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
    work = Work(program, evidence.select(order), own, key, sizes, draws, report, hard[order])
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
    of_tasks = np.where(share[:, :, None] > 0, share[:, :, None] * tasks.error, 0.0).sum((0, 1))
    variance = max(1.0 / ess - 1.0 / share.size, 0.0) if count > 1 else 0.0
    if looked_up:
        # The same points at all lifetimes, and so the same error; of each task its own.
        variance += float(np.maximum(1 / mean_effective(share, effective) - 1 / POINTS, 0.0).sum())
    else:
        # Tasks share the places of their points, so that their errors are alike and add up.
        variance += float(of_tasks.sum()) ** 2
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
        int((work.kind != SINGLE_MODE).sum()),
    )


def mean_effective(share: np.ndarray, effective: np.ndarray) -> np.ndarray:
    """Effective points of each task, over assignments by their share."""
    each = share.sum(1)[:, None]
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(each > 0, each * effective, 0.0).sum(0))


def _assignments(program: Program, scope: str) -> dict[str, np.ndarray]:
    found = assignments(program, scope)
    if isinstance(found, str):
        raise BadgerError(f"{program.name}: experts {found}")
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
