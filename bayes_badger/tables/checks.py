"""Numbers that a program can use: finite, and told apart in single precision.

Programs compute in float32, where 1700000000 and 1700000010 are the same number and a placeholder
such as 1e20 makes samplers run without an error and without sense.
"""

from __future__ import annotations

import numpy as np

from bayes_badger.tables.origin import Origin, show, such_rows

TOO_LARGE = 1e15
LARGEST_INTEGER = 2**31
# Beyond this, float32 skips whole numbers.
LARGEST_EXACT = 2**24
# Rounding is harmless where it is below this share of the spread of a column.
HARMLESS = 1e-3
# Differences below this (relative) are rounding of float64, not information.
SAME_IN_DOUBLE = 1e-11


def check_usable(
    values: np.ndarray, name: str, rows: np.ndarray, groups: np.ndarray, origin: Origin
) -> None:
    """Refuses numbers that single precision cannot hold.

    Args:
        values: None missing, `[rows, ...]`.
        name: The column, for messages.
        rows: Position of each row in the source, `[rows]`.
        groups: Task of each row, `[rows]`.
        origin: The source.

    Raises:
        BadgerError: On infinity, on magnitudes of 1e15 and more, on integers beyond 32 bits, and
            where values that differ would become equal.
    """
    if values.dtype == bool or not values.size:
        return
    table = values.reshape(len(values), -1)
    size = np.abs(table)
    worst = size.max()

    def first(bad: np.ndarray) -> tuple[int, object, str]:
        row, column = np.unravel_index(int(np.argmax(bad)), bad.shape)
        return int(rows[row]), table[row, column], such_rows(int(bad.any(axis=1).sum()))

    if np.isinf(worst):
        position, _, count = first(np.isinf(table))
        origin.refuse(
            f"{name} is infinite{count}: correct it, or empty the cell if nothing was measured",
            position,
        )
    if worst >= TOO_LARGE:
        position, value, count = first(size >= TOO_LARGE)
        origin.refuse(
            f"{name} is {show(value)}{count}, too large for single precision; a placeholder for "
            "missing? empty it, or rescale the column",
            position,
        )
    if values.dtype.kind in "iu" and worst >= LARGEST_INTEGER:
        position, value, count = first(size >= LARGEST_INTEGER)
        origin.refuse(
            f"{name} is {show(value)}{count}, too large for single precision "
            "(32-bit whole numbers): subtract its smallest value first, or rescale the column",
            position,
        )
    for column in table.T:
        _refuse_collapse(column, name, rows, groups, origin)


def _spread(values: np.ndarray, groups: np.ndarray) -> float:
    """Standard deviation within tasks (what a task can learn from), or of all if there is none."""
    counts = np.bincount(groups)
    means = np.bincount(groups, values) / np.maximum(counts, 1)
    freedom = len(values) - np.count_nonzero(counts)
    within = ((values - means[groups]) ** 2).sum()
    if freedom and within:
        return float(np.sqrt(within / freedom))
    return float(values.std())


def _refuse_collapse(
    values: np.ndarray, name: str, rows: np.ndarray, groups: np.ndarray, origin: Origin
) -> None:
    top = np.abs(values).max()
    whole = values.dtype.kind in "iu" or (
        top > LARGEST_EXACT and (values == np.floor(values)).all()
    )
    if whole and top <= LARGEST_EXACT:
        return
    harmful = HARMLESS * _spread(values.astype(float), groups)
    if not whole and np.spacing(np.float32(top)) <= harmful:
        return
    distinct, first = np.unique(values, return_index=True)
    coarse = distinct.astype(np.float32)
    same = coarse[1:] == coarse[:-1]
    if not same.any():
        return
    distinct = distinct.astype(float)
    same &= np.diff(distinct) > SAME_IN_DOUBLE * np.abs(distinct[1:])
    spacing = np.spacing(np.abs(coarse[1:])).astype(float)
    harm = same & (spacing > harmful)
    # Times and identifiers are whole numbers: there it is the loss of distinct values that counts,
    # while among many measured numbers a few neighbours are always equal.
    if whole and same.mean() > 0.01:
        harm = same
    if harm.any():
        pair = int(np.argmax(harm))
        one, other = first[pair], first[pair + 1]
        origin.refuse(
            f"{name}: {show(values[one])} ({origin.place(int(rows[one]))}) and "
            f"{show(values[other])} ({origin.place(int(rows[other]))}) are equal in single "
            "precision: subtract its smallest value first"
        )
