"""Does the learner use a task's evidence, or answer from what it knew before?

    gain = E [log q(y | x, D) - log q(y | x)]

on rows that were held out. Near zero it ignores its evidence, unless there was nothing to learn:
beside it stands what evidence is worth in the program itself, I(D; y | x), where that is closed,
and a bound from above, I(D; y | x) <= I(latents; y | x). With the evidence of another task in place
of its own a learner that heeds evidence does worse.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, PRNGKeyArray

from bayes_badger.datatree import draw_prior
from bayes_badger.errors import BadgerError
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop import exact as exact_loop
from bayes_badger.inner_loop.protocol import InnerLoop, Report, silent
from bayes_badger.labels import safe_name
from bayes_badger.measures.estimate import Estimate
from bayes_badger.measures.labelled import SE, Quantity, labelled
from bayes_badger.measures.picture import BLUE, GREY, ORANGE
from bayes_badger.measures.subject import AnyProgram, Subject, opened
from bayes_badger.pointwise import log_likelihood_rows, predict_rows
from bayes_badger.program import LIFETIME, TASK, Program
from bayes_badger.runs import Run
from bayes_badger.trust import judged

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUESTION = "Does the learner use a task's evidence, or answer from what it knew before?"
REFERENCE = "Yin, Tucker, Zhou, Levine & Finn (2020), meta-learning without memorization"

# A gain below this share of what there is to learn is none; less than SMALL nats is nothing.
IGNORED, SMALL = 0.1, 0.01
# Standard errors that a verdict takes; parts of the draws that give one.
SURE = 3.0
PARTS = 10


def of_rows(x: np.ndarray, task: np.ndarray) -> Estimate:
    """The mean of rows, its standard error from the spread between tasks.

    Args:
        x: One number for each row, `[row]`, in nats.
        task: The task of each row, `[row]`.

    Example:
        >>> import numpy as np
        >>> of_rows(np.array([1.0, 1.0, 3.0, 3.0]), np.array([0, 0, 1, 1])).error
        1.0
    """
    x = np.asarray(x, float)
    mean = float(x.mean())
    _, own = np.unique(task, return_inverse=True)
    groups = int(own.max()) + 1
    if groups < 2:
        error = x.std(ddof=1) / np.sqrt(len(x)) if len(x) > 1 else np.inf
        return Estimate(mean, float(error), "one task was tested: rows stand in for tasks")
    sums = np.bincount(own, x - mean)
    return Estimate(mean, float(np.sqrt(groups / (groups - 1) * (sums**2).sum()) / len(x)))


def verdict(gain: Estimate, worth: Estimate, bound: bool) -> tuple[str, str]:
    """What a gain says, beside what evidence is worth: a note, and a doubt about the learner.

    Args:
        gain: Of held-out rows, in nats.
        worth: What the program itself expects evidence about a row to be worth, in nats: the mean
            over tasks that are drawn from it. Where tasks are of another world, a gain may be more.
        bound: Whether that is a bound from above only.

    Example:
        >>> verdict(Estimate(0.0, 0.01), Estimate(0.5, 0.01), False)[1]
        'it ignores its evidence: it gains 0.000 nats a row where evidence is worth 0.500'
        >>> verdict(Estimate(1.26, 0.02), Estimate(0.258, 0.01), False)[0][:65]
        'it uses its evidence: it gains 1.260 nats a row, more than the 0.'
        >>> verdict(Estimate(0.0, 0.001), Estimate(0.001, 0.001), True)
        ('there is next to nothing to learn of a task: at most 0.001 nats a row', '')
    """
    at_most = "at most " if bound else ""
    size, error, there = (float(x) for x in (gain.value, gain.error, worth.value))
    low, high = there - SURE * float(worth.error), there + SURE * float(worth.error)
    if there < SMALL and high < 5 * SMALL:
        return f"there is next to nothing to learn of a task: {at_most}{there:.3f} nats a row", ""
    certain = size + SURE * error < IGNORED * low
    if certain or (abs(size) + error < IGNORED * low and abs(size) < SMALL):
        may = "it ignores its evidence" if not bound else "it seems to ignore its evidence"
        where = f"where evidence is worth {at_most}{there:.3f}"
        return "", f"{may}: it gains {size:.3f} nats a row {where}"
    if size - SURE * error > high:
        expects = f"{at_most}{there:.3f} that the program expects of it"
        return (
            f"it uses its evidence: it gains {size:.3f} nats a row, more than the {expects}: tasks "
            "differ more from what the prior says than the program's own tasks do",
            "",
        )
    if low <= 0 or size - SURE * error < 0:
        return "too few rows were held out to tell whether it uses its evidence", ""
    return f"it uses its evidence: {size:.3f} of {at_most}{there:.3f} nats a row", ""


def memorisation(
    run: Run,
    *,
    program: AnyProgram = None,
    seed: int = 0,
    report: Report = silent,
    held: float = 0.25,
    tasks: int = 16,
    simulations: int = 64,
) -> xr.Dataset:
    """Whether the learner uses a task's evidence.

    Args:
        run: Its inner loop infers again, with and without the evidence of some tasks.
        program: The program, where the run was read and its program is not on the shelf.
        seed: Of everything random.
        report: Is told how far the work has come.
        held: The share of a tested task's rows that are held out, its last ones.
        tasks: At most so many tasks are tested; half of them where tasks share latents.
        simulations: Outcomes drawn for the bound.

    Returns:
        `gain` and `loss_if_swapped` in nats a row, `information` where it is closed, `at_most`, and
        `per_task`.

    Raises:
        BadgerError: Where no task has two rows.

    Example:
        >>> import bayes_badger as bb
        >>> run = bb.fit("gaussian", tasks=12, steps=4, inference="exact")
        >>> found = bb.measures.memorisation(run, simulations=8)
        >>> bool(0 < found["information"] < found["at_most"])
        True
    """
    subject = opened(run, program)
    tested = _tested(subject, tasks, held)
    whole = _cut(subject, tested)
    split = _Split(subject, tested, whole, held)
    keys = jax.random.split(jax.random.key(seed), 6)
    stages = ("with its evidence", "without", "with another's")
    scores = []
    beliefs = []
    for i, evidence in enumerate((split.context, split.nothing, split.swapped)):
        report("inferring", i, len(stages), stages[i])
        if evidence is None:
            # One task has no other whose evidence could take the place of its own.
            continue
        values = _belief(subject, subject.inner_loop, evidence, tested, keys[i])
        beliefs.append(values)
        scores.append(split.score(i, values))
    report("inferring", len(stages), len(stages))
    task = split.task_of_held
    gain = of_rows(scores[0] - scores[1], task)
    quantities = {"gain": Quantity("what its evidence gains a row", gain.value, gain.error)}
    if len(scores) > 2:
        swapped = of_rows(scores[0] - scores[2], task)
        quantities["loss_if_swapped"] = Quantity(
            "what another's evidence costs a row", swapped.value, swapped.error
        )
    bound = _most(subject.program, split, beliefs[1], keys[3], simulations, task)
    worth, closed = bound, _information(subject, split, tested, keys[4])
    if closed is not None:
        worth = closed
        quantities["information"] = Quantity("what the program expects of it a row", *closed[:2])
    quantities["at_most"] = Quantity("that is at most", *bound[:2])
    dim = safe_name(subject.evidence.task_name)
    each = [
        of_rows((scores[0] - scores[1])[task == i], np.zeros((task == i).sum())) for i in tested
    ]
    quantities["per_task" if dim != "per_task" else "per_task_"] = Quantity(
        "task", np.array([x.value for x in each]), dims=(dim,)
    )
    coords: dict[Hashable, Any] = {dim: subject.evidence.tasks[tested]}
    if bound.value + SURE * bound.error < SMALL:
        # Less than is worth a word, whatever the share of it.
        worth, closed = bound, None
    note, doubt = verdict(gain, worth, closed is None)
    told = [f"{len(task)} rows of {len(tested)} tasks were held out", *([note] if note else [])]
    doubts = [x for x in (gain.doubt, doubt) if x]
    return labelled("memorisation", REFERENCE, quantities, coords, told, doubts)


class _Split:
    """The evidence of tested tasks, cut into context and rows that are held out."""

    def __init__(self, subject: Subject, tested: np.ndarray, whole: Evidence, held: float) -> None:
        self.program = subject.program
        lengths = whole.lengths
        out = np.zeros(whole.n_tasks, int)
        out[tested] = np.clip(np.round(held * lengths[tested]), 1, lengths[tested] - 1)
        place = np.arange(whole.n_rows) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        own = np.isin(whole.task_index, tested)
        later = own & (place >= (lengths - out)[whole.task_index])
        if subject.program.signature.stateful:
            # A row after it would be predicted from a held-out outcome, by way of the state.
            later &= place == (lengths - out)[whole.task_index]
        before = own & (place < (lengths - out)[whole.task_index])
        self.tested, self.whole = tested, whole
        self.context = whole.select_rows(before | ~own)
        self.nothing: Evidence = whole.select_rows(~own)
        self.queries = whole.select_rows(later).select(tested)
        self.task_of_held = tested[self.queries.task_index]
        self.swapped: Evidence | None = None
        self.sequences = [whole.select_rows(before | later).select(tested), self.queries]
        if len(tested) > 1:
            to = np.arange(whole.n_tasks)
            to[tested] = np.roll(tested, 1)
            index = np.where(before, to[whole.task_index], whole.task_index)
            moved = _reassigned(whole, index)
            order = np.argsort(index, kind="stable")
            self.swapped = moved.select_rows((before | ~own)[order])
            self.sequences.append(moved.select_rows((before | later)[order]).select(tested))
        self.held_rows = self.queries.rows

    def score(self, which: int, values: Mapping[str, Array]) -> np.ndarray:
        """Log predictive of each held-out row, `[row]`."""
        evidence = self.sequences[which]
        rows = log_likelihood_rows(self.program, evidence, values).astype(float)
        rows = rows.reshape(-1, rows.shape[-1])
        # By number: rows were moved between tasks.
        at = {row: i for i, row in enumerate(evidence.rows)}
        return _log_mean(rows[:, [at[row] for row in self.held_rows]])


def _log_mean(x: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.logaddexp.reduce(x, 0) - np.log(len(x))
    return found


def _reassigned(evidence: Evidence, index: np.ndarray) -> Evidence:
    """The same rows as those of other tasks."""
    order = np.argsort(index, kind="stable")
    outcome = evidence.outcome
    return dataclasses.replace(
        evidence,
        columns={name: x[order] for name, x in evidence.columns.items()},
        outcome=None if outcome is None else outcome[order],
        task_index=index[order],
        rows=evidence.rows[order],
    )


def _tested(subject: Subject, tasks: int, held: float) -> np.ndarray:
    lengths = subject.evidence.lengths
    able = np.flatnonzero(lengths >= 2)
    if not 0 < held < 1:
        raise BadgerError(f"memorisation: held = {held:g} is no share: choose one between 0 and 1")
    if not len(able):
        raise BadgerError(
            f"{subject.run.name}: no task has two rows, one to learn from and one to be predicted: "
            "memorisation needs longer tasks"
        )
    many = min(tasks, len(able))
    if subject.program.select(LIFETIME) and subject.evidence.n_tasks > 1:
        many = min(many, max(subject.evidence.n_tasks // 2, 1))
    chosen: np.ndarray = able[np.linspace(0, len(able) - 1, many).astype(int)]
    return chosen


def _cut(subject: Subject, tested: np.ndarray) -> Evidence:
    """Numbered rows, so that each can be found again."""
    evidence = subject.evidence
    return dataclasses.replace(evidence, rows=np.arange(1, evidence.n_rows + 1))


def _belief(
    subject: Subject, loop: InnerLoop, evidence: Evidence, tested: np.ndarray, key: PRNGKeyArray
) -> dict[str, Array]:
    """Draws of the latents of the tested tasks, `[chain, draw, ...]`."""
    program, keys = subject.program, jax.random.split(key)
    if not evidence.n_rows:
        values: Mapping[str, Any] = draw_prior(program, evidence, keys[0])
    else:
        belief = loop.infer(program, evidence, keys[0])
        trust = str(subject.run.spec.get("trust", "weigh"))
        values = judged(program, evidence, belief, keys[1], trust)[0].draws.values
    return {
        x.name: jnp.asarray(values[x.name])[:, :, tested]
        if x.scope == TASK
        else jnp.asarray(values[x.name])
        for x in program.latents
    }


def _most(
    program: Program,
    split: _Split,
    values: Mapping[str, Array],
    key: PRNGKeyArray,
    simulations: int,
    task: np.ndarray,
) -> Estimate:
    """I(latents; y | x), in nats a row: outcomes at one draw, scored there and at all others."""
    many = next(iter(values.values())).shape[:2]
    flat = {name: x.reshape(1, -1, *x.shape[2:]) for name, x in values.items()}
    some = np.linspace(0, many[0] * many[1] - 1, simulations).astype(int)
    chosen = {name: x[:, some] for name, x in flat.items()}
    outcomes = predict_rows(program, split.queries, chosen, key)[0]
    found = np.empty((len(some), split.queries.n_rows))
    for i, (at, outcome) in enumerate(zip(some, outcomes, strict=True)):
        drawn = dataclasses.replace(split.queries, outcome=np.asarray(outcome))
        rows = log_likelihood_rows(program, drawn, flat)[0].astype(float)
        # Without the draw itself what is expected of it is above the information, not below.
        found[i] = rows[at] - _log_mean(np.delete(rows, at, 0))
    each = found.mean(1)
    return Estimate(float(each.mean()), float(each.std(ddof=1) / np.sqrt(len(each))))


def _information(
    subject: Subject, split: _Split, tested: np.ndarray, key: PRNGKeyArray
) -> Estimate | None:
    """I(D; y | x) = ½ log(variance of y without D / with D) where all is linear-Gaussian."""
    program = subject.program
    loop = exact_loop.make(exact_loop.Settings())
    if loop.why_not(program, split.context) is not None or program.outcome.shape:
        return None
    variances = []
    for i, evidence in enumerate((split.context, split.nothing)):
        keys = jax.random.split(jax.random.fold_in(key, i), 2)
        values = _belief(subject, loop, evidence, tested, keys[0])
        y = predict_rows(program, split.queries, values, keys[1]).astype(float)
        # Of all draws, and of some at a time for the standard error.
        y = y.reshape(-1, y.shape[-1])
        parts = [y, *np.array_split(y, PARTS)]
        variances.append(np.log([x.var(0, ddof=1) for x in parts]))
    each = 0.5 * (variances[1] - variances[0]).mean(1)
    return Estimate(float(each[0]), float(each[1:].std(ddof=1) / np.sqrt(PARTS)))


def plot(found: xr.Dataset, axes: Axes) -> None:
    """The gain beside what there is to gain."""
    rows = [x for x in ("at_most", "information", "loss_if_swapped", "gain") if x in found]
    colours = {"gain": BLUE, "loss_if_swapped": ORANGE}
    for i, name in enumerate(rows):
        error = float(found[name + SE])
        axes.barh(i, float(found[name]), xerr=error, color=colours.get(name, GREY))
    axes.set_yticks(range(len(rows)), [str(found[name].attrs["long_name"]) for name in rows])
    axes.set_xlabel("nats per held-out row")
