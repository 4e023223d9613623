"""A posterior, one scalar at a time: mean, standard deviation, interval, and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayes_badger.named_values import PROBABILITY
from bayes_badger.whole_process import quiet

SAMPLE = ("chain", "draw")
# The interval is the 89 % equal-tailed one.
BOUNDS = (0.055, 0.945)
# A variable with more entries than this (a network's weights) says nothing one by one.
ENTRIES = 64


@dataclass(frozen=True)
class Scalar:
    """One number that is not known, and what is believed of it.

    Attributes:
        name: The variable.
        label: The task, or the row; empty for what belongs to the lifetime.
        index: The position within the variable, `0, 1`; empty for a scalar.
        mean: Mean of the draws; of a value with a name, its probability.
        sd: Their standard deviation; NaN for a probability, as its interval.
        eti89_lb: Lower end of the 89 % equal-tailed interval.
        eti89_ub: Its upper end.
        ess_bulk: Effective draws; NaN where it was not asked for.
        r_hat: How far chains disagree; NaN where it cannot be told.
        mcse_mean: Monte Carlo standard error of the mean.
        truth: The value that the evidence was simulated with; NaN where it is not known.
    """

    name: str
    label: str
    index: str
    mean: float
    sd: float
    eti89_lb: float
    eti89_ub: float
    ess_bulk: float = np.nan
    r_hat: float = np.nan
    mcse_mean: float = np.nan
    truth: float = np.nan

    def as_dict(self) -> dict[str, Any]:
        """Its fields, as JSON takes them once NaN is null."""
        return asdict(self)


def scalars(
    variable: xr.DataArray,
    along: str | None = None,
    truth: xr.DataArray | None = None,
    diagnostics: bool = True,
    labels: Sequence[Any] | None = None,
) -> list[Scalar]:
    """The scalars of one variable, task by task.

    Args:
        variable: Draws with dims `chain`, `draw`, and any others.
        along: The dim of tasks, or of rows, if it has one.
        truth: The true values, with the same dims but for the first two.
        diagnostics: Whether to compute effective draws and r_hat.
        labels: What to call the entries of `along`, in place of its coordinate.
    """
    inner = [dim for dim in variable.dims if dim not in SAMPLE and dim != along]
    lead = [along] if along is not None and along in variable.dims else []
    draws = variable.transpose(*SAMPLE, *lead, *inner)
    values = np.asarray(draws.values, np.float64)
    true = np.full(values.shape[2:], np.nan)
    if truth is not None and set(truth.dims) == {*lead, *inner}:
        true = np.asarray(truth.transpose(*lead, *inner).values, np.float64)
    unknown = np.full(true.shape, np.nan)
    many = values.shape[0] * values.shape[1] > 1
    sd = values.std((0, 1), ddof=1) if many else unknown
    lower, upper = np.quantile(values, BOUNDS, axis=(0, 1))
    if variable.attrs.get(PROBABILITY):  # the mean is all that there is to say
        sd = lower = upper = unknown
    columns = {
        "mean": values.mean((0, 1)),
        "sd": sd,
        "eti89_lb": lower,
        "eti89_ub": upper,
        "truth": true,
        **(_diagnostics(values) if diagnostics else {}),
    }
    names = _names(draws, lead, labels)
    called = {
        dim: draws[dim].values.tolist() if dim in draws.coords else range(draws.sizes[dim])
        for dim in inner
    }
    found = []
    for place in np.ndindex(*true.shape):
        numbers = {name: float(column[place]) for name, column in columns.items()}
        label = names[place[0]] if lead else ""
        index = ", ".join(
            str(called[dim][i]) for dim, i in zip(inner, place[len(lead) :], strict=True)
        )
        found.append(Scalar(str(variable.name), label, index, **numbers))
    return found


def entries(variable: xr.DataArray, along: str | None = None) -> int:
    """How many scalars a variable has, of one task."""
    sizes = [size for dim, size in variable.sizes.items() if dim not in (*SAMPLE, along)]
    return int(np.prod(sizes, dtype=np.int64))


def _names(draws: xr.DataArray, lead: list[str], labels: Sequence[Any] | None) -> list[str]:
    if not lead:
        return []
    if labels is None:
        dim = lead[0]
        labels = draws[dim].values.tolist() if dim in draws.coords else range(draws.sizes[dim])
    return [str(label) for label in labels]


def _diagnostics(values: np.ndarray) -> dict[str, np.ndarray]:
    # Not by way of arviz: its plots and jax take seconds to import.
    from arviz_stats.base import array_stats

    # What never moves, and a single chain, have none.
    with quiet(), np.errstate(all="ignore"):
        axes = {"chain_axis": 0, "draw_axis": 1}
        return {
            "ess_bulk": np.asarray(array_stats.ess(values, method="bulk", **axes)),
            "r_hat": np.asarray(array_stats.rhat(values, **axes)),
            "mcse_mean": np.asarray(array_stats.mcse(values, method="mean", **axes)),
        }
