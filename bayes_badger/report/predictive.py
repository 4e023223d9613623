"""Does the program predict its own data: outcomes drawn from the posterior beside the real ones."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from bayes_badger.doubts.predictive import (
    INTERVAL_NAME,
    Compared,
    Outcomes,
    compared,
    doubt_of,
    outcomes,
)
from bayes_badger.report.contents import BOUNDS, evenly
from bayes_badger.report.figure import FAINT, OBSERVED, POSTERIOR, picture
from bayes_badger.report.section import Figures, Section, Table
from bayes_badger.report.text import common_decimals, label, number, percent, plain, short
from bayes_badger.runs.run import Run

title = "Does it predict its own data?"

# Different values of a discrete outcome that have a bar each.
MOST_VALUES = 25
POINTS = 120


def build(run: Run) -> Section:
    """Always applies; says what is missing where something is."""
    found = outcomes(run.spec, run.tree)
    if isinstance(found, str):
        return Section(title=title, lead=f"This cannot be told: {plain(found)}.")
    rows = compared(found)
    return Section(
        title=title,
        lead=_lead(found, rows),
        wary=any(row.outside for row in rows),
        blocks=[
            Figures(
                pictures=[_bars(found) if _few(found) else _cumulative(found)],
                caption=f"All {len(found.observed):,} outcomes together, and the band that holds "
                f"89% of {len(found.drawn):,} data sets drawn from the posterior",
                legend=[
                    ("dot" if _few(found) else "observed", "observed"),
                    ("band", "drawn from the posterior"),
                ],
            ),
            _table(rows, len(found.drawn)),
        ],
    )


def _few(found: Outcomes) -> bool:
    return found.whole and float(np.ptp(found.observed)) < MOST_VALUES


def _lead(found: Outcomes, rows: list[Compared]) -> str:
    lower, upper = np.quantile(found.drawn, BOUNDS, axis=0)
    held = percent(float(((lower <= found.observed) & (found.observed <= upper)).mean()))
    told = f"the 89% predictive intervals hold {held} of the observed {label(found.name)}"
    doubt = doubt_of(found, rows)
    if doubt is None:
        return f"Data drawn from the posterior look like the real ones, and {told}."
    return f"{doubt.sentence[:1].upper()}{doubt.sentence[1:]}; {told}."


def _table(rows: list[Compared], draws: int) -> Table:
    cells = []
    for row in rows:
        places = common_decimals([float(row.drawn.std())])
        numbers = [number(x, places) for x in (row.value, row.lower, row.upper)]
        cells.append(
            [row.name, *numbers, number(row.above, 3), "outside" if row.outside else "inside"]
        )
    return Table(
        caption=f"Numbers of the data, and the {INTERVAL_NAME} interval of the same numbers of "
        f"{draws:,} data sets drawn from the posterior",
        columns=("", "observed", "drawn from", "to", "share above observed", "observed lies"),
        rows=cells,
    )


def _cumulative(found: Outcomes) -> Markup:
    """Empirical distribution functions: of the data, and the band of those of the replicates."""
    low, high = (float(f(x)) for f, x in ((np.min, found.observed), (np.max, found.observed)))
    edges = np.quantile(found.drawn, (0.005, 0.995))
    grid = np.linspace(min(low, edges[0]), max(high, edges[1]), POINTS)
    shares = np.stack([np.searchsorted(np.sort(x), grid, "right") for x in found.drawn])
    lower, upper = np.quantile(shares / len(found.observed), BOUNDS, axis=0)
    values = np.sort(found.observed)

    def draw(axes: Axes) -> None:
        axes.fill_between(grid, lower, upper, color=POSTERIOR, alpha=0.3, linewidth=0)
        some = values[evenly(len(values), 400)]
        height = np.searchsorted(values, some, "right") / len(values)
        ends = [grid[0], *some, grid[-1]], [0.0, *height, 1.0]
        axes.plot(*ends, color=OBSERVED, linewidth=1.6, drawstyle="steps-post")
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlim(grid[0], grid[-1])
        axes.grid(axis="y", color=FAINT)
        axes.set_xlabel(short(found.name))
        axes.set_ylabel("share of rows at or below")

    return picture(draw, f"Distribution of {label(found.name)}, observed and drawn", height=2.9)


def _bars(found: Outcomes) -> Markup:
    """How often each value occurs: in the data, and in 89 % of the replicates."""
    low = int(min(found.observed.min(), np.quantile(found.drawn, 0.005)))
    high = int(max(found.observed.max(), np.quantile(found.drawn, 0.995)))
    values = np.arange(low, min(high, low + 2 * MOST_VALUES) + 1)
    shares = np.stack([(found.drawn == value).mean(1) for value in values], -1)
    lower, upper = np.quantile(shares, BOUNDS, axis=0)
    real = [(found.observed == value).mean() for value in values]

    def draw(axes: Axes) -> None:
        axes.bar(values, upper - lower, 0.7, lower, color=POSTERIOR, alpha=0.35, linewidth=0)
        axes.hlines(shares.mean(0), values - 0.35, values + 0.35, color=POSTERIOR, linewidth=1.6)
        axes.plot(values, real, "o", color=OBSERVED, markersize=5)
        axes.set_ylim(0, 1.1 * max(float(upper.max()), *real))
        axes.grid(axis="y", color=FAINT)
        axes.set_xlabel(short(found.name))
        axes.set_ylabel("share of rows")
        if len(values) <= 12:
            axes.set_xticks(values)

    return picture(draw, f"Frequencies of {label(found.name)}, observed and drawn", height=2.9)
