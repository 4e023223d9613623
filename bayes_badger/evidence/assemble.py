"""Checked cells become evidence, its rows sorted by task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bayes_badger.evidence.evidence import Evidence
from bayes_badger.signature import Signature
from bayes_badger.tables.cells import Cells
from bayes_badger.tables.rows import check_missing_option, checked_values, kept_rows


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
    found = kept_rows(cells, missing, queries)
    whole = _evidence(signature, cells, found.rows, found.notes, with_outcome=not queries)
    if not queries:
        return whole, whole
    seen = np.flatnonzero(~found.no_outcome)
    asked = whole.select_rows(np.flatnonzero(found.no_outcome)).without_outcome()
    observed = _outcome(signature, cells, found.rows[seen])
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
            name: checked_values(
                parts, rows, cells.codes[rows], cells.origin, name in signature.groups
            )
            for name, parts in cells.columns.items()
        },
        outcome=_outcome(signature, cells, rows) if with_outcome else None,
        task_columns={
            name: checked_values(
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
    return checked_values(cells.outcome, rows, cells.codes[rows], cells.origin, grouped)
