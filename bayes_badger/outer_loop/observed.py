"""The observed information about few parameters: minus the curvature of the log evidence.

    J = -∇² Σ_i log p_ψ(D_i)

It is had by central differences of the tasks' summed gradients, with proposals and points that stay
where they are: these gradients are posterior means (Fisher's identity), so that the differences are
those of Louis's identity, the information if all latents were known less what is missing (Louis
1982), without another program to compile. Where one Gaussian is each task's posterior it is exact
up to rounding and the square of the step. Elsewhere it is averaged over sets of points until their
noise no longer matters, and what noise of the points does to the estimate itself is told as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

# Log evidence `[task]` and gradients `[task, p]` at a point `[p]`, with one of many sets of points.
Look = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]

# Steps of the differences, in standard errors given all other parameters; and the longest, in units
# of a parameter that is not large itself. A step that was this many times too long is taken again.
WIDTH, LONGEST, AGAIN = 0.05, 0.1, 4.0
# Sets of points: at least and at most so many, until the variance of each parameter is known to
# this share of itself; but no more than take so many looks, where there are many parameters.
FEWEST, MOST, KNOWN, LOOKS = 2, 12, 0.05, 64
# Variances that are known no better than this say nothing.
ROUGHLY = 0.3


class Observed(NamedTuple):
    """What the tasks say of parameters, at some.

    Attributes:
        point: Where, `[p]`.
        slopes: Gradients of the log evidence of each task, with the points that are learned with.
        information: The observed information, without what a penalty adds.
        spread: The error of each entry: a standard error by the points, or by rounding.
        noise: Covariance of the summed gradient by the points, with one set of them.
        known: Whether the points tell the information at all.
    """

    point: Float[np.ndarray, " p"]
    slopes: Float[np.ndarray, "task p"]
    information: Float[np.ndarray, "p p"]
    spread: Float[np.ndarray, "p p"]
    noise: Float[np.ndarray, "p p"]
    known: bool = True


def observed(look: Look, point: Float[np.ndarray, " p"], noisy: bool) -> Observed:
    """The observed information at a point.

    Args:
        look: Log evidence and gradients of all tasks near the point.
        point: Parameters without bounds.
        noisy: Whether `look` depends on the points that it uses.

    Example:
        >>> def look(point, points):  # one task, whose log evidence is -(x² + 3 y²) / 2
        ...     slope = -point * np.array([1.0, 3.0])
        ...     return np.array([slope @ point / 2]), slope[None]
        >>> observed(look, np.zeros(2), noisy=False).information.round(4) + 0.0
        array([[1., 0.],
               [0., 3.]])
    """
    slopes = [look(point, 0)[1]]
    products = (slopes[0] ** 2).sum(0)
    step = _steps(products, point)
    found = [_differences(look, point, step, 0)]
    # With few tasks their slopes may all be small by chance, and the first steps much too long.
    better = _steps(np.abs(np.diag(found[0])), point)
    if (step > AGAIN * better).any():
        step = np.minimum(step, better)
        found = [_differences(look, point, step, 0)]
    if not noisy:
        exact = 0.5 * (found[0] + found[0].T)
        rounding = 0.5 * np.abs(found[0] - found[0].T)
        return Observed(point, slopes[0], exact, rounding, np.zeros_like(exact))
    most = int(np.clip(LOOKS // (2 * len(point)), FEWEST, MOST))
    while len(found) < FEWEST or (len(found) < most and not _is_known(found)):
        number = len(found)
        slopes.append(look(point, number)[1])
        found.append(_differences(look, point, step, number))
    found = [0.5 * (one + one.T) for one in found]
    away = np.stack(slopes) - np.mean(slopes, 0)
    noise = np.einsum("sti,stj->ij", away, away) / (len(slopes) - 1)
    spread = np.std(found, axis=0, ddof=1) / np.sqrt(len(found))
    known = _is_known(found, ROUGHLY)
    return Observed(point, slopes[0], np.mean(found, 0), spread, noise, known)


def _steps(information: np.ndarray, point: np.ndarray) -> np.ndarray:
    least = (WIDTH / (LONGEST * np.maximum(1.0, np.abs(point)))) ** 2
    return np.asarray(WIDTH / np.sqrt(np.maximum(information, least)))


def _differences(look: Look, point: np.ndarray, step: np.ndarray, points: int) -> np.ndarray:
    found = np.zeros((len(point), len(point)))
    for i, width in enumerate(step):
        # Parameters are in single precision, and so is the distance between two of them.
        ends = [np.float32(point[i] + sign * width) for sign in (1, -1)]
        both = [look(_with(point, i, end), points)[1].sum(0) for end in ends]
        found[i] = (both[1] - both[0]) / (float(ends[0]) - float(ends[1]))
    return found


def _with(point: np.ndarray, i: int, value: np.floating) -> np.ndarray:
    there = np.array(point, float)
    there[i] = value
    return there


def _is_known(found: list[np.ndarray], share: float = KNOWN) -> bool:
    """Whether the variances that follow are known to a share of themselves."""
    mean = np.mean(found, 0)
    if not np.isfinite(mean).all():
        return False
    size = np.sqrt(np.maximum(np.abs(np.diag(mean)), 1e-30))
    back = np.linalg.pinv(mean / np.outer(size, size))
    each = [back @ (one / np.outer(size, size)) @ back for one in found]
    spread = np.std([np.diag(one) for one in each], axis=0, ddof=1) / np.sqrt(len(found))
    return bool((spread <= share * np.abs(np.diag(back))).all())
