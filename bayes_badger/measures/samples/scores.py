"""Each coordinate by its ranks: no units, no tails, and the same mutual information."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

from bayes_badger.errors import BadgerError


def uniform_scores(x: np.ndarray) -> np.ndarray:
    """Ranks of each column over `n + 1`, between 0 and 1; equal numbers share theirs.

    Args:
        x: `[sample, coordinate]`.

    Example:
        >>> uniform_scores(np.array([[5.0], [-1.0], [7.0]])).ravel().tolist()
        [0.5, 0.25, 0.75]
    """
    return rankdata(x, axis=0) / (len(x) + 1)


def normal_scores(x: np.ndarray) -> np.ndarray:
    """Standard normal quantiles of the ranks of each column, `[sample, coordinate]`."""
    return ndtri(uniform_scores(x))


def samples(name: str, x: np.ndarray, least: int = 1) -> np.ndarray:
    """Samples as `[sample, coordinate]` in double precision, checked.

    Raises:
        BadgerError: If they are no numbers, not finite, too few, or a column is constant.
    """
    try:
        found = np.asarray(x, float)
    except (TypeError, ValueError):
        raise BadgerError(f"{name} must be numbers, one row for each sample") from None
    found = found[:, None] if found.ndim == 1 else found
    if found.ndim != 2 or not found.shape[1]:
        raise BadgerError(f"{name} has shape {np.shape(x)}: it must be [sample, coordinate]")
    if len(found) < least:
        raise BadgerError(f"{name} has {len(found)} samples: at least {least} are needed")
    if not np.isfinite(found).all():
        row = int(np.argwhere(~np.isfinite(found))[0, 0])
        raise BadgerError(f"{name} is not finite in sample {row}: leave such samples out of both")
    constant = np.flatnonzero((found == found[:1]).all(0))
    if constant.size:
        raise BadgerError(f"{name}: coordinate {constant[0]} never changes: leave it out")
    return found
