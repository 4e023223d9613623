"""Ascents of a density from many places side by side, driven from the host.

Limited-memory BFGS with backtracking (Liu & Nocedal 1989, "On the limited memory BFGS method for
large scale optimization", Mathematical Programming 45). Each round asks for the density and its
gradient once at every place that still climbs, so that one compiled gradient is all that it needs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

# Steps that are remembered; the share of the slope's promise that a step must keep (Armijo).
MEMORY, PROMISE = 8, 1e-4
# A step is halved at most so often; a place stands still after so many steps that gain so little.
HALVINGS, STILL, LITTLE = 15, 5, 1e-3

Heights = Callable[
    [Float[np.ndarray, "n d"]], tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n d"]]
]


def ascended(
    heights: Heights, starts: Float[np.ndarray, "n d"], steps: int
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
    """Where ascents end, and how high that is.

    Args:
        heights: The log density and its gradient at some places, in nats.
        starts: Where to start.
        steps: Places that each ascent may ask for, at most.

    Returns:
        The ends, and the log density there; -inf where it is not finite at the start.

    Example:
        >>> ends, height = ascended(lambda x: (-(x**2).sum(1), -2 * x), np.ones((1, 3)), 20)
        >>> bool(np.abs(ends).max() < 1e-3)
        True
    """
    at = np.array(starts, float)
    height, slope = _finite(heights, at)
    ways = np.zeros((MEMORY, 2, *at.shape))
    move = slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1.0)
    size, halved, still = np.ones(len(at)), np.zeros(len(at), int), np.zeros(len(at), int)
    for _ in range(steps):
        live = np.flatnonzero(np.isfinite(height) & (halved < HALVINGS) & (still < STILL))
        if not len(live):
            break
        step = size[live, None] * move[live]
        new, new_slope = _finite(heights, at[live] + step)
        wanted = height[live] + PROMISE * (step * slope[live]).sum(1)
        taken = new >= wanted
        halved[live], size[live] = np.where(taken, 0, halved[live] + 1), 0.5 * size[live]
        up = live[taken]
        still[up] = np.where(new[taken] - height[up] < LITTLE, still[up] + 1, 0)
        change = new_slope[taken] - slope[up]
        # Only where the slope falls along the step does it tell a curvature.
        known = (step[taken] * change).sum(1) < 0
        kept = up[known]
        ways[:-1, :, kept] = ways[1:, :, kept]
        ways[-1, 0, kept], ways[-1, 1, kept] = step[taken][known], -change[known]
        at[up], height[up], slope[up] = at[up] + step[taken], new[taken], new_slope[taken]
        move[up], size[up] = _direction(slope[up], ways[:, :, up]), 1.0
    return at, height


def _finite(heights: Heights, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Heights and slopes; -inf where either is not finite."""
    height, slope = (np.asarray(x, float) for x in heights(at))
    fine = np.isfinite(height) & np.isfinite(slope).all(1)
    return np.where(fine, height, -np.inf), np.where(fine[:, None], slope, 0.0)


def _direction(slope: np.ndarray, ways: np.ndarray) -> np.ndarray:
    """The inverse curvature times the slope, by the two loops over what is remembered."""
    q, shares = slope.copy(), []
    for step, change in ways[::-1]:
        product = (step * change).sum(1)
        inverse = np.where(product > 0, 1 / np.where(product > 0, product, 1.0), 0.0)
        share = inverse * (step * q).sum(1)
        shares.append((inverse, share))
        q -= share[:, None] * change
    step, change = ways[-1]
    product, square = (step * change).sum(1), (change**2).sum(1)
    known = product > 0
    q *= np.where(known, product / np.where(known, square, 1.0), 1.0)[:, None]
    for (step, change), (inverse, share) in zip(ways, shares[::-1], strict=True):
        q += (share - inverse * (change * q).sum(1))[:, None] * step
    norm = np.linalg.norm(q, axis=1)
    unknown = np.where(known, 1.0, 1 / np.maximum(norm, 1.0))
    found: np.ndarray = q * unknown[:, None]
    return found
