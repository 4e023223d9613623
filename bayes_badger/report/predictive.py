"""Does the program predict its own data: outcomes drawn from the posterior beside the real ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from markupsafe import Markup
from matplotlib.axes import Axes

from bayes_badger.report.contents import BOUNDS, SAMPLE, evenly, group, part
from bayes_badger.report.figure import FAINT, OBSERVED, POSTERIOR, picture
from bayes_badger.report.section import Figures, Section, Table
from bayes_badger.report.text import common_decimals, enough, label, number, percent, short
from bayes_badger.runs.run import Run

title = "Does it predict its own data?"

# Replicates of the data, rows of each, and different values of a discrete outcome.
MOST_DRAWS, MOST_ROWS, MOST_VALUES = 200, 20_000, 25
POINTS = 120
# With several numbers compared, one of them is often outside of 89 %: that is not worth a word.
EXTREME = 0.01


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What was observed, and what the posterior would have it.

    Attributes:
        name: Of the outcome.
        observed: `[row]`.
        drawn: `[draw, row]`, replicates of the whole data.
        whole: Whether the outcome is discrete.
        tasks: The position of each row's task, `[row]`; None where it is not known.
    """

    name: str
    observed: np.ndarray
    drawn: np.ndarray
    whole: bool
    tasks: np.ndarray | None


def build(run: Run) -> Section:
    """Always applies; says what is missing where something is."""
    found = outcomes(run)
    if isinstance(found, str):
        return Section(title=title, lead=found)
    statistics = _statistics(found)
    return Section(
        title=title,
        lead=_lead(found, statistics),
        blocks=[
            Figures(
                pictures=[_bars(found) if _few(found) else _cumulative(found)],
                caption=f"All {len(found.observed):,} outcomes together, and the band that holds "
                f"89% of {len(found.drawn)} data sets drawn from the posterior",
                legend=[
                    ("dot" if _few(found) else "observed", "observed"),
                    ("band", "drawn from the posterior"),
                ],
            ),
            _table(statistics, len(found.drawn)),
        ],
    )


def outcomes(run: Run) -> Outcomes | str:
    """The outcomes of a run, or the sentence that says why there are none."""
    observed, drawn = group(run, "observed_data"), group(run, "posterior_predictive")
    names = [str(name) for name in observed.data_vars if name in drawn.data_vars]
    if not names:
        return (
            "This cannot be told: the run holds no outcomes drawn from the posterior beside "
            "observed ones."
        )
    asked = str(part(run.spec, "program").get("outcome"))
    name = asked if asked in names else names[0]
    real, replicas = observed[name], drawn[name]
    fits = set(replicas.dims) == {*SAMPLE, *real.dims} and all(
        replicas.sizes[dim] == real.sizes[dim] for dim in real.dims
    )
    if not fits or not real.size or not replicas.size or real.dtype.kind not in "fiub":
        return f"This cannot be told: what was drawn of {label(name)} has another shape."
    return _outcomes(run, name, real, replicas)


def _outcomes(run: Run, name: str, real: xr.DataArray, replicas: xr.DataArray) -> Outcomes | str:
    if real.ndim and real.shape[0] > MOST_ROWS:
        kept = evenly(real.shape[0], MOST_ROWS)
        real, replicas = (x.isel({real.dims[0]: kept}) for x in (real, replicas))
    step = max(1, -(-replicas.sizes["chain"] * replicas.sizes["draw"] // MOST_DRAWS))
    some = replicas.isel(draw=slice(None, None, step))
    values = np.asarray(some.transpose(*SAMPLE, *real.dims).values, np.float64)
    flat = values.reshape(values.shape[0] * values.shape[1], -1)
    data = np.asarray(real.values, np.float64).reshape(-1)
    if not (np.isfinite(flat).all() and np.isfinite(data).all()):
        return f"This cannot be told: what was drawn of {label(name)} is not finite."
    told = part(run.spec, "program").get("outcome_discrete")
    whole = told is True or (told is not False and real.dtype.kind in "iub")
    return Outcomes(name, data, flat, whole, _tasks(run, real))


def _tasks(run: Run, real: xr.DataArray) -> np.ndarray | None:
    """The task of each row, where rows have one value each."""
    if run.task_name not in real.coords or real.ndim != 1:
        return None
    names = real[run.task_name]
    if names.dims != real.dims:
        return None
    return np.unique(np.asarray(names.values).astype(str), return_inverse=True)[1]


def _few(found: Outcomes) -> bool:
    return found.whole and float(np.ptp(found.observed)) < MOST_VALUES


def _statistics(found: Outcomes) -> dict[str, tuple[float, np.ndarray]]:
    """Numbers of the data, each with those of the replicates."""
    both = np.concatenate([found.observed[None], found.drawn])
    values = {"mean": both.mean(1)}
    if len(np.unique(found.observed)) > 2 or not found.whole:
        values |= {"standard deviation": both.std(1)}
        values |= {"smallest": both.min(1), "largest": both.max(1)}
    if found.tasks is not None and 1 < found.tasks.max() + 1 < len(found.tasks):
        values["standard deviation between the means of tasks"] = _between(both, found.tasks)
    return {name: (float(x[0]), x[1:]) for name, x in values.items()}


def _between(both: np.ndarray, tasks: np.ndarray) -> np.ndarray:
    order = np.argsort(tasks, kind="stable")
    starts = np.searchsorted(tasks[order], np.arange(tasks.max() + 1))
    sums = np.add.reduceat(both[:, order], starts, axis=1)
    return np.asarray((sums / np.bincount(tasks)).std(1))


def _above(value: float, drawn: np.ndarray) -> float:
    """The share of replicates above what was observed, ties counted half."""
    return float((drawn > value).mean() + (drawn == value).mean() / 2)


def _lead(found: Outcomes, statistics: dict[str, tuple[float, np.ndarray]]) -> str:
    shares = {name: _above(*pair) for name, pair in statistics.items()}
    outside = [name for name, share in shares.items() if not EXTREME <= share <= 1 - EXTREME]
    lower, upper = np.quantile(found.drawn, BOUNDS, axis=0)
    held = percent(float(((lower <= found.observed) & (found.observed <= upper)).mean()))
    rows = f"the 89% predictive intervals hold {held} of the observed {label(found.name)}"
    if not outside:
        return f"Data drawn from the posterior look like the real ones, and {rows}."
    return (
        f"Data drawn from the posterior do not look like the real ones in all: the "
        f"{enough(outside)} of {label(found.name)} {'is' if len(outside) == 1 else 'are'} more "
        f"extreme than in 98% of them; {rows}."
    )


def _table(statistics: dict[str, tuple[float, np.ndarray]], draws: int) -> Table:
    rows = []
    for name, (value, drawn) in statistics.items():
        places = common_decimals([float(drawn.std())])
        numbers = [value, *(float(x) for x in np.quantile(drawn, BOUNDS))]
        cells = [number(x, places) for x in numbers]
        rows.append([name, *cells, number(_above(value, drawn))])
    return Table(
        caption=f"Of the data, and of {draws} data sets drawn from the posterior (89% interval)",
        columns=("", "observed", "drawn from", "to", "share above observed"),
        rows=rows,
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
