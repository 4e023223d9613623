"""Evidence of many tasks in portions of growing length: what compiled code takes, few shapes.

Rows are taken in as the first 16, then up to 64, 256, ...: while there are few, the posterior is
wide and no answer is out of reach; each further portion narrows it by a factor of two in each
direction, which an importance refit can follow. It is also how any number of rows needs but a few
compilations.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from bayes_badger.program import Data

FIRST, FACTOR = 16, 4


class Portion(NamedTuple):
    """Some tasks, with their rows so far.

    Attributes:
        data: `[task, step, ...]`, padded to the portion's length.
        seen: Which rows are real and part of it, `[task, step]`.
        new: Which of those were not part of the portion before, `[task, step]`.
    """

    data: Data
    seen: Array
    new: Array


def lengths(longest: int) -> list[int]:
    """The lengths of portions: the last holds all rows.

    Example:
        >>> lengths(10), lengths(200)
        ([16], [16, 64, 256])
    """
    found = [FIRST]
    while found[-1] < longest:
        found.append(found[-1] * FACTOR)
    return found


def portions(data: Data, mask: np.ndarray) -> Iterator[Portion]:
    """All rows of some tasks, portion by portion."""
    before = 0
    for length in lengths(int(mask.sum(1).max(initial=1))):
        cut, real = stretched(data, mask, length)
        yield Portion(cut, real, real & (np.arange(length) >= before))
        before = length


def stretched(data: Data, mask: np.ndarray, length: int) -> tuple[Data, Array]:
    """The first rows of each task, as many as `length`, and which of them are real."""
    columns = {name: _cut(x, length, True) for name, x in data.columns.items()}
    outcome = None if data.outcome is None else _cut(data.outcome, length, True)
    cut = Data(columns, data.task_columns, outcome)
    return cut, _cut(jnp.asarray(mask), length, False)


def at_one_length(data: Data, mask: np.ndarray, most: int | None = None) -> tuple[Data, Array]:
    """All rows of each task at the length that portions of them would end with.

    Args:
        data: Of some tasks.
        mask: Which rows are real.
        most: Rows of the longest of all tasks: it is then no longer than that asks for.
    """
    length = lengths(int(mask.sum(1).max(initial=1)))[-1]
    return stretched(data, mask, length if most is None else min(length, rounded(most)))


def rounded(rows: int) -> int:
    """A length that so many rows fit in, at most a quarter longer: there are few of them.

    Example:
        >>> [rounded(n) for n in (1, 8, 9, 10, 33, 116)]
        [4, 8, 10, 10, 40, 128]
    """
    step = max(1, (1 << max(rows - 1, 1).bit_length()) // 8)
    return max(4, -(-rows // step) * step)


def _cut(x: Array, length: int, repeat: bool) -> Array:
    """The first rows, and the first again where there are fewer."""
    short = length - x.shape[1]
    if short <= 0:
        return x[:, :length]
    rest = jnp.repeat(x[:, :1], short, 1)
    return jnp.concatenate([x, rest if repeat else jnp.zeros_like(rest)], 1)


def padded(data: Data, mask: np.ndarray, multiple: int) -> tuple[Data, np.ndarray]:
    """As many tasks as a multiple of something: the first again, without rows."""
    short = -len(mask) % multiple
    if not short:
        return data, mask
    data = jax.tree.map(lambda x: jnp.concatenate([x, jnp.repeat(x[:1], short, 0)]), data)
    return data, np.concatenate([mask, np.zeros((short, mask.shape[1]), bool)])
