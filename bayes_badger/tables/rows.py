"""Which rows are complete: what is missing is refused or dropped, and told."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bayes_badger.errors import BadgerError, listed
from bayes_badger.tables.cells import Cells, Parts
from bayes_badger.tables.checks import check_usable
from bayes_badger.tables.numbers import whole_again
from bayes_badger.tables.origin import Origin, plural, show, such_rows

REFUSE, DROP = "refuse", "drop"


class Kept(NamedTuple):
    """The rows that have all that a program needs, sorted by task.

    Attributes:
        rows: Positions in the source, `[kept]`.
        no_outcome: Whether a row has no outcome, `[kept]`.
        notes: What was left out, one sentence each.
    """

    rows: np.ndarray
    no_outcome: np.ndarray
    notes: tuple[str, ...]


def check_missing_option(missing: str) -> None:
    """Refuses a way with missing cells that does not exist.

    Raises:
        BadgerError: If it is neither "refuse" nor "drop".
    """
    if missing not in (REFUSE, DROP):
        raise BadgerError(f"missing is 'refuse' or 'drop', not {show(missing)}")


def kept_rows(cells: Cells, missing: str, queries: bool) -> Kept:
    """Finds the rows that have all that a program needs.

    Args:
        cells: What the source holds.
        missing: "refuse" a row that lacks an outcome or a column, or "drop" it and say so.
        queries: Whether a row without an outcome is a question, and not a gap.

    Raises:
        BadgerError: For the first row that lacks something, or where no row is left.
    """
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
    return Kept(rows[kept], no_outcome[kept], tuple(notes))


def checked_values(
    parts: Parts, rows: np.ndarray, groups: np.ndarray, origin: Origin, grouped: bool
) -> np.ndarray:
    """Values of some rows, `[rows, ...]`, features joined on the last axis.

    Args:
        parts: The columns of the source that make them up.
        rows: Positions of the rows.
        groups: The task of each row.
        origin: The source.
        grouped: Whether several columns of the source are one of the program.

    Raises:
        BadgerError: For numbers that single precision cannot hold.
    """
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
