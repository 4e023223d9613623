"""The posterior of what each task has of its own, and how far the tasks are pooled."""

from __future__ import annotations

import numpy as np

from bayes_badger.doubts.truth import decimals_apart, of_program
from bayes_badger.report.contents import (
    Scalar,
    posterior,
    rows_by_task,
    scalars,
    task_labels,
    task_unit,
)
from bayes_badger.report.forest import chosen, forest, narrowing_by_rows, narrowings, sizes
from bayes_badger.report.section import Block, Bullets, Figures, Heading, Section, Table
from bayes_badger.report.text import common_decimals, enough, label, number, percent
from bayes_badger.runs.run import Run

title = "What each task has of its own"

MOST_SCALARS = 5
# From this share of uncertainty on, the spread between tasks is called so.
DEGREES = ((0.9, "almost wholly"), (0.5, "mostly"), (0.1, "partly"), (0.0, "hardly"))


def build(run: Run) -> Section | None:
    """None where the tasks have nothing of their own."""
    found, task = scalars(run), run.task_name
    everything = posterior(run)
    long = [name for name in found.left_out if task in everything[name].dims]
    if not found.tasks and not long:
        return None
    blocks: list[Block] = []
    for scalar in found.tasks[:MOST_SCALARS]:
        blocks += _part(run, scalar)
    told = []
    if len(found.tasks) > MOST_SCALARS:
        told.append(f"Not shown: {enough([x.name for x in found.tasks[MOST_SCALARS:]])}.")
    if long:
        told.append(f"Not shown, for they have too many entries: {enough(long)}.")
    if told:
        blocks.append(Bullets(sentences=told))
    return Section(title=title, lead=_lead(run, found.tasks), blocks=blocks)


def pooling(scalar: Scalar) -> float:
    """The share of the spread between tasks that is uncertainty, between 0 and 1.

    `1 - var_j(E[z_j]) / E[var_j(z_j)]`, variances over tasks j, expectations over draws: at 1 the
    evidence cannot tell the tasks apart, at 0 it tells them apart without any doubt (Gelman &
    Pardoe 2006, "Bayesian measures of explained variance and pooling in multilevel (hierarchical)
    models", Technometrics 48). NaN for a single task, and where all are equal.
    """
    draws = scalar.flat
    if draws.shape[1] < 2 or not np.isfinite(draws).all():
        return np.nan
    expected = float(draws.var(1).mean())
    return 1 - float(draws.mean(0).var()) / expected if expected > 0 else np.nan


def _lead(run: Run, found: list[Scalar]) -> str:
    factors = {x.name: pooling(x) for x in found}
    known = {name: x for name, x in factors.items() if np.isfinite(x)}
    if not known:
        return "The tasks cannot be compared: there is one alone, or no number of each."
    if len(known) == 1:
        return _pooled(run, *next(iter(known.items())))
    most, least = max(known, key=known.__getitem__), min(known, key=known.__getitem__)
    if percent(known[most]) == percent(known[least]):
        return (
            f"The evidence tells the tasks{task_unit(run)} apart equally well in all that they "
            f"have: {percent(known[most])} of the spread is uncertainty."
        )
    return (
        f"The evidence tells the tasks{task_unit(run)} apart best in {least}, of whose spread "
        f"{percent(known[least])} is uncertainty, and least in {most}, with {percent(known[most])}."
    )


def _pooled(run: Run, name: str, factor: float) -> str:
    count = posterior(run).sizes.get(run.task_name, 0)
    who = f"{name} of {count:,} tasks{task_unit(run)}"
    if not _is_shared(run):
        return (
            f"Of the spread of {who}, which share nothing, {percent(factor)} is uncertainty and "
            f"{percent(1 - factor)} is differences that the evidence shows."
        )
    degree = next((word for least, word in DEGREES if factor >= least), DEGREES[-1][1])
    return (
        f"{who} is {degree} pooled: {percent(factor)} of its spread between tasks is uncertainty, "
        f"{percent(1 - factor)} is differences that the evidence shows."
    )


def _is_shared(run: Run) -> bool:
    """Whether tasks can teach each other: by what belongs to the lifetime alone."""
    return any(run.task_name not in x.dims for x in posterior(run).data_vars.values())


