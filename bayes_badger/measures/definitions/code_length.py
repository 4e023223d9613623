"""Where the code length of a learner goes: noise, what must be learned, and what each loop lacks.

Where tasks were simulated the world is known, and all terms are estimated on tasks drawn anew,
each on tasks of its own. Of data the world is not known: noise and outer shortfall are one term,
-E log p(D | z, a) under the posterior, task and algorithm are posterior shifts, and tasks are those
of the run, so that standard errors are of Monte Carlo alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import xarray as xr

from bayes_badger.errors import BadgerError
from bayes_badger.inner_loop.messages import messages
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.measures.estimate import Estimate, mean_of
from bayes_badger.measures.labelled import Quantity, labelled
from bayes_badger.measures.ledger import FEW, TERMS, Ledger, ledger
from bayes_badger.measures.picture import BLUE, GREEN, GREY, ORANGE, PURPLE
from bayes_badger.measures.prequential import doubling, score_spans
from bayes_badger.measures.subject import AnyProgram, Subject, opened
from bayes_badger.measures.worlds import world_of
from bayes_badger.pointwise import log_likelihood_rows
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
# Sets of points with which a task's log evidence is estimated.
POINTS = 4


def code_length(
    run: Run,
    *,
    program: AnyProgram = None,
    seed: int = 0,
    report: Report = silent,
    lifetimes: int = 256,
    coded: int = 16,
    tasks: int = 4,
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

    Returns:
        `code`, `terms` of it along `term`, and `apart`, the code less their sum.

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
    if world is None:
        found, notes = _of_data(subject, key, report)
        return _labelled(found, notes)
    shared = bool(subject.program.lifetime_size or world.lifetime_size)
    same = world is subject.program
    counted = ledger(
        subject.program,
        world,
        subject.evidence,
        subject.inner_loop,
        key,
        lifetimes,
        coded if shared else lifetimes,
        tasks if shared else 1,
        same,
        report,
    )
    many = f"{lifetimes} simulated lifetimes of {tasks if shared else 1}"
    notes = [f"each term is estimated on {many} tasks of its own"]
    if same:
        notes.append("the world is the program itself: the outer shortfall is 0 by construction")
    if not shared:
        notes.append("tasks share nothing: what is learned of the algorithm is 0 by construction")
    return _labelled(counted, notes)


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
    m = evidence.n_tasks
    if program.lifetime_size:
        said = messages(program, evidence, flat, keys[0], report=report).log_evidence
    else:  # the same at all draws, but for the points that closed forms do without
        one = {n: x[:1] for n, x in flat.items()}
        several = jax.random.split(keys[0], POINTS)
        each = [messages(program, evidence, one, k).log_evidence[0] for k in several]
        said = np.stack([each[i % POINTS] for i in range(len(tasks))])
    # Thirds of the draws, so that terms do not share their noise.
    first, second, third = np.array_split(np.random.default_rng(0).permutation(len(tasks)), 3)
    terms = {
        "noise_and_outer": mean_of(-tasks[first].sum(1) / m),
        "task": mean_of((tasks[second] - said[second]).sum(1) / m),
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
    exact = said[:POINTS].mean(0)
    spread = said[:POINTS].std(0, ddof=1) / np.sqrt(POINTS)
    wide = float(np.sqrt((spread**2).sum()) / m)
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


def _labelled(found: Ledger, notes: list[str]) -> xr.Dataset:
    names = [n for n in (*TERMS, "noise_and_outer") if n in found.terms]
    names = sorted(names, key=list(LABELS).index)
    terms = [found.terms[name] for name in names]
    apart = found.apart
    values, errors = ([float(getattr(x, w)) for x in terms] for w in ("value", "error"))
    quantities = {
        "code": Quantity("code length of a task", found.code.value, found.code.error),
        "terms": Quantity("of it", np.array(values), np.array(errors), dims=("term",)),
        "apart": Quantity("code less terms", apart.value, apart.error),
    }
    doubts = [f"{LABELS[n]}: {x.doubt}" for n, x in zip(names, terms, strict=True) if x.doubt]
    if abs(float(apart.value)) > SIGMAS * float(apart.error):
        doubts.append(
            f"the terms miss the code length by {float(apart.value):.3g} nats, "
            f"{abs(float(apart.value)) / max(float(apart.error), 1e-12):.1f} standard errors"
        )
    coords: dict[Any, Any] = {"term": [LABELS[name] for name in names]}
    return labelled("code_length", REFERENCE, quantities, coords, notes, doubts)


def plot(found: xr.Dataset, axes: Axes) -> None:
    """The terms, one on another, beside the code length."""
    code, left = float(found["code"]), 0.0
    names = {label: name for name, label in LABELS.items()}
    axes.barh(1, code, xerr=float(found["code_se"]), color=GREY, height=0.5)
    for label, value in zip(found["term"].values, found["terms"].values, strict=True):
        colour = COLOURS.get(names[str(label)], "#c8c8c8")
        axes.barh(0, value, left=left, color=colour, height=0.5, label=f"{label} ({value:.3g})")
        left += float(value)
    axes.set_yticks([0, 1], ["terms", "code"])
    axes.set_xlabel("nats per task")
    axes.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=2)
