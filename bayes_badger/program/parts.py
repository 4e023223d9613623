"""What a lifted program takes and gives, and how their axes are summed and stepped through."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from bayes_badger.program.walk import Data


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The observed site.

    Attributes:
        site: Its name.
        family: Name of its distribution.
        support: Name of its support.
        discrete: Whether it takes separate values.
        shape: Of one value.
        support_moves: Whether its support depends on latents, as that of `Uniform(0, top)`.
    """

    site: str
    family: str
    support: str
    discrete: bool
    shape: tuple[int, ...]
    support_moves: bool = False


class Step(NamedTuple):
    """One piece of evidence of one task: a query and its answer.

    Attributes:
        columns: By name, `[...]` without the axes of task and step.
        task_columns: By name, `[...]`.
        outcome: `[...]`.
    """

    columns: Mapping[str, Array]
    task_columns: Mapping[str, Array]
    outcome: Array | None = None


class Terms(NamedTuple):
    """The log density of a lifetime, term by term, in nats.

    Attributes:
        lifetime: Of the lifetime's coordinates, and of factors outside the tasks: a scalar.
        task: Of each task's coordinates, given the lifetime's: `[task]`.
        log_likelihood: Of each outcome: `[task, step]`.
    """

    lifetime: Float[Array, ""]
    task: Float[Array, " task"]
    log_likelihood: Float[Array, "task step"]


class Simulated(NamedTuple):
    """One lifetime drawn from a program.

    Attributes:
        values: Latents and deterministics by name: `[*shape]`, or `[task, *shape]`.
        outcome: `[task, step, ...]`.
        state: What a stateful program returned last.
    """

    values: dict[str, Array]
    outcome: Array
    state: PyTree


def sum_per_task(density: Array, tasks: int) -> Float[Array, " task"]:
    """Sums a batch `[..., task, step]` over all but the axis of tasks."""
    density = jnp.asarray(density)
    axis = density.ndim - 2
    return density.sum(tuple(i for i in range(density.ndim) if i != axis)).reshape(tasks)


def sum_per_row(density: Array, data: Data) -> Float[Array, "task step"]:
    """Sums a batch `[..., task, step]` over all but the last two axes."""
    density = jnp.asarray(density)
    return density.sum(tuple(range(density.ndim - 2))).reshape(data.tasks, data.steps)


def per_row(
    theta: Array, information: Array, data: Data
) -> tuple[Float[Array, "step p"], Float[Array, "step p p"]]:
    """Parameters `[..., 1, step, p]` and their information, of one task: one block per step."""
    p = theta.shape[-1]
    theta = jnp.broadcast_to(theta, (*theta.shape[:-3], 1, data.steps, p))
    rows = jnp.moveaxis(theta, -2, 0).reshape(data.steps, -1, p)
    information = jnp.broadcast_to(information, (*theta.shape, p))
    blocks = jnp.moveaxis(information, -3, 0).reshape(data.steps, -1, p, p)
    n = rows.shape[1]
    if n == 1:
        return rows[:, 0], blocks[:, 0]
    full = jnp.eye(n, dtype=blocks.dtype)[:, None, :, None] * blocks[:, :, :, None, :]
    return rows.reshape(data.steps, n * p), full.reshape(data.steps, n * p, n * p)


def later_steps(columns: Mapping[str, Array]) -> dict[str, Array]:
    """The steps after the first, their axis in front, to be scanned over."""
    return {name: jnp.moveaxis(x[:, 1:], 1, 0) for name, x in columns.items()}


def one_step_of(data: Data, columns: Mapping[str, Array], state: PyTree) -> Data:
    """One step of every task, out of a scan."""
    columns = {name: column[:, None] for name, column in columns.items()}
    return data._replace(columns=columns, state=state)


def shaped_like(mask: Array, target: Array) -> Array:
    """A mask `[task]` with as many axes as the target."""
    return mask.reshape(mask.shape + (1,) * (target.ndim - mask.ndim))
