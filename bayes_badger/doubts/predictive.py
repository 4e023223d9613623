"""Does the program fit its own data: numbers of the data beside those of data sets drawn anew.

Each number of the data is held against its 99 % interval over data sets drawn from the posterior
(Gelman, Meng & Stern 1996). Posterior predictive checks are conservative, so that of programs that
are right fewer than 1 in 100 have a given number outside, and at most a few in 100 any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayes_badger.doubts.doubt import FIT, Doubt
from bayes_badger.doubts.reading import (
    BOUNDS,
    SAMPLE,
    evenly,
    group,
    outcome_of,
    part,
    task_name,
)
from bayes_badger.errors import listed

KIND = "predictive check"
# Data sets that are drawn, as far as their values are not more than so many; and rows of each.
MOST_DRAWS, LEAST_DRAWS, MOST_VALUES, MOST_ROWS = 1_000, 200, 1_000_000, 20_000
# The interval outside of which a number of the data speaks against the program.
INTERVAL = (0.005, 0.995)
INTERVAL_NAME = "99%"
HELD = "share of rows within their 89% predictive intervals"


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


@dataclass(frozen=True, eq=False)
class Compared:
    """One number of the data.

    Attributes:
        name: What it is, "mean".
        value: Of the data.
        drawn: Of each data set drawn from the posterior, `[draw]`.
        lower: Lower end of the interval that the data should lie in.
        upper: Its upper end.
    """

    name: str
    value: float
    drawn: np.ndarray
    lower: float
    upper: float

    @property
    def outside(self) -> bool:
        """Whether it speaks against the program."""
        return not self.lower <= self.value <= self.upper

    @property
    def above(self) -> float:
        """The share of drawn data sets in which it is greater, ties counted half."""
        return float((self.drawn > self.value).mean() + (self.drawn == self.value).mean() / 2)


def outcomes(spec: Mapping[str, Any], tree: xr.DataTree) -> Outcomes | str:
    """The outcomes of a run, or why there are none to compare."""
    observed, drawn = group(tree, "observed_data"), group(tree, "posterior_predictive")
    names = [str(name) for name in observed.data_vars if name in drawn.data_vars]
    if not names:
        return "the run holds no outcomes drawn from the posterior beside observed ones"
    name = outcome_of(spec, names)
    real, replicas = observed[name], drawn[name]
    fits = set(replicas.dims) == {*SAMPLE, *real.dims} and all(
        replicas.sizes[dim] == real.sizes[dim] for dim in real.dims
    )
    if not fits or not real.size or not replicas.size or real.dtype.kind not in "fiub":
        return f"what was drawn of {name} has another shape"
    if real.ndim and real.shape[0] > MOST_ROWS:
        kept = evenly(real.shape[0], MOST_ROWS)
        real, replicas = (x.isel({real.dims[0]: kept}) for x in (real, replicas))
    wanted = int(np.clip(MOST_VALUES // max(real.size, 1), LEAST_DRAWS, MOST_DRAWS))
    step = max(1, -(-replicas.sizes["chain"] * replicas.sizes["draw"] // wanted))
    some = replicas.isel(draw=slice(None, None, step))
    values = np.asarray(some.transpose(*SAMPLE, *real.dims).values, np.float64)
    flat = values.reshape(values.shape[0] * values.shape[1], -1)
    data = np.asarray(real.values, np.float64).reshape(-1)
    if not (np.isfinite(flat).all() and np.isfinite(data).all()):
        return f"what was drawn of {name} is not finite"
    told = part(spec, "program").get("outcome_discrete")
    whole = told is True or (told is not False and real.dtype.kind in "iub")
    return Outcomes(name, data, flat, whole, _tasks(task_name(spec), real))


def compared(found: Outcomes) -> list[Compared]:
    """Numbers of the data, each with those of the data sets drawn from the posterior."""
    both = np.concatenate([found.observed[None], found.drawn])
    values = {"mean": both.mean(1)}
    if len(np.unique(found.observed)) > 2 or not found.whole:
        values |= {"standard deviation": both.std(1)}
        values |= {"smallest": both.min(1), "largest": both.max(1)}
    if found.tasks is not None and 1 < found.tasks.max() + 1 < len(found.tasks):
        values["standard deviation between the means of tasks"] = _between(both, found.tasks)
    lower, upper = np.quantile(found.drawn, BOUNDS, axis=0)
    held = ((lower <= both) & (both <= upper)).mean(1)
    rows = [
        Compared(name, float(x[0]), x[1:], *map(float, np.quantile(x[1:], INTERVAL)))
        for name, x in values.items()
    ]
    # The same data were fitted, so that they may well lie further inside than data drawn anew.
    least = float(np.quantile(held[1:], INTERVAL[0]))
    return [*rows, Compared(HELD, float(held[0]), held[1:], least, 1.0)]


def doubt_of(found: Outcomes, rows: Sequence[Compared]) -> Doubt | None:
    """What the data have against the program; None where they look like what it draws."""
    outside = [x.name for x in rows if x.outside]
    if not outside:
        return None
    verb = "lies" if len(outside) == 1 else "lie"
    return Doubt(
        FIT,
        KIND,
        "data drawn from the posterior do not look like the real ones in all: the "
        f"{listed(outside, 6)} of {found.name} {verb} outside the {INTERVAL_NAME} interval of "
        f"{len(found.drawn):,} data sets drawn from it",
        "what is predicted of new rows may be as far off; let the program have what is missing",
    )


def _tasks(name: str, real: xr.DataArray) -> np.ndarray | None:
    """The task of each row, where rows have one value each."""
    if name not in real.coords or real.ndim != 1:
        return None
    labels = real[name]
    if labels.dims != real.dims:
        return None
    return np.unique(np.asarray(labels.values).astype(str), return_inverse=True)[1]


def _between(both: np.ndarray, tasks: np.ndarray) -> np.ndarray:
    order = np.argsort(tasks, kind="stable")
    starts = np.searchsorted(tasks[order], np.arange(tasks.max() + 1))
    sums = np.add.reduceat(both[:, order], starts, axis=1)
    return np.asarray((sums / np.bincount(tasks)).std(1))
