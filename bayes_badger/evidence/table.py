"""Evidence from a table, one row for each step of a task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd

from bayes_badger.errors import did_you_mean, listed
from bayes_badger.evidence.assemble import (
    REFUSE,
    Cells,
    assemble,
    check_missing_option,
)
from bayes_badger.evidence.evidence import Evidence
from bayes_badger.evidence.labels import labels_of_series
from bayes_badger.evidence.numbers import Numbers, numbers_of_series
from bayes_badger.evidence.origin import Origin, show, table_origin
from bayes_badger.program.signature import Signature


@runtime_checkable
class Table(Protocol):
    """A table that is loaded once it is known which of its columns are needed."""

    @property
    def origin(self) -> Origin:
        """What messages call it and its rows."""

    @property
    def names(self) -> list[str]:
        """Names of its columns; one that occurs twice is there twice."""

    @property
    def index_names(self) -> list[str]:
        """Names, among `names`, that the table itself uses to label its rows."""

    @property
    def untyped(self) -> bool:
        """Whether its cells are text alone, as in CSV."""

    def load(self, names: Iterable[str], label: str) -> Mapping[str, pd.Series]:
        """Reads some columns.

        Args:
            names: Columns of numbers.
            label: The column of labels, read as it stands.

        Returns:
            Columns by name, and the labels under the name "" (no column of numbers has it).
        """


@dataclass(frozen=True)
class FrameTable:
    """A data frame as a table."""

    frame: pd.DataFrame
    origin: Origin
    untyped: bool = False

    @property
    def names(self) -> list[str]:
        """Names of columns, then of named levels of the index."""
        columns = [str(name) for name in self.frame.columns]
        return columns + [name for name in self.index_names if name not in columns]

    @property
    def index_names(self) -> list[str]:
        """Names of named levels of the index."""
        return [str(name) for name in self.frame.index.names if name is not None]

    def load(self, names: Iterable[str], label: str) -> Mapping[str, pd.Series]:
        """Picks some columns."""
        columns = [str(name) for name in self.frame.columns]
        levels = [str(name) for name in self.frame.index.names]

        def pick(name: str) -> pd.Series:
            if name in columns:
                return self.frame.iloc[:, columns.index(name)]
            return pd.Series(self.frame.index.get_level_values(levels.index(name)))

        return {"": pick(label), **{name: pick(name) for name in names}}


def from_frame(
    signature: Signature,
    frame: pd.DataFrame,
    task: str | None = None,
    missing: str = REFUSE,
    source: str = "the table",
) -> Evidence:
    """Evidence from a data frame, one row for each step of a task.

    Args:
        signature: What the program asks for.
        frame: The table; columns that the program does not name are ignored. A row with a label
            and no column of evidence and no outcome stands for a task without rows.
        task: The column that labels the task; else the column "task", else the named index.
        missing: "refuse" a row that lacks an outcome or a column, or "drop" it and say so.
        source: What messages call the table.

    Raises:
        BadgerError: One line that names column, row and value, and the way to mend it.

    Example:
        >>> signature = Signature("radon", ("floor",), "log_radon", ("log_uranium",))
        >>> frame = pd.DataFrame({
        ...     "county": ["B", "A", "B"],
        ...     "floor": [0, 1, 1],
        ...     "log_radon": [1.1, 0.8, 0.3],
        ...     "log_uranium": [-0.2, 0.4, -0.2],
        ... })
        >>> from_frame(signature, frame, task="county")
        Evidence: 2 tasks by county, 3 rows (1 to 2 a task); columns floor, task columns \
