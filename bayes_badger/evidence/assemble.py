"""Checked cells become evidence: what is missing is refused or dropped, rows are sorted by task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bayes_badger.errors import BadgerError, listed
from bayes_badger.evidence.checks import check_usable
from bayes_badger.evidence.evidence import Evidence
from bayes_badger.evidence.numbers import Numbers, whole_again
from bayes_badger.evidence.origin import Origin, plural, show, such_rows
from bayes_badger.program.signature import Signature

REFUSE, DROP = "refuse", "drop"

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


def check_missing_option(missing: str) -> None:
    """Refuses a way with missing cells that does not exist.

    Raises:
        BadgerError: If it is neither "refuse" nor "drop".
    """
    if missing not in (REFUSE, DROP):
        raise BadgerError(f"missing is 'refuse' or 'drop', not {show(missing)}")


def assemble(signature: Signature, cells: Cells, missing: str) -> Evidence:
    """Evidence of rows that all have an outcome.

    Args:
        signature: What the program asks for.
        cells: What the source holds.
        missing: "refuse" a row that lacks an outcome or a column, or "drop" it and say so.

    Raises:
        BadgerError: In one line, where something is missing or no program could use it.
    """
    if cells.outcome is None:
        return assemble_split(signature, cells, missing)[1]
    return _assemble(signature, cells, missing, queries=False)[0]


def assemble_split(signature: Signature, cells: Cells, missing: str) -> tuple[Evidence, Evidence]:
    """Evidence of the rows with an outcome, and queries: the rows without one.

    Both are over the same tasks in the same order. The arguments are those of `assemble`, but a
    missing outcome is neither refused nor dropped.
    """
    return _assemble(signature, cells, missing, queries=True)


def _assemble(
    signature: Signature, cells: Cells, missing: str, queries: bool
) -> tuple[Evidence, Evidence]:
    """Evidence and queries; without `queries`, evidence twice."""
    check_missing_option(missing)
    rows, codes, origin = cells.present, cells.codes[cells.present], cells.origin
    columns = [part for parts in cells.columns.values() for part in parts]
    outcome = list(cells.outcome or ())
    lacks = {part.name: part.missing[rows] for part in (*columns, *outcome)}
    empty = np.logical_and.reduce(list(lacks.values()))
    has_rows = np.bincount(codes[~empty], minlength=len(cells.tasks)) > 0
    # A row of nothing but its label says: this task exists, and has no rows yet.
    stub = empty & ~has_rows[codes]
    no_outcome = np.logical_and.reduce(
        [lacks[part.name] for part in outcome] or [np.ones_like(stub)]
    )
    notes = list(cells.notes)

    wanted = ~stub
    for name, mask in [*lacks.items(), *cells.incomplete.items()]:
        gone = mask & wanted
        if queries and name in {part.name for part in outcome}:
            gone &= ~no_outcome
        if not gone.any():
            continue
        if missing == REFUSE:
            _refuse_missing(name, rows[gone], origin)
        notes.append(_dropped(name, rows[gone], origin))
        wanted &= ~gone
    kept = np.flatnonzero(wanted)
    if not kept.size and not stub.all():
        origin.refuse(f"no row is left: {notes[-1]}")
    kept = kept[np.argsort(codes[kept], kind="stable")]
    lengths = np.bincount(codes[kept], minlength=len(cells.tasks))
    if not lengths.all():
        notes.append(_without_rows(cells, np.flatnonzero(lengths == 0)))

    whole = _evidence(signature, cells, rows[kept], notes, with_outcome=not queries)
    if not queries:
        return whole, whole
    seen = np.flatnonzero(~no_outcome[kept])
    asked = whole.select_rows(np.flatnonzero(no_outcome[kept])).without_outcome()
    observed = _outcome(signature, cells, rows[kept][seen])
    return replace(whole.without_outcome().select_rows(seen), outcome=observed), asked


def _evidence(
    signature: Signature,
    cells: Cells,
    rows: np.ndarray,
    notes: Sequence[str],
    with_outcome: bool,
) -> Evidence:
    """The evidence of some rows of the source, sorted by task."""
    number = np.zeros(len(cells.codes), dtype=np.int64)
    number[cells.present] = np.arange(1, len(cells.present) + 1)
    every_task = np.arange(len(cells.tasks))
    return Evidence(
        columns={
            name: _values(parts, rows, cells.codes[rows], cells.origin, name in signature.groups)
            for name, parts in cells.columns.items()
        },
        outcome=_outcome(signature, cells, rows) if with_outcome else None,
        task_columns={
            name: _values(
                parts,
                every_task,
                np.zeros_like(every_task),
                cells.task_origin,
                name in signature.groups,
            )
            for name, parts in cells.task_columns.items()
        },
        task_index=cells.codes[rows],
        tasks=cells.tasks,
        rows=number[rows],
        task_name=cells.task_name,
        outcome_name=signature.outcome,
        notes=tuple(notes),
    )


def _outcome(signature: Signature, cells: Cells, rows: np.ndarray) -> np.ndarray:
    grouped = signature.outcome in signature.groups
    if cells.outcome is None:
        width = (len(signature.table_columns(signature.outcome)),) if grouped else ()
        return np.zeros((0, *width))
    return _values(cells.outcome, rows, cells.codes[rows], cells.origin, grouped)


def _values(
    parts: Parts, rows: np.ndarray, groups: np.ndarray, origin: Origin, grouped: bool
) -> np.ndarray:
    """Checked values of some rows, `[rows, ...]`, features joined on the last axis."""
    values = [whole_again(part, rows) for part in parts]
    for part, value in zip(parts, values, strict=True):
        check_usable(value, part.name, rows, groups, origin)
    # A group that came as one array has its feature axis already.
    if grouped and not (len(parts) == 1 and values[0].ndim > 1):
        return np.stack(values, axis=-1)
    return values[0]


def _refuse_missing(name: str, positions: np.ndarray, origin: Origin) -> None:
    origin.refuse(
        f"{name} is missing{such_rows(len(positions))}: "
        "fill it in, or drop them with --missing drop",
        int(positions[0]),
    )


def _dropped(name: str, positions: np.ndarray, origin: Origin) -> str:
    count = len(positions)
    noun = plural(count, origin.noun)
    return f"dropped {count} {noun} with no {name}: {origin.places(positions)}"


def _without_rows(cells: Cells, tasks: np.ndarray) -> str:
    labels = listed([show(label) for label in cells.tasks[tasks]])
    if len(tasks) == 1:
        return f"1 task has no rows: {labels}"
    return f"{len(tasks)} tasks have no rows: {labels}"
