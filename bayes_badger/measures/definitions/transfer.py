"""What tasks give to each other in sequence, and what is forgotten on the way, in nats.

Tasks come one after another; some rows of each are held out. R[s, j] is the log predictive per row
of what task j holds out, after the tasks of stage s. Forward transfer of a task is what those
before it gave: R just before it, less R before any. Backward transfer is what those after it gave:
R in the end, less R just after it. Under exact Bayes both are at least 0 on average; a learner
forgets where the latter is below 0.
"""

from __future__ import annotations

from collections.abc import Hashable
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from bayes_badger.compilation import jit_lightly
from bayes_badger.datatree import draw_prior
from bayes_badger.errors import BadgerError
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import data_of, task_columns_of
from bayes_badger.inner_loop._portions import at_one_length
from bayes_badger.inner_loop.gradient import Gradient, adapted
from bayes_badger.inner_loop.protocol import InnerLoop, Report, silent
from bayes_badger.measures.estimate import Estimate, mean_of
from bayes_badger.measures.labelled import Quantity, labelled
from bayes_badger.measures.lifetimes import log_predictive_tasks, reference_for
from bayes_badger.measures.picture import BLUE, GREEN, GREY, ORANGE
from bayes_badger.measures.subject import AnyProgram, Subject, opened
from bayes_badger.program import Data, Program
from bayes_badger.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUESTION = "What do tasks give to those before and after them, and what is forgotten?"
REFERENCE = "Lopez-Paz & Ranzato (2017), Gradient Episodic Memory, in nats"
# Standard errors below 0 at which a learner forgets.
SURE = 3.0


class Transferred(NamedTuple):
    """What tasks gave each other, means over tasks, in nats per row.

    Attributes:
        forward: From those before.
        backward: From those after; NaN where no task is told of before the last stage.
        own: From a task's own evidence, beyond those before.
    """

    forward: Estimate
    backward: Estimate
    own: Estimate


def transferred(scores: np.ndarray, seen: np.ndarray) -> Transferred:
    """Forward and backward transfer.

    Args:
        scores: Log predictive of what each task holds out, after each stage, `[stage, task]`; NaN
            where it is not known. The first stage is before any evidence.
        seen: How many tasks each stage has learned from, increasing from 0, `[stage]`.

    Example:
        >>> scores = np.array([[-2.0, -2.0, -2.0], [-1.0, -1.8, -1.8], [-1.4, -1.0, -1.7]])
        >>> found = transferred(scores, np.array([0, 1, 2]))
        >>> round(float(found.forward.value), 3), round(float(found.backward.value), 3)
        (0.25, -0.4)
    """
    x, n = np.asarray(scores, float), np.asarray(seen)
    task = np.arange(x.shape[1])
    # The first stage that has learned from each task; beyond the last where none has.
    taught = np.searchsorted(n, task, side="right")
    ahead = np.minimum(taught, len(n)) - 1
    inside = task < n[-2] if len(n) > 2 else np.zeros(len(task), bool)
    backward = (x[-1] - x[np.minimum(taught, len(n) - 1), task])[inside]
    known = taught < len(n)
    own = (x[np.minimum(taught, len(n) - 1), task] - x[ahead, task])[known]
    return Transferred(*(_mean(values) for values in (_forward(x, n), backward, own)))


