"""Ragged tasks as few padded blocks.

A compiled program wants rectangles. One rectangle around all tasks is as long as the longest task,
so tasks of similar length share a block: at most a factor `waste` more cells than rows.
Padding repeats a real row, so that `log(exposure)` or `1 / sigma` is finite wherever it is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Block(NamedTuple):
    """Tasks of similar length, padded to one length.

    Attributes:
        tasks: Positions of its tasks in `Evidence.tasks`, `[n]`.
        columns: Name to values, `[n, s, ...]`.
        task_columns: Name to values, `[n, 1, ...]`.
        outcome: Outcomes, `[n, s, ...]`, or None.
        mask: True where there is a real row, `[n, s]`.
        rows: Position of the row in the long form, `[n, s]`; padding repeats a real row.
    """

    tasks: np.ndarray
    columns: dict[str, np.ndarray]
    task_columns: dict[str, np.ndarray]
    outcome: np.ndarray | None
    mask: np.ndarray
    rows: np.ndarray


def single(values: np.ndarray) -> np.ndarray:
    """Casts to what a compiled program computes with: float32, int32 or bool."""
    if values.dtype == bool:
        return values
    return values.astype(np.float32 if values.dtype.kind == "f" else np.int32)


def groups_of_similar_length(lengths: np.ndarray, waste: float) -> list[np.ndarray]:
    """Groups tasks so that padded cells are at most about `waste` times the rows.

    Tasks start in bins of doubling length; neighbouring bins are then merged, cheapest first, as
    long as the padding stays within `waste`, since every block is one more compilation.

    Args:
        lengths: Rows of each task, `[tasks]`.
        waste: Padded cells per real row, more than 1.

    Returns:
        Positions of the tasks of each group, in order, shortest tasks first.

    Example:
        >>> groups_of_similar_length(np.array([3, 500, 4, 1]), 2.0)
        [array([0, 2, 3]), array([1])]
    """
    if waste <= 1:
        raise ValueError(f"waste is padded cells per real row, more than 1, not {waste}")
    if lengths.size == 0:
        return []
    padded = np.maximum(lengths, 1)
    # The nudge keeps exact powers in their own bin in spite of rounding.
    bins = np.ceil(np.log(padded) / np.log(min(waste, 2.0)) - 1e-9).astype(int)
    kinds, member = np.unique(bins, return_inverse=True)
    counts = np.bincount(member).tolist()
    longest = np.zeros(len(kinds), dtype=int)
    np.maximum.at(longest, member, padded)
    spans = [[kind] for kind in range(len(kinds))]
    length = longest.tolist()
    budget = waste * float(lengths.sum())
    cells = sum(count * size for count, size in zip(counts, length, strict=True))
    while len(spans) > 1:
        extra = [counts[i] * (length[i + 1] - length[i]) for i in range(len(spans) - 1)]
        best = int(np.argmin(extra))
        if cells + extra[best] > budget:
            break
        cells += extra[best]
        spans[best : best + 2] = [spans[best] + spans[best + 1]]
        counts[best : best + 2] = [counts[best] + counts[best + 1]]
        del length[best]
    return [np.flatnonzero((member >= span[0]) & (member <= span[-1])) for span in spans]


def make_block(
    tasks: np.ndarray,
    lengths: np.ndarray,
    columns: Mapping[str, np.ndarray],
    task_columns: Mapping[str, np.ndarray],
    outcome: np.ndarray | None,
) -> Block:
    """Pads some tasks to the length of the longest.

    Args:
        tasks: Positions of the tasks, `[n]`.
        lengths: Rows of each task of the evidence, `[tasks]`.
        columns: Long form, already cast, `[rows, ...]` each.
        task_columns: By task, already cast, `[tasks, ...]` each.
        outcome: Long form, already cast, `[rows, ...]`, or None.
    """
    starts = np.cumsum(lengths) - lengths
    size = int(max(lengths[tasks].max(initial=0), 1))
    step = np.arange(size)
    mask = step < lengths[tasks][:, None]
    last = np.maximum(lengths[tasks] - 1, 0)
    rows = starts[tasks][:, None] + np.minimum(step, last[:, None])
    # A task without rows borrows the first row of the evidence.
    rows[lengths[tasks] == 0] = 0
    any_row = bool(lengths.sum())

    def pad(values: np.ndarray) -> np.ndarray:
        if any_row:
            return values[rows]
        return np.ones(rows.shape + values.shape[1:], values.dtype)

    return Block(
        tasks=tasks,
        columns={name: pad(values) for name, values in columns.items()},
        task_columns={name: values[tasks][:, None] for name, values in task_columns.items()},
        outcome=None if outcome is None else pad(outcome),
        mask=mask,
        rows=rows,
    )


def to_long(blocks: Sequence[Block], values: Sequence[Any], axis: int, n_rows: int) -> np.ndarray:
    """Gathers values of blocks, `[..., n, s, ...]`, into long form, `[..., rows, ...]`."""
    if not blocks:
        return np.zeros(n_rows)
    arrays = [np.asarray(value) for value in values]
    axis = axis % arrays[0].ndim
    lead, trail = arrays[0].shape[:axis], arrays[0].shape[axis + 2 :]
    long = np.zeros((*lead, n_rows, *trail), np.result_type(*arrays))
    for block, array in zip(blocks, arrays, strict=True):
        flat = array.reshape(*lead, block.mask.size, *trail)
        real = np.flatnonzero(block.mask)
        long[(slice(None),) * axis + (block.rows.ravel()[real],)] = flat.take(real, axis=axis)
    return long


def to_tasks(blocks: Sequence[Block], values: Sequence[Any], axis: int, n_tasks: int) -> np.ndarray:
    """Gathers values of blocks, `[..., n, ...]`, into the order of tasks, `[..., tasks, ...]`."""
    if not blocks:
        return np.zeros(n_tasks)
    arrays = [np.asarray(value) for value in values]
    axis = axis % arrays[0].ndim
    joined = np.concatenate(arrays, axis=axis)
    positions = np.concatenate([block.tasks for block in blocks])
    return joined.take(np.argsort(positions), axis=axis)
