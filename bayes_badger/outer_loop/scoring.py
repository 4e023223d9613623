"""Few parameters: Fisher scoring with the covariance of the tasks' own slopes.

With g_i the gradient of task i's log evidence, F = Σ (g_i - ḡ)(g_i - ḡ)ᵀ estimates the information
about the parameters (Berndt, Hall, Hall and Hausman 1974, with the mean taken out, which is zero at
the maximum). A step is F⁻¹ Σ g_i, damped after Levenberg and Marquardt until it is an ascent. F is
good enough to climb with, but of few tasks, or of a program that does not describe them, it is a
poor estimate of the information. Where F says that the maximum is near, the observed information is
looked at (`observed`): it says how many standard errors are really left, and takes the last steps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bayes_badger.outer_loop.penalty import Penalty
from bayes_badger.outer_loop.standard_errors import covariance

# Steps between two looks.
EVERY = 1
# After a step that is no ascent, and after one that is.
HARDER, SOFTER = 8.0, 0.2
# A fall of the log evidence by so many nats, of all tasks together, is rounding.
NOISE = 0.02
# It has come to rest so many standard errors from the maximum, or where so many good steps together
# gained less than so many nats: directions of which the tasks say nothing may be followed for ever.
NEAR, WORTH, STEPS = 0.05, 0.05, 8
# And by the observed information, which costs little more where it is known; it is looked at again
# where the parameters moved further than this, but not more often than this.
CLOSE, MOVED, LOOKS = 0.02, 1.0, 4
# What comes to rest this far from the maximum, by its own count, is not there.
FAR = 1.0
# Where even a step damped by this much is no ascent, what is left is noise of the slopes.
STUCK = 500.0
# No entry moves further in one step, in units of the unbounded parameters: a scale that falls by
# more than e at once may come to where no slope leads back.
FURTHEST = 1.0


class Place(NamedTuple):
    """Where it is, and where it goes next.

    Attributes:
        point: To be looked at next, `[p]`.
        at: The last good point, `[p]`.
        height: Log evidence there, nats.
        slope: Its gradient, `[p]`.
        information: `[p, p]`.
        damping: Of the next step.
        away: How many standard errors it is from the maximum, to second order: by the observed
            information where that is known.
        heights: Of the last good points, the newest last, `[STEPS + 1]`.
        observed: The observed information, with what a penalty adds, `[p, p]`; nan where it has not
            been looked at.
        spread: Its error, of each entry, `[p, p]`.
        where: It was looked at, `[p]`.
        looks: How often.
    """

    point: np.ndarray
    at: np.ndarray
    height: float | np.ndarray
    slope: np.ndarray
    information: np.ndarray
    damping: float | np.ndarray
    away: float | np.ndarray
    heights: np.ndarray
    observed: np.ndarray
    spread: np.ndarray
    where: np.ndarray
    looks: float | np.ndarray


def start(point: np.ndarray) -> Place:
    """Before anything is known."""
    p = len(point)
    none = np.full(STEPS + 1, -np.inf)
    unknown = np.full((p, p), np.nan)
    return Place(
        point,
        point,
        -np.inf,
        np.zeros(p),
        np.eye(p),
        1e-2,
        np.inf,
        none,
        unknown,
        np.zeros((p, p)),
        np.asarray(point, float),
        0.0,
    )


def is_known(place: Place) -> bool:
    """Whether any point gave finite numbers."""
    return bool(np.isfinite(place.height))


def best(place: Place) -> np.ndarray:
    """The best point so far, `[p]`."""
    return place.at


def told(place: Place) -> dict[str, float]:
    """What the curve says of it."""
    return {"standard_errors_away": float(place.away)}


def doubt(place: Place, losses: np.ndarray, stopped: bool) -> str | None:
    """Why it is not to be trusted; None where it is."""
    if at_rest(place) and not is_stuck(place):
        return None
    far = f"{float(place.away):.2g} standard errors from its maximum"
    if at_rest(place):
        return f"is stuck {far}, by its own count: start the parameters elsewhere"
    return f"stopped {far}: take more outer steps (--outer-steps)"


def at_rest(place: Place) -> bool:
    """Whether there is no more to gain, as far as it knows."""
    return bool(place.away < NEAR or _gains_nothing(place))


def is_settled(place: Place) -> bool:
    """Whether there is no more to gain, by the observed information."""
    return is_examined(place) and bool(place.away < CLOSE or _gains_nothing(place))


def is_examined(place: Place) -> bool:
    """Whether the observed information is known."""
    return bool(np.isfinite(place.observed).all())


def _gains_nothing(place: Place) -> bool:
    known = np.isfinite(place.heights[0])
    gained = place.heights[-1] - place.heights[0] if known else np.inf
    return bool(gained < WORTH or (is_known(place) and place.damping > STUCK))


def is_stuck(place: Place) -> bool:
    """Whether it is at rest, but by its own count not at a maximum."""
    return at_rest(place) and bool(place.away >= FAR)


def examined(place: Place, information: np.ndarray, spread: np.ndarray) -> Place:
    """After the observed information was looked at, at `place.at`.

    Args:
        place: Where it is.
        information: Observed, with what a penalty adds, `[p, p]`.
        spread: Its error, of each entry.
    """
    place = counted(place, information, spread)
    place = place._replace(looks=place.looks + 1, damping=1e-6)
    if place.looks == 1 and place.away >= CLOSE:
        # What is gained from here on is counted anew.
        heights = np.append(np.full(STEPS, -np.inf), place.height)
        place = place._replace(heights=heights)
    return _ahead(place)


def counted(place: Place, information: np.ndarray, spread: np.ndarray) -> Place:
    """With the standard errors to the maximum counted by the observed information."""
    place = place._replace(observed=information, spread=spread, where=np.asarray(place.at, float))
    return place._replace(away=_away(place))


def moved(
    place: Place,
    values: np.ndarray,
    slopes: np.ndarray,
    cost: Penalty,
    rows: int,
    rate: float,
    share: float,
) -> Place:
    """After the log evidence of all tasks at `place.point`, and its gradients.

    Args:
        place: Where it was.
        values: `[task]`, nats.
        slopes: `[task, p]`.
        cost: Of the parameters there.
        rows: Of all tasks; of no matter here, like the next two.
        rate: Of descent.
        share: Of all steps that are done.
    """
    height = values.sum() + cost.value
    finite = np.isfinite(values).all() and np.isfinite(slopes).all()
    if finite and height >= place.height - NOISE:
        slope, centred = slopes.sum(0) + cost.slope, slopes - slopes.mean(0)
        information = centred.T @ centred + cost.curvature * np.eye(len(slope))
        place = place._replace(
            at=place.point,
            height=float(height),
            slope=slope,
            information=information,
            damping=np.maximum(SOFTER * place.damping, 1e-6),
            heights=np.append(place.heights[1:], height),
        )
        far = place.at - place.where
        moved_on = is_examined(place) and abs(far @ place.observed @ far) > MOVED**2
        if moved_on and place.looks < LOOKS:
            place = place._replace(observed=np.full_like(place.observed, np.nan))
        place = place._replace(away=_away(place))
    else:
        place = place._replace(damping=np.maximum(1.0, HARDER * place.damping))
    return _ahead(place)


def _away(place: Place) -> float:
    if is_examined(place):
        return covariance(place.observed, place.spread).away(place.slope)
    step = _solved(place.information, place.slope, 0.0)
    return float(np.sqrt(max(place.slope @ step, 0.0)))


def _ahead(place: Place) -> Place:
    """With the next point: by the observed information where that is positive definite."""
    information = place.information
    if is_examined(place) and not covariance(place.observed, place.spread).flat.any():
        information = place.observed
    step = _solved(information, place.slope, float(place.damping))
    longest = np.abs(step).max(initial=0.0)
    return place._replace(point=place.at + step * min(1.0, FURTHEST / max(longest, 1e-30)))


def _solved(information: np.ndarray, slope: np.ndarray, damping: float) -> np.ndarray:
    return np.linalg.solve(_safe(information, damping), slope)


def _safe(information: np.ndarray, damping: float) -> np.ndarray:
    """With a little on the diagonal, so that what no task tells of does not move far."""
    size = np.diag(information)
    return information + np.diag(damping * size + 1e-6 * max(size.max(initial=0.0), 1e-6))
