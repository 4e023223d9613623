"""A table in a file against what a program asks for, without pandas."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bayes_badger.preflight.visible import Visible
from bayes_badger.signature import Signature
from bayes_badger.tables.cells import Cells, cells_of_table, read_columns
from bayes_badger.tables.csv_text import CsvText
from bayes_badger.tables.kinds import CSV, check_file
from bayes_badger.tables.origin import show
from bayes_badger.tables.rows import REFUSE, checked_values, kept_rows
from bayes_badger.tables.supports import outside

# Of a larger file only its first lines are looked at; the rest is when it is read.
MOST_BYTES = 4 * 2**20


def check_table(
    path: Path,
    signature: Signature | None,
    task: str | None = None,
    missing: str = REFUSE,
    queries: bool = False,
    distribution: Visible | None = None,
) -> None:
    """Refuses a CSV file that no program, or not this one, can be fitted to.

    Args:
        path: The file; one of another kind passes.
        signature: What the program asks for; None where only the file itself is looked at.
        task: The column that labels the task, or None to look for it.
        missing: "refuse" or "drop", for rows where something is missing.
        queries: Whether the outcome may be absent.
        distribution: The outcome's, where the program shows it.

    Raises:
        BadgerError: In the words of the full reading, with column, row and value.
    """
    check_file(path)
    if not path.name.lower().endswith(CSV):
        return
    table = CsvText.open(path, MOST_BYTES)
    if signature is None:
        return
    if table.cut:
        # What is missing in the first rows of a task may be there in the others.
        read_columns(signature, table, task, queries)
        return
    cells = cells_of_table(signature, table, task, queries)
    kept = kept_rows(cells, missing, queries)
    for name, parts in cells.columns.items():
        grouped = name in signature.groups
        checked_values(parts, kept.rows, cells.codes[kept.rows], cells.origin, grouped)
    if cells.outcome is not None:
        rows = kept.rows[~kept.no_outcome] if queries else kept.rows
        _check_outcome(signature, cells, rows, distribution)


def _check_outcome(
    signature: Signature, cells: Cells, rows: np.ndarray, distribution: Visible | None
) -> None:
    """Refuses outcomes that single precision cannot hold, or the distribution cannot have."""
    name, origin = signature.outcome, cells.origin
    grouped = name in signature.groups
    values = checked_values(cells.outcome or [], rows, cells.codes[rows], origin, grouped)
    if distribution is None or grouped:
        return
    bad = np.flatnonzero(distribution.outside(values.astype(float)))
    if bad.size:
        first = bad[np.argmin(rows[bad])]
        task = show(cells.tasks[cells.codes[rows[first]]])
        told = outside(name, values[first], distribution.family, distribution.support, len(bad))
        origin.refuse(f"{cells.task_name} {task}: {told}", int(rows[first]))
