"""The log density of a whole lifetime, block by block, summed so that single precision will do."""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from bayes_badger.compilation import jit_by_work
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import blocks_of, data_of
from bayes_badger.program import Data, Program


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


@jit_by_work
def reference(
    program: Program, lifetime: Array, task: Array, parts: Sequence[Part]
) -> list[Float[Array, "task step"]]:
    """The log likelihood of each row at a point; 0 where it is not finite."""
    rows = [program.terms(lifetime, task[p.tasks], p.data).log_likelihood for p in parts]
    return [jnp.nan_to_num(row, nan=0.0, posinf=0.0, neginf=0.0) for row in rows]


def parts_of(evidence: Evidence) -> list[Part]:
    """Evidence as a compiled density takes it: blocks of tasks of similar length."""
    return [
        Part(jnp.asarray(block.tasks), data_of(block), jnp.asarray(block.mask))
        for block in blocks_of(evidence)
    ]