def _forward(scores: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Of each task that others came before, nats per row."""
    task = np.arange(scores.shape[1])
    ahead = np.minimum(np.searchsorted(seen, task, side="right"), len(seen)) - 1
    found: np.ndarray = (scores[ahead, task] - scores[0])[task >= seen[1]]
    return found


def _mean(values: np.ndarray) -> Estimate:
    fine = values[np.isfinite(values)]
    if not len(fine):
        return Estimate(np.nan, np.nan, "no task tells it")
    if len(fine) == 1:
        return Estimate(float(fine[0]), np.nan, "one task tells it")
    return mean_of(fine)


def drift_of(before: np.ndarray, after: np.ndarray) -> float:
    """KL(after, before) of what tasks share, each as a Gaussian with the moments of its draws.

    Args:
        before: Draws, `[draw, a]`.
        after: `[draw, a]`.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(1000, 1))
        >>> round(drift_of((x - x.mean()) / x.std(), (x - x.mean()) / x.std() + 1), 3)
        0.5
    """
    move = after.mean(0) - before.mean(0)
    old, new = (np.atleast_2d(np.cov(x.T, bias=True)) for x in (before, after))
    ratio = np.linalg.solve(old, new)
    half = np.trace(ratio) - len(move) + move @ np.linalg.solve(old, move)
    return float(0.5 * (half - np.linalg.slogdet(ratio)[1]))


def carried(
    program: Program, taught: Evidence, held: Evidence, steps: int, rate: float
) -> np.ndarray:
    """Scores of gradient steps that are carried from task to task instead of restarted.

    Args:
        program: Whose tasks share nothing.
        taught: What is learned from.
        held: What is predicted, of the same tasks.
        steps: For each task.
        rate: Of each step.

    Returns:
        Log predictive of what each task holds out, before any task and after each, `[task + 1,
            task]`.
    """
    first, last = taught.padded(), held.padded()
    data, seen = at_one_length(data_of(first), first.mask)
    test, asked = at_one_length(data_of(last), last.mask)
    found = _carried(program, (data, jnp.asarray(seen)), (test, jnp.asarray(asked)), steps, rate)
    return np.asarray(found, float)


@jit_lightly
def _carried(
    program: Program, taught: tuple[Data, Array], held: tuple[Data, Array], steps: int, rate: float
) -> Array:
    def scores(u: Array) -> Array:
        def one(xs: tuple[Data, Array]) -> Array:
            data, asked = xs
            rows = program.rows_and_factors(u, jax.tree.map(lambda x: x[None], data))[0]
            return jnp.where(asked, rows, 0.0).sum()

        return jax.vmap(one)(held)

    def learn(u: Array, xs: tuple[Data, Array]) -> tuple[Array, Array]:
        data, seen = xs
        one = jax.tree.map(lambda x: x[None], data)
        u = adapted(program, one, seen, steps, rate, u)
        return u, scores(u)

    start = jnp.zeros(program.size)
    return jnp.concatenate([scores(start)[None], jax.lax.scan(learn, start, taught)[1]])


def transfer(
    run: Run,
    *,
    program: AnyProgram = None,
    seed: int = 0,
    report: Report = silent,
    stages: int = 4,
    share: float = 0.25,
) -> xr.Dataset:
    """What a run's tasks give to each other in their order, and whether its inner loop forgets.

    Beside it stands, as `_reference`, what exact inference makes of the same evidence, where the
    program has an exact inner loop; by draws, so that it has a standard error of its own. Of the
    recipe `gradient`, whose steps restart with each task,
    it is also told what is forgotten where they are carried on instead.

    Args:
        run: Fitted by any inner loop.
        program: The program, where the run was read and its program is not on the shelf.
        seed: Of everything random.
        report: Is told how far the work has come.
        stages: In how many stages tasks come, at most one for each.
        share: Of each task's rows, how many are held out, one at least; a task of one row is held
            out until it is learned from.

    Returns:
        `forward`, `backward` and `own`, in nats per row, and where exact inference is another inner
            loop `forward_reference` and so on; `score`, `[stage, task]`; and, where tasks
            share latents, `drift`, KL of the belief in them from that of the stage before.

    Raises:
        BadgerError: Of a single task.

    Example:
        >>> import bayes_badger as bb
        >>> run = bb.fit("gaussian", tasks=6, steps=4)
        >>> found = bb.measures.transfer(run, stages=2)
        >>> found["score"].dims
        ('stage', 'task_index')
    """
    subject = opened(run, program)
    evidence = subject.evidence
    if evidence.n_tasks < 2:
        raise BadgerError(f"{run.name} has one task: transfer needs two at least")
    taught, held, single = _split(evidence, share)
    seen = np.unique(np.linspace(0, evidence.n_tasks, stages + 1).round().astype(int))
    loop = subject.inner_loop
    scores, beliefs = _scores(subject, loop, taught, held, seen, seed, report)
    exact = None
    reference = reference_for(subject.program, evidence)
    chosen = loop.pick(subject.program, evidence)[1] if hasattr(loop, "pick") else loop
    if reference is not None and type(reference) is not type(chosen):
        exact = _scores(subject, reference, taught, held, seen, seed + 1, report)[0]
    count = np.maximum(held.lengths, 1)
    hidden = np.where(single[None, :] & (np.arange(len(single)) < seen[:, None]), np.nan, 1.0)
    onward = None
    if isinstance(chosen, Gradient):
        settings = chosen.settings
        onward = carried(subject.program, taught, held, settings.steps, settings.rate) / count
    drifts = [drift_of(a, b) for a, b in pairwise(beliefs)]
    return _labelled(
        scores * hidden / count,
        None if exact is None else exact * hidden / count,
        onward,
        np.array(drifts),
        seen,
        evidence,
    )


def _split(evidence: Evidence, share: float) -> tuple[Evidence, Evidence, np.ndarray]:
    """What is learned from, what is held out, and which tasks have but one row, which is both."""
    lengths = evidence.lengths
    many = np.where(lengths > 1, np.clip((share * lengths).round(), 1, lengths - 1), lengths)
    place = np.arange(evidence.n_rows) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    out = place >= (lengths - many)[evidence.task_index]
    single = lengths == 1
    learned = ~out | single[evidence.task_index]
    return evidence.select_rows(learned), evidence.select_rows(out), single


def _scores(
    subject: Subject,
    loop: InnerLoop,
    taught: Evidence,
    held: Evidence,
    seen: np.ndarray,
    seed: int,
    report: Report,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Log predictive of what tasks hold out, `[stage, task]`, and draws of what they share."""
    program, keys = subject.program, jax.random.split(jax.random.key(seed), len(seen))
    scores, beliefs = [], []
    for i, tasks in enumerate(seen):
        report("stages", i, len(seen), f"{tasks} tasks")
        if tasks == 0:
            draws: Any = draw_prior(program, taught, keys[i])
        else:
            part = taught.select_rows(taught.task_index < tasks)
            draws = loop.infer(program, part, keys[i]).draws.values
        scores.append(log_predictive_tasks(program, held, draws))
        if program.lifetime_size:
            beliefs.append(_shared(program, taught, draws))
    return np.stack(scores), beliefs


