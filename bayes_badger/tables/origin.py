"""Where a cell came from, so that a message can name file, row and value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from bayes_badger.errors import BadgerError, listed

LONGEST = 40
SHOWN = 6


@dataclass(frozen=True)
class Origin:
    """A source of data, as messages call it.

    Attributes:
        name: What the source is called, "radon.csv".
        label: The label of a row, by its position from 0: "17".
        noun: What a row is called.
        detail: What else helps to find a row, " (line 18)".
    """

    name: str
    label: Callable[[int], str]
    noun: str = "row"
    detail: Callable[[int], str] = lambda position: ""

    def place(self, position: int) -> str:
        """Names a row in full, "row 17 (line 18)"."""
        position = int(position)
        return f"{self.noun} {self.label(position)}{self.detail(position)}"

    def places(self, positions: Sequence[int] | np.ndarray) -> str:
        """Names some rows in short, "rows 4, 8, 9"."""
        labels = [self.label(int(position)) for position in positions[:SHOWN]]
        labels += [""] * (len(positions) - len(labels))
        return f"{plural(len(positions), self.noun)} {listed(labels, SHOWN)}"

    def refuse(self, message: str, position: int | None = None) -> NoReturn:
        """Refuses the source in one line.

        Args:
            message: What is wrong and how to mend it.
            position: Position of the culprit in the source, from 0.

        Raises:
            BadgerError: Always.
        """
        where = self.name if position is None else f"{self.name}, {self.place(position)}"
        raise BadgerError(" ".join(f"{where}: {message}".split()))


def table_origin(name: str) -> Origin:
    """The origin of a table whose rows are numbered from 1."""
    return Origin(name, lambda position: str(position + 1))


def show(value: Any) -> str:
    """One value as a message shows it: short, on one line, without numpy's type.

    Example:
        >>> show("high"), show(np.float64(17.0)), show(np.float64(0.5)), show("x" * 90)[-5:]
        ("'high'", '17', '0.5', 'xx...')
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def plural(count: int, noun: str) -> str:
    """A noun, in the plural unless there is one.

    Example:
        >>> plural(1, "row"), plural(3, "row")
        ('row', 'rows')
    """
    return noun if count == 1 else f"{noun}s"


def such_rows(count: int) -> str:
    """How many rows share a fault, where it is more than the one that is named.

    Example:
        >>> such_rows(1), such_rows(3)
        ('', ' (3 such rows)')
    """
    return f" ({count} such rows)" if count > 1 else ""
