"""Labels of tasks: whole numbers stay numbers, text stays text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bayes_badger.tables.origin import Origin, such_rows

# A number that text spells as a number would be printed, so that "007" stays text.
PLAIN_INTEGER = r"0|-?[1-9]\d{0,17}"


class Labels(NamedTuple):
    """The tasks of a table.

    Attributes:
        codes: Position of each row's task, in order of first appearance, `[rows]`.
        tasks: Labels, int64 or text, `[tasks]`.
        notes: What reading did to them.
    """

    codes: np.ndarray
    tasks: np.ndarray
    notes: tuple[str, ...]


def labels_of_text(cells: Sequence[str], name: str, origin: Origin) -> Labels:
    """Numbers the tasks of a column of text in order of first appearance.

    Args:
        cells: The label of each row, as it stands in a CSV file.
        name: The column's name, for messages.
        origin: Where it came from.

    Raises:
        BadgerError: If a row has no label.

    Example:
        >>> from bayes_badger.tables.origin import table_origin
        >>> labels_of_text(["b", "a", "b"], "county", table_origin("t"))[:2]
        (array([0, 1, 0]), array(['b', 'a'], dtype=object))
    """
    position = {cell: i for i, cell in enumerate(dict.fromkeys(c for c in cells if c.strip()))}
    codes = np.array([position.get(cell, -1) for cell in cells], np.int64)
    tasks = np.array(list(position), dtype=object)
    if len(tasks) and all(re.fullmatch(PLAIN_INTEGER, label) for label in position):
        tasks = tasks.astype(np.int64)
    return complete(Labels(codes, tasks, ()), name, origin)


def complete(labels: Labels, name: str, origin: Origin) -> Labels:
    """The labels themselves, where every row has one.

    Raises:
        BadgerError: With the first row that has none.
    """
    lacking = labels.codes < 0
    if lacking.any():
        origin.refuse(
            f"the label of the task ({name}) is missing{such_rows(int(lacking.sum()))}: "
            "fill it in, or remove the row",
            int(np.argmax(lacking)),
        )
    return labels
