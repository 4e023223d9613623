"""Leave-one-out by Pareto-smoothed importance sampling, and whether it can be trusted."""

from __future__ import annotations

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
from bayes_badger.whole_process import quiet, recorded

KIND = "leave-one-out"
# More rows, or values of rows and draws, would take seconds.
MOST_ROWS, MOST_VALUES = 2_000, 4_000_000
# Scalars whose effective draws stand for those of all.
MOST_SCALARS = 100
# How ArviZ's own warning about Pareto k begins: what it says is said by `doubt_of`.
OF_ARVIZ = "Estimated shape parameter of Pareto distribution"


@dataclass(frozen=True, eq=False)
class LeftOut:
    """What it takes to leave out each row in turn.

    Attributes:
        name: Of the outcome.
        likelihood: Of the rows that are left out, at the draws that are used, in nats.
        efficiency: Effective draws for each draw.
        log_weights: Of the draws, as if a row had not been seen, smoothed.
        k: Pareto k of each row.
        rows: Which rows are left out, as an index of all; empty for all of them.
        draws: Which draws of each chain are used.
        total: How many rows there are.
    """

    name: str
    likelihood: xr.DataArray
    efficiency: float
    log_weights: xr.DataArray
    k: xr.DataArray
    rows: dict[Any, np.ndarray]
    draws: slice
    total: int

    @property
    def pareto_k(self) -> np.ndarray:
        """Of each row that is left out, `[row]`."""
        return np.asarray(self.k.values, np.float64).reshape(-1)

    @property
    def good_k(self) -> float:
        """Up to which k is good; with few draws it must be lower (Vehtari et al. 2024)."""
        draws = self.likelihood.sizes["chain"] * self.likelihood.sizes["draw"]
        return float(min(1 - 1 / np.log10(max(draws, 2)), 0.7))

    @property
    def bad(self) -> np.ndarray:
        """Whether a row cannot be left out by these weights, `[row]`; what is no number cannot."""
        return ~(self.pareto_k <= self.good_k)

    def scores(self) -> tuple[Any, tuple[str, ...]]:
        """ArviZ's `ELPDData`, with a value for each row, and what it warned of beside Pareto k."""
        # Not by way of arviz: its plots take seconds to import.
        import arviz_stats

        tree = xr.DataTree.from_dict({"/log_likelihood": self.likelihood.to_dataset()})
        with recorded() as caught:
            found = arviz_stats.loo(
                tree,
                pointwise=True,
                var_name=self.name,
                reff=self.efficiency,
                log_weights=self.log_weights,
                pareto_k=self.k,
            )
        told = dict.fromkeys(message.strip().partition("\n")[0] for message in caught)
        return found, tuple(x for x in told if x and not x.startswith(OF_ARVIZ))


def left_out(spec: Mapping[str, Any], tree: xr.DataTree, *, whole: bool = False) -> LeftOut | str:
    """Weighs the draws as if each row in turn had not been seen; or says why that cannot be done.

    Args:
        spec: Of the run.
        tree: With the group `log_likelihood`, in nats.
        whole: Whether to leave out all rows with all draws, however long that takes.
    """
    group_ = group(tree, "log_likelihood")
    names = [str(name) for name, x in group_.data_vars.items() if set(SAMPLE) < set(x.dims)]
    if not names:
        return "the run holds no log likelihood for each row"
    name = outcome_of(spec, names)
    lead = next(dim for dim in group_[name].dims if dim not in SAMPLE)
    total = group_[name].sizes[lead]
    rows, draws = ({}, slice(None)) if whole else _kept(group_[name], lead)
    some = group_[name].isel({**rows, "draw": draws}).astype(np.float64)
    if not np.isfinite(some.values).all():
        return "the log likelihood of some row is not finite"
    share = efficiency(spec, tree)
    found, failed = tried("ArviZ could not leave out a row", lambda: _smoothed(some, share))
    if failed:
        return failed.rstrip(".")
    weights, k = found
    return LeftOut(name, some, share, weights, k, rows, draws, total)


def doubt_of(left: LeftOut) -> Doubt | None:
    """What Pareto k has against leave-one-out; None where it is sound for all rows."""
    bad = int(left.bad.sum())
    if not bad:
        return None
    count = f"{bad} of {len(left.bad):,} {'row' if len(left.bad) == 1 else 'rows'}"
    return Doubt(
        LEFT_OUT,
        KIND,
        f"leave-one-out is rough for {count} (Pareto k above {left.good_k:.2f})",
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
    with quiet(), np.errstate(all="ignore"):
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


def _smoothed(likelihood: xr.DataArray, reff: float) -> tuple[xr.DataArray, xr.DataArray]:
    import arviz_stats  # noqa: F401 - it brings `azstats`

    with quiet(), np.errstate(all="ignore"):
        weights, k = likelihood.azstats.psislw(r_eff=reff, dim=list(SAMPLE))
    return weights, k
