"""Integrals over a few prior-normal dimensions, by lattices that find the posterior and fit it.

The trapezoidal rule on a lattice is exact to rounding for a Gaussian once its cells are no wider
than one standard deviation (its error is of the order of exp(-2π²σ²/h²)), and nearly so for any
smooth density. What is hard is to find where the mass is. So the evidence is let in by degrees:
the likelihood is raised to a power β that grows from 0, as fast as the lattice can still resolve;
after each rise the lattice takes the shape of the covariance found, and grows from what has mass
to its neighbours until all of the mass is inside. At β = 1 four lattices, shifted along the
diagonal of a cell, must agree; where they do not, cells shrink.

Sparse, so that banana shapes and several modes cost no more than their volume. Many integrals are
done at once, in float64 on the host; only the integrand is the compiled program's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

# Mass below e^-14 of the peak's is left out: 4e-6 of a Gaussian's in three dimensions.
DEPTH = 14.0
# Width of a cell in standard deviations, and by how much cells shrink until two lattices agree.
WIDTH, SHRINK = 1.1, 0.7
# Effective cells per dimension below which no more evidence is let in.
COARSEST = 2.2
# Shifts of the lattices that must agree, along the diagonal of a cell.
SHIFTS = (0.0, 0.5, 0.25, 0.75)
# Perplexity of a Gaussian on cells of one standard deviation: sqrt(2πe).
GAUSSIAN = 4.1327
# More nodes than this, and the integral is given up; rounds in which it must be found.
NODES, ROUNDS = 200_000, 60

LogLikelihood = Callable[[np.ndarray, np.ndarray], np.ndarray]


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
        return log_standard_normal(self.nodes) + _powered(self.log_likelihood, beta)

    def log_integral(self) -> float:
        """The trapezoidal rule."""
        return float(_logsumexp(self.log_density())) + self.log_volume

    def weights(self, beta: float = 1.0) -> np.ndarray:
        """Normalised, `[n]`."""
        log_weights = self.log_density(beta)
        weights = np.exp(log_weights - log_weights.max())
        return weights / weights.sum()

    def draw(self, count: int, chance: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draws `[count, d]` that are uniform in a node's cell, and their log densities."""
        weights = self.weights()
        node = chance.choice(len(weights), count, p=weights)
        at = self.index[node] + chance.uniform(-0.5, 0.5, (count, len(self.centre)))
        return self.centre + at @ self.cell.T, np.log(weights[node]) - self.log_volume


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


def integrate(
    log_likelihood: LogLikelihood, count: int, dims: int, tolerance: float = 1e-4
) -> list[Integral]:
    """Integrates likelihoods over standard normal priors.

    Args:
        log_likelihood: Of integral `which`, `[n]`, at points `[n, d]`: nats, `[n]`; -inf where
            the evidence is impossible.
        count: How many integrals.
        dims: Dimensions of each, 1 to 3.
        tolerance: Error estimate, in nats, at which an integral is done.

    Returns:
        One result for each; where `error` is above the tolerance, it was not reached.
    """
    search = [_start(dims) for _ in range(count)]
    beta = np.zeros(count)
    searching = np.arange(count)
    found: dict[int, Lattice] = {}
    for _ in range(ROUNDS):
        if not len(searching):
            break
        done = _fill(log_likelihood, searching, [search[i] for i in searching], beta[searching])
        still = []
        for i, lattice in zip(searching.tolist(), done, strict=True):
            beta[i] = _next_power(lattice, beta[i])
            search[i] = _fitted(lattice, beta[i])
            if beta[i] < 1.0:
                still.append(i)
            else:
                found[i] = search[i]
        searching = np.array(still, int)
    for i in searching.tolist():
        found[i] = search[i]
    return _refined(log_likelihood, found, count, tolerance)


def log_standard_normal(points: np.ndarray) -> np.ndarray:
    """Log density of N(0, I), `[..., d]` to `[...]`."""
    return -0.5 * (points**2).sum(-1) - 0.5 * points.shape[-1] * np.log(2 * np.pi)


def _refined(
    log_likelihood: LogLikelihood, start: dict[int, Lattice], count: int, tolerance: float
) -> list[Integral]:
    """Shifted lattices for each integral, with smaller cells until they agree."""
    results: dict[int, Integral] = {}
    lattices, left = dict(start), list(range(count))
    while left:
        which = np.repeat(left, len(SHIFTS))
        fits = [
            replace(lattices[i], centre=lattices[i].centre + shift * lattices[i].cell.sum(1))
            for i in left
            for shift in SHIFTS
        ]
        done = _fill(log_likelihood, which, fits, np.ones(len(which)))
        again = []
        for at, i in enumerate(left):
            together = tuple(done[at * len(SHIFTS) : (at + 1) * len(SHIFTS)])
            values = np.array([lattice.log_integral() for lattice in together])
            value = float(_logsumexp(values) - np.log(len(SHIFTS)))
            results[i] = Integral(value, float(np.ptp(values)), together)
            size = sum(len(lattice.index) for lattice in together)
            if not results[i].error < tolerance and size < NODES:
                coarse = together[0]
                lattices[i] = _seeded(coarse, 1.0, coarse.centre, coarse.cell * SHRINK)
                again.append(i)
        left = again
    return [results[i] for i in range(count)]


def _start(dims: int) -> Lattice:
    """The prior: all nodes within reach, one standard deviation apart."""
    reach = np.arange(-6, 7)
    index = np.stack(np.meshgrid(*[reach] * dims, indexing="ij"), -1).reshape(-1, dims)
    index = index[(index**2).sum(1) <= 2 * DEPTH]
    return Lattice(np.zeros(dims), np.eye(dims), index, np.zeros(len(index)))


