"""Many small data sets, each a task with its rows, in long form since tasks are ragged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from bayes_badger.evidence import blocks as blocking
from bayes_badger.evidence.blocks import Block


@dataclass(frozen=True, eq=False, repr=False)
class Evidence:
    """Rows of tasks, sorted by task; within a task they keep the order they were given in.

    Attributes:
        columns: Name to values as read (float64, int64 or bool), `[rows, ...]`.
        outcome: Outcomes, `[rows, ...]`; None where nothing was observed (queries).
        task_columns: Name to values, constant within a task, `[tasks, ...]`.
        task_index: Position of each row's task, non-decreasing, `[rows]`.
        tasks: Labels in order of first appearance, integers or text, `[tasks]`.
        rows: Number of each row in its table, the first being 1, `[rows]`.
        task_name: What a task is called, "county".
        outcome_name: What the outcome is called.
        notes: What reading did to the data, one sentence each.

    Example:
        >>> import numpy as np
        >>> evidence = Evidence(
        ...     columns={"x": np.array([0.1, 0.2, 0.3])},
        ...     outcome=np.array([1, 0, 1]),
        ...     task_columns={},
        ...     task_index=np.array([0, 0, 1]),
        ...     tasks=np.array([7, 4]),
        ...     rows=np.array([1, 3, 2]),
        ...     outcome_name="y",
        ... )
        >>> evidence
        Evidence: 2 tasks, 3 rows (1 to 2 a task); columns x, outcome y (int64)
        >>> evidence.padded().columns["x"]
        array([[0.1, 0.2],
               [0.3, 0.3]], dtype=float32)
    """

    columns: Mapping[str, np.ndarray]
    outcome: np.ndarray | None
    task_columns: Mapping[str, np.ndarray]
    task_index: np.ndarray
    tasks: np.ndarray
    rows: np.ndarray
    task_name: str = "task"
    outcome_name: str = "outcome"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n_rows, n_tasks = len(self.task_index), len(self.tasks)
        by_row = {**self.columns, "rows": self.rows}
        if self.outcome is not None:
            by_row[self.outcome_name] = self.outcome
        for name, values in by_row.items():
            if len(values) != n_rows:
                raise ValueError(f"{name} has {len(values)} values for {n_rows} rows")
        for name, values in self.task_columns.items():
            if len(values) != n_tasks:
                raise ValueError(f"{name} has {len(values)} values for {n_tasks} tasks")
        index = self.task_index
        if n_rows and (index[0] < 0 or index[-1] >= n_tasks or (np.diff(index) < 0).any()):
            raise ValueError("task_index must be sorted and within the tasks")

    @property
    def n_tasks(self) -> int:
        """Number of tasks."""
        return len(self.tasks)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.task_index)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Rows of each task, `[tasks]`."""
        return np.bincount(self.task_index, minlength=self.n_tasks)

    def select(self, tasks: Sequence[int] | np.ndarray) -> Evidence:
        """Some tasks, by position (or by a boolean mask), with their labels.

        Args:
            tasks: Positions in `tasks`, in the order wanted; a position may be repeated.
        """
        chosen = np.arange(self.n_tasks)[_as_index(tasks)]
        lengths = self.lengths[chosen]
        starts = (np.cumsum(self.lengths) - self.lengths)[chosen]
        index = np.repeat(np.arange(len(chosen)), lengths)
        rows = np.arange(len(index)) + np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
        return replace(
            self,
            columns={name: values[rows] for name, values in self.columns.items()},
            outcome=None if self.outcome is None else self.outcome[rows],
            task_columns={name: values[chosen] for name, values in self.task_columns.items()},
            task_index=index,
            tasks=self.tasks[chosen],
            rows=self.rows[rows],
        )

    def select_rows(self, rows: Sequence[int] | np.ndarray) -> Evidence:
        """Some rows, by position (or by a boolean mask), of all tasks; every task is kept.

        Args:
            rows: Positions in the long form, in any order; within a task the order is kept.
        """
        chosen = np.arange(self.n_rows)[_as_index(rows)]
        chosen = chosen[np.argsort(self.task_index[chosen], kind="stable")]
        return replace(
            self,
            columns={name: values[chosen] for name, values in self.columns.items()},
            outcome=None if self.outcome is None else self.outcome[chosen],
            task_index=self.task_index[chosen],
            rows=self.rows[chosen],
        )

    def without_outcome(self) -> Evidence:
        """The same rows as queries."""
        return replace(self, outcome=None)

    def blocks(self, waste: float = 2.0) -> list[Block]:
        """Ragged tasks as few padded blocks, in single precision.

        Args:
            waste: Padded cells per real row, at most (roughly), more than 1.

        Returns:
            Blocks of tasks of similar length, the shortest first; every task is in one block.
        """
        groups = blocking.groups_of_similar_length(self.lengths, waste)
        return self._blocks(groups)

    def padded(self) -> Block:
        """One block of all tasks, in order, as long as the longest."""
        return self._blocks([np.arange(self.n_tasks)])[0]

    def _blocks(self, groups: Sequence[np.ndarray]) -> list[Block]:
        columns = {name: blocking.single(values) for name, values in self.columns.items()}
        task_columns = {name: blocking.single(values) for name, values in self.task_columns.items()}
        outcome = None if self.outcome is None else blocking.single(self.outcome)
        return [
            blocking.make_block(tasks, self.lengths, columns, task_columns, outcome)
            for tasks in groups
        ]

    def long(self, blocks: Sequence[Block], values: Sequence[Any], axis: int = 0) -> np.ndarray:
        """Brings values of padded blocks back to the long form, without the padding.

        Args:
            blocks: All blocks of this evidence.
            values: One array for each block, `[..., n, s, ...]`.
            axis: Position of `n`; `s` follows it.

        Returns:
            `[..., rows, ...]`.
        """
        return blocking.to_long(blocks, values, axis, self.n_rows)

    def by_task(self, blocks: Sequence[Block], values: Sequence[Any], axis: int = 0) -> np.ndarray:
        """Brings values of tasks of blocks back to the order of `tasks`.

        Args:
            blocks: All blocks of this evidence.
            values: One array for each block, `[..., n, ...]`.
            axis: Position of `n`.

        Returns:
            `[..., tasks, ...]`.
        """
        return blocking.to_tasks(blocks, values, axis, self.n_tasks)

    def to_dataset(self) -> xr.Dataset:
        """Labelled arrays over "obs_id" and the task, which netCDF holds without loss."""
        # Here, since that file builds on this one.
        from bayes_badger.evidence.dataset import to_dataset

        return to_dataset(self)

    @staticmethod
    def from_dataset(dataset: xr.Dataset) -> Evidence:
        """The evidence that `to_dataset` wrote.

        Raises:
            BadgerError: If the data set was not written by `to_dataset`.
        """
        from bayes_badger.evidence.dataset import from_dataset

        return from_dataset(dataset)

    def outcome_digest(self) -> str:
        """SHA-256 of what was observed of whom: equal if two runs can be scored on the same rows.

        Unlike `digest` it takes no notice of columns: another program may use others.
        """
        labels = [str(label) for label in self.tasks[self.task_index]]
        hashed = hashlib.sha256(json.dumps(labels).encode())
        if self.outcome is not None:
            hashed.update(np.ascontiguousarray(self.outcome, np.float64).tobytes())
        return hashed.hexdigest()

    def digest(self) -> str:
        """SHA-256 of names, labels and values: equal if two runs saw the same data.

        Notes, row numbers and the name of the task do not count.
        """
        content = hashlib.sha256()

        def add(name: str, values: np.ndarray) -> None:
            if values.dtype.kind in "OUT":
                kind, raw = "text", json.dumps(values.tolist()).encode()
            else:
                values = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<")))
                kind, raw = values.dtype.str, values.tobytes()
            content.update(json.dumps([name, kind, list(values.shape), len(raw)]).encode())
            content.update(raw)

        add("tasks", self.tasks)
        add("task_index", self.task_index.astype(np.int64))
        for kind, group in (("column", self.columns), ("task column", self.task_columns)):
            for name in sorted(group):
                add(f"{kind} {name}", group[name])
        if self.outcome is not None:
            add(f"outcome {self.outcome_name}", self.outcome)
        return content.hexdigest()

    def __repr__(self) -> str:
        lengths = self.lengths if self.n_tasks else np.zeros(1, int)
        by = "" if self.task_name == "task" else f" by {self.task_name}"
        parts = [f"columns {', '.join(self.columns)}"]
        if self.task_columns:
            parts.append(f"task columns {', '.join(self.task_columns)}")
        if self.outcome is None:
            parts.append(f"no outcome {self.outcome_name}")
        else:
            parts.append(f"outcome {self.outcome_name} ({self.outcome.dtype})")
        head = (
            f"Evidence: {self.n_tasks} tasks{by}, {self.n_rows} rows "
            f"({lengths.min()} to {lengths.max()} a task); {', '.join(parts)}"
        )
        return "\n".join([head, *(f"  {note}" for note in self.notes)])


def _as_index(positions: Sequence[int] | np.ndarray) -> np.ndarray:
    index = np.asarray(positions)
    return index.astype(int) if index.size == 0 else index