log_uranium, outcome log_radon (float64)
    """
    table = FrameTable(frame, table_origin(source))
    return assemble(signature, cells_of_table(signature, table, task, missing), missing)


def cells_of_table(
    signature: Signature, table: Table, task: str | None, missing: str, queries: bool = False
) -> Cells:
    """Reads the cells that a program asks for.

    Args:
        signature: What the program asks for.
        table: The table.
        task: The column that labels the task, or None to look for it.
        missing: "refuse" or "drop".
        queries: Whether the outcome may be absent.

    Raises:
        BadgerError: If a column is absent, or its cells are not numbers.
    """
    check_missing_option(missing)
    origin, known = table.origin, table.names
    label = _find_label(signature, table, task)
    absent = queries and not set(signature.table_columns(signature.outcome)) & set(known)
    of_rows = {column for name in signature.columns for column in signature.table_columns(name)}
    # A table of tasks alone: it has no column of rows, and so no rows.
    tasks_alone = absent and not of_rows & set(known)
    left_out = (signature.outcome, *(signature.columns if tasks_alone else ()))
    wanted = [name for name in signature.names if not (absent and name in left_out)]
    needed = list(dict.fromkeys(c for name in wanted for c in signature.table_columns(name)))
    for column in needed:
        if column not in known:
            _refuse_absent(column, signature, known, origin)
    for column in (label, *needed):
        if known.count(column) > 1:
            origin.refuse(f"{known.count(column)} columns are called {column}: rename all but one")

    series = table.load(needed, label)
    if not len(series[""]):
        origin.refuse("has a header but no rows: add a row for each step of a task")
    codes, tasks, notes = labels_of_series(series[""], label, origin, table.untyped)
    nothing = pd.Series(np.full(len(series[""]), np.nan))
    series = {**series, **{column: nothing for column in of_rows if tasks_alone}}
    named = [*needed, *(sorted(of_rows) if tasks_alone else ())]
    numbers = {name: numbers_of_series(series[name], name, origin) for name in named}

    def parts(name: str) -> list[Numbers]:
        return [numbers[column] for column in signature.table_columns(name)]

    first_row = np.unique(codes, return_index=True)[1]
    by_task: dict[str, list[Numbers]] = {}
    incomplete: dict[str, np.ndarray] = {}
    for name in signature.task_columns:
        by_task[name] = [_by_task(part, codes, tasks, origin) for part in parts(name)]
        incomplete |= {part.name: part.missing for part in parts(name) if part.missing.any()}
    return Cells(
        origin=origin,
        columns={name: parts(name) for name in signature.columns},
        outcome=None if absent else parts(signature.outcome),
        task_columns=by_task,
        codes=codes,
        tasks=tasks,
        task_name=label,
        task_origin=Origin(
            origin.name,
            label=lambda task: origin.label(int(first_row[task])),
            noun=origin.noun,
            detail=lambda task: origin.detail(int(first_row[task])),
        ),
        present=np.arange(len(codes)),
        incomplete=incomplete,
        notes=notes,
    )


def _find_label(signature: Signature, table: Table, task: str | None) -> str:
    known = table.names
    used = {column for name in signature.names for column in signature.table_columns(name)}
    candidates = list(dict.fromkeys(name for name in known if name not in used))
    if task is not None:
        if task in known:
            return task
        table.origin.refuse(
            f"has no column {show(task)} for the task{did_you_mean(task, known)}: "
            f"say --task COLUMN, one of {listed(candidates or known, 12)}"
        )
    if "task" in known:
        return "task"
    levels = [name for name in table.index_names if name not in used]
    if len(levels) == 1:
        return levels[0]
    among = f": {listed(candidates, 12)}" if candidates else "; it has no column to spare"
    return table.origin.refuse(
        f"which column labels the task? say --task COLUMN, one of its columns{among}"
    )


def _refuse_absent(column: str, signature: Signature, known: list[str], origin: Origin) -> None:
    origin.refuse(
        f"has no column {show(column)}, which the program {signature.program} needs"
        f"{did_you_mean(column, known)}: rename or add it; it has {listed(known, 12)}"
    )


def _by_task(part: Numbers, codes: np.ndarray, tasks: np.ndarray, origin: Origin) -> Numbers:
    """Reduces a column that is constant within tasks to one value for each, `[tasks]`."""
    given = np.flatnonzero(~part.missing)
    first = np.full(len(tasks), -1)
    # Backwards, since the last assignment to a repeated index stays.
    first[codes[given][::-1]] = given[::-1]
    if (first < 0).any():
        task = int(np.argmax(first < 0))
        row = int(np.argmax(codes == task))
        origin.refuse(
            f"{part.name} is missing for the whole task {show(tasks[task])}: a column of the task "
            "is needed even where it has no rows, so fill it in, or remove the task",
            row,
        )
    differs = ~part.missing & (part.values != part.values[first[codes]])
    if differs.any():
        row = int(np.argmax(differs))
        other = int(first[codes[row]])
        origin.refuse(
            f"{part.name} varies within task {show(tasks[codes[row]])} "
            f"({origin.place(other)}: {show(part.values[other])}, "
            f"{origin.place(row)}: {show(part.values[row])}): "
            "mend the table, or, if its rows may differ, make it a positional column of the program"
        )
    return Numbers(part.name, part.values[first], np.full(len(tasks), part.missing.any()))