def _next_power(lattice: Lattice, beta: float) -> float:
    """As much of the evidence as the lattice can resolve."""
    least = np.log(COARSEST) * lattice.index.shape[1]
    if _log_perplexity(lattice.weights(1.0)) >= least:
        return 1.0
    low, high = beta, 1.0
    for _ in range(30):
        middle = 0.5 * (low + high) if low > 1e-3 * high else high * 0.1
        if _log_perplexity(lattice.weights(middle)) >= least:
            low = middle
        else:
            high = middle
        if high - low < 0.02 * high or high < 1e-12:
            break
    return low


def _fitted(lattice: Lattice, beta: float) -> Lattice:
    """A lattice shaped like the posterior found, its cells a standard deviation wide or less."""
    dims = lattice.index.shape[1]
    weights, nodes = lattice.weights(beta), lattice.nodes
    centre = weights @ nodes
    apart = nodes - centre
    # The cells' own width keeps a covariance of few nodes from collapsing.
    own = lattice.cell @ lattice.cell.T / 12.0
    shape = np.linalg.cholesky((weights[:, None] * apart).T @ apart + own)
    # Where the mass is not one Gaussian's it has less volume than its covariance, and the cells
    # follow the volume.
    log_volume = lattice.log_volume + _log_perplexity(weights) - dims * np.log(GAUSSIAN / WIDTH)
    spacing = np.exp((log_volume - np.linalg.slogdet(shape)[1]) / dims)
    return _seeded(lattice, beta, centre, shape * min(spacing, WIDTH))


def _seeded(lattice: Lattice, beta: float, centre: np.ndarray, cell: np.ndarray) -> Lattice:
    """Another lattice over what has mass, not yet evaluated."""
    dims = len(centre)
    log_density = lattice.log_density(beta)
    heavy = lattice.nodes[log_density > log_density.max() - DEPTH]
    ratio = np.abs(np.linalg.solve(cell, lattice.cell)).sum(0).max()
    per_side = int(np.clip(np.ceil(ratio), 1, 4))
    steps = (np.arange(per_side) + 0.5) / per_side - 0.5
    within = np.stack(np.meshgrid(*[steps] * dims, indexing="ij"), -1).reshape(-1, dims)
    points = (heavy[:, None] + within @ lattice.cell.T).reshape(-1, dims)
    index = np.rint(np.linalg.solve(cell, (points - centre).T).T).astype(int)
    _, first = np.unique(_key(np.zeros(len(index), int), index), return_index=True)
    return Lattice(centre, cell, index[first], np.zeros(len(first)))


def _fill(
    log_likelihood: LogLikelihood, which: np.ndarray, lattices: list[Lattice], beta: np.ndarray
) -> list[Lattice]:
    """Evaluates lattices, and grows each until no neighbour of what has mass is missing."""
    dims = lattices[0].index.shape[1]
    sizes = [len(lattice.index) for lattice in lattices]
    owner = np.repeat(np.arange(len(lattices)), sizes)
    index = np.concatenate([lattice.index for lattice in lattices])
    centres = np.stack([lattice.centre for lattice in lattices])
    cells = np.stack([lattice.cell for lattice in lattices])
    steps = np.concatenate([np.eye(dims, dtype=int), -np.eye(dims, dtype=int)])
    peak = np.full(len(lattices), -np.inf)
    counts = np.zeros(len(lattices), int)
    known = np.zeros(0, np.int64)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    while len(index):
        points = centres[owner] + np.einsum("nij,nj->ni", cells[owner], index)
        values = np.asarray(log_likelihood(which[owner], points), np.float64)
        values = np.where(np.isnan(values), -np.inf, values)
        found.append((owner, index, values))
        known = np.sort(np.concatenate([known, _key(owner, index)]))
        counts += np.bincount(owner, minlength=len(lattices))
        weights = log_standard_normal(points) + _powered(values, beta[owner])
        np.maximum.at(peak, owner, weights)
        # The peak only rises, so that only what is new can have a neighbour that is missing.
        heavy = (weights > peak[owner] - DEPTH) & (counts[owner] < NODES)
        owner = np.repeat(owner[heavy], 2 * dims)
        index = (index[heavy][:, None] + steps).reshape(-1, dims)
        keys, at = np.unique(_key(owner, index), return_index=True)
        fresh = known[np.minimum(np.searchsorted(known, keys), len(known) - 1)] != keys
        owner, index = owner[at[fresh]], index[at[fresh]]
    owner, index, values = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(owner, kind="stable")
    ends = np.cumsum(counts)[:-1]
    parts = zip(lattices, np.split(index[order], ends), np.split(values[order], ends), strict=True)
    return [replace(x, index=i, log_likelihood=v) for x, i, v in parts]


def _key(owner: np.ndarray, index: np.ndarray) -> np.ndarray:
    """One integer for each node of each lattice; 2^14 positions a side, 2^21 lattices."""
    key = owner.astype(np.int64)
    for column in index.T:
        key = (key << 14) + (column + (1 << 13))
    return key


def _powered(log_likelihood: np.ndarray, beta: np.ndarray | float) -> np.ndarray:
    """β log L, with 0 for the prior alone even where L is 0."""
    impossible = np.isneginf(log_likelihood)
    return np.where(impossible, -np.inf, beta * np.where(impossible, 0.0, log_likelihood))


def _log_perplexity(weights: np.ndarray) -> float:
    some = weights[weights > 0]
    return float(-(some * np.log(some)).sum())


def _logsumexp(x: np.ndarray) -> np.ndarray:
    peak = x.max()
    return peak + np.log(np.exp(x - peak).sum())
