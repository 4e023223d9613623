"""A number with its standard error, and why it is not to be trusted, if it is not."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """An estimate, in nats unless its measure says otherwise.

    Attributes:
        value: A number, or an array of them.
        error: Its standard error, of the same shape; 0 for what is exact.
        doubt: Why it is not to be trusted, one sentence; empty where it is.
    """

    value: float | np.ndarray
    error: float | np.ndarray
    doubt: str = ""


def mean_of(samples: np.ndarray, axis: int = 0) -> Estimate:
    """The mean of independent samples, in double precision, and its standard error.

    Args:
        samples: `[..., sample, ...]`; at least two.
        axis: That of the samples.

    Example:
        >>> mean_of(np.array([1.0, 3.0]))
        Estimate(value=2.0, error=1.0, doubt='')
    """
    x = np.asarray(samples, float)
    value, error = x.mean(axis), x.std(axis, ddof=1) / np.sqrt(x.shape[axis])
    return Estimate(value if value.ndim else float(value), error if error.ndim else float(error))
