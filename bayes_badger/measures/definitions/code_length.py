"""Where the code length of a learner goes: noise, what must be learned, and what each loop lacks.

Where tasks were simulated the world is known, and all terms are estimated on tasks drawn anew,
each on tasks of its own. Of data the world is not known: noise and outer shortfall are one term,
-E log p(D | z, a) under the posterior, task and algorithm are posterior shifts, and tasks are those
of the run, so that standard errors are of Monte Carlo alone. Over the outer steps of a training
only what either loop lacks changes: the rest is of the world.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import xarray as xr

from bayes_badger.errors import BadgerError
from bayes_badger.inner_loop.messages import messages
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.measures.checkpoints import checkpoints, doubled
from bayes_badger.measures.estimate import Estimate, mean_of
from bayes_badger.measures.labelled import Quantity, labelled
from bayes_badger.measures.ledger import FEW, TERMS, Ledger, ledger
from bayes_badger.measures.picture import BLUE, GREEN, GREY, ORANGE, PURPLE
from bayes_badger.measures.prequential import doubling, score_spans
from bayes_badger.measures.subject import AnyProgram, Subject, opened
from bayes_badger.measures.worlds import world_of
from bayes_badger.pointwise import log_likelihood_rows
from bayes_badger.program import Program
from bayes_badger.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUESTION = "Where does the code length of a task go: noise, what must be learned, or either loop?"
REFERENCE = "the chain rule of relative entropy; Dawid (1984), prequential code"
LABELS = {
    "noise": "noise",
    "noise_and_outer": "noise and outer shortfall",
    "task": "what is learned of the task",
    "algorithm": "what is learned of the algorithm",
    "outer": "outer-loop shortfall",
    "inner": "inner-loop shortfall",
}
COLOURS = {"task": BLUE, "algorithm": GREEN, "outer": PURPLE, "inner": ORANGE}
# Beyond so many joint standard errors terms do not add up.
SIGMAS = 3.0
# Sets of points with which a task's log evidence is estimated, and points of each of its experts.
SETS, POINTS = 4, 256


def code_length(
    run: Run,
    *,
    program: AnyProgram = None,
    seed: int = 0,
    report: Report = silent,
    lifetimes: int = 256,
    coded: int = 16,
    tasks: int = 4,
    outer_steps: int = 0,
) -> xr.Dataset:
    """The ledger of a learner's code length, in nats per task.

    Args:
        run: Its program, its inner loop, and tasks whose rows new ones are like.
        program: The program, where the run was read and its program is not on the shelf.
        seed: Of everything random.
        report: Is told how far the work has come.
        lifetimes: Simulated for each term, where the world is known.
        coded: Of these, how many the learner codes where tasks share latents; else all.
        tasks: Of a simulated lifetime; 1 where tasks share nothing.
        outer_steps: Of a training anew, where parameters are learned: the ledger is told after 1,
            4, 16, ... of them; 0 for the run as it is.

    Returns:
        `code`, `terms` of it along `term`, and `apart`, the code less their sum; each after so many
        `outer_steps`, where they are asked for.

    Raises:
        BadgerError: Where a density is not finite, or a world is not to be had.

    Example:
        >>> import bayes_badger as bb
        >>> run = bb.fit("eight_schools")
        >>> found = bb.measures.code_length(run)
        >>> abs(float(found["apart"])) < 4 * float(found["apart_se"])
        True
    """
    subject = opened(run, program)
    world = world_of(subject, program)
    key = jax.random.key(seed)
    if outer_steps:
        _check(subject, world)
    if world is None:
        found, notes = _of_data(subject, key, report)
        return _labelled([found], notes)
    shared = bool(subject.program.lifetime_size or world.lifetime_size)
    same = world is subject.program
    steps = doubled(outer_steps)[::2] if outer_steps else None
    learners = [subject.program]
    if steps is not None:
        train = jax.random.fold_in(key, 1)
        learners = checkpoints(subject, subject.evidence, steps, train, report)
    counted: list[Ledger] = []
    for learner in learners:
        counted.append(
            ledger(
                learner,
                world,
                subject.evidence,
                subject.inner_loop,
                key,
                lifetimes,
                coded if shared else lifetimes,
                tasks if shared else 1,
                same,
                report,
                counted[0] if counted else None,
            )
        )
    many = f"{lifetimes} simulated lifetimes of {tasks if shared else 1}"
    notes = [f"each term is estimated on {many} tasks of its own"]
    if same:
        notes.append("the world is the program itself: the outer shortfall is 0 by construction")
    if not shared:
        notes.append("tasks share nothing: what is learned of the algorithm is 0 by construction")
    return _labelled(counted, notes, steps)


def _of_data(subject: Subject, key: Any, report: Report) -> tuple[Ledger, list[str]]:
    """Of the run's own tasks."""
    program, evidence, keys = subject.program, subject.evidence, jax.random.split(key, 3)
    if not evidence.n_rows:
        raise BadgerError(f"{subject.run.name} has no rows to code")
    rows = log_likelihood_rows(program, evidence, subject.draws)
    by_draw = rows.reshape(-1, rows.shape[-1]).astype(float)
    tasks = np.zeros((len(by_draw), evidence.n_tasks))
    np.add.at(tasks.T, evidence.task_index, by_draw.T)
    flat = {n: x.reshape(-1, *x.shape[2:]) for n, x in subject.draws.items()}
    m, wide = evidence.n_tasks, 0.0
    if program.lifetime_size:
        said = messages(program, evidence, flat, keys[0], report=report).log_evidence
    else:  # the same at all draws, but for the points that closed forms do without
        one = {n: x[:1] for n, x in flat.items()}
        several = jax.random.split(keys[0], SETS)
        each = np.stack(
            [messages(program, evidence, one, k, points=POINTS).log_evidence[0] for k in several]
        )
        # The mean of evidence, for that of its logarithm is too low by half its variance.
        said = np.broadcast_to(np.logaddexp.reduce(each, 0) - np.log(SETS), tasks.shape)
        wide = float(np.sqrt((each.var(0, ddof=1) / SETS).sum()) / m)
    # Thirds of the draws, so that terms do not share their noise.
    first, second, third = np.array_split(np.random.default_rng(0).permutation(len(tasks)), 3)
    task = mean_of((tasks[second] - said[second]).sum(1) / m)
    terms = {
        "noise_and_outer": mean_of(-tasks[first].sum(1) / m),
        "task": task._replace(error=float(np.hypot(float(task.error), wide))),
        "algorithm": Estimate(0.0, 0.0),
    }
    loop = subject.inner_loop
    spans = doubling(int(evidence.lengths.max()))
    if program.lifetime_size:
        if subject.log_evidence is None:
            raise BadgerError(
                f"{subject.run.name}: code_length of data whose tasks share latents needs the log "
                "evidence, which its inner loop does not know: fit with experts, grid, enumerate "
                "or exact"
            )
        total, error = subject.log_evidence
        gained = mean_of(said[third].sum(1) / m)
        own = float(gained.value) - total / m
        terms["algorithm"] = Estimate(own, float(np.hypot(float(gained.error), error / m)))
        again = loop.infer(program, evidence, keys[1])
        coded = float(again.log_evidence or np.nan)
        off = float(again.log_evidence_error or 0.0)
        terms["inner"] = Estimate((total - coded) / m, float(np.hypot(error, off) / m))
        notes = ["the learner's code is the log evidence that it reports, which bits-back achieves"]
        return Ledger(Estimate(-coded / m, off / m), terms), [_same_tasks(), *notes]
    exact = said[0]
    codings = [score_spans(program, evidence, loop, k, spans, report) for k in keys[1:]]
    sums = [x.log_score.sum(0) for x in codings]
    # Two codings of the same tasks: their difference tells the Monte Carlo error of one.
    noise = float(np.sqrt(((sums[0] - sums[1]) ** 2 / 2).sum()) / m)
    few = min(float(np.quantile(x.effective, 0.01)) for x in codings)
    doubt = "" if few >= FEW else f"rows were predicted by {few:.0f} draws of the learner's belief"
    inner = float((exact - sums[0]).sum() / m)
    terms["inner"] = Estimate(inner, float(np.hypot(noise, wide)), doubt)
    return Ledger(Estimate(float(-sums[1].sum() / m), noise), terms), [_same_tasks()]