def _part(run: Run, scalar: Scalar) -> list[Block]:
    blocks: list[Block] = [Heading(title=scalar.name, lead=_of_one(run, scalar))]
    if not np.isfinite(scalar.flat).all():
        return [*blocks, Bullets(sentences=["Some of its draws are not finite: nothing is shown."])]
    labels, rows = task_labels(run), rows_by_task(run)
    shown = chosen(scalar)
    return [
        *blocks,
        _figures(run, scalar, labels, rows, shown),
        *_tables(scalar, labels, rows, shown),
    ]


def _of_one(run: Run, scalar: Scalar) -> str:
    """How much the evidence narrowed each task, or how the tasks are pooled."""
    narrowed = scalar.narrowing
    known = narrowed[np.isfinite(narrowed)]
    sentences = []
    factor = pooling(scalar)
    if np.isfinite(factor) and len(scalars(run).tasks) > 1:
        sentences.append(_pooled(run, scalar.name, factor))
    if len(known):
        low, high = number(float(known.min())), number(float(known.max()))
        times = number(float(np.exp(known.mean())), 1)
        each = f"{low} to {high} nats each" if low != high else f"{low} nats each"
        whose = "All evidence, a task's own and what the others taught, " * _is_shared(run)
        sentences.append(
            f"{whose or 'Its evidence '}made the 89% interval of a task {times} times narrower "
            f"than the prior's on average: {each}."
        )
    truth = scalar.truth[np.isfinite(scalar.truth)]
    if len(truth):
        lower, upper = scalar.interval
        held = (lower <= scalar.truth) & (scalar.truth <= upper)
        sentences.append(
            f"The interval holds the true value of {held.sum()} of {len(truth)} tasks"
            + (" (about 89% expected)." if of_program(run.spec) else ".")
        )
    return " ".join(sentences) or "Its prior was not kept, so what the evidence did is not known."


def _figures(
    run: Run, scalar: Scalar, labels: list[str], rows: np.ndarray | None, shown: np.ndarray
) -> Figures:
    names = [labels[i] for i in shown]
    pictures = [forest(scalar, names, shown)]
    legend = [("posterior", "mean and 89% interval"), ("mean", "mean of all tasks")]
    if np.isfinite(scalar.truth).any():
        legend.append(("observed", "true value"))
    unequal = rows is not None and rows.min() < rows.max()
    known = np.isfinite(scalar.narrowing).any()
    told = "First: all tasks, by their means. "
    if len(shown) < len(labels):
        told = f"First: {len(shown)} of {len(labels):,} tasks, evenly spread over their means. "
    if unequal and rows is not None:
        pictures.append(sizes(scalar, rows))
        told += "Then: each task by its rows; the fewer, the more it leans on what all share. "
        if known:
            pictures.append(narrowing_by_rows(scalar, rows))
    elif known:
        pictures.append(narrowings(scalar, names, shown))
    if known:
        told += (
            "Last: how much the evidence narrowed each task, the log of how many times narrower "
            "than the prior's its 89% interval is."
        )
    return Figures(pictures=pictures, caption=told.strip(), legend=legend, tall=len(shown) >= 10)


def _tables(
    scalar: Scalar, labels: list[str], rows: np.ndarray | None, shown: np.ndarray
) -> list[Block]:
    places = common_decimals([float(x) for x in scalar.sd()[shown]])
    narrowed, simulated = scalar.narrowing, bool(np.isfinite(scalar.truth).any())
    known = bool(np.isfinite(narrowed).any())
    numbers = [scalar.mean(), scalar.sd(), *scalar.interval]

    def apart(i: int) -> int:
        lower, upper = (float(x[i]) for x in scalar.interval)
        return decimals_apart(lower, upper, float(scalar.truth[i]), places)

    cells = [
        [
            labels[i],
            *([f"{rows[i]:,}"] if rows is not None else []),
            *(number(float(x[i]), apart(int(i))) for x in numbers),
            *([number(float(scalar.truth[i]), apart(int(i)))] if simulated else []),
            *([number(float(narrowed[i]))] if known else []),
        ]
        for i in reversed(shown)  # from above to below, as in the figure
    ]
    columns = ["task", *(["rows"] if rows is not None else []), "mean", "sd", "89% from", "to"]
    columns += ["true"] * simulated + ["narrowed by, nats"] * known
    left_out = len(labels) - len(shown)
    caption = f"{label(scalar.name)} by task, with 89% equal-tailed intervals"
    caption += f"; {left_out:,} of {len(labels):,} tasks are left out" if left_out else ""
    return [Table(caption=caption, columns=columns, rows=cells)]
