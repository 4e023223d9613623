"""Does the belief depend on what should not matter: the order or the names of its evidence?

The evidence is changed in ways that exact Bayes does not notice, the inner loop runs again, and
outcomes drawn from its first predictive are scored by both: KL(first, changed) in nats per row.
Another seed, under which experts begin elsewhere, gives the deviation that chance alone brings.
What an exact inner loop makes of the same changes, where there is one, is the program's own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import PRNGKeyArray

from bayes_badger.errors import BadgerError
from bayes_badger.evidence import Evidence
from bayes_badger.fitting import example_of
from bayes_badger.inner_loop.protocol import InnerLoop, Report, silent
from bayes_badger.measures.estimate import Estimate, mean_of
from bayes_badger.measures.labelled import Quantity, labelled
from bayes_badger.measures.lifetimes import by_task, divergence, log_predictive, reference_for
from bayes_badger.measures.picture import BLUE, GREY, ORANGE
from bayes_badger.measures.subject import AnyProgram, Subject, opened
from bayes_badger.pointwise import predict_rows
from bayes_badger.program import TASK, Program, lift
from bayes_badger.program.walk import family
from bayes_badger.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUESTION = "Does the belief depend on the order or the names of its evidence?"
REFERENCE = "Bloem-Reddy & Teh (2020), Probabilistic Symmetries, as KL of predictives"
# A deviation is one from so many times what another seed brings, and so many nats per row. Without
# one both are means of the same kind: no standard error, for a change may concern few tasks only.
TIMES, MATERIAL = 3.0, 1e-3
# Outcomes whose values are names, from 0 on.
NAMED = ("Categorical", "Bernoulli")
# What a program itself may notice.
OF_PROGRAM = ("inputs", "more_inputs", "outputs")
WORDS = {
    "experts": "experts that begin elsewhere",
    "rows": "rows of each task in another order",
    "tasks": "tasks in another order",
    "inputs": "coordinates of inputs in another order",
    "outputs": "classes or coordinates of the outcome in another order",
    "more_inputs": "as many more inputs, all 0",
}

Draws = Mapping[str, np.ndarray]


class Change(NamedTuple):
    """A way to change evidence that exact Bayes does not notice.

    Attributes:
        evidence: Changes what the belief is of, and what it is asked.
        back: Draws given changed evidence, as they would be of the evidence unchanged: where tasks
            have moved.
        program: The program of changed evidence.
        moves_tasks: Whether queries keep the order of the tasks that there was at first.
    """

    evidence: Callable[[Evidence], Evidence]
    back: Callable[[Draws], Draws]
    program: Program
    moves_tasks: bool = False


def beyond(changed: np.ndarray, chance: np.ndarray) -> Estimate:
    """By how much changes move the predictive more than chance does, task by task.

    Args:
        changed: KL of each task, `[task]`.
        chance: The same under another seed, `[task]`.

    Example:
        >>> beyond(np.array([0.2, 0.4]), np.array([0.1, 0.1])).value
        0.2
    """
    value, error, _ = mean_of(np.asarray(changed, float) - chance)
    return Estimate(round(float(value), 15), error)


def invariance(
    run: Run,
    *,
    program: AnyProgram = None,
    seed: int = 0,
    report: Report = silent,
    held: int = 8,
) -> xr.Dataset:
    """How far changes that should not matter move what a run's inner loop predicts.

    Args:
        run: Fitted by any inner loop, to two tasks or more.
        program: The program, where the run was read and its program is not on the shelf.
        seed: Of the changes and of the inner loop.
        report: Is told how far the work has come.
        held: Outcomes that are drawn and scored at each of the run's rows.

    Returns:
        `deviation`, KL in nats per row, `[change]`, with that of an exact inner loop beside it;
            `beyond`, what of it another seed does not explain, `[change]`.

    Raises:
        BadgerError: Of a single task.

    Example:
        >>> import bayes_badger as bb
        >>> run = bb.fit("gaussian", tasks=6, steps=3, inference="exact")
        >>> found = bb.measures.invariance(run)
        >>> found["change"].values.tolist(), found.attrs["doubts"]
        (['experts', 'rows', 'tasks'], '[]')
    """
    subject = opened(run, program)
    if subject.evidence.n_tasks < 2:
        raise BadgerError(f"{run.name} has one task: invariance compares the order of several")
    changes, notes = _changes(subject, np.random.default_rng(seed))
    loop = subject.inner_loop
    found = _deviations(subject, loop, changes, seed, held, report)
    exact = None
    reference = reference_for(subject.program, subject.evidence)
    chosen = loop.pick(subject.program, subject.evidence)[1] if hasattr(loop, "pick") else loop
    if reference is not None and type(reference) is not type(chosen):
        exact = _deviations(subject, reference, changes, seed, held, report)
    return _labelled(found, exact, list(changes), notes)


def _changes(subject: Subject, chance: np.random.Generator) -> tuple[dict[str, Change], list[str]]:
    """Those that the program allows; and why others are left out."""
    program, evidence = subject.program, subject.evidence
    same: Callable[[Any], Any] = lambda x: x  # noqa: E731
    found, notes = {"experts": Change(same, same, program)}, []
    if program.signature.stateful:
        notes.append("the program has a state: the order of rows may matter, and is not changed")
    else:
        rows = np.lexsort((chance.random(evidence.n_rows), evidence.task_index))
        found["rows"] = Change(lambda e: _with_rows(e, rows), same, program)
    order = chance.permutation(evidence.n_tasks)
    if (order == np.arange(len(order))).all():
        order = order[::-1]
    own = {x.name for x in program.latents if x.scope == TASK}

    def back(draws: Draws) -> Draws:
        place = np.argsort(order)
        return {n: np.asarray(x)[:, :, place] if n in own else x for n, x in draws.items()}

    found["tasks"] = Change(lambda e: e.select(order), back, program, True)
    wide = {n: x.shape[1] for n, x in evidence.columns.items() if x.ndim == 2 and x.shape[1] > 1}
    if wide:
        moved = {n: np.roll(np.arange(k), 1) for n, k in wide.items()}
        found["inputs"] = Change(
            lambda e: _with_columns(e, {n: e.columns[n][:, i] for n, i in moved.items()}),
            same,
            program,
        )
        wider, reason = _widened(subject, wide)
        if wider is None:
            notes.append(f"no inputs are added: {reason}")
        else:
            found["more_inputs"] = Change(lambda e: _padded(e, list(wide)), same, wider)
    renamed = _renamed(program)
    if renamed is not None:
        found["outputs"] = Change(renamed, same, program)
    return found, notes


def _with_rows(evidence: Evidence, rows: np.ndarray) -> Evidence:
    """Rows in another order, each in its task."""
    return replace(
        evidence,
        columns={n: x[rows] for n, x in evidence.columns.items()},
        outcome=None if evidence.outcome is None else evidence.outcome[rows],
    )


def _with_columns(evidence: Evidence, columns: Mapping[str, np.ndarray]) -> Evidence:
    return replace(evidence, columns={**evidence.columns, **columns})


def _padded(evidence: Evidence, names: list[str]) -> Evidence:
    padded = {
        n: np.concatenate([evidence.columns[n], np.zeros_like(evidence.columns[n])], 1)
        for n in names
    }
    return _with_columns(evidence, padded)


def _widened(subject: Subject, wide: Mapping[str, int]) -> tuple[Program | None, str]:
    """The program for twice as many inputs; None, with the reason, where it takes no others."""
    if subject.program.parameters:
        return None, "what the program learned belongs to the inputs that there are"
    padded = _padded(subject.evidence, list(wide))
    try:
        wider = lift(subject.program.model, example=example_of(padded), name=subject.program.name)
    except BadgerError:
        return None, f"the program takes just {max(wide.values())} of them"
    return wider, ""


def _renamed(program: Program) -> Callable[[Evidence], Evidence] | None:
    """Classes under other names, or coordinates of an outcome in another order."""
    outcome = program.outcome
    if not outcome.discrete and len(outcome.shape) == 1 and outcome.shape[0] > 1:
        return lambda e: _with_outcome(e, lambda y: np.roll(y, 1, 1))
    if outcome.family.startswith(NAMED) and not outcome.shape:
        fn = family(program.walk_at({}, program.example).sites[outcome.site].fn)
        classes = np.ravel(fn.enumerate_support(expand=False))
        return lambda e: _with_outcome(e, lambda y: (y + 1) % len(classes))
    return None


def _with_outcome(evidence: Evidence, change: Callable[[np.ndarray], np.ndarray]) -> Evidence:
    y = evidence.outcome
    return evidence if y is None else replace(evidence, outcome=change(y).astype(y.dtype))


def _deviations(
    subject: Subject,
    loop: InnerLoop,
    changes: Mapping[str, Change],
    seed: int,
    held: int,
    report: Report,
) -> np.ndarray:
    """KL of each task, in nats per row, `[change, task]`."""
    evidence, program = subject.evidence, subject.program
    keys = jax.random.split(jax.random.key(seed), 4)
    first = _believed(program, evidence, loop, keys[0])
    draws = next(iter(first.values()))
    chosen = np.random.default_rng(seed).integers(draws.shape[0] * draws.shape[1], size=held)
    flat = {n: jnp.asarray(x.reshape(1, -1, *x.shape[2:])[:, chosen]) for n, x in first.items()}
    outcomes = predict_rows(program, evidence, flat, keys[1])[0]
    asked = [replace(evidence, outcome=np.asarray(y, evidence.outcome.dtype)) for y in outcomes]  # type: ignore[union-attr]
    own = np.stack([log_predictive(program, e, first) for e in asked])
    found = []
    for i, (name, change) in enumerate(changes.items()):
        report("changes", i, len(changes), WORDS[name])
        # Of chance another seed; of the rest the same, so that chance is not in it.
        key = keys[2] if name == "experts" else keys[0]
        given = change.back(_believed(change.program, change.evidence(evidence), loop, key))
        score = []
        for e in asked:
            query = e if change.moves_tasks or name == "rows" else change.evidence(e)
            score.append(log_predictive(change.program, query, given))
        each = divergence(np.stack(score), own).mean(0)
        found.append(by_task(each[None], evidence)[0] / np.maximum(evidence.lengths, 1))
    return np.stack(found)[:, evidence.lengths > 0]


def _believed(
    program: Program, evidence: Evidence, loop: InnerLoop, key: PRNGKeyArray
) -> dict[str, np.ndarray]:
    values = loop.infer(program, evidence, key).draws.values
    return {latent.name: np.asarray(values[latent.name]) for latent in program.latents}


def _labelled(
    found: np.ndarray, exact: np.ndarray | None, names: list[str], notes: list[str]
) -> xr.Dataset:
    many = found.shape[1] > 1
    dims = ("change",)
    error = found.std(1, ddof=1) / np.sqrt(found.shape[1]) if many else np.full(len(found), np.nan)
    extra = [beyond(x, found[0]) for x in found]
    own = [beyond(x, exact[0]) for x in exact] if exact is not None else None
    quantities = {
        "deviation": Quantity(
            "the predictive moves by, per row",
            found.mean(1),
            error,
            None if exact is None else exact.mean(1),
            dims,
        ),
        "beyond": Quantity(
            "of that beyond another seed",
            np.array([x.value for x in extra]),
            np.array([x.error for x in extra]),
            None if own is None else np.array([x.value for x in own]),
            dims,
        ),
    }
    doubts = []
    for i, name in enumerate(names[1:], 1):
        value, se = float(extra[i].value), float(extra[i].error)
        noticed = 0.0 if exact is None else max(0.0, float((exact[i] - exact[0]).mean()))
        if value - noticed > max((TIMES - 1) * float(found[0].mean()), MATERIAL):
            or_else = ""
            if own is None and name in OF_PROGRAM:
                or_else = ": it, or the program itself, is not the same under this change"
            doubts.append(
                f"{WORDS[name]}: the predictive moves by {value:.3g} ± {se:.2g} nats per row more "
                f"than another seed moves it{or_else}"
            )
    coords: dict[Hashable, Any] = {"change": names}
    return labelled("invariance", REFERENCE, quantities, coords, notes, doubts)


def plot(found: xr.Dataset, axes: Axes) -> None:
    """The deviation under each change; dotted, what another seed does."""
    names = [str(x) for x in found["change"].values]
    value = np.maximum(found["deviation"].values, 1e-12)
    colors = [GREY, *[BLUE] * (len(names) - 1)]
    axes.barh(names, value, xerr=2 * found["deviation_se"].values, color=colors)
    if "deviation_exact" in found:
        axes.plot(
            np.maximum(found["deviation_exact"].values, 1e-12), names, "|", color=ORANGE, ms=14
        )
    axes.axvline(value[0], color=GREY, linestyle=":")
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.set_xlabel("deviation of the predictive (nats per row)")
    axes.set_ylabel("change")
