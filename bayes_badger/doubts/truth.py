"""Where the evidence was simulated: do the intervals hold the true values as often as they should?

Truth and a draw from the posterior are exchangeable, if truth was drawn from the prior. So the
number of true values that the intervals hold is held against that of each draw: this needs no
independence of the values, which what tasks share ties together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayes_badger.doubts.doubt import NUMBERS, Doubt
from bayes_badger.doubts.reading import (
    BOUNDS,
    ENTRIES,
    SAMPLE,
    drawn,
    evenly,
    group,
    part,
    task_name,
    texts,
)
from bayes_badger.named_values import names_of

KIND = "true values"
# Below this probability too few true values are held.
TAIL = 0.01
MOST_SCALARS, FEWEST_DRAWS, PRIOR_DRAWS = 2_000, 200, 1_000
# Decimals that are added at most to tell a true value from an end of its interval.
MORE_DECIMALS = 4
# Of two samples from one distribution 1 in 100 is further apart than this times the root of the
# sum of one over their sizes (Kolmogorov and Smirnov).
APART = 1.63
# How the note ends where the evidence is from another program than the one that was fitted.
WORLD = "from the program's world"


@dataclass(frozen=True)
class Held:
    """How many true values the 89 % intervals hold.

    Attributes:
        count: How many, of those that the evidence tells of.
        of: How many there are.
        expected: The share that is expected; NaN where truth is not from the program's prior.
        tail: The probability that so few or fewer are held; NaN where it is not known.
        untold: Variables of which the evidence says nothing: their posterior is their prior.
        untold_count: How many values they have.
    """

    count: int
    of: int
    expected: float
    tail: float
    untold: tuple[str, ...]
    untold_count: int

    @property
    def sentence(self) -> str:
        """How many are held, and how many that should be."""
        told = f"the interval holds the true value in {self.count} of {self.of} rows"
        told += f" (about {self.expected:.0%} expected)" if np.isfinite(self.expected) else ""
        if not self.untold_count:
            return told
        one = self.untold_count == 1
        names = ", ".join(self.untold[:3]) + (", ..." if len(self.untold) > 3 else "")
        rest = f"{self.untold_count} {'row' if one else 'rows'} of which the evidence says nothing "
        rest += f"{'is' if one else 'are'} not counted"
        return f"{told}; {rest} ({names})"


def held(spec: Mapping[str, Any], tree: xr.DataTree) -> Held | None:
    """How many true values the intervals hold; None where no truth is known."""
    names, draws, true, before = _columns(spec, tree)
    if not len(true):
        return None
    lower, upper = np.quantile(draws, BOUNDS, axis=0)
    inside = (lower <= true) & (true <= upper)
    told = np.array([_moved(draws[:, i], prior) for i, prior in enumerate(before)])
    untold = tuple(dict.fromkeys(x for x, moved in zip(names, told, strict=True) if not moved))
    expected = tail = np.nan
    if told.any() and of_program(spec):
        within = (lower[told] <= draws[:, told]) & (draws[:, told] <= upper[told])
        expected = float(within.mean())
        if len(draws) >= FEWEST_DRAWS:
            tail = float((within.sum(1) <= inside[told].sum()).mean())
    return Held(
        int(inside[told].sum()), int(told.sum()), expected, tail, untold, int((~told).sum())
    )


def doubt_of(found: Held) -> Doubt | None:
    """What true values have against the intervals; None where enough are held."""
    if not found.tail < TAIL:
        return None
    return Doubt(
        NUMBERS,
        KIND,
        f"the 89% intervals hold {found.count} of {found.of} true values where about "
        f"{found.expected:.0%} are expected; so few have a probability below {TAIL:.0%}",
        "fit with another recipe, nuts say, and compare",
    )


def decimals_apart(lower: float, upper: float, true: float, places: int) -> int:
    """Decimals that show whether an interval holds the true value: the given ones, or some more.

    Example:
        >>> decimals_apart(0.1, 0.204, 0.2041, 2), decimals_apart(0.1, 0.2, 0.3, 2)
        (4, 2)
    """
    if not np.isfinite([lower, upper, true]).all():
        return places
    holds = lower <= true <= upper
    for more in range(places, places + MORE_DECIMALS):
        low, high, value = (round(x, more) for x in (lower, upper, true))
        if (low <= value <= high) == holds:
            return more
    return places


def _columns(
    spec: Mapping[str, Any], tree: xr.DataTree
) -> tuple[list[str], np.ndarray, np.ndarray, list[np.ndarray | None]]:
    """Names, draws `[draw, scalar]`, true values `[scalar]`, and draws from the prior of each."""
    posterior, truth, prior = drawn(tree), group(tree, "truth"), group(tree, "prior")
    names: list[str] = []
    columns: list[np.ndarray] = []
    true: list[float] = []
    before: list[np.ndarray | None] = []
    for name, variable in posterior.data_vars.items():
        dims = [dim for dim in variable.dims if dim not in SAMPLE]
        sizes = [variable.sizes[dim] for dim in dims]
        own = [n for dim, n in zip(dims, sizes, strict=True) if dim != task_name(spec)]
        if name not in truth or names_of(variable) or np.prod(own, dtype=np.int64) > ENTRIES:
            continue
        values = truth[name]
        if set(values.dims) != set(dims) or values.dtype.kind not in "fiub":
            continue
        flat = np.asarray(values.transpose(*dims).values, np.float64).reshape(-1)
        if flat.size != np.prod(sizes, dtype=np.int64):
            continue
        draws = _flat(variable, dims)
        first = _flat(prior[name], dims) if _alike(prior, name, variable) else None
        for i in np.flatnonzero(np.isfinite(flat) & np.isfinite(draws).all(0)):
            names.append(str(name))
            columns.append(draws[:, i])
            true.append(float(flat[i]))
            before.append(None if first is None else first[:, i])
    if not names:
        return [], np.zeros((0, 0)), np.zeros(0), []
    kept = evenly(len(names), MOST_SCALARS)
    return (
        [names[i] for i in kept],
        np.stack([columns[i] for i in kept], -1),
        np.array([true[i] for i in kept]),
        [before[i] for i in kept],
    )


def _alike(prior: xr.Dataset, name: Any, variable: xr.DataArray) -> bool:
    if name not in prior or set(prior[name].dims) != set(variable.dims):
        return False
    rest = [dim for dim in variable.dims if dim not in SAMPLE]
    return all(prior[name].sizes[dim] == variable.sizes[dim] for dim in rest)


def _flat(variable: xr.DataArray, dims: list[Any]) -> np.ndarray:
    """All draws on one axis, and all entries on another."""
    values = np.asarray(variable.transpose(*SAMPLE, *dims).values, np.float64)
    return values.reshape(values.shape[0] * values.shape[1], -1)


def _moved(draws: np.ndarray, prior: np.ndarray | None) -> bool:
    """Whether the posterior differs from the prior by more than two samples of one do."""
    if prior is None or not np.isfinite(prior).all():
        return True
    some = [np.sort(x[evenly(len(x), PRIOR_DRAWS)]) for x in (draws, prior)]
    every = np.concatenate(some)
    shares = [np.searchsorted(x, every, "right") / len(x) for x in some]
    apart = float(np.abs(shares[0] - shares[1]).max())
    return apart > APART * float(np.sqrt(sum(1 / len(x) for x in some)))


def of_program(spec: Mapping[str, Any]) -> bool:
    """Whether true values are from the prior of the program that was fitted, as far as known."""
    notes = texts(part(spec, "evidence").get("notes"))
    return not any(note.endswith(WORLD) for note in notes)
