"""How far each row moved the belief: KL(q_t, q_{t-1}), one row of one task after another.

    KL(q_t, q_{t-1}) = E_{q_t} log p(y_t | u, y_<t) - log p(y_t | y_<t)

for an exact posterior: it takes draws and the log evidence of each prefix, and no density. Where
the inner loop follows rows exactly its own gain is taken. Sums are in double precision.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayes_badger.errors import BadgerError
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import data_of
from bayes_badger.inner_loop._filter import StepByStep
from bayes_badger.inner_loop.protocol import Report
from bayes_badger.measures.closed import of_mixture, picked
from bayes_badger.measures.subject import Subject
from bayes_badger.pointwise import log_likelihood_rows
from bayes_badger.program import Step
from bayes_badger.reopening import inner_loop_of
from bayes_badger.trust import judged


class Followed(NamedTuple):
    """Some tasks, each alone from the prior, row by row, in nats.

    Attributes:
        gain: KL(q_t, q_{t-1}), `[task, step]`; NaN where a task has no such row.
        error: Its standard error.
        total: KL(q_T, prior) at the last of these rows, `[task]`.
        total_error: Its standard error.
        exact: Whether all are exact.
    """

    gain: np.ndarray
    error: np.ndarray
    total: np.ndarray
    total_error: np.ndarray
    exact: bool


def followed(subject: Subject, tasks: int, steps: int, seed: int, report: Report) -> Followed:
    """The first tasks, row by row.

    Args:
        subject: The run.
        tasks: How many tasks.
        steps: At most so many rows of each.
        seed: Of everything random.
        report: Is told how far it has come.

    Raises:
        BadgerError: Where beliefs at prefixes have no log evidence.
    """
    some = subject.evidence.select(np.arange(min(tasks, subject.evidence.n_tasks)))
    lengths = np.minimum(some.lengths, steps)
    found = Followed(
        np.full((some.n_tasks, int(lengths.max())), np.nan),
        np.zeros((some.n_tasks, int(lengths.max()))),
        np.zeros(some.n_tasks),
        np.zeros(some.n_tasks),
        _steps_exactly(subject),
    )
    for i in range(some.n_tasks):
        report("following tasks", i, some.n_tasks)
        one = some.select([i])
        work = _by_filter if found.exact else _by_prefixes
        work(subject, one, int(lengths[i]), jax.random.key(seed + i), found, i)
    report("following tasks", some.n_tasks, some.n_tasks)
    return found


def _steps_exactly(subject: Subject) -> bool:
    loop = picked(inner_loop_of(subject.run), subject.program, subject.evidence)
    if not isinstance(loop, StepByStep):
        return False
    try:
        state = loop.init(subject.program)
    except BadgerError:
        return False
    belief = jax.tree.map(lambda x: x[None], loop.belief(subject.program, state))
    return of_mixture(subject.program, belief) is not None


def _by_filter(
    subject: Subject, one: Evidence, steps: int, key: Any, found: Followed, at: int
) -> None:
    program = subject.program
    loop: Any = picked(inner_loop_of(subject.run), program, subject.evidence)
    data = data_of(one.padded())
    state = loop.init(program)
    for t in range(steps):
        columns = {n: x[0, t] for n, x in data.columns.items()}
        fixed = {n: x[0, 0] for n, x in data.task_columns.items()}
        state, info = loop.step(program, state, Step(columns, fixed, data.answers[0, t]))
        found.gain[at, t] = info.information_gain
    belief = loop.belief(program, state)
    shift = of_mixture(program, jax.tree.map(lambda x: x[None], belief))
    found.total[at] = np.nan if shift is None else shift.total


def _by_prefixes(
    subject: Subject, one: Evidence, steps: int, key: Any, found: Followed, at: int
) -> None:
    """Beliefs after 1, 2, ... rows: all at once where nothing is shared, else one by one."""
    program = subject.program
    alone = not program.lifetime_size and not program.discrete
    before, before_error = 0.0, 0.0
    groups = [np.arange(1, steps + 1)] if alone else [np.array([t]) for t in range(1, steps + 1)]
    for group in groups:
        prefixes = _prefixes(one, group)
        keys = jax.random.split(jax.random.fold_in(key, int(group[0])))
        belief = inner_loop_of(subject.run).infer(program, prefixes, keys[0])
        belief, _ = judged(program, prefixes, belief, keys[1], subject.run.spec["trust"])
        if belief.log_evidence is None:
            raise BadgerError(
                f"{subject.run.name}: beliefs at prefixes have no log evidence: set steps = 0, or "
                "fit with experts, grid, enumerate or exact"
            )
        by_task = belief.log_evidence_by_task
        evidence = np.array([belief.log_evidence]) if by_task is None else np.asarray(by_task)
        error = (belief.log_evidence_error or 0.0) / np.sqrt(len(group))
        values = {x.name: jnp.asarray(belief.draws.values[x.name]) for x in program.latents}
        rows = log_likelihood_rows(program, prefixes, values).astype(float)
        rows = rows.reshape(-1, rows.shape[-1])
        ends = np.cumsum(prefixes.lengths)
        for i, t in enumerate(group):
            last = rows[:, ends[i] - 1]
            own = np.std(last, ddof=1) / np.sqrt(len(last))
            found.gain[at, t - 1] = last.mean() - (evidence[i] - before)
            found.error[at, t - 1] = np.sqrt(own**2 + error**2 + before_error**2)
            all_rows = rows[:, ends[i] - t : ends[i]].sum(1)
            found.total[at] = all_rows.mean() - evidence[i]
            spread = np.std(all_rows, ddof=1) / np.sqrt(len(all_rows))
            found.total_error[at] = np.hypot(spread, error)
            before, before_error = float(evidence[i]), float(error)


def _prefixes(one: Evidence, lengths: np.ndarray) -> Evidence:
    """The same task once for each length, with so many of its rows."""
    many = one.select(np.zeros(len(lengths), int))
    place = np.tile(np.arange(one.n_rows), len(lengths))
    many = dataclasses.replace(many, tasks=np.arange(len(lengths)))
    return many.select_rows(place < lengths[many.task_index])