def _same_tasks() -> str:
    return (
        "the world is not known: noise and outer shortfall are one, and standard errors are of "
        "Monte Carlo, the tasks being what they are"
    )


def _check(subject: Subject, world: Program | None) -> None:
    name = subject.run.name
    if not subject.program.parameters:
        raise BadgerError(f"{name} has no learned parameters: outer_steps has nothing to train")
    if world is None:
        raise BadgerError(
            f"{name}: its tasks are data, whose world is not known, and outer_steps is of one that "
            "is: fit a program that simulates its tasks"
        )


def _labelled(found: list[Ledger], notes: list[str], steps: np.ndarray | None = None) -> xr.Dataset:
    names = [n for n in (*TERMS, "noise_and_outer") if n in found[0].terms]
    names = sorted(names, key=list(LABELS).index)

    def each(of: Callable[[Ledger], Any]) -> np.ndarray:
        values = np.array([of(one) for one in found])
        return values if steps is not None else np.asarray(values[0])

    over = () if steps is None else ("outer_steps",)
    quantities = {
        "code": Quantity(
            "code length of a task",
            each(lambda x: float(x.code.value)),
            each(lambda x: float(x.code.error)),
            dims=over,
        ),
        "terms": Quantity(
            "of it",
            each(lambda x: [float(x.terms[n].value) for n in names]),
            each(lambda x: [float(x.terms[n].error) for n in names]),
            dims=(*over, "term"),
        ),
        "apart": Quantity(
            "code less terms",
            each(lambda x: float(x.apart.value)),
            each(lambda x: float(x.apart.error)),
            dims=over,
        ),
    }
    doubts = []
    for i, one in enumerate(found):
        at = "" if steps is None else f" after {steps[i]} outer steps"
        doubts += [f"{LABELS[n]}{at}: {x.doubt}" for n, x in one.terms.items() if x.doubt]
        off, error = float(one.apart.value), float(one.apart.error)
        if abs(off) > SIGMAS * error:
            doubts.append(
                f"the terms miss the code length{at} by {off:.3g} nats, "
                f"{abs(off) / max(error, 1e-12):.1f} standard errors"
            )
    coords: dict[Any, Any] = {"term": [LABELS[name] for name in names]}
    if steps is not None:
        coords["outer_steps"] = steps
    return labelled("code_length", REFERENCE, quantities, coords, notes, doubts)


