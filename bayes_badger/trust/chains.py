"""Whether draws of chains are to be trusted, by the usual diagnostics."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from bayes_badger.whole_process import quiet

# Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021), "Rank-normalization, folding, and
# localization: an improved R-hat for assessing convergence of MCMC".
R_HAT, ESS_PER_CHAIN = 1.01, 100


def doubts(posterior: xr.Dataset) -> list[str]:
    """Why draws are not to be trusted: chains that disagree, and too few independent draws.

    Args:
        posterior: Draws with dims `chain` and `draw`.

    Returns:
        One sentence per reason, naming the worst variable; empty when there is none.
    """
    # Not by way of arviz: its plots take seconds to import.
    import arviz_stats

    # What never moves has no r_hat.
    with quiet(RuntimeWarning):
        r_hat = arviz_stats.rhat(posterior)
        ess = arviz_stats.ess(posterior, method="bulk")
    found = []
    worst, where = _extreme(r_hat, np.nanargmax)
    if worst > R_HAT:
        found.append(
            f"r_hat of {where} is {beyond(worst, R_HAT)}, above {R_HAT}: the chains have not "
            "converged to one posterior; warm up longer"
        )
    least, where = _extreme(ess, np.nanargmin)
    wanted = ESS_PER_CHAIN * posterior.sizes["chain"]
    if least < wanted:
        found.append(
            f"{where} has {math.floor(least)} effective draws, fewer than {wanted}: its numbers "
            "are rough; draw longer"
        )
    if posterior.sizes["chain"] < 2:
        found.append("one chain alone cannot show that it has converged: use four")
    return found


def beyond(value: float, limit: float) -> str:
    """A value above a limit, with as many digits as it takes to see that it is above.

    Example:
        >>> beyond(1.0234, 1.01), beyond(1.01004, 1.01)
        ('1.023', '1.01004')
    """
    digits = 3
    while float(f"{value:.{digits}f}") <= limit < value:
        digits += 1
    return f"{value:.{digits}f}"


def _extreme(table: xr.Dataset | xr.DataTree, arg: object) -> tuple[float, str]:
    """The most extreme finite entry, and its name with labels."""
    table = table.to_dataset() if isinstance(table, xr.DataTree) else table
    best: tuple[float, str] | None = None
    for name, variable in table.data_vars.items():
        values = np.asarray(variable.values, np.float64)
        if not np.isfinite(values).any():
            continue
        at = np.unravel_index(arg(values), values.shape)  # type: ignore[operator]
        value = float(values[at])
        if best is None or arg([best[0], value]) == 1:  # type: ignore[operator]
            labels = [
                str(variable[dim].values[i]) if dim in variable.coords else str(i)
                for dim, i in zip(variable.dims, at, strict=True)
            ]
            best = value, f"{name}[{', '.join(labels)}]" if labels else str(name)
    return best or (np.nan, "")
