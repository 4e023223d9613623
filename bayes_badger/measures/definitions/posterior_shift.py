"""How far the evidence moved the belief: KL(posterior, prior), by level.

For an exact posterior KL(p(u | D), p(u)) = E log p(D | u) - log p(D): it takes no density of the
belief, draws and the log evidence are enough. By the chain rule it splits into what was learned of
the algorithm, KL(q(a), p(a)) = E Σ log p(D_i | a) - log p(D), and of the tasks given it; or, begun
with the tasks, into what was learned of them and of the algorithm given them. The mean of both
orders, Shapley's, belongs to neither.

Step by step KL(q_t, q_{t-1}) adds up to the total only in expectation under the model's own
predictive, never on one path: neither is "the" information.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
import xarray as xr

from bayes_badger.errors import BadgerError
from bayes_badger.inner_loop.messages import messages
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.labels import safe_name
from bayes_badger.measures.closed import Shift, closed_shift
from bayes_badger.measures.estimate import Estimate, mean_of
from bayes_badger.measures.labelled import SE, Quantity, labelled
from bayes_badger.measures.picture import BLUE
from bayes_badger.measures.steps import followed
from bayes_badger.measures.subject import AnyProgram, Subject, opened
from bayes_badger.measures.tasks_first import algorithm_given_tasks
from bayes_badger.pointwise import log_likelihood_rows
from bayes_badger.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUESTION = "How far did the evidence move the belief, about the algorithm and about each task?"
REFERENCE = "Itti & Baldi (2009), Bayesian surprise; the chain rule of relative entropy"
PER_TASK = "per_task"
# Points of each of a task's experts where tasks share nothing. With the usual 16 log p(D_i) is .01
# too low for coins of eight tosses, in the mean, .03 for logistic regressions; with these .004 for
# coins.
POINTS = 512


def shift(log_likelihood: np.ndarray, log_evidence: float, error: float = 0.0) -> Estimate:
    """KL(posterior, prior) = E log p(D | u) - log p(D), in nats.

    Args:
        log_likelihood: Of all evidence, at independent draws of the posterior, `[draw]`.
        log_evidence: log p(D).
        error: Its standard error.

    Example:
        >>> import numpy as np
        >>> z = 0.5 + np.sqrt(0.5) * np.random.default_rng(0).normal(size=4000)
        >>> half = 0.5 * np.log(2 * np.pi)
        >>> told = shift(-half - 0.5 * (1 - z) ** 2, -half - 0.5 * np.log(2) - 0.25)  # y = 1
        >>> exact = 0.5 * (0.5 + 0.25 - 1 - np.log(0.5))
        >>> bool(abs(told.value - exact) < 3 * told.error)
        True
    """
    mean = mean_of(np.asarray(log_likelihood, float).ravel())
    return Estimate(mean.value - log_evidence, float(np.hypot(mean.error, error)))


def posterior_shift(
    run: Run,
    *,
    program: AnyProgram = None,
    seed: int = 0,
    report: Report = silent,
    steps: int = 10,
    tasks: int = 1,
) -> xr.Dataset:
    """How far the evidence moved the belief.

    Args:
        run: Fitted by an inner loop that knows the log evidence.
        program: The program, where the run was read and its program is not on the shelf.
        seed: Of everything random.
        report: Is told how far the work has come.
        steps: Of each task that is followed row by row, from the prior, at most so many rows; 0
            for none.
        tasks: How many tasks are followed, each alone.

    Returns:
        `total`; where tasks share latents and have their own, both orders of the chain rule
        (`algorithm` and `tasks_given_algorithm`; `tasks` and `algorithm_given_tasks`) and their
        means; `per_task`, of each given the algorithm; `per_step` with `sum_of_steps` and
        `shift_of_steps`.

    Raises:
        BadgerError: Where the run's inner loop knows no log evidence.

    Example:
        >>> import bayes_badger as bb
        >>> found = bb.measures.posterior_shift(bb.fit("eight_schools"), steps=0)
        >>> float(found["total"]) > 1
        True
    """
    subject = opened(run, program)
    if subject.log_evidence is None:
        raise BadgerError(
            f"{run.name}: posterior_shift needs the log evidence, which its inner loop does not "
            "know: fit with experts, grid, enumerate or exact"
        )
    total, algorithm, each = _found(subject, seed, report)
    exact = closed_shift(subject)
    quantities: dict[str, Quantity] = {
        "total": Quantity("all latents", *total[:2], None if exact is None else exact.total)
    }
    notes: list[str] = []
    doubts: list[str] = []
    both = bool(subject.program.select("task"))
    if algorithm is not None:
        truth = None if exact is None else exact.algorithm
        quantities["algorithm"] = Quantity("what tasks share", *algorithm[:2], truth)
        if both:
            told = _orders(subject, total, algorithm, exact, seed)
            quantities |= told.quantities
            notes += told.notes
            doubts += told.doubts
    dim = safe_name(subject.evidence.task_name)
    coords: dict[Hashable, Any] = {dim: subject.evidence.tasks}
    truths = None if exact is None else exact.per_task
    name = PER_TASK if dim != PER_TASK else f"{PER_TASK}_"
    quantities[name] = Quantity("task", each.value, each.error, truths, dims=(dim,))
    if steps and subject.evidence.n_rows:
        quantities |= _steps(subject, tasks, steps, seed, report, coords)
        notes.append(
            "the sum of the steps equals the shift they lead to only in expectation over outcomes, "
            "never on one path"
        )
    return labelled("posterior_shift", REFERENCE, quantities, coords, notes, doubts)


def _found(
    subject: Subject, seed: int, report: Report
) -> tuple[Estimate, Estimate | None, Estimate]:
    assert subject.log_evidence is not None  # noqa: S101 - looked at before
    rows = log_likelihood_rows(subject.program, subject.evidence, subject.draws)
    rows = rows.reshape(-1, rows.shape[-1]).astype(float)
    tasks = np.zeros((len(rows), subject.evidence.n_tasks))
    np.add.at(tasks.T, subject.evidence.task_index, rows.T)
    total = shift(tasks.sum(1), *subject.log_evidence)
    flat = {n: x.reshape(-1, *x.shape[2:]) for n, x in subject.draws.items()}
    alone = not subject.program.select("lifetime")
    if alone:  # the same at all draws: once, with more points
        flat = {n: x[:1] for n, x in flat.items()}
    key, points = jax.random.key(seed), POINTS if alone else None
    said = messages(subject.program, subject.evidence, flat, key, points=points, report=report)
    each = mean_of(tasks - said.log_evidence)
    if alone:
        return total, None, each
    return total, shift(said.log_evidence.sum(1), *subject.log_evidence), each


class _Orders(NamedTuple):
    quantities: dict[str, Quantity]
    notes: list[str]
    doubts: list[str]


def _orders(
    subject: Subject, total: Estimate, algorithm: Estimate, exact: Shift | None, seed: int
) -> _Orders:
    """Both orders of the chain rule, and their mean."""

    def less(one: Estimate, other: Estimate) -> Estimate:
        return Estimate(one.value - other.value, float(np.hypot(one.error, other.error)))

    given = less(total, algorithm)
    truth = None if exact is None else float(exact.per_task.sum())
    found = {"tasks_given_algorithm": Quantity("tasks, given what they share", *given[:2], truth)}
    left = algorithm_given_tasks(subject, seed)
    if isinstance(left, str):
        return _Orders(found, [f"the order that begins with the tasks is not told: {left}"], [])
    straight = left.error == 0
    alone = Estimate(total.value, total.error) if straight else less(total, left)
    whole = None if exact is None or not straight else exact.total
    none = 0.0 if straight else None
    found["tasks"] = Quantity("tasks, whatever they share", *alone[:2], whole)
    found["algorithm_given_tasks"] = Quantity("what they share, given them", *left[:2], none)
    ours = 0.5 * (np.asarray(algorithm.value) + left.value)
    theirs = 0.5 * (np.asarray(alone.value) + given.value)
    error = 0.5 * float(np.hypot(algorithm.error, left.error))
    mean = None if whole is None or exact is None else 0.5 * exact.algorithm
    rest = None if whole is None or truth is None else 0.5 * (whole + truth)
    found["shapley_algorithm"] = Quantity("what tasks share, mean of orders", ours, error, mean)
    found["shapley_tasks"] = Quantity(
        "tasks, mean of orders", theirs, 0.5 * float(np.hypot(alone.error, given.error)), rest
    )
    notes = []
    if straight:
        notes.append("once the tasks are known the evidence says nothing more of the algorithm")
    return _Orders(found, notes, [left.doubt] if left.doubt else [])


def _steps(
    subject: Subject,
    tasks: int,
    steps: int,
    seed: int,
    report: Report,
    coords: dict[Hashable, Any],
) -> dict[str, Quantity]:
    """Of the first tasks, each alone, row by row."""
    found = followed(subject, tasks, steps, seed, report)
    coords["followed"] = [str(x) for x in subject.evidence.tasks[: len(found.gain)]]
    coords["step"] = np.arange(1, found.gain.shape[1] + 1)
    sums, errors = np.nansum(found.gain, 1), np.sqrt((found.error**2).sum(1))
    own = ("followed",)
    return {
        "per_step": Quantity("one row", found.gain, found.error, dims=("followed", "step")),
        "sum_of_steps": Quantity("sum of the steps of a task, alone", sums, errors, dims=own),
        "shift_of_steps": Quantity(
            "where they lead, from the prior", found.total, found.total_error, dims=own
        ),
    }


def plot(found: xr.Dataset, axes: Axes) -> None:
    """The shift of each task, largest first."""
    name = PER_TASK if PER_TASK in found.data_vars else f"{PER_TASK}_"
    order = np.argsort(found[name].values)
    height = np.arange(len(order))
    axes.barh(height, found[name].values[order], xerr=found[name + SE].values[order], color=BLUE)
    axes.set_yticks(height, [str(x) for x in found[found[name].dims[0]].values[order]])
    axes.set_xlabel("posterior shift given what tasks share (nats)")