def plot(found: xr.Dataset, axes: Axes) -> None:
    """The terms, one on another, beside the code length; over outer steps, if there are any."""
    names = {label: name for name, label in LABELS.items()}
    colours = [COLOURS.get(names[str(x)], "#c8c8c8") for x in found["term"].values]
    if "outer_steps" in found.dims:
        _plot_steps(found, axes, colours)
        return
    code, left = float(found["code"]), 0.0
    axes.barh(1, code, xerr=float(found["code_se"]), color=GREY, height=0.5)
    terms = zip(found["term"].values, found["terms"].values, colours, strict=True)
    for label, value, colour in terms:
        axes.barh(0, value, left=left, color=colour, height=0.5, label=f"{label} ({value:.3g})")
        left += float(value)
    axes.set_yticks([0, 1], ["terms", "code"])
    axes.set_xlabel("nats per task")
    axes.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=2)


def _plot_steps(found: xr.Dataset, axes: Axes, colours: list[str]) -> None:
    """Stacked from the noise up, which is the same at every step."""
    steps, terms = found["outer_steps"].values, found["terms"].values
    top = terms[:, 0].copy()
    for i, label in enumerate(found["term"].values):
        if i == 0:
            axes.plot(steps, top, color=colours[0], label=f"{label} ({top[0]:.3g}), below")
            continue
        axes.fill_between(steps, top, top + terms[:, i], color=colours[i], label=str(label))
        top = top + terms[:, i]
    axes.errorbar(
        steps, found["code"].values, 2 * found["code_se"].values, color=GREY, fmt="o", label="code"
    )
    axes.set_xscale("log")
    axes.set_xlabel("outer steps")
    axes.set_ylabel("nats per task")
    axes.legend(fontsize=7, frameon=False)
