"""A lattice over a few prior-normal dimensions, and what was found on its nodes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from bayes_badger.belief.gaussian import log_standard_normal

# Bits of a key that hold one position, by dimensions; the other bits tell the lattices apart.
BITS = {1: 30, 2: 20, 3: 14}


@dataclass(frozen=True)
class Lattice:
    """One lattice and what was found on it, for one integral.

    Attributes:
        centre: `[d]`.
        cell: The edges of a cell as columns, `[d, d]`.
        index: Integer positions of its nodes, `[n, d]`; a node is at `centre + cell @ index`.
        log_likelihood: At each node, `[n]`.
    """

    centre: np.ndarray
    cell: np.ndarray
    index: np.ndarray
    log_likelihood: np.ndarray

    @property
    def nodes(self) -> np.ndarray:
        """Where its nodes are, `[n, d]`."""
        return self.centre + self.index @ self.cell.T

    @property
    def log_volume(self) -> float:
        """Log volume of a cell."""
        return float(np.linalg.slogdet(self.cell)[1])

    def log_density(self, beta: float = 1.0) -> np.ndarray:
        """Log of prior times likelihood to the power β, at each node, `[n]`."""
        return log_standard_normal(self.nodes) + powered(self.log_likelihood, beta)

    def log_integral(self) -> float:
        """The trapezoidal rule."""
        return logsumexp(self.log_density()) + self.log_volume

    def weights(self, beta: float = 1.0) -> np.ndarray:
        """Normalised, `[n]`."""
        log_weights = self.log_density(beta)
        weights = np.exp(log_weights - log_weights.max())
        return weights / weights.sum()

    def draw(self, count: int, chance: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draws `[count, d]` of the density that is linear between the nodes, and its log there.

        Between nodes a standard deviation apart a Gaussian is at most a ninth above that, in each
        dimension, and in the tails below it: what is proposed so is quickly made exact.
        """
        weights = self.weights()
        node = chance.choice(len(weights), count, p=weights)
        # The sum of two uniform numbers has a density like a tent, as wide as two cells.
        shape = count, len(self.centre)
        at = self.index[node] + chance.uniform(-0.5, 0.5, shape) + chance.uniform(-0.5, 0.5, shape)
        density = self._between(weights, at)
        return self.centre + at @ self.cell.T, np.log(density) - self.log_volume

    def _between(self, weights: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Linear interpolation of the nodes' weights at positions `[n, d]`; 0 outside of them."""
        dims = at.shape[1]
        keys = keys_of(np.zeros(len(self.index), int), self.index)
        order = np.argsort(keys)
        keys, weights = keys[order], weights[order]
        low = np.floor(at).astype(int)
        total, none = np.zeros(len(at)), np.zeros(len(at), int)
        for corner in itertools.product((0, 1), repeat=dims):
            own = keys_of(none, low + np.array(corner))
            place = np.minimum(np.searchsorted(keys, own), len(keys) - 1)
            share = np.where(corner, at - low, 1.0 - (at - low)).prod(1)
            total += np.where(keys[place] == own, weights[place], 0.0) * share
        return total


@dataclass(frozen=True)
class Integral:
    """What was found: the log of ∫ N(u; 0, I) L(u) du.

    Attributes:
        log_evidence: In nats.
        error: Its own estimate of its error, in nats.
        lattices: Those that agree, shifted along the diagonal of a cell.
    """

    log_evidence: float
    error: float
    lattices: tuple[Lattice, ...]

    def nodes_and_weights(self) -> tuple[np.ndarray, np.ndarray]:
        """All nodes `[n, d]`, and their normalised weights `[n]`."""
        nodes = np.concatenate([lattice.nodes for lattice in self.lattices])
        log_weights = np.concatenate([lattice.log_density() for lattice in self.lattices])
        weights = np.exp(log_weights - log_weights.max())
        return nodes, weights / weights.sum()


def neighbours(index: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of nodes that are next to each other, along each axis: positions in `index [n, d]`."""
    keys = keys_of(np.zeros(len(index), int), index)
    order = np.argsort(keys)
    keys = keys[order]
    pairs = []
    # The last axis has the lowest bits.
    for step in steps_of(index.shape[1])[::2][::-1]:
        at = np.minimum(np.searchsorted(keys, keys + step), len(keys) - 1)
        known = np.flatnonzero(keys[at] == keys + step)
        pairs.append((order[known], order[at[known]]))
    return pairs


def modes(index: np.ndarray) -> np.ndarray:
    """Which mode each of some nodes belongs to: those that neighbours connect are one, `[n]`."""
    rows, columns = (np.concatenate(x) for x in zip(*neighbours(index), strict=True))
    graph = coo_matrix((np.ones(len(rows)), (rows, columns)), (len(index),) * 2)
    return np.asarray(connected_components(graph, directed=False)[1])


def likeness(weights: np.ndarray, pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """How alike neighbours are, along the axis where they are least: Σ √(w_i w_j) / Σ w.

    Of a Gaussian whose standard deviation is s cells it is exp(-1 / (8 s²)), however many there
    are side by side.
    """
    roots = np.sqrt(weights)
    return float(min((roots[i] * roots[j]).sum() for i, j in pairs) / weights.sum())


def keys_of(owner: np.ndarray, index: np.ndarray) -> np.ndarray:
    """One integer for each node of each lattice."""
    key, bits = owner.astype(np.int64), BITS[index.shape[1]]
    for column in index.T:
        key = (key << bits) + (column + (1 << (bits - 1)))
    return key


def nodes_of(keys: np.ndarray, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """Owners `[n]` and positions `[n, d]`: the inverse of `keys_of`."""
    bits = BITS[dims]
    low = (1 << bits) - 1
    columns = [((keys >> (bits * (dims - 1 - j))) & low) - (1 << (bits - 1)) for j in range(dims)]
    return keys >> (bits * dims), np.stack(columns, 1)


def steps_of(dims: int) -> np.ndarray:
    """What a step to each neighbour adds to a key, there and back along each axis, `[2 d]`."""
    bits = BITS[dims]
    return np.array([sign * (1 << (bits * j)) for j in range(dims) for sign in (1, -1)])


def powered(log_likelihood: np.ndarray, beta: np.ndarray | float) -> np.ndarray:
    """β log L, with 0 for the prior alone even where L is 0."""
    impossible = np.isneginf(log_likelihood)
    return np.where(impossible, -np.inf, beta * np.where(impossible, 0.0, log_likelihood))


def log_perplexity(weights: np.ndarray) -> float:
    """Log of how many cells the weights would fill if they were equal."""
    some = weights[weights > 0]
    return float(-(some * np.log(some)).sum())


def logsumexp(x: np.ndarray) -> float:
    """In float64, on the host; of what is no number, or of infinities alike, no number."""
    with np.errstate(invalid="ignore"):
        return float(np.logaddexp.reduce(x))
