"""Evidence as a compiled program takes it: arrays of single precision on the device."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array

from bayes_badger.evidence.blocks import Block, single
from bayes_badger.evidence.evidence import Evidence
from bayes_badger.program import Data


def data_of(block: Block) -> Data:
    """A block of tasks: columns and outcome `[n, s, ...]`, columns of the task `[n, 1, ...]`."""
    return Data(
        {name: jnp.asarray(x) for name, x in block.columns.items()},
        {name: jnp.asarray(x) for name, x in block.task_columns.items()},
        None if block.outcome is None else jnp.asarray(block.outcome),
    )


def task_columns_of(evidence: Evidence) -> dict[str, Array]:
    """Columns of all tasks, in order, `[task, 1, ...]`."""
    return {name: jnp.asarray(single(x))[:, None] for name, x in evidence.task_columns.items()}
