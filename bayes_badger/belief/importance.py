"""Importance weights: smoothed, and draws by them."""

from __future__ import annotations

import numpy as np


def smoothed(log_weights: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Pareto-smoothed weights whose sum is one, k, and how many draws count; of one task."""
    from arviz_stats.base import array_stats

    top = log_weights.max(initial=-np.inf)
    if not np.isfinite(top):
        return np.full(len(log_weights), 1 / len(log_weights)), np.inf, 0.0
    logs = np.asarray(np.maximum(log_weights - top, -700.0), float)
    k = 0.0
    if np.ptp(logs) > 1e-6:
        try:
            # It takes minus the log weights.
            found, k = array_stats.psislw(-logs)
        except ValueError:
            # All but one weigh nothing: there is no tail to smooth.
            found, k = logs, np.inf
        logs = np.asarray(found) if np.isfinite(found).all() else logs
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    return weights, float(k), float(1.0 / (weights**2).sum())


def resampled(weights: np.ndarray, n: int, chance: np.random.Generator) -> np.ndarray:
    """Which draws to keep: systematic, each about as often as it weighs, in random order."""
    place = (np.arange(n) + chance.uniform()) / n
    which = np.searchsorted(np.cumsum(weights), place * weights.sum())
    return chance.permutation(np.minimum(which, len(weights) - 1))
