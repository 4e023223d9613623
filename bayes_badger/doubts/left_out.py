"""Leave-one-out by Pareto-smoothed importance sampling, and whether it can be trusted."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayes_badger.doubts.doubt import LEFT_OUT, Doubt
from bayes_badger.doubts.reading import (
    SAMPLE,
    drawn,
    evenly,
    group,
    independent,
    outcome_of,
    tried,
)

KIND = "leave-one-out"
# More rows, or values of rows and draws, would take seconds.
MOST_ROWS, MOST_VALUES = 2_000, 4_000_000
# Scalars whose effective draws stand for those of all.
MOST_SCALARS = 100
# How ArviZ's own warning about Pareto k begins: what it says is said by `doubt_of`.
OF_ARVIZ = "Estimated shape parameter of Pareto distribution"


@dataclass(frozen=True, eq=False)
class LeftOut:
    """What was found when each row was left out in turn.

    Attributes:
        name: Of the outcome.
        found: ArviZ's `ELPDData`, with a value for each row that was left out.
        rows: Which rows were left out, as an index of the log likelihood; empty for all of them.
        draws: Which draws of each chain were used.
        total: How many rows there are.
        told: What ArviZ warned of, beside Pareto k.
    """

    name: str
    found: Any
    rows: dict[Any, np.ndarray]
    draws: slice
    total: int
    told: tuple[str, ...]

    @property
    def pareto_k(self) -> np.ndarray:
        """Of each row that was left out, `[row]`."""
        return np.asarray(self.found.pareto_k.values, np.float64).reshape(-1)

    @property
    def bad(self) -> np.ndarray:
        """Whether a row cannot be left out by these weights, `[row]`; what is no number cannot."""
        return ~(self.pareto_k <= float(self.found.good_k))


def left_out(spec: Mapping[str, Any], tree: xr.DataTree, *, whole: bool = False) -> LeftOut | str:
    """Leaves out each row in turn; the sentence that says why not, where that cannot be done.

    Args:
        spec: Of the run.
        tree: With the group `log_likelihood`, in nats.
        whole: Whether to leave out all rows with all draws, however long that takes.
    """
    likelihood = group(tree, "log_likelihood")
    names = [str(name) for name, x in likelihood.data_vars.items() if set(SAMPLE) < set(x.dims)]
    if not names:
        return "the run holds no log likelihood for each row"
    name = outcome_of(spec, names)
    lead = next(dim for dim in likelihood[name].dims if dim not in SAMPLE)
    total = likelihood[name].sizes[lead]
    rows, draws = ({}, slice(None)) if whole else _kept(likelihood[name], lead)
    some = likelihood[[name]].isel({**rows, "draw": draws})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found, failed = tried(
            "ArviZ could not leave out a row", lambda: _loo(some, name, efficiency(spec, tree))
        )
    if failed:
        return failed.rstrip(".")
    if not np.isfinite(found.elpd):
        return "the log likelihood of some row is not finite"
    told = [_first_line(w.message) for w in caught]
    kept = tuple(dict.fromkeys(x for x in told if x and not x.startswith(OF_ARVIZ)))
    return LeftOut(name, found, rows, draws, total, kept)


def doubt_of(left: LeftOut) -> Doubt | None:
    """What Pareto k has against leave-one-out; None where it is sound for all rows."""
    bad = int(left.bad.sum())
    if not bad:
        return None
    count = f"{bad} of {len(left.bad):,} {'row' if len(left.bad) == 1 else 'rows'}"
    return Doubt(
        LEFT_OUT,
        KIND,
        f"leave-one-out is rough for {count} (Pareto k above {float(left.found.good_k):.2f})",
        "compare runs by it with care, or fit again without these rows to know better",
    )


def efficiency(spec: Mapping[str, Any], tree: xr.DataTree) -> float:
    """Effective draws for each draw, on average over at most a hundred scalars."""
    if independent(spec):
        return 1.0
    from arviz_stats.base import array_stats

    some = _scalars(drawn(tree))
    if not some.size:
        return 1.0
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        bulk, failed = tried(
            "no effective draws",
            lambda: array_stats.ess(some, method="bulk", chain_axis=0, draw_axis=1),
        )
    known = np.zeros(0) if failed else np.asarray(bulk)[np.isfinite(bulk)]
    return float(known.mean() / some[..., 0].size) if len(known) else 1.0


def _scalars(posterior: xr.Dataset) -> np.ndarray:
    """Some scalars, evenly over all: `[chain, draw, scalar]`."""
    variables = [x.transpose(*SAMPLE, ...) for x in posterior.data_vars.values()]
    counts = [int(np.prod(x.shape[2:], dtype=np.int64)) for x in variables]
    picked, start, columns = evenly(sum(counts), MOST_SCALARS), 0, []
    for variable, count in zip(variables, counts, strict=True):
        own = picked[(picked >= start) & (picked < start + count)] - start
        values = np.asarray(variable.values).reshape(*variable.shape[:2], count)
        columns.append(values[..., own].astype(np.float64))
        start += count
    return np.concatenate(columns, -1) if columns else np.zeros((0, 0, 0))


def _kept(likelihood: xr.DataArray, lead: Any) -> tuple[dict[Any, np.ndarray], slice]:
    """The rows and draws that are used, so that it does not take minutes."""
    count = likelihood.sizes[lead]
    rows = {lead: evenly(count, MOST_ROWS)} if count > MOST_ROWS else {}
    values = likelihood.size * min(MOST_ROWS, count) // max(count, 1)
    return rows, slice(None, None, max(1, -(-values // MOST_VALUES)))


def _loo(some: xr.Dataset, name: str, reff: float) -> Any:
    # Not by way of arviz: its plots take seconds to import.
    import arviz_stats

    tree = xr.DataTree.from_dict({"/log_likelihood": some.astype(np.float64)})
    return arviz_stats.loo(tree, pointwise=True, var_name=name, reff=reff)


def _first_line(message: object) -> str:
    lines = str(message).strip().splitlines()
    return lines[0] if lines else ""
