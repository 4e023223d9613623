"""The discrete latents of a task as a row of positions: what values they take, and who may swap."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from bayes_badger.program import TASK, Program


@dataclass(frozen=True)
class Sites:
    """The entries of all discrete latents of a task, one after another.

    Attributes:
        names: Of the latents.
        shapes: Of each.
        support: The values of each entry.

    Example:
        >>> sites = Sites(("on", "kind"), ((2,), ()), ((0, 1), (0, 1), (5, 6, 7)))
        >>> {name: x.tolist() for name, x in sites.assignment(jnp.array([1, 0, 2])).items()}
        {'on': [1, 0], 'kind': 7}
        >>> sites.partners[0].tolist(), sites.size
        ([False, True, False], 12)
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    support: tuple[tuple[int, ...], ...]

    @property
    def size(self) -> int:
        """How many joint values there are."""
        return math.prod(len(values) for values in self.support)

    @property
    def counts(self) -> Int[np.ndarray, " entry"]:
        """How many values each entry has."""
        return np.array([len(values) for values in self.support])

    @property
    def values(self) -> Int[np.ndarray, "entry value"]:
        """Of each entry by position; the last again where it has fewer than others."""
        most = self.counts.max()
        rows = [[*row, *[row[-1]] * (most - len(row))] for row in self.support]
        return np.array(rows, np.int32)

    @property
    def partners(self) -> Bool[np.ndarray, "entry entry"]:
        """Which entries have the same support, so that values may be exchanged; not itself."""
        same = np.array([[a == b for b in self.support] for a in self.support])
        return same & ~np.eye(len(same), dtype=bool)

    def assignment(self, positions: Int[Array, " entry"]) -> dict[str, Array]:
        """Values by name, of positions."""
        flat = jnp.asarray(self.values)[jnp.arange(len(self.support)), positions]
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])
        pieces = jnp.split(flat, ends[:-1])
        return {
            name: piece.reshape(shape)
            for name, shape, piece in zip(self.names, self.shapes, pieces, strict=True)
        }

    def positions(self, values: Mapping[str, Array]) -> Int[Array, " entry"]:
        """Positions of values by name: the inverse of `assignment`."""
        flat = jnp.concatenate([jnp.ravel(values[name]) for name in self.names])
        return jnp.argmax(jnp.asarray(self.values) == flat[:, None], axis=1)


def sites_of(program: Program) -> Sites | None:
    """The entries of a task's discrete latents; None where one has no list of values."""
    names, shapes, support = [], [], []
    for latent in program.discrete:
        values = program.enumerate_support(latent.name)
        if values is None or latent.scope != TASK:
            return None
        names.append(latent.name)
        shapes.append(latent.shape)
        support += [values] * math.prod(latent.shape)
    return Sites(tuple(names), tuple(shapes), tuple(support)) if names else None
