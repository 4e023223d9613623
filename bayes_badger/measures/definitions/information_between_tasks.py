"""What tasks say of each other, through what they share: the reason to learn from several.

    I(a; D_1:m) = Σ_i E log p(D_i | a) - E log p(D_1:m),   I(D_i; D_j),   and of m tasks together
    total correlation E log p(D_1:m) - Σ_i E log p(D_i) = Σ_i I(a; D_i) - I(a; D_1:m)

All are properties of the program and of the rows that tasks have; outcomes are drawn anew. The
likelihood is known, so that no bound of estimators from samples alone applies. Given `a` tasks are
independent: where nothing is shared all is zero by construction.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
import xarray as xr

from bayes_badger.errors import BadgerError, listed
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop.linear_gaussian import is_linear_gaussian, task_information
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.measures import exact
from bayes_badger.measures.controls import of_shared, of_squares, scores
from bayes_badger.measures.estimate import Estimate
from bayes_badger.measures.labelled import Quantity, labelled
from bayes_badger.measures.nested import LogEvidence, Sandwich, between, information
from bayes_badger.measures.picture import BLUE, GREY, ORANGE
from bayes_badger.measures.shared_evidence import Told, told_by_experts, told_by_prior
from bayes_badger.measures.simulated import (
    Lifetimes,
    check_simulable,
    ladder,
    rows_like,
    simulated,
)
from bayes_badger.measures.subject import AnyProgram, opened
from bayes_badger.measures.weighing import check_proposal, why_no_belief
from bayes_badger.program import LIFETIME, Program
from bayes_badger.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUESTION = "How much do tasks say of each other, and of the algorithm that they share?"
REFERENCE = "Watanabe (1960), total correlation; Foster et al. (2019, 2020), nested bounds"
STAGE = "tasks_seen"
# Tasks of a simulated lifetime where nobody said how many, and points that log p(D_i | a) needs.
MOST, POINTS = 50, 30.0
WORDS = {
    "of_algorithm": "what is shared, from so many tasks,",
    "total_correlation": "total correlation of so many tasks,",
    "between": "one task about another,",
}


class Controls(NamedTuple):
    """Of mean zero, for each mean that is taken.

    Attributes:
        together: For log p(D_1:m | a) / p(D_1:m), `[lifetime, stage, 4]`.
        alone: For the sum of log p(D_i | a) / p(D_i) over the same tasks, `[lifetime, stage, 4]`.
    """

    together: np.ndarray
    alone: np.ndarray


def information_between_tasks(
    run: Run,
    *,
    program: AnyProgram = None,
    seed: int = 0,
    report: Report = silent,
    lifetimes: int = 200,
    tasks: int = 0,
    draws: int = 200,
    steps: int = 0,
    proposal: str = "experts",
) -> xr.Dataset:
    """What tasks with rows like those of a run say of each other and of what they share.

    Args:
        run: Its program and its rows are looked at; neither its outcomes nor its belief are.
        program: The program, where the run was read and its program is not on the shelf.
        seed: Of everything random.
        report: Is told how far the work has come.
        lifetimes: To simulate: errors fall with the root.
        tasks: Of each; 0 for as many as the run has, at most 50.
        draws: Of what is shared, for each lifetime and number of tasks: the more the narrower.
        steps: Rows of each task; 0 for as many as the run's tasks have.
        proposal: Of what is shared, given tasks' evidence: "experts" or "prior".

    Returns:
        `of_algorithm` I(a; D_1:m) and `total_correlation` for m = 1, 2, 5, ... tasks, and `between`
        of two tasks: for each a `_lower` and an `_upper` bound, and itself where they are close.

    Raises:
        BadgerError: Where tasks share nothing, or the program has factors.

    Example:
        >>> import bayes_badger as bb
        >>> run = bb.fit("eight_schools")
        >>> few = {"lifetimes": 20, "draws": 20, "tasks": 2, "proposal": "prior"}
        >>> found = bb.measures.information_between_tasks(run, **few)
        >>> bool(found["between_lower"] < found["between_upper"])
        True
    """
    if lifetimes < 2 or draws < 1 or tasks < 0 or steps < 0 or tasks == 1:
        raise BadgerError(
            "information_between_tasks simulates 2 lifetimes or more of 2 tasks or more, not "
            f"lifetimes={lifetimes}, tasks={tasks}, draws={draws}, steps={steps}"
        )
    check_proposal("information_between_tasks", proposal)
    subject = opened(run, program)
    lifted, evidence = subject.program, subject.evidence
    check_shared(lifted, run.name)
    check_simulable(lifted, "information_between_tasks")
    each = tasks or int(np.clip(evidence.n_tasks, 2, MOST))
    queries = rows_like(evidence, each, steps or None, lifetimes, seed)
    drawn = simulated(lifted, queries, lifetimes, seed)
    stages = ladder(each)
    key = jax.random.fold_in(jax.random.key(seed), 1)
    reason = why_no_belief(lifted)
    notes = [
        f"{lifetimes} lifetimes of {each} tasks were simulated, with the columns of the run's "
        "tasks in random order"
    ]
    if reason and proposal == "experts":
        notes.append(f"the prior proposes what is shared, for the program {reason}")
    by_prior = reason is not None or proposal == "prior"
    told = (told_by_prior if by_prior else told_by_experts)(
        lifted, drawn, stages, draws, key, report
    )
    controls = None if reason else controls_of(lifted, drawn, stages)
    bounds = shared_information(told, stages, controls)
    truth = _exact(lifted, evidence, drawn, stages)
    doubts = []
    if told.effective < POINTS:
        doubts.append(
            f"log p(D | a) of some task rests on {told.effective:.0f} points only: of several "
            "tasks it may be off by as much as their number over twice that"
        )
    return _labelled(bounds, stages, truth, notes, doubts)


def check_shared(program: Program, name: str) -> None:
    """Refuses a program whose tasks share nothing.

    Raises:
        BadgerError: With the latents that it has.
    """
    if not program.select(LIFETIME):
        own = listed(latent.name for latent in program.latents)
        raise BadgerError(
            f"{name}: tasks of {program.name} share no latent (each has its own {own}), so that "
            "what they say of each other is zero by construction: to share one, sample it outside "
            "of the task plate"
        )


def shared_information(
    told: Told, stages: np.ndarray, controls: Controls | None = None
) -> dict[str, Sandwich]:
    """The three kinds of information, from what simulated tasks say.

    Args:
        told: Of the lifetimes.
        stages: Numbers of tasks; among them 2.
        controls: Of mean zero; None for none.
    """
    together = None if controls is None else controls.together
    both = None if controls is None else np.concatenate(controls, -1)
    first = LogEvidence(*(np.cumsum(x, 1)[:, [m - 1 for m in stages]] for x in told.alone))
    pair = int(np.flatnonzero(stages == 2)[0])
    two = LogEvidence(*(x[:, pair] for x in told.together))
    total = [
        between(
            LogEvidence(*(x[:, i : i + 1] for x in first)),
            LogEvidence(*(x[:, i] for x in told.together)),
            None if both is None else both[:, i],
        )
        for i in range(len(stages))
    ]
    # One task has nothing to correlate with: what its two estimates differ by is chance.
    sides = Sandwich(Estimate(0.0, 0.0), Estimate(0.0, 0.0)), *total[1:]
    lower, upper = (_stacked([x[i] for x in sides]) for i in (0, 1))
    alone = LogEvidence(*(x[:, :2] for x in told.alone))
    return {
        "of_algorithm": information(told.own, told.together, together),
        "total_correlation": Sandwich(lower, upper),
        "between": between(alone, two, None if both is None else both[:, pair]),
    }


def _stacked(each: list[Estimate]) -> Estimate:
    return Estimate(np.array([x.value for x in each]), np.array([x.error for x in each]))


def controls_of(program: Program, drawn: Lifetimes, stages: np.ndarray) -> Controls | None:
    """Controls of simulated lifetimes; None where an outcome has no information in closed form."""
    lifetimes, tasks = drawn.task.shape[:2]
    k = program.lifetime_size
    a = np.repeat(drawn.lifetime.astype(float), tasks, 0)
    points = np.concatenate([a, drawn.task.reshape(lifetimes * tasks, -1)], 1).astype(float)
    found = scores(program, drawn.evidence, points)
    if found is None:
        return None
    said = of_shared(found, points, k)
    alone = of_squares(a, *said).reshape(lifetimes, tasks, -1)
    upto = [m - 1 for m in stages]
    sums = [np.cumsum(x.reshape(lifetimes, tasks, *x.shape[1:]), 1)[:, upto] for x in said]
    flat = [x.reshape(-1, *x.shape[2:]) for x in sums]
    together = of_squares(np.repeat(drawn.lifetime.astype(float), len(stages), 0), *flat)
    return Controls(together.reshape(lifetimes, len(stages), -1), np.cumsum(alone, 1)[:, upto])


def _exact(
    program: Program, evidence: Evidence, drawn: Lifetimes, stages: np.ndarray
) -> dict[str, np.ndarray]:
    """The mean over the same rows, where the program is linear-Gaussian."""
    if not is_linear_gaussian(program, evidence):
        return {}
    fisher = task_information(program, drawn.evidence)
    shape = *drawn.task.shape[:2], *fisher.shape[1:]
    found = exact.linear_gaussian(fisher.reshape(shape), program.lifetime_size)
    upto = [m - 1 for m in stages]
    total = found.total_correlation.mean(0)
    return {
        "of_algorithm": found.of_algorithm.mean(0)[upto],
        "total_correlation": total[upto],
        "between": total[1],
    }


def _labelled(
    found: dict[str, Sandwich],
    stages: np.ndarray,
    truth: dict[str, np.ndarray],
    notes: list[str],
    doubts: list[str],
) -> xr.Dataset:
    quantities = {}
    for name, bounds in found.items():
        dims = () if name == "between" else (STAGE,)
        sides = {f"{name}_lower": bounds.lower, f"{name}_upper": bounds.upper}
        if bounds.narrow.all():
            sides = {name: bounds.middle, **sides}
        else:
            doubts.append(
                f"{WORDS[name].rstrip(',')} is known to {np.max(bounds.width):.2g} nats only: no "
                "number between the bounds is told; set draws higher"
            )
        for side, x in sides.items():
            about = f"{WORDS[name]} {side.removeprefix(name).strip('_') or 'middle'}"
            quantities[side] = Quantity(about, x.value, x.error, truth.get(name), dims)
    coords: dict[Hashable, Any] = {STAGE: stages}
    return labelled("information_between_tasks", REFERENCE, quantities, coords, notes, doubts)


def plot(found: xr.Dataset, axes: Axes) -> None:
    """What tasks say of what they share, and of each other, by their number."""
    stages = found[STAGE].values
    for name, color, label in (
        ("of_algorithm", BLUE, "about what is shared"),
        ("total_correlation", ORANGE, "about each other"),
    ):
        low, high = found[f"{name}_lower"], found[f"{name}_upper"]
        axes.fill_between(stages, low.values, high.values, color=color, alpha=0.3)
        axes.errorbar(
            stages,
            0.5 * (low.values + high.values),
            2 * found[f"{name}_lower_se"].values,
            color=color,
            capsize=2,
            label=label,
        )
        if f"{name}_lower_exact" in found:
            axes.plot(stages, found[f"{name}_lower_exact"].values, color=GREY, ls="--", lw=1)
    axes.set_xscale("log")
    axes.set_xlabel("tasks")
    axes.set_ylabel("information (nats)")
    axes.legend(frameon=False)
