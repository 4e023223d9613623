"""Draws from a density that is known on a lattice, by cubic interpolation of its logarithm.

Between the nodes the log density is the polynomial of degree three through the four nearest nodes
along each axis: exact for Gaussians. Draws of the density that is linear between the nodes are
moved by independence Metropolis until they follow the interpolated one.
"""

from __future__ import annotations

import numpy as np

from bayes_badger.inner_loop._lattice import Lattice

STEPS = 20
# How far below the peak a node that was never evaluated is taken to be, in nats.
BELOW = 40.0


def draw(
    lattice: Lattice, count: int, chance: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draws `[count, d]`, and the node of the lattice that is nearest to each, `[count, d]`."""
    low, dense = _dense(lattice)

    def propose() -> tuple[np.ndarray, np.ndarray]:
        points, log_density = lattice.draw(count, chance)
        at = np.linalg.solve(lattice.cell, (points - lattice.centre).T).T
        return at, interpolated(dense, at - low) - log_density

    at, log_ratio = propose()
    for _ in range(STEPS):
        new, new_ratio = propose()
        rises = np.log(chance.uniform(size=count)) < new_ratio - log_ratio
        at = np.where(rises[:, None], new, at)
        log_ratio = np.where(rises, new_ratio, log_ratio)
    nearest = np.rint(at)
    return lattice.centre + at @ lattice.cell.T, lattice.centre + nearest @ lattice.cell.T


def interpolated(dense: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Cubic interpolation of `dense`, `[n_1, ..., n_d]`, at positions `[n, d]` between 1 and n - 3.

    Example:
        >>> x = np.arange(8.0)
        >>> interpolated(x**3, np.array([[2.5], [4.25]]))
        array([15.625   , 76.765625])
    """
    dims = at.shape[1]
    first = np.floor(at).astype(int) - 1
    t = at - first - 1
    # Lagrange's polynomials through -1, 0, 1, 2.
    weights = np.stack(
        [
            -t * (t - 1) * (t - 2) / 6,
            (t + 1) * (t - 1) * (t - 2) / 2,
            -(t + 1) * t * (t - 2) / 2,
            (t + 1) * t * (t - 1) / 6,
        ],
        -1,
    )
    corners = np.stack(np.meshgrid(*[np.arange(4)] * dims, indexing="ij"), -1).reshape(-1, dims)
    total = np.zeros(len(at))
    for corner in corners:
        product = np.prod(weights[:, np.arange(dims), corner], axis=1)
        total += product * dense[tuple((first + corner).T)]
    return total


def _dense(lattice: Lattice) -> tuple[np.ndarray, np.ndarray]:
    """The log density in a box with a margin, and the position of the box's corner."""
    low = lattice.index.min(0) - 3
    log_density = lattice.log_density()
    dense = np.full(lattice.index.max(0) + 4 - low, log_density.max() - BELOW)
    dense[tuple((lattice.index - low).T)] = np.maximum(log_density, log_density.max() - BELOW)
    return low, dense
