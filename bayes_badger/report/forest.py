"""Pictures of the tasks: their intervals, and what the evidence of each did."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from bayes_badger.report.contents import Scalar, evenly
from bayes_badger.report.figure import (
    FAINT,
    INK,
    OBSERVED,
    POSTERIOR,
    PRIOR,
    VECTOR_POINTS,
    picture,
)
from bayes_badger.report.text import short

MOST_TASKS = 16
# Intervals in a cloud of more tasks than this would hide each other.
MOST_BARS = 150


def chosen(scalar: Scalar) -> np.ndarray:
    """The tasks to show, spread evenly over the sorted means, the largest last."""
    order = np.argsort(scalar.mean(), kind="stable")
    return order[evenly(len(order), MOST_TASKS)]


def forest(scalar: Scalar, names: list[str], shown: np.ndarray) -> Markup:
    """The mean and 89 % interval of each task, and the mean of all."""
    lower, upper = (x[shown] for x in scalar.interval)
    mean, height = scalar.mean()[shown], np.arange(len(shown))

    def draw(axes: Axes) -> None:
        axes.axvline(scalar.mean().mean(), color=PRIOR, linewidth=1.3, linestyle="--")
        axes.hlines(height, lower, upper, color=POSTERIOR, linewidth=2)
        axes.plot(mean, height, "o", color=POSTERIOR, markersize=5)
        axes.plot(scalar.truth[shown], height, "x", color=OBSERVED, markersize=5.5, mew=1.8)
        _name(axes, names, height)
        axes.set_xlabel(short(scalar.name))

    told = f"Posterior means and 89% intervals of {scalar.name} for {len(shown)} tasks"
    return picture(draw, told, height=_height(len(shown)))


def narrowings(scalar: Scalar, names: list[str], shown: np.ndarray) -> Markup:
    """How much the evidence narrowed each task, in the order of the forest."""
    narrowed, height = scalar.narrowing[shown], np.arange(len(shown))

    def draw(axes: Axes) -> None:
        axes.axvline(0, color=PRIOR, linewidth=1.2)
        axes.hlines(height, 0, narrowed, color=POSTERIOR, linewidth=2)
        axes.plot(narrowed, height, "o", color=POSTERIOR, markersize=5)
        _name(axes, names, height)
        axes.set_xlabel("narrowed by (nats)")

    told = f"How much the evidence narrowed {scalar.name} of {len(shown)} tasks, in nats"
    return picture(draw, told, height=_height(len(shown)))


def sizes(scalar: Scalar, rows: np.ndarray) -> Markup:
    """The mean of each task, with its interval, by how many rows of evidence it has."""
    kept = evenly(len(rows), VECTOR_POINTS)
    lower, upper = (x[kept] for x in scalar.interval)
    at = _apart(rows[kept])

    def draw(axes: Axes) -> None:
        axes.axhline(scalar.mean().mean(), color=PRIOR, linewidth=1.3, linestyle="--")
        if len(kept) <= MOST_BARS:
            axes.vlines(at, lower, upper, color=POSTERIOR, linewidth=0.9, alpha=0.45)
        axes.plot(at, scalar.mean()[kept], "o", color=POSTERIOR, markersize=3.5, alpha=0.85)
        _by_rows(axes, rows)
        axes.set_ylabel(short(scalar.name))

    told = f"Posterior mean of {scalar.name} for each task by its rows of evidence"
    return picture(draw, told, height=2.32)


def narrowing_by_rows(scalar: Scalar, rows: np.ndarray) -> Markup:
    """How much the evidence narrowed each task, by how many rows it has."""
    kept = evenly(len(rows), VECTOR_POINTS)

    def draw(axes: Axes) -> None:
        narrowed = scalar.narrowing[kept]
        # Where all are far from it, zero would squeeze them together.
        if np.nanmin(narrowed) < 0.25 * np.nanmax(narrowed):
            axes.axhline(0, color=PRIOR, linewidth=1.2)
        axes.plot(_apart(rows[kept]), narrowed, "o", color=POSTERIOR, markersize=3.5, alpha=0.7)
        _by_rows(axes, rows)
        axes.set_ylabel("narrowed by (nats)")

    told = f"How much the evidence narrowed {scalar.name} of each task, by its rows, in nats"
    return picture(draw, told, height=2.32)


def _apart(rows: np.ndarray) -> np.ndarray:
    """Numbers of rows, those that are equal moved apart a little so that all are seen."""
    chance = np.random.default_rng(0)
    return np.asarray(np.maximum(rows, 0.5) * np.exp(chance.uniform(-0.06, 0.06, len(rows))))


def _by_rows(axes: Axes, rows: np.ndarray) -> None:
    axes.grid(axis="y", color=FAINT)
    axes.set_xlabel("rows of evidence of the task")
    low, high = max(float(rows.min()), 0.5), float(rows.max())
    if high > 8 * low:
        axes.set_xscale("log")
        ticks = [x * 10**k for k in range(7) for x in (1, 2, 5)]
        ticks = [x for x in ticks if low <= x <= 1.01 * high]
        # A logarithm has no place for zero, so that it stands at a half.
        none = [0.5] if rows.min() == 0 else []
        axes.set_xticks([*none, *ticks], [*("0" for _ in none), *(f"{x:,}" for x in ticks)])
        axes.minorticks_off()
    else:
        axes.locator_params(axis="x", integer=True, nbins=8)


def _name(axes: Axes, names: list[str], height: np.ndarray) -> None:
    axes.set_yticks(height, [short(name) for name in names])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=FAINT)


def _height(count: int) -> float:
    return 0.75 + 0.235 * max(count, 3)
