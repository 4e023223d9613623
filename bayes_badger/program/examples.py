"""Columns on which a program is tried when it is lifted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from bayes_badger.errors import BadgerError
from bayes_badger.program.walk import Data
from bayes_badger.signature import Signature

# Unequal, and no divisors of one another, so that no axis can be taken for the other.
TASKS, STEPS = 5, 7


def from_inputs(
    signature: Signature, inputs: Callable[..., Any], key: Array, tasks: int, steps: int
) -> Data:
    """The columns that a file's own `inputs(key, tasks, steps)` gives.

    Raises:
        BadgerError: Where it leaves a column out, or gives one of another shape.
    """
    given = inputs(key, tasks, steps)
    columns = {}
    for name in (*signature.columns, *signature.task_columns):
        expected = (tasks, steps if name in signature.columns else 1)
        shape = jnp.shape(given[name]) if name in given else None
        if shape is None or shape[:2] != expected:
            raise BadgerError(
                f"{signature.program}: inputs(key, {tasks}, {steps}) must give '{name}' with shape "
                f"{expected}, and gives {'nothing' if shape is None else shape}"
            )
        columns[name] = jnp.asarray(given[name])
    return Data(
        {name: columns[name] for name in signature.columns},
        {name: columns[name] for name in signature.task_columns},
    )


def guesses(signature: Signature, key: Array) -> Iterator[Data]:
    """Columns to try a program on when there are none: any numbers, positive ones, then labels."""

    def made(kind: Callable[[Array, tuple[int, ...]], Array]) -> Data:
        keys = iter(jax.random.split(key, len(signature.names)))

        def draw(name: str, steps: int) -> Array:
            features = signature.groups.get(name)
            shape = (TASKS, steps) if features is None else (TASKS, steps, len(features))
            return kind(next(keys), shape)

        return Data(
            {name: draw(name, STEPS) for name in signature.columns},
            {name: draw(name, 1) for name in signature.task_columns},
        )

    yield made(jax.random.normal)
    yield made(lambda key, shape: jnp.exp(jax.random.normal(key, shape)))
    yield made(lambda key, shape: jax.random.randint(key, shape, 0, 2))
