"""Evidence as a compiled program takes it: arrays of single precision on the device."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array

from bayes_badger.evidence.blocks import Block, single
from bayes_badger.evidence.evidence import Evidence
from bayes_badger.program import Data

# Each block is one more compilation, of a second or more; so many padded cells cost less.
SMALL = 20_000


def blocks_of(evidence: Evidence) -> list[Block]:
    """The blocks to compile for: one where it is small, else several of similar length."""
    if evidence.n_tasks * int(evidence.lengths.max(initial=1)) <= SMALL:
        return [evidence.padded()]
    return evidence.blocks()


def data_of(block: Block) -> Data:
    """A block of tasks: columns and outcome `[n, s, ...]`, columns of the task `[n, 1, ...]`."""
    return Data(
        {name: jnp.asarray(x) for name, x in block.columns.items()},
        {name: jnp.asarray(x) for name, x in block.task_columns.items()},
        None if block.outcome is None else jnp.asarray(block.outcome),
    )


def task_columns_of(evidence: Evidence) -> dict[str, Array]:
    """Columns of all tasks, in order, `[task, 1, ...]`."""
    return {name: jnp.asarray(single(x)[:, None]) for name, x in evidence.task_columns.items()}
