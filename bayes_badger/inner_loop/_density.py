"""The log density of a whole lifetime, block by block, summed so that single precision will do."""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayes_badger.compilation import jit_by_work, jit_lightly
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import blocks_of, data_of
from bayes_badger.program import Data, Program

# Points whose gradient is taken at once. Whoever climbs or fits uses the same number, so that one
# compiled gradient serves them all: compiling it costs more than a thousand calls of it.
BATCH = 8
# Of so few rows, padding included, the sum is known well enough without references.
FEW = 10_000


class Part(eqx.Module):
    """A block of evidence as a compiled program takes it: `tasks [n]`, data, `mask [n, s]`."""

    tasks: Array
    data: Data
    mask: Array


def log_density(
    program: Program,
    lifetime: Float[Array, " lifetime"],
    task: Float[Array, "task size"],
    parts: Sequence[Part],
    references: Sequence[Array],
) -> Float[Array, ""]:
    """Log density of a whole lifetime in coordinates, relative to given log likelihoods per row.

    Each row's log likelihood is taken relative to a reference before it is summed: at a million
    rows the sum itself would be known to .1 nats only in single precision, the difference is small.
    """
    total = jnp.zeros(())
    for i, (part, reference) in enumerate(zip(parts, references, strict=True)):
        terms = program.terms(lifetime, task[part.tasks], part.data)
        rows = jnp.where(part.mask, terms.log_likelihood - reference, 0.0)
        total += terms.task.sum() + rows.sum(1).sum()
        if i == 0:
            total += terms.lifetime
    return total


def values_and_slopes(
    program: Program,
    lifetime: Float[np.ndarray, "point lifetime"],
    task: Float[np.ndarray, "point task size"],
    parts: Sequence[Part],
    references: Sequence[Array],
) -> tuple[
    Float[np.ndarray, " point"],
    Float[np.ndarray, "point lifetime"],
    Float[np.ndarray, "point task size"],
]:
    """The log density at several points, and its gradient, on the host.

    Args:
        program: The lifted program, without discrete latents.
        lifetime: Coordinates of what tasks share, of each point.
        task: Coordinates of each task, of each point.
        parts: All evidence.
        references: Log likelihoods per row that the density is relative to.
    """
    many, found = len(lifetime), []
    for start in range(0, many, BATCH):
        # Always as many points: the last comes again to fill up.
        some = np.minimum(np.arange(start, start + BATCH), many - 1)
        points = (jnp.asarray(x[some], jnp.float32) for x in (lifetime, task))
        found.append(_values_and_slopes(program, tuple(points), parts, references))
    values, of_lifetime, of_task = (
        np.concatenate([np.asarray(x) for x in each])[:many] for each in zip(*found, strict=True)
    )
    return values, of_lifetime, of_task


@jit_lightly
def _values_and_slopes(
    program: Program,
    points: tuple[Array, ...],
    parts: Sequence[Part],
    references: Sequence[Array],
) -> tuple[Array, Array, Array]:
    def density(point: tuple[Array, ...]) -> Array:
        return log_density(program, point[0], point[1], parts, references)

    values, slopes = jax.vmap(jax.value_and_grad(density))(points)
    return values, *slopes


def reference(
    program: Program, lifetime: Array, task: Array, parts: Sequence[Part]
) -> list[Float[Array, "task step"]]:
    """The log likelihood of each row at a point; 0 where it is not finite, and where rows are few.

    Of few rows the sum is exact enough, so that nothing need be compiled.
    """
    if sum(part.mask.size for part in parts) <= FEW:
        return [jnp.zeros(part.mask.shape) for part in parts]
    return _reference(program, lifetime, task, parts)


@jit_by_work
def _reference(
    program: Program, lifetime: Array, task: Array, parts: Sequence[Part]
) -> list[Float[Array, "task step"]]:
    rows = [program.terms(lifetime, task[p.tasks], p.data).log_likelihood for p in parts]
    return [jnp.nan_to_num(row, nan=0.0, posinf=0.0, neginf=0.0) for row in rows]


def parts_of(evidence: Evidence) -> list[Part]:
    """Evidence as a compiled density takes it: blocks of tasks of similar length."""
    return [
        Part(jnp.asarray(block.tasks), data_of(block), jnp.asarray(block.mask))
        for block in blocks_of(evidence)
    ]
