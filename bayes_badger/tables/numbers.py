"""A column as numbers: which cells are missing, and what is said of one that is no number."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayes_badger.tables.origin import Origin, show, such_rows

# What a cell of text says where nothing was measured, in lower case.
MISSING_WORDS = frozenset({"", "na", "n/a", "nan", "null", "none", "<na>", "#n/a"})
# How a CSV file spells truth values.
TRUTH = {"True": True, "TRUE": True, "true": True, "False": False, "FALSE": False, "false": False}
# A column of text with more values than this is no category that one would code by hand.
MOST_CATEGORIES = 12

# What is written without a point or an exponent is an integer.
INTEGER = re.compile(r"[-+]?\d{1,18}")
_DATE = re.compile(
    r"\d{4}[-/]\d{1,2}[-/]\d{1,2}.*|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}.*|\d{1,2}:\d\d.*"
)
_NUMBER_WITH_COMMA = re.compile(r"[-+]?\d*,\d+([eE][-+]?\d+)?")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}([,' ]\d{3})+(\.\d*)?")
_BEGINS_AS_NUMBER = re.compile(r"[-+<>~$€£]?\s*\d")


@dataclass(frozen=True)
class Numbers:
    """One column as numbers.

    Attributes:
        name: The column's name in its source.
        values: Values, `[rows, ...]`; what stands where one is missing means nothing.
        missing: True where a row lacks it, `[rows]`.
    """

    name: str
    values: np.ndarray
    missing: np.ndarray


def numbers_of_text(cells: Sequence[str], name: str, origin: Origin) -> Numbers:
    """Reads a column of a CSV file, each cell as it stands in the file.

    Args:
        cells: The text of each row.
        name: The column's name, for messages.
        origin: Where it came from.

    Raises:
        BadgerError: If a cell is not a number; one line with row, value and the way to mend it.

    Example:
        >>> from bayes_badger.tables.origin import table_origin
        >>> numbers_of_text(["3", " 4", "NA"], "x", table_origin("t")).missing
        array([False, False,  True])
    """
    texts = [cell.strip() for cell in cells]
    missing = np.array([text.lower() in MISSING_WORDS for text in texts], bool)
    given = [text for text, lacks in zip(texts, missing, strict=True) if not lacks]
    values = np.full(len(texts), np.nan)
    if given and all(text in TRUTH for text in given):
        truth = np.zeros(len(texts), bool)
        truth[~missing] = [TRUTH[text] for text in given]
        return Numbers(name, truth, missing)
    values[~missing] = [_number(text) for text in given]
    bad = np.flatnonzero(np.isnan(values) & ~missing)
    if bad.size:
        words = [texts[i] for i in bad]
        refuse_text(cells[bad[0]], words, len(given), name, origin, int(bad[0]))
    if given and not missing.any() and all(INTEGER.fullmatch(text) for text in given):
        values = np.array([int(text) for text in given], np.int64)
    return Numbers(name, values, missing)


def whole_again(numbers: Numbers, kept: np.ndarray) -> np.ndarray:
    """The kept values; counts that became floats because some were missing are integers again.

    Args:
        numbers: The column.
        kept: Positions of rows, none of them missing.
    """
    values = numbers.values[kept]
    if values.dtype.kind != "f" or not values.size or not numbers.missing.any():
        return values
    if (np.abs(values) < 2**31).all() and (values == np.floor(values)).all():
        return values.astype(np.int64)
    return values


def refuse_text(
    cell: Any, words: Sequence[str], given: int, name: str, origin: Origin, position: int
) -> None:
    """Refuses a column of which some cells are no numbers.

    Args:
        cell: The first of these cells.
        words: The text of each of them.
        given: How many cells of the column hold anything.
        name: The column's name.
        origin: Where it came from.
        position: The row of the first of them.

    Raises:
        BadgerError: Always, with the way to mend it.
    """
    count = such_rows(len(words))
    if isinstance(cell, list | tuple | np.ndarray | dict | set):
        held = cell.tolist() if isinstance(cell, np.ndarray) else cell
        origin.refuse(
            f"{name} holds {show(held)}, more than one number in a cell: give each its own column "
            f"and gather them, columns = {{'{name}': [...]}}{count}",
            position,
        )
    if isinstance(cell, complex):
        origin.refuse(
            f"{name} is complex ({show(cell)}): give real and imaginary part as two columns{count}",
            position,
        )
    text = str(cell).strip()
    if _DATE.fullmatch(text):
        origin.refuse(
            f"{name} is a time ({show(text)}), not a number: subtract a start and use days{count}",
            position,
        )
    origin.refuse(
        f"{name}: {show(text)} is not a number{count}: {_mend(text, words, given, name)}", position
    )


def _mend(text: str, words: Sequence[str], given: int, name: str) -> str:
    """What to write instead of text."""
    if _THOUSANDS.fullmatch(text) and len(text) > 5:
        return "remove the separators of thousands"
    if _NUMBER_WITH_COMMA.fullmatch(text):
        return f"write a decimal point, as in {text.replace(',', '.')}"
    if _BEGINS_AS_NUMBER.match(text):
        return "keep the number alone"
    values = sorted(set(words))
    if len(words) < given:
        return "the other cells are numbers, so correct it, or empty it if nothing was measured"
    shown = [show(value) for value in values]
    if len(values) == 1:
        return f"every row of {name} says {shown[0]}, so leave {name} out of the program"
    if len(values) == 2:
        return f"{name} is text; write 0 where it is {shown[0]} and 1 where it is {shown[1]}"
    if len(values) <= MOST_CATEGORIES:
        return (
            f"{name} is text with {len(values)} values ({', '.join(shown)}); write a column of 0 "
            "and 1 for each of them but one, or, where the program looks entries up by it, as in "
            f"effect[{name}], the numbers 0 to {len(values) - 1}"
        )
    return (
        f"{name} is text with {len(values)} values; leave it out of the program if it is a name, "
        "or number its values 0, 1, 2 ..."
    )


def _number(text: str) -> float:
    # Python reads 1_000, and digits of other scripts, as numbers; tables do not.
    try:
        return float(text) if text.isascii() and "_" not in text else float("nan")
    except ValueError:
        return float("nan")
