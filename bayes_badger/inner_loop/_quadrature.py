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
from dataclasses import replace

import numpy as np

from bayes_badger.belief.gaussian import log_standard_normal
from bayes_badger.inner_loop._lattice import (
    Integral,
    Lattice,
    keys_of,
    likeness,
    log_perplexity,
    logsumexp,
    modes,
    neighbours,
    nodes_of,
    powered,
    steps_of,
)

# Mass below e^-14 of the peak's is left out: 4e-6 of a Gaussian's in three dimensions.
DEPTH = 14.0
# Width of a cell in standard deviations, and by how much cells shrink until two lattices agree.
WIDTH, SHRINK = 1.1, 0.7
# Standard deviation, in cells, below which no more evidence is let in.
COARSEST = 0.3
# Shifts of the lattices that must agree, along the diagonal of a cell.
SHIFTS = (0.0, 0.5, 0.25, 0.75)
# Perplexity of a Gaussian on cells of one standard deviation: sqrt(2πe).
GAUSSIAN = 4.1327
# Rounds of growth after which the mass is taken to be far away; and when all of it is known.
STRIDES, LONGEST = 15, 60
# More nodes than this, and the integral is given up; rounds in which it must be found.
NODES, ROUNDS = 600_000, 100

LogLikelihood = Callable[[np.ndarray, np.ndarray], np.ndarray]


def integrate(
    log_likelihood: LogLikelihood,
    count: int,
    dims: int,
    tolerance: float = 1e-4,
    most: int = NODES,
) -> list[Integral]:
    """Integrates likelihoods over standard normal priors.

    Args:
        log_likelihood: Of integral `which`, `[n]`, at points `[n, d]`: nats, `[n]`; -inf where
            the evidence is impossible.
        count: How many integrals.
        dims: Dimensions of each, 1 to 3.
        tolerance: Error estimate, in nats, at which an integral is done.
        most: No smaller cells are tried for an integral that has so many nodes already.

    Returns:
        One result for each; where `error` is above the tolerance, it was not reached. An integral
        over evidence that is impossible everywhere is minus infinity, without an error.
    """
    search = [_start(dims) for _ in range(count)]
    beta = np.zeros(count)
    searching = np.arange(count)
    found: dict[int, Lattice] = {}
    impossible: dict[int, Integral] = {}
    for _ in range(ROUNDS):
        if not len(searching):
            break
        done, closed = _fill(
            log_likelihood, searching, [search[i] for i in searching], beta[searching], STRIDES
        )
        still = []
        for i, lattice, whole in zip(searching.tolist(), done, closed, strict=True):
            if not np.isfinite(lattice.log_likelihood).any():
                impossible[i] = Integral(-np.inf, 0.0, (lattice,))
                continue
            if not whole:
                # The mass is far away: go on in longer strides.
                search[i] = _coarser(lattice, beta[i])
                still.append(i)
                continue
            power = _next_power(lattice, beta[i])
            if power < 1.0 and power <= 1.05 * beta[i]:
                # A posterior that no one shape fits, as a bent sheet: only smaller cells will do.
                search[i] = _finer(lattice, beta[i])
                still.append(i)
                continue
            beta[i] = power
            search[i] = _fitted(lattice, power)
            if search[i].log_volume > lattice.log_volume:
                # What small cells were needed for needs them still.
                search[i] = _seeded(lattice, power, lattice.centre, lattice.cell)
            if beta[i] < 1.0:
                still.append(i)
            else:
                found[i] = search[i]
        searching = np.array(still, int)
    results = _refined(log_likelihood, found, tolerance, most) | impossible
    for i in searching.tolist():
        # Never found: its mass is absurdly far from the prior.
        results[i] = Integral(search[i].log_integral(), np.inf, (search[i],))
    return [results[i] for i in range(count)]


def _refined(
    log_likelihood: LogLikelihood, start: dict[int, Lattice], tolerance: float, most: int
) -> dict[int, Integral]:
    """Shifted lattices for each integral, with smaller cells until they agree."""
    results: dict[int, Integral] = {}
    lattices, left = dict(start), list(start)
    while left:
        which = np.repeat(left, len(SHIFTS))
        fits = [
            replace(lattices[i], centre=lattices[i].centre + shift * lattices[i].cell.sum(1))
            for i in left
            for shift in SHIFTS
        ]
        done, _ = _fill(log_likelihood, which, fits, np.ones(len(which)), LONGEST)
        again = []
        for at, i in enumerate(left):
            together = tuple(done[at * len(SHIFTS) : (at + 1) * len(SHIFTS)])
            values = np.array([lattice.log_integral() for lattice in together])
            value = logsumexp(values) - float(np.log(len(SHIFTS)))
            results[i] = Integral(value, float(np.ptp(values)), together)
            size = sum(len(lattice.index) for lattice in together)
            if not results[i].error < tolerance and size < most:
                lattices[i] = _finer(together[0], 1.0)
                again.append(i)
        left = again
    return results


def _start(dims: int) -> Lattice:
    """The prior: all nodes within reach, one standard deviation apart."""
    reach = np.arange(-6, 7)
    index = np.stack(np.meshgrid(*[reach] * dims, indexing="ij"), -1).reshape(-1, dims)
    index = index[(index**2).sum(1) <= 2 * DEPTH]
    return Lattice(np.zeros(dims), np.eye(dims), index, np.zeros(len(index)))


