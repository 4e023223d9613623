"""Few parameters: Fisher scoring with the covariance of the tasks' own slopes.

With g_i the gradient of task i's log evidence, F = Σ (g_i - ḡ)(g_i - ḡ)ᵀ estimates the information
about the parameters (Berndt, Hall, Hall and Hausman 1974, with the mean taken out, which is zero at
the maximum). A step is F⁻¹ Σ g_i, damped after Levenberg and Marquardt until it is an ascent. So it
knows how far it is from the maximum in standard errors, and stops there; and these it can tell.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# After a step that is no ascent, and after one that is.
HARDER, SOFTER = 8.0, 0.2
# A fall of the log evidence by so many nats per task is noise of the points.
NOISE = 0.002
# It has come to rest this many standard errors from the maximum.
NEAR = 0.05
# No entry moves further in one step, in units of the unbounded parameters.
FURTHEST = 3.0


class Place(NamedTuple):
    """Where it is, and where it goes next.

    Attributes:
        point: To be looked at next, `[p]`.
        at: The last good point, `[p]`.
        height: Log evidence there, nats.
        slope: Its gradient, `[p]`.
        information: `[p, p]`.
        damping: Of the next step.
        away: How many standard errors it is from the maximum, to second order.
    """

    point: np.ndarray
    at: np.ndarray
    height: float | np.ndarray
    slope: np.ndarray
    information: np.ndarray
    damping: float | np.ndarray
    away: float | np.ndarray


def start(point: np.ndarray) -> Place:
    """Before anything is known."""
    p = len(point)
    return Place(point, point, -np.inf, np.zeros(p), np.eye(p), 1e-2, np.inf)


def moved(place: Place, values: np.ndarray, slopes: np.ndarray, comparable: bool) -> Place:
    """After the log evidence of tasks at `place.point`, and its gradients.

    Args:
        place: Where it was.
        values: `[task]`, nats.
        slopes: `[task, p]`.
        comparable: Whether these are the tasks of the step before.
    """
    height, finite = values.sum(), np.isfinite(values).all() and np.isfinite(slopes).all()
    ascent = height >= place.height - NOISE * len(values) or not comparable
    if finite and ascent:
        slope, centred = slopes.sum(0), slopes - slopes.mean(0)
        information = centred.T @ centred
        away = np.sqrt(max(slope @ _solved(information, slope, 0.0), 0.0))
        damping = np.maximum(SOFTER * place.damping, 1e-6)
        place = Place(
            place.point, place.point, float(height), slope, information, damping, float(away)
        )
    else:
        place = place._replace(damping=np.maximum(1.0, HARDER * place.damping))
    step = _solved(place.information, place.slope, float(place.damping))
    longest = np.abs(step).max(initial=0.0)
    return place._replace(point=place.at + step * min(1.0, FURTHEST / max(longest, 1e-30)))


def standard_errors(place: Place) -> np.ndarray:
    """Of the parameters without bounds, `[p]`."""
    return np.sqrt(np.maximum(np.diag(np.linalg.pinv(_safe(place.information, 0.0))), 0.0))


def _solved(information: np.ndarray, slope: np.ndarray, damping: float) -> np.ndarray:
    return np.linalg.solve(_safe(information, damping), slope)


def _safe(information: np.ndarray, damping: float) -> np.ndarray:
    """With a little on the diagonal, so that what no task tells of does not move far."""
    size = np.diag(information)
    return information + np.diag(damping * size + 1e-6 * max(size.max(initial=0.0), 1e-6))
