"""Whether tasks vary as the program says: two estimates of one information, side by side.

If the program describes the tasks, minus the curvature of the log evidence, J, and the products of
the tasks' own scores, B, estimate the same information (White 1982, "Maximum likelihood estimation
of misspecified models"). Where they differ standard errors from J are wrong, and those of the
sandwich J⁻¹ B J⁻¹ are right. How far they differ by chance depends on the program and is known of
few tasks only by trying: scores of tasks drawn from the program itself show it (Horowitz 1994,
"Bootstrap-based critical values for the information matrix test").
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

# With fewer tasks, or fewer for each parameter, nothing can be told.
TASKS, FOR_EACH = 10, 3
# Standard errors that differ by less than this factor are as good as alike.
ALIKE = 1.25
# Scores of any program vary at least as much as those of a normal's mean: so many of those standard
# errors are asked for before tasks are drawn from it.
SUSPECT = 2.0
# Tasks that are drawn, in sets as many as there are; worlds that are made of them, with so many
# numbers at most, and so many at once; and the share of worlds in which it may speak though all is
# as the program says.
DRAWN, SETS, WORLDS, NUMBERS, AT_ONCE, ALARMS = 1000, (10, 50), 2000, 10**8, 10**6, 0.01


class Sandwich(NamedTuple):
    """Variances of what is told of the parameters, by both.

    Attributes:
        influence: Of each task on each entry: the scores times the inverse curvature.
        expected: The variance of each entry if the program holds, without a penalty J⁻¹.
        ratio: The variance by the products of scores over that; nan where it is not known.
    """

    influence: Float[np.ndarray, "task entry"]
    expected: Float[np.ndarray, " entry"]
    ratio: Float[np.ndarray, " entry"]


def sandwich(
    scores: Float[np.ndarray, "task p"],
    inverse: Float[np.ndarray, "p p"],
    information: Float[np.ndarray, "p p"],
    slopes: Float[np.ndarray, "entry p"],
) -> Sandwich:
    """The variances by the products of scores, beside those by the curvature.

    Args:
        scores: Gradients of the log evidence of each task, at the estimate.
        inverse: Of the information, with what a penalty adds.
        information: Without that.
        slopes: Of each entry by the parameters.

    Example:
        >>> scores = np.array([[2.0], [-2.0]])
        >>> sandwich(scores, np.eye(1), np.eye(1), np.eye(1)).ratio
        array([8.])
    """
    influence = scores @ inverse @ slopes.T
    expected = np.einsum("ei,ij,ej->e", slopes @ inverse, information, slopes @ inverse)
    away = influence - influence.mean(0)
    known = expected > 0
    ratio = np.where(known, (away**2).sum(0) / np.where(known, expected, 1.0), np.nan)
    return Sandwich(influence, expected, ratio)


def is_suspect(found: Sandwich, parameters: int) -> bool:
    """Whether the two differ by so much that it is worth drawing tasks from the program."""
    tasks = len(found.influence)
    if tasks < max(TASKS, FOR_EACH * parameters):
        return False
    least = max(2 * np.log(ALIKE), SUSPECT * np.sqrt(2 / tasks))
    return bool((np.abs(_logs(found.ratio)) > least).any())


def sets_of(tasks: int) -> int:
    """How many sets of as many tasks are drawn.

    Example:
        >>> sets_of(10), sets_of(40), sets_of(10_000)
        (50, 25, 10)
    """
    return int(np.clip(DRAWN // tasks, *SETS))


def beyond_chance(
    found: Sandwich,
    drawn: Float[np.ndarray, "set task entry"],
    chance: np.random.Generator,
) -> np.ndarray:
    """Which entries differ by more than they would among tasks drawn from the program, `[entry]`.

    Args:
        found: Of the tasks.
        drawn: The influence of tasks drawn from the program, each in place of one of the tasks.
        chance: Makes worlds of them.
    """
    sets, tasks, entries = drawn.shape
    one = tasks * max(entries, 1)
    many = int(np.clip(NUMBERS // one, 200, WORLDS))
    expected = np.where(found.expected > 0, found.expected, 1.0)
    worlds = []
    for some in np.array_split(np.arange(many), max(1, many * one // AT_ONCE)):
        chosen = drawn[chance.integers(sets, size=(len(some), tasks)), np.arange(tasks)]
        squares = ((chosen - chosen.mean(1, keepdims=True)) ** 2).sum(1)
        worlds.append(_logs(squares / expected))
    logs = np.concatenate(worlds)
    middle, spread = logs.mean(0), np.maximum(logs.std(0), 1e-12)
    usable = np.isfinite(found.ratio)
    away = np.where(usable, np.abs(_logs(found.ratio) - middle) / spread, 0.0)
    furthest = np.where(usable, np.abs(logs - middle) / spread, 0.0).max(1, initial=0.0)
    limit = np.quantile(furthest, 1 - ALARMS)
    return np.asarray((away > limit) & (np.abs(_logs(found.ratio)) > 2 * np.log(ALIKE)))


def disagreement(
    names: list[str], errors: np.ndarray, found: Sandwich, beyond: np.ndarray
) -> str | None:
    """That the two disagree, and by how much; None where they do not.

    Args:
        names: Of the entries.
        errors: Their standard errors by the curvature.
        found: By both.
        beyond: Which differ.
    """
    which = [i for i in np.flatnonzero(beyond) if np.isfinite(errors[i])]
    if not which:
        return None
    told = [
        f"{names[i]} ± {errors[i]:.2g} and ± {errors[i] * np.sqrt(found.ratio[i]):.2g}"
        for i in which[:3]
    ]
    more = f"; and {len(which) - 3} more" if len(which) > 3 else ""
    return (
        "the curvature of the likelihood and the spread between tasks (the sandwich) give standard "
        f"errors that differ by more than {len(found.influence)} tasks explain "
        f"({'; '.join(told)}{more}): the program does not describe how tasks vary; trust the second"
    )


def _logs(ratio: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(np.nan_to_num(ratio, nan=1.0), 1e-12))
