"""Standard errors of learned parameters from the observed information, or that there are none.

Where the log evidence is curved downwards in all directions the covariance of the estimate is the
inverse of the information. Where it is flat in a direction, or still rises, as a scale that goes to
zero makes it, there is no standard error: any number would only look right. Values with bounds have
theirs by the delta method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from numpyro.distributions.transforms import IdentityTransform, biject_to

from bayes_badger.errors import listed
from bayes_badger.program import Program
from bayes_badger.program.parameters import as_table, bound, free

# Information is told from none where it is more than this share of what each parameter by itself
# has, and more than so many of its own standard errors.
LEAST, ERRORS = 1e-4, 2.0
# A parameter is part of a direction in which its share, squared, is more than this.
PART = 0.01
# A parameter without bounds that is known no better than this is asked whether the log evidence
# falls on both sides: to one standard error, but no further than so much for what has bounds (a
# factor of 20 for a scale), and by this share of what the curvature promises.
LOOSE, FARTHEST, FALLS = 1.0, 3.0, 0.2

# Noise of the points may be no more of a standard error.
NOISY = 0.5

Height = Callable[[np.ndarray], float]


class Covariance(NamedTuple):
    """Of parameters without bounds.

    Attributes:
        matrix: Of those that the tasks determine, given that the others stay where they are.
        flat: Which have no standard error, `[p]`.
    """

    matrix: Float[np.ndarray, "p p"]
    flat: np.ndarray

    def away(self, slope: Float[np.ndarray, " p"]) -> float:
        """How many standard errors the maximum is away, to second order, where there are any."""
        return float(np.sqrt(max(slope @ self.matrix @ slope, 0.0)))


def covariance(
    information: Float[np.ndarray, "p p"], spread: Float[np.ndarray, "p p"] | None = None
) -> Covariance:
    """The inverse of the information, without directions that have none.

    Args:
        information: Observed, `[p, p]`; not always positive definite.
        spread: Its standard error, of each entry.

    Example:
        >>> covariance(np.diag([4.0, -1.0]))
        Covariance(matrix=array([[0.25, 0.  ],
               [0.  , 0.  ]]), flat=array([False,  True]))
    """
    none = ~np.isfinite(information).all(1) | (np.diag(information) <= 0)
    usable = np.where(none[:, None] | none[None], 0.0, information)
    size = np.sqrt(np.where(none, 1.0, np.diag(usable)))
    values, vectors = np.linalg.eigh(usable / np.outer(size, size))
    least = np.full(len(values), LEAST)
    if spread is not None:
        relative = (spread / np.outer(size, size)) ** 2
        error = np.sqrt(np.einsum("ik,ij,jk->k", vectors**2, relative, vectors**2))
        least = np.maximum(least, ERRORS * error)
    good = values > least
    inside = vectors[:, good]
    matrix = (inside / values[good]) @ inside.T / np.outer(size, size)
    flat = none | ((vectors[:, ~good] ** 2).max(1, initial=0.0) > PART)
    return Covariance(np.where(flat[:, None] | flat[None], 0.0, matrix), flat)


def that_do_not_fall(
    found: Covariance, point: Float[np.ndarray, " p"], bounded: np.ndarray, height: Height
) -> np.ndarray:
    """Which parameters have a curvature that says nothing of the log evidence further away.

    The logarithm of a scale that goes to zero has one, for the log evidence is flat there. Only
    parameters that are loosely known are looked at.

    Args:
        found: By the curvature.
        point: The estimate.
        bounded: Which parameters stand for values with bounds, `[p]`.
        height: Log evidence of all tasks, less a penalty.
    """
    wide = np.sqrt(np.diag(found.matrix))
    asked = np.flatnonzero(~found.flat & (wide > LOOSE))
    flat = np.zeros(len(point), bool)
    here = height(point) if len(asked) else 0.0
    for i in asked:
        if bounded[i] and wide[i] > FARTHEST:
            flat[i] = True
            continue
        ahead = found.matrix[:, i] / wide[i]
        falls = [here - height(point + sign * ahead) for sign in (1, -1)]
        # What is not finite is a fall.
        flat[i] = bool(np.nanmin([*falls, np.inf]) < FALLS * 0.5)
    return flat


def without(found: Covariance, flat: np.ndarray) -> Covariance:
    """The same with fewer parameters that have a standard error."""
    flat = found.flat | flat
    return Covariance(np.where(flat[:, None] | flat[None], 0.0, found.matrix), flat)


class Table(NamedTuple):
    """The parameters in a row as they are told, with their bounds.

    Attributes:
        names: Of each entry: "tau", "spread[1]".
        slopes: Of each entry by the parameters without bounds, `[entry, p]`.
        shapes: Of each parameter, by name.
    """

    names: list[str]
    slopes: Float[np.ndarray, "entry p"]
    shapes: dict[str, tuple[int, ...]]


def table_at(program: Program, unflatten: Callable[[Any], Any], at: Any) -> Table:
    """The parameters at an estimate.

    Args:
        program: The program.
        unflatten: From the flat vector to its parameters without bounds.
        at: The estimate, flat, `[p]`.
    """

    def told(flat: Any) -> Any:
        return bound(program, unflatten(flat)).parameters

    shapes = {name: np.shape(x) for name, x in as_table(program).items()}
    names = []
    for name, shape in shapes.items():
        each = [f"{name}[{','.join(map(str, i))}]" for i in np.ndindex(*shape)]
        names += each if shape else [name]
    slopes = jax.tree.leaves(jax.jacfwd(told)(at))
    rows = [np.asarray(x, float).reshape(-1, len(at)) for x in slopes]
    return Table(names, np.concatenate(rows), shapes)


def by_name(table: Table, found: Covariance) -> dict[str, np.ndarray]:
    """Standard errors by the delta method, in the shapes of the parameters; nan where none is."""
    error = np.sqrt(np.einsum("ei,ij,ej->e", table.slopes, found.matrix, table.slopes))
    error[((table.slopes != 0) & found.flat).any(1)] = np.nan
    ends = np.cumsum([int(np.prod(shape)) for shape in table.shapes.values()])
    parts = np.split(error, ends[:-1])
    named = zip(table.shapes.items(), parts, strict=True)
    return {name: part.reshape(shape) for (name, shape), part in named}


def bounded(program: Program) -> np.ndarray:
    """Which parameters without bounds, in a row, stand for values that have bounds, `[p]`."""

    def has_bounds(constraint: Any) -> bool:
        if constraint is None:
            return False
        return not isinstance(biject_to(constraint), IdentityTransform)

    flags = {
        name: jax.tree.map(
            lambda x, c=program.constraints[name]: np.full(x.shape, has_bounds(c)), tree
        )
        for name, tree in free(program).items()
    }
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(flags)])


def interval(
    value: np.ndarray, error: np.ndarray, constraint: Any
) -> tuple[np.ndarray, np.ndarray] | None:
    """Two standard errors to both sides where there are no bounds: of a scale, of its logarithm.

    The likelihood of a scale leans: two standard errors to both sides of the scale itself hold the
    truth less often than they say, for it lies above more often than below.

    Args:
        value: Of a parameter, of any shape.
        error: Its standard errors.
        constraint: Its support, as `Program.constraints` has it.

    Returns:
        Lower and upper ends; None where there are no bounds, or entries bind each other.

    Example:
        >>> from numpyro.distributions import constraints
        >>> low, high = interval(np.array(2.0), np.array(0.5), constraints.positive)
        >>> print(f"{low:.4f} {high:.4f}")
        1.2131 3.2974
    """
    change = None if constraint is None else biject_to(constraint)
    if change is None or isinstance(change, IdentityTransform) or change.codomain.event_dim:
        return None
    place = change.inv(value)
    slope = np.exp(np.asarray(change.log_abs_det_jacobian(place, value)))
    away = 2.0 * np.asarray(error) / slope
    ends = np.asarray(change(place - away)), np.asarray(change(place + away))
    return np.asarray(np.minimum(*ends)), np.asarray(np.maximum(*ends))


def entries(errors: Mapping[str, np.ndarray]) -> list[str]:
    """The names of what has no standard error, with the index of an entry where others have one.

    Example:
        >>> entries({"mu": np.array(0.1), "tau": np.array([0.1, np.nan])})
        ['tau[1]']
    """
    found = []
    for name, error in errors.items():
        none = np.isnan(error)
        if none.all() and none.size:
            found.append(name)
        else:
            found += [f"{name}[{','.join(map(str, at))}]" for at in np.argwhere(none)]
    return found


def flat_doubt(errors: Mapping[str, np.ndarray]) -> str | None:
    """That there are parameters without a standard error; None where all have one."""
    names = entries(errors)
    if not names:
        return None
    return f"{listed(names)}: no standard error: the likelihood is flat or still rising there"


def with_noise(found: Covariance, noise: Float[np.ndarray, "p p"]) -> Covariance:
    """With what noise of the points adds to the estimate's variance.

    Args:
        found: By the curvature.
        noise: Covariance of the summed gradient by the points.
    """
    return found._replace(matrix=found.matrix + found.matrix @ noise @ found.matrix)


def noise_doubt(found: Covariance, noise: Float[np.ndarray, "p p"], setting: str) -> str | None:
    """That the points leave too much noise in the estimate; None where they do not.

    Args:
        found: By the curvature.
        noise: As of `with_noise`.
        setting: What to raise.
    """
    many = max(int((~found.flat).sum()), 1)
    error = float(np.sqrt(max(np.trace(found.matrix @ noise) / many, 0.0)))
    if error <= NOISY:
        return None
    what = f"noise of {error:.2g} standard errors in what it learned"
    return f"the outer loop has {what}: raise {setting}"
