"""Few parameters of lifetimes: Newton steps with the information that points of posteriors tell.

The information is what there would be if all latents were known, C, less what is missing, V. In the
coordinates in which C is the identity V is diagonal, with the share in each direction that is
missing: a step of EM is C⁻¹ times the slope, and Newton's is longer by 1/(1 - share). Where nearly
all is missing, or more than all, as on the slope of a hill, no step is trusted to be much longer
than that of EM, which never falls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bayes_badger.outer_loop.lifetimes import Sums
from bayes_badger.outer_loop.penalty import Penalty
from bayes_badger.outer_loop.standard_errors import Covariance, covariance

# Steps between two looks.
EVERY = 1
# A direction keeps at least this share of its information.
LEAST = 0.05
# Steps on the same points; they end this many standard errors from the maximum, or where fewer than
# this share of the points count. No more points are made where at least so many still do.
STEPS, NEAR, CARRIED, ENOUGH = 30, 0.005, 0.4, 0.7
# No entry moves further between two inferences, in the unbounded parameters.
FURTHEST = 1.0
# After a step that is no ascent, and after one that is.
HARDER, SOFTER = 8.0, 0.2
# A fall of the log evidence by so many nats is rounding; so little gained in so many good steps is
# no gain: directions of which lifetimes say nothing may be followed for ever.
NOISE, WORTH, LOOKS = 0.02, 0.1, 4
# Where even a step damped by this much is no ascent, what is left is noise.
STUCK = 500.0
# What comes to rest this far from the maximum, by its own count, is not there; nor may the noise of
# draws be more of a standard error.
FAR, NOISY = 1.0, 0.5

# Log evidence is known for all parameters near by, with its slopes.
Near = Callable[[np.ndarray], tuple[Sums, Penalty]]


class Place(NamedTuple):
    """Where it is, and where it goes next.

    Attributes:
        point: To be inferred at next, `[p]`.
        at: The best that is known by the last points that were good, `[p]`.
        height: Log evidence where those were made, nats, and its standard error.
        error: That error.
        slope: Gradient at `at`, `[p]`.
        complete: Information there if all latents were known, `[p, p]`.
        missing: What of it is not there, `[p, p]`.
        spread: The standard error of that by the points, of each entry, `[p, p]`.
        noise: Covariance of the slope by the spread of the points, `[p, p]`.
        damping: Of the next step.
        away: How many standard errors `at` is from the maximum, to second order.
        carried: The share of the points that still counts there.
        heights: Of the last good inferences, the newest last, `[LOOKS]`.
    """

    point: np.ndarray
    at: np.ndarray
    height: float | np.ndarray
    error: float | np.ndarray
    slope: np.ndarray
    complete: np.ndarray
    missing: np.ndarray
    spread: np.ndarray
    noise: np.ndarray
    damping: float | np.ndarray
    away: float | np.ndarray
    carried: float | np.ndarray
    heights: np.ndarray


def start(point: np.ndarray) -> Place:
    """Before anything is known."""
    p = len(point)
    none, unknown = np.zeros((p, p)), np.full(LOOKS, -np.inf)
    return Place(
        point,
        point,
        -np.inf,
        0.0,
        np.zeros(p),
        np.eye(p),
        none,
        none,
        none,
        0.0,
        np.inf,
        0.0,
        unknown,
    )


def is_known(place: Place) -> bool:
    """Whether any point gave finite numbers."""
    return bool(np.isfinite(place.height))


def at_rest(place: Place) -> bool:
    """Whether there is no more to gain."""
    if place.away < NEAR and place.carried >= ENOUGH:
        return True
    known = np.isfinite(place.heights[0])
    gained = place.heights[-1] - place.heights[0] if known else np.inf
    return bool(gained < WORTH or (is_known(place) and place.damping > STUCK))


def told(place: Place) -> dict[str, float]:
    """What the curve says of it."""
    return {"standard_errors_away": float(place.away), "noise": noise_of(place)}


def noise_of(place: Place) -> float:
    """Root mean square error by the draws, in standard errors."""
    back = known(place).matrix
    return float(np.sqrt(max(np.trace(back @ place.noise) / max(len(back), 1), 0.0)))


def doubt(place: Place) -> str | None:
    """Why it is not to be trusted; None where it is."""
    far = f"{float(place.away):.2g} standard errors from its maximum"
    if not at_rest(place):
        return f"stopped {far}: take more outer steps (--outer-steps)"
    if place.away >= FAR:
        return f"is stuck {far}, by its own count: start the parameters elsewhere"
    if noise_of(place) > NOISY:
        return (
            f"has noise of {noise_of(place):.2g} standard errors in what it learned: raise "
            "outer.draws"
        )
    return None


def known(place: Place) -> Covariance:
    """What the curvature says of the parameters without bounds, without the noise of draws."""
    return covariance(place.complete - place.missing, place.spread)


def moved(place: Place, height: float, error: float, near: Near) -> Place:
    """After lifetimes were inferred at `place.point`.

    Args:
        place: Where it was.
        height: Log evidence there, less what parameters cost; nats.
        error: Its standard error.
        near: What those points say of parameters near by.
    """
    least = place.height - NOISE - 2 * float(np.hypot(error, place.error))
    if not (np.isfinite(height) and height >= least):
        damping = np.maximum(1.0, HARDER * place.damping)
        step = inverse(place.complete, place.missing, float(damping)) @ place.slope
        return place._replace(damping=damping, point=place.at + _within(step))
    damping = SOFTER * place.damping
    at, (found, cost) = place.point, near(place.point)
    for _ in range(STEPS):
        complete = found.complete + cost.curvature * np.eye(len(at))
        slope = found.slope.sum(0) + cost.slope
        step = inverse(complete, found.missing, float(damping)) @ slope
        away = covariance(complete - found.missing, found.spread).away(slope)
        if away < NEAR:
            break
        total = found.gain.sum() + cost.value
        better = None
        for cut in (1.0, 0.5, 0.25):
            there = at + cut * _within(step)
            ahead, price = near(there)
            if not ahead.carried >= CARRIED:
                break
            if ahead.gain.sum() + price.value > total:
                better = there, ahead, price
                break
        if better is None:
            break
        at, found, cost = better
    heights = np.append(place.heights[1:], height)
    return Place(
        at if away < NEAR else at + _within(step),
        at,
        height,
        error,
        slope,
        complete,
        found.missing,
        found.spread,
        found.noise,
        damping,
        float(away),
        found.carried,
        heights,
    )


def inverse(complete: np.ndarray, missing: np.ndarray, damping: float = 0.0) -> np.ndarray:
    """The inverse of the information, kept positive, with damping in units of the complete one."""
    size = np.abs(np.diag(complete))
    size = np.sqrt(np.maximum(size, 1e-6 * max(size.max(initial=0.0), 1e-6)))
    values, vectors = np.linalg.eigh(complete / np.outer(size, size))
    root = vectors / np.sqrt(np.maximum(values, 1e-3)) / size[:, None]
    share, turned = np.linalg.eigh(root.T @ missing @ root)
    left = np.where(share < 1.0, np.maximum(1.0 - share, LEAST), 1.0) + damping
    root = root @ turned
    return (root / left) @ root.T


def _within(step: np.ndarray) -> np.ndarray:
    longest = np.abs(step).max(initial=0.0)
    return step * min(1.0, FURTHEST / max(longest, 1e-30))
