"""Evidence of several sources as one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bayes_badger.errors import BadgerError
from bayes_badger.evidence.evidence import Evidence


def joined(first: Evidence, second: Evidence) -> Evidence:
    """All tasks of the first, then all of the second.

    Args:
        first: Evidence.
        second: Evidence of the same columns about other tasks.

    Returns:
        Evidence whose rows are numbered on, so that each has a number of its own.

    Raises:
        BadgerError: Where a label is in both.
    """
    labels = {str(label) for label in first.tasks}
    twice = [str(label) for label in second.tasks if str(label) in labels]
    if twice:
        raise BadgerError(f"{first.task_name} '{twice[0]}' is in both: rename one of the two")
    last = int(first.rows.max()) if first.n_rows else 0

    def together(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.concatenate([a, b])

    none = first.outcome is None or second.outcome is None
    return replace(
        first,
        columns={name: together(x, second.columns[name]) for name, x in first.columns.items()},
        task_columns={
            name: together(x, second.task_columns[name]) for name, x in first.task_columns.items()
        },
        outcome=None if none else together(first.outcome, second.outcome),  # type: ignore[arg-type]
        task_index=together(first.task_index, second.task_index + first.n_tasks),
        tasks=_labels(first.tasks, second.tasks),
        rows=together(first.rows, second.rows + last),
        notes=(*first.notes, *second.notes),
    )


def _labels(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Labels of one kind: text as soon as one of them is."""
    if first.dtype.kind == second.dtype.kind:
        return np.concatenate([first, second])
    return np.array([str(label) for label in (*first, *second)], dtype=object)
