"""What parameters cost that say more than where they started: a rate penalty.

A parameter without bounds, in units of its own, is told in a code for N(start, 1): ½ (ψ - ψ0)²
nats more than at its start. The outer loop maximises Σ log p_ψ(D_i) - λ ½ |ψ - ψ0|². With λ = 0,
the default, it learns what it can; the larger λ, the more is left to the inner loop.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike


class Penalty(NamedTuple):
    """At some parameters: minus what they cost, in nats, its slope, and its curvature."""

    value: float
    slope: Float[np.ndarray, " p"]
    curvature: float


def penalty(point: ArrayLike, start: Float[np.ndarray, " p"], weight: float) -> Penalty:
    """Of parameters without bounds.

    Args:
        point: Where they are.
        start: Where they were at first.
        weight: λ; of a part of all tasks, the same part of it.

    Example:
        >>> penalty(np.array([3.0]), np.array([1.0]), 0.5)
        Penalty(value=-1.0, slope=array([-1.]), curvature=0.5)
    """
    away = np.asarray(point, float) - start
    return Penalty(-0.5 * weight * float(away @ away), -weight * away, weight)
