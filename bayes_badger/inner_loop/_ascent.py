"""Where what tasks share is most probable, and how its log density curves there: by climbing.

The log joint density of a, with all else integrated out, is asked at some points at a time; a
quadratic surface through the answers (a response surface, Box and Wilson 1951) stands for its
gradient and curvature, and a damped Newton step goes to the top of the surface. Differences between
points as far apart as the density is wide are not disturbed by rounding, as derivatives are, and no
other program than the one that answers is compiled. Points start as wide as the prior and narrow
with the density, so that posteriors a thousand times narrower than the prior take some ten steps.

Two ascents go side by side, from the middle of the prior and from the best of the first points.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bayes_badger.inner_loop._points import cloud

# Points for each coefficient of a surface; ascents; and the least points of one ascent.
EACH, ASCENTS, LEAST = 1.6, 2, 64
# Steps at most.
MOST = 16
# In units of the points' spread: how far points and a step may go; how much the spread may narrow
# and widen in one step.
FAR, STEP, NARROW, WIDE = 2.5, 2.5, 0.12, 2.0
# An ascent has arrived where a step is this short and the spread this near to that of the density.
SHORT, ALIKE = 0.4, 1.5
# Points this many nats below the best that was seen are no progress.
WORSE = 3.0
# Of two ends so near, in units of their spread, one is enough.
SAME = 1.0

Joint = Callable[[np.ndarray], np.ndarray]


class Summit(NamedTuple):
    """An end of an ascent.

    Attributes:
        mean: Where the log density is highest, `[a]`.
        root: Root of the inverse of its curvature there, lower triangular, `[a, a]`.
        height: The log density there, in nats.
        arrived: Whether the last step was short.
    """

    mean: Float[np.ndarray, " a"]
    root: Float[np.ndarray, "a a"]
    height: float
    arrived: bool


class _Place(NamedTuple):
    """Where an ascent is, how wide its points spread, and the best that it has seen.

    `stepped` says whether a surface led there, which may have promised too much.
    """

    mean: np.ndarray
    root: np.ndarray
    best: np.ndarray
    highest: float
    arrived: bool = False
    stepped: bool = False


def batch(size: int) -> int:
    """How many points are asked at a time, in so many dimensions.

    Example:
        >>> batch(1), batch(7), batch(12)
        (128, 128, 320)
    """
    coefficients = (size + 1) * (size + 2) // 2
    return ASCENTS * max(LEAST, 32 * int(np.ceil(EACH * coefficients / 32)))


def ascended(
    joint: Joint,
    mean: Float[np.ndarray, " a"],
    root: Float[np.ndarray, "a a"],
    told: Callable[[int, float], None] = lambda step, gain: None,
) -> list[Summit]:
    """The summits of a log density, the highest first.

    Args:
        joint: The log density, in nats, of `batch(len(mean))` points `[n, a]`.
        mean: Where to begin.
        root: How wide to begin, lower triangular.
        told: Is told how many steps were made, and how many nats the last one promised.

    Example:
        A density that is a hundred times narrower than where the ascent begins:

        >>> def joint(x):
        ...     return -0.5 * ((x - 2.0) ** 2).sum(1) / 0.01**2
        >>> (top,) = ascended(joint, np.zeros(2), np.eye(2))
        >>> top.arrived, top.mean.round(3), np.diag(top.root).round(3)
        (True, array([2., 2.]), array([0.01, 0.01]))
    """
    size, each = len(mean), batch(len(mean)) // ASCENTS
    clouds = [_within(cloud(ASCENTS * each, size, seed)) for seed in range(MOST + 1)]
    points = mean + clouds[0] @ root.T
    heights = _finite(joint(points))
    top = int(heights.argmax())
    places = [
        _moved(_Place(mean, root, points[top], heights[top]), points, heights, size)[0],
        _Place(points[top], 0.5 * root, points[top], heights[top]),
    ]
    for step in range(1, MOST + 1):
        halves = np.split(clouds[step], ASCENTS)
        spread = [x.mean + half @ x.root.T for x, half in zip(places, halves, strict=True)]
        heights = _finite(joint(np.concatenate(spread)))
        found = [
            _moved(*x, size) for x in zip(places, spread, np.split(heights, ASCENTS), strict=True)
        ]
        places = [x for x, _ in found]
        told(step, max(gain for _, gain in found))
        if all(x.arrived for x in places):
            break
    return _apart([Summit(x.mean, x.root, float(x.highest), x.arrived) for x in places])


def _within(points: np.ndarray) -> np.ndarray:
    """Points no further out than `FAR` in each direction together; the first of each half at 0."""
    length = np.linalg.norm(points, axis=1, keepdims=True)
    points = points * np.minimum(1.0, FAR / np.maximum(length, 1e-12))
    points[:: len(points) // ASCENTS] = 0.0
    return points


def _finite(heights: np.ndarray) -> np.ndarray:
    heights = np.asarray(heights, float)
    return np.where(np.isfinite(heights), heights, -np.inf)


def _moved(
    place: _Place, points: np.ndarray, heights: np.ndarray, size: int
) -> tuple[_Place, float]:
    """After a step; and how many nats it promises."""
    top = int(heights.argmax())
    best, highest = place.best, place.highest
    if heights[top] > highest:
        best, highest = points[top], heights[top]
    if not np.isfinite(highest):
        return place._replace(root=0.5 * place.root), np.inf
    if place.stepped and heights[0] < place.highest - WORSE - size:
        # The surface promised too much: go on from the best point, nearer by.
        return _Place(best, 0.5 * place.root, best, highest), highest - heights[0]
    units = np.linalg.solve(place.root, (points - place.mean).T).T
    fitted = _surface(units, heights, size)
    if fitted is None:
        return _Place(best, 0.5 * place.root, best, highest), np.inf
    slope, curvature = fitted
    values, vectors = np.linalg.eigh(curvature)
    kept = np.clip(values, WIDE**-2, NARROW**-2)
    # The step is as short as the curvature says, also where points narrow more slowly.
    steep = np.maximum(values, WIDE**-2)
    along = (vectors.T @ slope) / steep
    length = np.linalg.norm(along)
    step = along * min(1.0, STEP / max(length, 1e-12))
    spread = vectors * kept**-0.5
    # A lower triangular root, so that it is one number for each pair of entries.
    root = np.linalg.qr((place.root @ spread).T, mode="r").T
    root = root * np.sign(np.diagonal(root))
    alike = bool((values > ALIKE**-2).all() and (values < ALIKE**2).all())
    arrived = alike and bool(length < SHORT)
    gain = float(0.5 * (steep * step**2).sum())
    there = place.mean + place.root @ (vectors @ step)
    return _Place(there, root, best, highest, arrived, stepped=True), gain


def _surface(
    units: np.ndarray, heights: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Slope and minus the curvature at 0 of a quadratic through heights, the highest foremost."""
    possible = np.isfinite(heights)
    pairs = np.triu_indices(size)
    coefficients = 1 + size + len(pairs[0])
    if possible.sum() < coefficients:
        return None
    units, heights = units[possible], heights[possible]
    below = heights.max() - heights
    low, high = 1.0, max(1e3 * below.max(), 10.0)
    for _ in range(40):
        middle = np.sqrt(low * high)
        weights = np.exp(-below / middle)
        enough = weights.sum() ** 2 / (weights**2).sum() >= min(1.25 * coefficients, len(units))
        low, high = (low, middle) if enough else (middle, high)
    weights = np.exp(-0.5 * below / high)
    both = units[:, pairs[0]] * units[:, pairs[1]]
    columns = np.concatenate([np.ones((len(units), 1)), units, both], 1)
    found = np.linalg.lstsq(columns * weights[:, None], (heights - heights.max()) * weights)[0]
    curvature = np.zeros((size, size))
    curvature[pairs] = found[1 + size :]
    return found[1 : 1 + size], -(curvature + curvature.T)


def _apart(summits: list[Summit]) -> list[Summit]:
    """Those that differ, the highest first."""
    kept: list[Summit] = []
    for x in sorted(summits, key=lambda x: -x.height):
        away = [np.linalg.norm(np.linalg.solve(y.root, x.mean - y.mean)) for y in kept]
        if not away or min(away) > SAME * np.sqrt(len(x.mean)):
            kept.append(x)
    return kept
