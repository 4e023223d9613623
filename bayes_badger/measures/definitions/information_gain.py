"""Expected information gain: what so many rows of a task would tell of its latents, on average.

    I(u; D_1:t) = E log p(D_1:t | u) - E log p(D_1:t),  D drawn from the program itself

It is a property of the program and of the rows it would see, not of the outcomes that were seen.
Bounds from below and from above leave no room for an inner loop's errors to pass for information:
the worse its belief, the further they are apart. Where tasks share a latent `a` the information
splits into what a task says of `a` and of its own latents given it.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
import xarray as xr

from bayes_badger.errors import BadgerError
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop.linear_gaussian import is_linear_gaussian, task_information
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.measures import exact
from bayes_badger.measures.conjugate import beta_of
from bayes_badger.measures.controls import of_task, scores
from bayes_badger.measures.estimate import Estimate
from bayes_badger.measures.labelled import Quantity, labelled
from bayes_badger.measures.nested import (
    LogEvidence,
    Sandwich,
    barber_agakov,
    information,
)
from bayes_badger.measures.picture import BLUE, GREY
from bayes_badger.measures.simulated import (
    Lifetimes,
    check_simulable,
    ladder,
    rows_like,
    simulated,
    usual_steps,
    whitened,
)
from bayes_badger.measures.subject import AnyProgram, opened
from bayes_badger.measures.weighing import (
    Weighed,
    believed,
    check_proposal,
    weighed_by,
    weighed_by_prior,
    why_no_belief,
)
from bayes_badger.program import Program
from bayes_badger.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUESTION = "How much would so many rows of a task tell of its latents, on average?"
REFERENCE = "Foster et al. (2019, 2020), VNMC and ACE; Barber & Agakov (2003)"
STEP = "rows_seen"
WORDS = {"all": "latents", "given": "task given what is shared", "of_algorithm": "what is shared"}


class Gain(NamedTuple):
    """What some rows tell, in nats.

    Attributes:
        all_of_it: I(a, z; D), or I(z; D) where nothing is shared.
        given: I(z; D | a); None where nothing is shared, or no belief gave it.
        of_algorithm: I(a; D) of one task; None likewise.
        by_density: The Barber-Agakov bound from below, by the belief's density alone; None where
            there is no belief.
    """

    all_of_it: Sandwich
    given: Sandwich | None = None
    of_algorithm: Sandwich | None = None
    by_density: Estimate | None = None


def information_gain(
    run: Run,
    *,
    program: AnyProgram = None,
    seed: int = 0,
    report: Report = silent,
    tasks: int = 400,
    draws: int = 128,
    steps: int = 0,
    proposal: str = "experts",
) -> xr.Dataset:
    """What rows like those of a run would tell of a task's latents, on average.

    Args:
        run: Its program and its rows are looked at; neither its outcomes nor its belief are.
        program: The program, where the run was read and its program is not on the shelf.
        seed: Of everything random.
        report: Is told how far the work has come.
        tasks: To simulate: errors fall with the root.
        draws: Of the proposal, for each task: the more the narrower.
        steps: Rows of a task, at most; 0 for as many as the run's tasks have.
        proposal: Of latents, given a task's evidence: "experts" or "prior".

    Returns:
        For 1, 2, 5, ... rows `lower` and `upper`; `middle` where these are close everywhere; where
        there is a belief `by_density`; where tasks share latents `given` and `of_algorithm`.

    Raises:
        BadgerError: Where the program has factors, or a setting has no such value.

    Example:
        >>> import bayes_badger as bb
        >>> run = bb.fit("eight_schools")
        >>> found = bb.measures.information_gain(run, tasks=50, draws=50, proposal="prior")
        >>> bool(found["upper"][-1] < 3 * found["upper_se"][-1] + 1)
        True
    """
    _check(tasks, draws, steps, proposal)
    subject = opened(run, program)
    lifted = subject.program
    check_simulable(lifted, "information_gain")
    longest = steps or usual_steps(subject.evidence)
    seen = ladder(longest)
    queries = rows_like(subject.evidence, 1, longest, tasks, seed)
    drawn = simulated(lifted, queries, tasks, seed)
    notes = [f"{tasks} tasks of {longest} rows were simulated, each with the columns of one task"]
    reason = why_no_belief(lifted)
    if proposal == "experts" and reason:
        notes.append(f"the prior proposes, for the program {reason}")
    by_experts = proposal == "experts" and reason is None
    prefixes = first_rows(drawn, seen)
    report("weighing", 0, 1)
    found = _weighed(lifted, prefixes, by_experts, draws, seed, report)
    gain = gains(found, len(seen), _controls(lifted, prefixes) if whitened(lifted) else None)
    report("weighing", 1, 1)
    return _labelled(gain, seen, _exact(lifted, subject.evidence, prefixes, len(seen)), notes)


def first_rows(drawn: Lifetimes, seen: np.ndarray) -> Lifetimes:
    """The same tasks after so many rows, and after so many, one stage after another.

    Args:
        drawn: Lifetimes of one task each, of equal length.
        seen: How many rows of each task are kept, `[stage]`.
    """
    tasks, stages = drawn.evidence.n_tasks, len(seen)
    again = drawn.evidence.select(np.tile(np.arange(tasks), stages))
    row = np.arange(again.n_rows) - (np.cumsum(again.lengths) - again.lengths)[again.task_index]
    kept = again.select_rows(row < np.repeat(seen, tasks)[again.task_index])
    repeated = {n: np.tile(x, (stages, *[1] * (x.ndim - 1))) for n, x in drawn.values.items()}
    return Lifetimes(
        replace(kept, tasks=np.arange(kept.n_tasks)),
        np.tile(drawn.lifetime, (stages, 1)),
        np.tile(drawn.task, (stages, 1, 1)),
        repeated,
    )


def gains(
    found: Weighed, stages: int, controls: tuple[np.ndarray, np.ndarray] | None = None
) -> Gain:
    """The information of each stage, from weighed tasks `[stage * task]`.

    Args:
        found: Of the same tasks after some rows, and after some more.
        stages: How many.
        controls: For all latents and for those of the task, `[stage * task, k]`; None for none.
    """

    def each(x: Any) -> np.ndarray:
        return np.swapaxes(np.reshape(x, (stages, -1, *np.shape(x)[1:])), 0, 1)

    of_all, of_rest = (None, None) if controls is None else map(each, controls)
    own, whole = each(found.log_likelihood), LogEvidence(*map(each, found.evidence))
    by_density = given = of_algorithm = None
    if found.log_q is not None and found.log_prior is not None:
        by_density = barber_agakov(each(found.log_q), each(found.log_prior), of_all)
    if found.given is not None:
        rest = LogEvidence(*map(each, found.given))
        both = None
        if of_all is not None and of_rest is not None:
            both = np.concatenate([of_all, of_rest], -1)
        given = information(own, rest, of_rest)
        of_algorithm = Sandwich(
            information(rest.below, whole, both).lower, information(rest.above, whole, both).upper
        )
    return Gain(information(own, whole, of_all), given, of_algorithm, by_density)


def _controls(program: Program, drawn: Lifetimes) -> tuple[np.ndarray, np.ndarray] | None:
    points = np.concatenate([drawn.lifetime, drawn.task[:, 0]], 1).astype(float)
    found = scores(program, drawn.evidence, points)
    return None if found is None else of_task(found, points, program.lifetime_size)


def _weighed(
    program: Program, drawn: Lifetimes, by_experts: bool, draws: int, seed: int, report: Report
) -> Weighed:
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 1))
    if not by_experts:
        return weighed_by_prior(program, drawn.evidence, drawn.values, draws, keys[0])
    points = np.concatenate([drawn.lifetime, drawn.task[:, 0]], 1)
    belief = believed(program, drawn.evidence, keys[0], report)
    return weighed_by(program, drawn.evidence, points, belief, draws, keys[1])


def _exact(
    program: Program, evidence: Evidence, prefixes: Lifetimes, stages: int
) -> dict[str, np.ndarray]:
    """Of the same rows, where the program is conjugate."""
    counts = beta_of(program, evidence)
    if counts is not None:
        lengths = prefixes.evidence.lengths.reshape(stages, -1)[:, 0]
        return {"all": np.array([exact.beta_bernoulli(int(n), *counts) for n in lengths])}
    if not is_linear_gaussian(program, evidence):
        return {}
    fisher = task_information(program, prefixes.evidence)
    k = program.lifetime_size
    whole, given = (
        np.asarray(exact.half_log_det(x)).reshape(stages, -1).mean(1)
        for x in (fisher, fisher[:, k:, k:])
    )
    return {"all": whole, "given": given, "of_algorithm": whole - given}


def _labelled(
    gain: Gain, seen: np.ndarray, truth: dict[str, np.ndarray], notes: list[str]
) -> xr.Dataset:
    quantities, doubts, words = {}, [], WORDS
    named = {"all": gain.all_of_it, "given": gain.given, "of_algorithm": gain.of_algorithm}
    words = {
        "all": "latents",
        "given": "task given what is shared",
        "of_algorithm": "what is shared",
    }
    for name, bounds in named.items():
        if bounds is None:
            continue
        own = "" if name == "all" else f"{name}_"
        known = truth.get(name)
        pairs = {"lower": bounds.lower, "upper": bounds.upper}
        if bounds.narrow.all():
            pairs = {"middle": bounds.middle, **pairs}
        else:
            at = int(np.argmax(bounds.width))
            doubts.append(
                f"information about the {words[name]} is known to {bounds.width[at]:.2g} nats only "
                f"at {seen[at]} rows: no number between the bounds is told; set draws higher"
            )
        for side, x in pairs.items():
            told = f"{words[name]}, {side}, rows"
            quantities[f"{own}{side}"] = Quantity(told, x.value, x.error, known, (STEP,))
    if gain.by_density is not None:
        x = gain.by_density
        about = "latents, lower by density alone, rows"
        quantities["by_density"] = Quantity(about, x.value, x.error, None, (STEP,))
    coords: dict[Hashable, Any] = {STEP: seen}
    return labelled("information_gain", REFERENCE, quantities, coords, notes, doubts)


def _check(tasks: int, draws: int, steps: int, proposal: str) -> None:
    if tasks < 2 or draws < 1 or steps < 0:
        raise BadgerError(
            f"information_gain simulates 2 tasks or more with 1 draw or more, not tasks={tasks}, "
            f"draws={draws}, steps={steps}"
        )
    check_proposal("information_gain", proposal)


def plot(found: xr.Dataset, axes: Axes) -> None:
    """The bounds by the number of rows, and the truth where it is known."""
    seen = found[STEP].values
    axes.fill_between(seen, found["lower"].values, found["upper"].values, color=BLUE, alpha=0.3)
    for side in ("lower", "upper"):
        x, error = found[side].values, found[f"{side}_se"].values
        axes.errorbar(seen, x, 2 * error, color=BLUE, lw=1, capsize=2)
    if "lower_exact" in found:
        axes.plot(seen, found["lower_exact"].values, color=GREY, ls="--", label="exact")
        axes.legend(frameon=False)
    axes.set_xscale("log")
    axes.set_xlabel("rows of a task")
    axes.set_ylabel("information (nats)")