def _next_power(lattice: Lattice, beta: float) -> float:
    """As much of the evidence as the lattice can resolve."""
    pairs = neighbours(lattice.index)
    least = np.exp(-1 / (8 * COARSEST**2))
    if likeness(lattice.weights(1.0), pairs) >= least:
        return 1.0
    low, high = beta, 1.0
    for _ in range(30):
        middle = 0.5 * (low + high) if low > 0.09 * high else 0.1 * high
        if likeness(lattice.weights(middle), pairs) >= least:
            low = middle
        else:
            high = middle
        if high - low < 0.05 * high or high < 1e-12:
            break
    return low


def _fitted(lattice: Lattice, beta: float) -> Lattice:
    """A lattice shaped like the modes that were found, its cells as wide as those are, or less.

    The covariance is that within modes: one across them would stretch cells from mode to mode, and
    whole modes would fall between the nodes.
    """
    dims = lattice.index.shape[1]
    weights, nodes = lattice.weights(beta), lattice.nodes
    heavy = weights > weights.max() * np.exp(-DEPTH)
    member = modes(lattice.index[heavy])
    centre = weights @ nodes
    weights, nodes = weights[heavy] / weights[heavy].sum(), nodes[heavy]
    share = np.bincount(member, weights)
    means = np.stack([np.bincount(member, weights * x) for x in nodes.T], 1) / share[:, None]
    apart = nodes - means[member]
    # The cells' own width keeps a covariance of few nodes from collapsing.
    own = lattice.cell @ lattice.cell.T / 12.0
    shape = np.linalg.cholesky((weights[:, None] * apart).T @ apart + own)
    # A mode that is not a Gaussian has less volume than its covariance; cells follow the volume.
    effective = log_perplexity(weights) - log_perplexity(share)
    log_volume = lattice.log_volume + effective - dims * np.log(GAUSSIAN / WIDTH)
    spacing = np.exp((log_volume - np.linalg.slogdet(shape)[1]) / dims)
    return _seeded(lattice, beta, centre, shape * min(spacing, WIDTH))


def _coarser(lattice: Lattice, beta: float) -> Lattice:
    """A lattice of longer strides around the best node."""
    dims = len(lattice.centre)
    best = lattice.nodes[lattice.log_density(beta).argmax()]
    near = np.stack(np.meshgrid(*[np.arange(-2, 3)] * dims, indexing="ij"), -1).reshape(-1, dims)
    return Lattice(best, 3.0 * lattice.cell, near, np.zeros(len(near)))


def _finer(lattice: Lattice, beta: float) -> Lattice:
    """The same lattice with smaller cells."""
    return _seeded(lattice, beta, lattice.centre, lattice.cell * SHRINK)


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
    _, first = np.unique(keys_of(np.zeros(len(index), int), index), return_index=True)
    return Lattice(centre, cell, index[first], np.zeros(len(first)))


def _fill(
    log_likelihood: LogLikelihood,
    which: np.ndarray,
    lattices: list[Lattice],
    beta: np.ndarray,
    rounds: int,
) -> tuple[list[Lattice], np.ndarray]:
    """Evaluates lattices, and grows each until no neighbour of what has mass is missing.

    Returns:
        The lattices, and whether each was closed within so many rounds.
    """
    dims = lattices[0].index.shape[1]
    owner = np.repeat(np.arange(len(lattices)), [len(lattice.index) for lattice in lattices])
    centres = np.stack([lattice.centre for lattice in lattices])
    cells = np.stack([lattice.cell for lattice in lattices])
    steps = steps_of(dims)
    peak = np.full(len(lattices), -np.inf)
    counts = np.zeros(len(lattices), int)
    known = np.zeros(0, np.int64)
    keys = np.sort(keys_of(owner, np.concatenate([lattice.index for lattice in lattices])))
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for _ in range(rounds):
        if not len(keys):
            break
        owner, index = nodes_of(keys, dims)
        points = centres[owner] + np.einsum("nij,nj->ni", cells[owner], index)
        values = np.asarray(log_likelihood(which[owner], points), np.float64)
        values = np.where(np.isnan(values), -np.inf, values)
        found.append((owner, index, values))
        # Stable sorting merges runs that are sorted already.
        known = np.sort(np.concatenate([known, keys]), kind="stable")
        counts += np.bincount(owner, minlength=len(lattices))
        weights = log_standard_normal(points) + powered(values, beta[owner])
        np.maximum.at(peak, owner, weights)
        # The peak only rises, so that only what is new can have a neighbour that is missing.
        heavy = (weights > peak[owner] - DEPTH) & (counts[owner] < NODES)
        around = np.sort((keys[heavy] + steps[:, None]).ravel(), kind="stable")
        around = around[np.diff(around, prepend=-1) != 0]
        at = np.minimum(np.searchsorted(known, around), len(known) - 1)
        keys = around[known[at] != around]
    closed = np.bincount(nodes_of(keys, dims)[0], minlength=len(lattices)) == 0
    owner, index, values = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(owner, kind="stable")
    ends = np.cumsum(counts)[:-1]
    parts = zip(lattices, np.split(index[order], ends), np.split(values[order], ends), strict=True)
    return [replace(x, index=i, log_likelihood=v) for x, i, v in parts], closed
