"""Mutual information from distances to neighbours (Kraskov, Stögbauer & Grassberger 2004).

For each sample the k-th neighbour in (x, y) sets a scale, in the maximum norm; how many samples lie
within it in x alone, and in y alone, tells how much more often the two meet than by chance. There
is nothing to train. In more than a few dimensions the scale is no longer small, and it says too
little: where the number of neighbours matters, it is not to be trusted.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import digamma

from bayes_badger.measures.estimate import Estimate


def ksg(x: np.ndarray, y: np.ndarray, neighbours: int = 3, variant: int = 1) -> Estimate:
    """I(x; y) in nats: equation 8 (`variant` 1) or 9 (`variant` 2) of the article.

    Args:
        x: Samples, `[sample, coordinate]`, all different.
        y: Those that belong to them.
        neighbours: k. Few have less bias and more noise.
        variant: 1, one scale for both; 2, one for each, with less bias where dimensions are few.

    Returns:
        The value, and the standard error of a mean over samples as if they were independent.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(2000, 1))
        >>> y = 0.75 * x + np.sqrt(1 - 0.75**2) * rng.normal(size=(2000, 1))
        >>> found = ksg(x, y)
        >>> bool(abs(found.value - 0.4133) < 4 * found.error)
        True
    """
    n, k = len(x), neighbours
    both = np.concatenate([x, y], 1)
    far, which = cKDTree(both).query(both, k + 1, p=np.inf)
    if variant == 1:
        within_x = within_y = np.nextafter(far[:, -1], 0)
        shift = digamma(k)
    else:
        at = which[:, 1:]
        within_x = np.abs(x[at] - x[:, None]).max((1, 2))
        within_y = np.abs(y[at] - y[:, None]).max((1, 2))
        shift = digamma(k) - 1 / k
    beside = [_within(a, r) for a, r in ((x, within_x), (y, within_y))]
    # The counts include the sample itself: that is the + 1 of variant 1.
    each = shift + digamma(n) - sum(digamma(np.maximum(c - (variant - 1), 1)) for c in beside)
    return Estimate(float(each.mean()), float(each.std(ddof=1) / np.sqrt(n)))


def _within(a: np.ndarray, radius: np.ndarray) -> np.ndarray:
    if a.shape[1] == 1:
        line = np.sort(a[:, 0])
        low = np.searchsorted(line, a[:, 0] - radius, "left")
        return np.searchsorted(line, a[:, 0] + radius, "right") - low
    found: np.ndarray = cKDTree(a).query_ball_point(a, radius, p=np.inf, return_length=True)
    return found
