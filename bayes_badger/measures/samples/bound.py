"""What a critic proves: a lower bound of the mutual information, from samples it has not seen.

A critic T(x, y) scores how well x and y belong together. Among n pairs, how well the right y of an
x is found says E[T(x, y) - log mean_j exp T(x, y_j)] <= I(x; y), whatever the critic, as long as it
was not made from these pairs (InfoNCE: van den Oord et al. 2018; Poole et al. 2019, eq. 10). It is
tight where T is log p(x, y) / p(x) p(y), and never more than log n.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# So many pairs compete with one another: the bound cannot exceed its logarithm.
AMONG = 2500


def contributions(scores: np.ndarray) -> np.ndarray:
    """Of each pair to the bound, from scores `[x, y]` with the pairs on the diagonal.

    The mean is that of the two directions, and is the bound. A pair counts as itself and as a wrong
    answer to all others; both are in it, so that the standard error is that of a mean.

    Example:
        >>> contributions(np.zeros((4, 4))).tolist()
        [0.0, 0.0, 0.0, 0.0]
        >>> bool(np.allclose(contributions(100 * np.eye(4)), np.log(4)))
        True
    """
    n, own = len(scores), np.diagonal(scores).astype(float)
    found = own.copy()
    for axis in (0, 1):
        top = scores.max(axis, keepdims=True)
        share = np.exp(scores - top)
        total = share.sum(axis, keepdims=True, dtype=float)
        norm = (top + np.log(total / n)).ravel()
        # Times n: how often this one is taken for the answer, 1 on average.
        taken = (share / total).sum(1 - axis, dtype=float)
        found -= (norm + taken - 1) / 2
    return found


def held_out(critic: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Contributions of `rows`, `[sample]`, in blocks: `critic` gives the scores of a block."""
    blocks = np.array_split(np.arange(len(rows)), max(1, -(-len(rows) // AMONG)))
    return np.concatenate([contributions(critic(rows[block])) for block in blocks])
