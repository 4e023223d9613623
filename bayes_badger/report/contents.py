"""What a run holds, as arrays that can be counted on: a run from a stranger may lack anything."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayes_badger.doubts import reading
from bayes_badger.doubts.reading import BOUNDS, ENTRIES, SAMPLE, evenly, part, texts, tried
from bayes_badger.named_values import names_of
from bayes_badger.report.once import once
from bayes_badger.report.text import label
from bayes_badger.runs.run import Run

__all__ = [
    "BOUNDS",
    "ENTRIES",
    "SAMPLE",
    "Scalar",
    "Scalars",
    "evenly",
    "group",
    "in_order",
    "is_independent",
    "part",
    "posterior",
    "rows_by_task",
    "scalars",
    "task_labels",
    "task_unit",
    "texts",
    "tried",
]


@dataclass(frozen=True, eq=False)
class Scalar:
    """One number that is not known, or one for each task.

    Attributes:
        variable: Its name in the tree.
        index: Its place within the variable, `0, 1`; empty for a scalar.
        draws: Of the posterior, `[chain, draw]` or `[chain, draw, task]`.
        prior: Of the prior, `[draw]` or `[draw, task]`; None where the run has none.
        truth: What the evidence was simulated with, `[]` or `[task]`; NaN where it is not known.
        whole: Whether it takes whole numbers only.
    """

    variable: str
    index: str
    draws: np.ndarray
    prior: np.ndarray | None
    truth: np.ndarray
    whole: bool

    @property
    def name(self) -> str:
        """As a reader sees it, `effects[0]`."""
        return label(self.variable) + (f"[{self.index}]" if self.index else "")

    def of(self, task: str) -> str:
        """The name of the scalar of one task, `effects[ann, 0]`."""
        return f"{label(self.variable)}[{task}{f', {self.index}' if self.index else ''}]"

    @property
    def flat(self) -> np.ndarray:
        """All draws on one axis, `[draw]` or `[draw, task]`."""
        return self.draws.reshape(-1, *self.draws.shape[2:])

    def mean(self) -> np.ndarray:
        """The posterior mean, `[]` or `[task]`."""
        with np.errstate(all="ignore"):
            return np.asarray(self.flat.mean(0))

    def sd(self) -> np.ndarray:
        """The posterior standard deviation."""
        with np.errstate(all="ignore"):
            return np.asarray(self.flat.std(0, ddof=1 if len(self.flat) > 1 else 0))

    @functools.cached_property
    def interval(self) -> tuple[np.ndarray, np.ndarray]:
        """The ends of the 89 % equal-tailed interval."""
        with np.errstate(all="ignore"):
            lower, upper = np.quantile(self.flat, BOUNDS, axis=0)
        return np.asarray(lower), np.asarray(upper)

    @functools.cached_property
    def narrowing(self) -> np.ndarray:
        """Log ratio of the widths of the 89 % intervals, prior over posterior, in nats.

        Of widths and not of standard deviations, for a prior may have none (a half-Cauchy scale).
        NaN where there is no prior, or where a width is zero.
        """
        lower, upper = self.interval
        if self.prior is None or not len(self.prior):
            return np.full(lower.shape, np.nan)
        with np.errstate(all="ignore"):
            before = np.diff(np.quantile(self.prior, BOUNDS, axis=0), axis=0)[0]
            found = np.log(before) - np.log(upper - lower)
        return np.where(np.isfinite(found), found, np.nan)


@dataclass(frozen=True)
class Scalars:
    """The scalars of a posterior.

    Attributes:
        lifetime: Of what all tasks share.
        tasks: Of what each task has.
        left_out: Variables with too many entries to show, by scope.
    """

    lifetime: list[Scalar]
    tasks: list[Scalar]
    left_out: list[str]


def group(run: Run, name: str) -> xr.Dataset:
    """A group of the tree; empty where there is none."""
    return reading.group(run.tree, name)


def posterior(run: Run) -> xr.Dataset:
    """Variables of the posterior that are numbers with draws."""
    return reading.drawn(run.tree)


@once
def scalars(run: Run) -> Scalars:
    """The scalars of the posterior, in the program's order, deterministics last.

    Discrete latents whose values have names are not among them.
    """
    found, prior, truth = posterior(run), group(run, "prior"), group(run, "truth")
    result = Scalars([], [], [])
    for name in in_order(run, found):
        variable, task = found[name], run.task_name
        lead = [task] if task in variable.dims else []
        inner = [dim for dim in variable.dims if dim not in (*SAMPLE, *lead)]
        sizes = [variable.sizes[dim] for dim in inner]
        if names_of(variable):  # a section of their own has them
            continue
        if np.prod(sizes, dtype=np.int64) > ENTRIES:
            result.left_out.append(name)
            continue
        draws = _array(variable, (*SAMPLE, *lead, *inner))
        before = _like(prior.get(name), draws.shape[2:], (*SAMPLE, *lead, *inner))
        true = _like(truth.get(name), draws.shape[2:], (*lead, *inner))
        for place in np.ndindex(*sizes):
            at = (..., *place)
            (result.tasks if lead else result.lifetime).append(
                Scalar(
                    variable=name,
                    index=", ".join(map(str, place)),
                    draws=draws[at],
                    prior=None if before is None else _flat(before[at]),
                    truth=np.full(draws[at].shape[2:], np.nan) if true is None else true[at],
                    whole=variable.dtype.kind in "iub",
                )
            )
    return result


def task_labels(run: Run) -> list[str]:
    """What the tasks are called, cut and cleaned."""
    found = posterior(run)
    count = found.sizes.get(run.task_name, 0)
    given = found[run.task_name].values if run.task_name in found.coords else range(count)
    return [label(name) for name in given]


def rows_by_task(run: Run) -> np.ndarray | None:
    """How many rows of evidence each task has; None where that is not known."""
    count = posterior(run).sizes.get(run.task_name, 0)
    if "task_index" not in run.evidence or not count:
        return None
    index = np.asarray(run.evidence["task_index"].values)
    if index.dtype.kind not in "iu" or index.ndim != 1 or not len(index):
        return None
    if index.min() < 0 or index.max() >= count:
        return None
    return np.bincount(index, minlength=count)


def task_unit(run: Run) -> str:
    """What a task is called beside a number of tasks: ` (school)`, or nothing."""
    return "" if run.task_name == "task" else f" ({label(run.task_name)})"


def is_independent(run: Run) -> bool:
    """Whether the draws are independent, so that chains have nothing to tell."""
    return reading.independent(run.spec)


def in_order(run: Run, found: xr.Dataset) -> list[str]:
    """Latents as the program has them, then what it computes from them."""
    latents = part(run.spec, "program").get("latents")
    rows = latents if isinstance(latents, list | tuple) else []
    known = [str(row.get("name")) for row in rows if isinstance(row, Mapping)]
    names = [name for name in dict.fromkeys(known) if name in found.data_vars]
    return names + [str(name) for name in found.data_vars if name not in names]


def _array(variable: xr.DataArray, dims: tuple[Any, ...]) -> np.ndarray:
    return np.asarray(variable.transpose(*dims).values, np.float64)


def _like(
    variable: xr.DataArray | None, shape: tuple[int, ...], dims: tuple[Any, ...]
) -> np.ndarray | None:
    """An array with such dims, of which the last have such sizes; None for any other."""
    if variable is None or set(variable.dims) != set(dims) or variable.dtype.kind not in "fiub":
        return None
    found = _array(variable, dims)
    return found if found.shape[found.ndim - len(shape) :] == shape and found.size else None


def _flat(draws: np.ndarray) -> np.ndarray:
    return draws.reshape(-1, *draws.shape[2:])