def _shared(program: Program, evidence: Evidence, draws: Any) -> np.ndarray:
    """Coordinates of what tasks share at each draw, `[draw, a]`."""
    values = {x.name: jnp.asarray(draws[x.name]) for x in program.latents}
    flat = {name: x.reshape(-1, *x.shape[2:]) for name, x in values.items()}
    found = _coordinates(program, flat, task_columns_of(evidence), evidence.n_tasks)
    return np.asarray(found, float)


@jit_lightly
def _coordinates(program: Program, values: Any, columns: Any, tasks: int) -> Array:
    return jax.vmap(lambda one: program.unconstrain(one, columns, tasks)[0])(values)


def _labelled(
    scores: np.ndarray,
    exact: np.ndarray | None,
    onward: np.ndarray | None,
    drifts: np.ndarray,
    seen: np.ndarray,
    evidence: Evidence,
) -> xr.Dataset:
    found = transferred(scores, seen)
    truth = None if exact is None else transferred(exact, seen)
    quantities, notes, doubts = {}, [], []
    words = {"forward": "from tasks before", "backward": "from tasks after", "own": "from its own"}
    for name, about in words.items():
        value = getattr(found, name)
        if np.isfinite(value.value):
            quantities[name] = Quantity(f"{about}, per row", value.value, value.error)
        other = None if truth is None else getattr(truth, name)
        if other is not None and np.isfinite(other.value):
            quantities[f"{name}_reference"] = Quantity(
                f"{about}, by exact inference", other.value, other.error
            )
    if "backward" not in quantities:
        notes.append("tasks of one row hold nothing out once they are learned from: no backward")
    doubts += _forgets("it forgets", found.backward)
    if exact is not None and truth is not None and len(drifts):
        doubts += _short(_mean(_forward(exact, seen) - _forward(scores, seen)), truth.forward)
    if onward is not None:
        each = transferred(onward, np.arange(len(onward)))
        for name in ("forward", "backward"):
            value = getattr(each, name)
            about = f"{words[name]}, steps carried on"
            quantities[f"carried_{name}"] = Quantity(about, value.value, value.error)
        doubts += _forgets("carried on from task to task it forgets", each.backward)
    dims = ("stage", "task_index")
    quantities["score"] = Quantity("held-out log predictive per row", scores, dims=dims)
    coords: dict[Hashable, Any] = {"stage": seen, "task_index": np.arange(evidence.n_tasks)}
    if len(drifts):
        quantities["drift"] = Quantity("belief in what is shared moved", drifts, dims=("since",))
        coords["since"] = seen[1:]
    else:
        notes.append("tasks share no latents: forward and backward transfer are 0 by construction")
    return labelled("transfer", REFERENCE, quantities, coords, notes, doubts)


def _forgets(what: str, backward: Estimate) -> list[str]:
    if not np.isfinite(backward.error) or float(backward.value) >= -SURE * float(backward.error):
        return []
    if float(backward.value) > -1e-4:
        return []
    return [f"{what}: {-float(backward.value):.3g} nats a row of what tasks had told it"]


def _short(less: Estimate, exact: Estimate) -> list[str]:
    """Of what exact inference carries from task to task, paired, a tenth at least is lost."""
    value, error = float(less.value), float(less.error)
    if not np.isfinite(error) or value <= SURE * error or value <= 0.1 * float(exact.value):
        return []
    return [
        f"it does not carry over what tasks before had told: of {float(exact.value):.3g} nats a "
        f"row that exact inference does, {value:.3g} are lost"
    ]


def plot(found: xr.Dataset, axes: Axes) -> None:
    """The log predictive of what tasks hold out, after each stage."""
    seen, scores = found["stage"].values, found["score"].values
    colours = (BLUE, ORANGE, GREEN)
    for i, start in enumerate(seen[:-1]):
        group = scores[:, start : seen[i + 1]]
        known = np.isfinite(group).any(1)
        label = f"tasks {start + 1} to {seen[i + 1]}"
        axes.plot(seen[known], np.nanmean(group[known], 1), "o-", color=colours[i % 3], label=label)
        axes.axvline(seen[i + 1], color=GREY, linewidth=0.6, linestyle=":")
    axes.set_xlabel("tasks learned from")
    axes.set_ylabel("held-out log predictive (nats per row)")
    axes.legend()
