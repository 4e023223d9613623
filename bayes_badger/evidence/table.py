"""Evidence from a table, one row for each step of a task."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from bayes_badger.evidence.assemble import assemble
from bayes_badger.evidence.evidence import Evidence
from bayes_badger.evidence.labels import labels_of_series
from bayes_badger.evidence.numbers import numbers_of_series
from bayes_badger.signature import Signature
from bayes_badger.tables.cells import cells_of_table
from bayes_badger.tables.labels import Labels
from bayes_badger.tables.numbers import Numbers
from bayes_badger.tables.origin import Origin, table_origin
from bayes_badger.tables.rows import REFUSE, check_missing_option


@dataclass(frozen=True)
class FrameTable:
    """A data frame as a table."""

    frame: pd.DataFrame
    origin: Origin

    @property
    def names(self) -> list[str]:
        """Names of columns, then of named levels of the index."""
        columns = [str(name) for name in self.frame.columns]
        return columns + [name for name in self.index_names if name not in columns]

    @property
    def index_names(self) -> list[str]:
        """Names of named levels of the index."""
        return [str(name) for name in self.frame.index.names if name is not None]

    def labels(self, name: str) -> Labels:
        """The label of each row."""
        return labels_of_series(self._column(name), name, self.origin)

    def numbers(self, names: Iterable[str]) -> dict[str, Numbers]:
        """Columns of numbers."""
        return {name: numbers_of_series(self._column(name), name, self.origin) for name in names}

    def _column(self, name: str) -> pd.Series:
        columns = [str(column) for column in self.frame.columns]
        if name in columns:
            return self.frame.iloc[:, columns.index(name)]
        levels = [str(level) for level in self.frame.index.names]
        return pd.Series(self.frame.index.get_level_values(levels.index(name)))


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
    check_missing_option(missing)
    table = FrameTable(frame, table_origin(source))
    return assemble(signature, cells_of_table(signature, table, task), missing)
