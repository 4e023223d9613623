"""A latent: where it lives, what it looks like, and its place in the flat vector."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

LIFETIME, TASK = "lifetime", "task"
ROLES = {LIFETIME: "algorithm", TASK: "task"}


@dataclass(frozen=True)
class Latent:
    """One latent of a program.

    Attributes:
        name: Its name in the program.
        scope: "lifetime" (shared by all tasks) or "task" (each task has its own): from the plates.
        role: "algorithm" or "task", or the user's own label: for tables and measures.
        shape: Of its value, for one task.
        family: Name of its distribution.
        support: Name of its support.
        kind: Its coordinate: "whitened" (prior-normal) or "unconstrained"; "none" if discrete.
        shapes: Of its coordinate, by the kinds it can have; the axis of tasks, if any, left out.
        task_axis: Where the axis of tasks stands in the site's value and coordinate, counted from
            the front; None in a lifetime.
        squeeze: Whether the site's value has an axis of length 1 for steps, left out of `shape`.
        closed_form: Whether its prior-normal map is a cheap closed form.
        labels: What its values 0, 1, ... are called, where it is discrete; empty for none.
    """

    name: str
    scope: str
    role: str
    shape: tuple[int, ...]
    family: str
    support: str
    kind: str
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    task_axis: int | None
    squeeze: bool
    closed_form: bool
    labels: tuple[str, ...] = ()

    @property
    def discrete(self) -> bool:
        """Whether it takes separate values, so that it has no coordinate."""
        return self.kind == "none"

    @property
    def coordinate_shape(self) -> tuple[int, ...]:
        """Shape of its coordinate as the site has it, the axis of tasks left out."""
        return dict(self.shapes)[self.kind]

    @property
    def size(self) -> int:
        """How many entries of the flat vector it has, per task."""
        return 0 if self.discrete else math.prod(self.coordinate_shape)

    def task_first(self, value: Array) -> Array:
        """Brings a site's value `[..., task, 1, ...]` to `[task, *shape]`."""
        return task_first(value, self.task_axis, self.squeeze)

    def as_site(self, value: Array) -> Array:
        """Brings `[task, *shape]` back to what the site has: the inverse of `task_first`."""
        if self.task_axis is None:
            return value
        value = jnp.moveaxis(value, 0, self.task_axis)
        return jnp.expand_dims(value, self.task_axis + 1) if self.squeeze else value


@dataclass(frozen=True)
class Derived:
    """A `numpyro.deterministic` of a program; the attributes are those of `Latent`."""

    name: str
    scope: str
    shape: tuple[int, ...]
    task_axis: int | None
    squeeze: bool

    def task_first(self, value: Array) -> Array:
        """Brings a site's value `[..., task, 1, ...]` to `[task, *shape]`."""
        return task_first(value, self.task_axis, self.squeeze)


def task_first(value: Array, task_axis: int | None, squeeze: bool) -> Array:
    """Moves the axis of tasks to the front, and drops the axis of length 1 for steps."""
    if task_axis is None:
        return value
    if squeeze:
        value = jnp.squeeze(value, task_axis + 1)
    return jnp.moveaxis(value, task_axis, 0)


def pack(
    latents: Iterable[Latent], coordinates: Mapping[str, Array], tasks: int
) -> tuple[Float[Array, " lifetime"], Float[Array, "task size"]]:
    """Gathers the coordinates of all sites into one vector for the lifetime and one per task."""
    lifetime, task = [jnp.zeros(0)], [jnp.zeros((tasks, 0))]
    for latent in latents:
        if latent.discrete:
            continue
        u = coordinates[latent.name]
        if latent.task_axis is None:
            lifetime.append(u.reshape(-1))
        else:
            task.append(jnp.moveaxis(u, latent.task_axis, 0).reshape(tasks, -1))
    return jnp.concatenate(lifetime), jnp.concatenate(task, 1)


def unpack(
    latents: Iterable[Latent], lifetime: Float[Array, " lifetime"], task: Float[Array, "task size"]
) -> dict[str, Array]:
    """Lays the two vectors out as the sites have them: the inverse of `pack`."""
    coordinates: dict[str, Array] = {}
    at = {LIFETIME: 0, TASK: 0}
    for latent in latents:
        if latent.discrete:
            continue
        start = at[latent.scope]
        at[latent.scope] = stop = start + latent.size
        if latent.task_axis is None:
            coordinates[latent.name] = lifetime[start:stop].reshape(latent.coordinate_shape)
        else:
            u = task[:, start:stop].reshape(task.shape[0], *latent.coordinate_shape)
            coordinates[latent.name] = jnp.moveaxis(u, 0, latent.task_axis)
    return coordinates
