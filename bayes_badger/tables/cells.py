"""All cells that a program needs, by row and by task, as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bayes_badger.signature import Signature
from bayes_badger.tables.columns import Table, needed_columns, refuse_label_as_column
from bayes_badger.tables.labels import Labels
from bayes_badger.tables.numbers import Numbers
from bayes_badger.tables.origin import Origin, show

# One column of the program: one or more columns of the source, joined on a feature axis if grouped.
Parts = Sequence[Numbers]


@dataclass(frozen=True)
class Cells:
    """What a source holds, as numbers, before anything is left out.

    Attributes:
        origin: The source; places are its rows.
        columns: By name, over rows.
        outcome: Over rows, or None where the source has no outcome.
        task_columns: By name, over tasks; none missing.
        codes: Position of each row's task, `[rows]`.
        tasks: Labels, `[tasks]`.
        task_name: What a task is called.
        task_origin: The source; places are its tasks.
        present: Positions of the rows that are there; the others are padding, `[present]`.
        incomplete: Whether a row lacks a column of the task that other rows of the task have, by
            name, `[present]`.
        notes: What reading has done so far.
    """

    origin: Origin
    columns: Mapping[str, Parts]
    outcome: Parts | None
    task_columns: Mapping[str, Parts]
    codes: np.ndarray
    tasks: np.ndarray
    task_name: str
    task_origin: Origin
    present: np.ndarray
    incomplete: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def cells_of_table(
    signature: Signature, table: Table, task: str | None, queries: bool = False
) -> Cells:
    """Reads the cells that a program asks for.

    Args:
        signature: What the program asks for.
        table: The table.
        task: The column that labels the task, or None to look for it.
        queries: Whether the outcome may be absent.

    Raises:
        BadgerError: If a column is absent, or its cells are not numbers.
    """
    origin, needed = table.origin, needed_columns(signature, table, task, queries)
    labels, numbers = read_columns(signature, table, task, queries)
    codes, tasks, notes = labels
    if needed.tasks_alone:
        nothing = np.full(len(codes), np.nan)
        lacks = np.ones(len(codes), bool)
        numbers |= {name: Numbers(name, nothing, lacks) for name in sorted(needed.of_rows)}

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
        outcome=None if needed.no_outcome else parts(signature.outcome),
        task_columns=by_task,
        codes=codes,
        tasks=tasks,
        task_name=needed.label,
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


def read_columns(
    signature: Signature, table: Table, task: str | None, queries: bool = False
) -> tuple[Labels, dict[str, Numbers]]:
    """The label and the numbers of each row; what tasks and rows must be is not asked.

    Raises:
        BadgerError: If a column is absent, or its cells are not numbers.
    """
    needed = needed_columns(signature, table, task, queries)
    labels = table.labels(needed.label)
    if not len(labels.codes):
        table.origin.refuse("has a header but no rows: add a row for each step of a task")
    if needed.label in needed.of_rows:
        refuse_label_as_column(needed.label, labels, signature, table.origin)
    return labels, table.numbers(needed.columns)


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
