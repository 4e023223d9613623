"""The mode near a place, and its mass by Laplace's approximation, from gradients alone.

A lifetime's Hessian has the form of an arrow: given what tasks share they do not touch each other.
So all tasks are moved at once, and the Hessian takes two gradients for each coordinate that is
shared and for each that a single task has, whatever the number of tasks. Differences of gradients
in double precision are accurate to some eight digits, and compiling a gradient takes a tenth of the
time that compiling a second derivative takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from bayes_badger.compilation import jit_lightly
from bayes_badger.inner_loop._density import Part, log_density
from bayes_badger.program import Program

# Distance of the places between which gradients are compared, in coordinates.
APART = 1e-4
# Factors of the damping after a step that is an ascent and after one that is not; a step this short
# in every coordinate is the last, and with so much damping no ascent is to be had.
SOFTER, HARDER, SHORT, HOPELESS = 0.2, 8.0, 1e-5, 1e10


class Place(NamedTuple):
    """A lifetime in coordinates: what tasks share `[a]`, and what each task has, `[task, z]`."""

    lifetime: np.ndarray
    task: np.ndarray


class Mode(NamedTuple):
    """A place where the log joint density is highest, and the log of the mass around it in nats."""

    place: Place
    log_mass: float


class _Curved(NamedTuple):
    """The log joint density around a place: its slope, and the blocks of minus its Hessian."""

    height: float
    slope: Place
    shared: np.ndarray
    across: np.ndarray
    own: np.ndarray


def mode_near(program: Program, start: Place, parts: Sequence[Part], steps: int) -> Mode | None:
    """The mode that damped Newton steps find from a place.

    Args:
        program: The lifted program, without discrete latents, of prior-normal coordinates.
        start: Where to start.
        parts: All evidence.
        steps: At most so many.

    Returns:
        The mode; None where the steps do not come to one, or it has no volume.
    """
    at, damping = _curved(program, start, parts), 1e-2
    place = start
    for _ in range(steps):
        if at is None:
            return None
        move = _newton(at, damping)
        if move is None:
            damping = max(HARDER * damping, 1.0)
            if damping > HOPELESS:
                return None
            continue
        there = Place(*(x + y for x, y in zip(place, move, strict=True)))
        height = _height(program, there, parts)
        if not height >= at.height - 1e-9 * abs(at.height):
            damping = max(HARDER * damping, 1e-2)
            if damping > HOPELESS:
                return None
            continue
        place, at, damping = there, _curved(program, there, parts), SOFTER * damping
        if max(np.abs(x).max(initial=0.0) for x in move) < SHORT:
            return None if at is None else _with_mass(place, at)
    return None


def _with_mass(place: Place, at: _Curved) -> Mode | None:
    """Laplace's approximation: the height, and the volume that the Hessian says."""
    size = at.shared.shape[0] + at.slope.task.size
    try:
        log_det = np.log(np.linalg.eigvalsh(_schur(at, 0.0)[0])).sum()
        log_det += np.log(np.linalg.eigvalsh(at.own)).sum() if at.own.size else 0.0
    except np.linalg.LinAlgError:
        return None
    mass = at.height + 0.5 * size * np.log(2 * np.pi) - 0.5 * log_det
    return Mode(place, float(mass)) if np.isfinite(mass) else None


def _schur(at: _Curved, damping: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is left of the arrow where tasks are eliminated: precision, slope, and its solutions."""
    own = at.own + damping * np.eye(at.own.shape[-1])
    right = np.concatenate([np.swapaxes(at.across, 1, 2), at.slope.task[..., None]], 2)
    solved = np.linalg.solve(own, right) if own.shape[-1] else right
    shared = at.shared + damping * np.eye(len(at.shared))
    shared = shared - np.einsum("taz,tzb->ab", at.across, solved[..., :-1])
    slope = at.slope.lifetime - np.einsum("taz,tz->a", at.across, solved[..., -1])
    return 0.5 * (shared + shared.T), slope, solved


def _newton(at: _Curved, damping: float) -> Place | None:
    """The damped step; None where the damped Hessian is no minimum's."""
    try:
        shared, slope, solved = _schur(at, damping)
        if at.own.size:
            np.linalg.cholesky(at.own + damping * np.eye(at.own.shape[-1]))
        root = np.linalg.cholesky(shared)
    except np.linalg.LinAlgError:
        return None
    lifetime = np.linalg.solve(root.T, np.linalg.solve(root, slope))
    return Place(lifetime, solved[..., -1] - solved[..., :-1] @ lifetime)


def _curved(program: Program, place: Place, parts: Sequence[Part]) -> _Curved | None:
    """Height, slope and Hessian; None where any of them is not finite."""
    shared, own = place.lifetime.size, place.task.shape[1]
    each = np.concatenate([np.eye(shared + own), -np.eye(shared + own)]) * APART
    each = np.concatenate([np.zeros((1, shared + own)), each])
    found = []
    with jax.enable_x64(True):
        for move in each:
            at = (
                jnp.asarray(place.lifetime + move[:shared]),
                jnp.asarray(place.task + move[shared:]),
            )
            found.append(jax.tree.map(np.asarray, _value_and_slope(program, *at, parts)))
    height = float(found[0][0])
    of_lifetime, of_task = (np.stack([slope[i] for _, slope in found]) for i in (0, 1))
    if not (np.isfinite(height) and np.isfinite(of_lifetime).all() and np.isfinite(of_task).all()):
        return None
    count = shared + own
    lifetime_moves, task_moves = (
        -(x[1 : 1 + count] - x[1 + count :]) / (2 * APART) for x in (of_lifetime, of_task)
    )
    hessian = lifetime_moves[:shared]
    blocks = np.moveaxis(task_moves[shared:], 0, 1)
    return _Curved(
        height,
        Place(of_lifetime[0], of_task[0]),
        0.5 * (hessian + hessian.T),
        np.moveaxis(task_moves[:shared], 0, 1),
        0.5 * (blocks + np.swapaxes(blocks, 1, 2)),
    )


def _height(program: Program, place: Place, parts: Sequence[Part]) -> float:
    with jax.enable_x64(True):
        at = jnp.asarray(place.lifetime), jnp.asarray(place.task)
        return float(_value_and_slope(program, *at, parts)[0])


@jit_lightly
def _value_and_slope(
    program: Program, lifetime: Array, task: Array, parts: Sequence[Part]
) -> tuple[Array, tuple[Array, Array]]:
    """The log joint density and its gradient at a place, in double precision."""
    zero = [jnp.zeros(part.mask.shape) for part in parts]

    def density(point: tuple[Array, Array]) -> Array:
        return log_density(program, point[0], point[1], parts, zero)

    found: Any = jax.value_and_grad(density)((lifetime, task))
    return found
