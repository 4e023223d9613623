"""Cells as numbers: what a column of a table holds, or why it holds none."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from bayes_badger.evidence.origin import Origin, show, such_rows

# What a cell of text says where nothing was measured, in lower case.
MISSING_WORDS = frozenset({"", "na", "n/a", "nan", "null", "none", "<na>", "#n/a"})

# Beyond this an integer is kept as a float, to be refused by its size.
LARGEST_KEPT = 2**62
# Python's integers know no end, floats do.
HUGE = 10**300

_DATE = re.compile(
    r"\d{4}[-/]\d{1,2}[-/]\d{1,2}.*|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}.*|\d{1,2}:\d\d.*"
)
_NUMBER_WITH_COMMA = re.compile(r"[-+]?\d*,\d+([eE][-+]?\d+)?")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}([,' ]\d{3})+(\.\d*)?")


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


def numbers_of_series(series: pd.Series, name: str, origin: Origin) -> Numbers:
    """Reads a column of a table.

    Args:
        series: The column.
        name: Its name, for messages.
        origin: Where it came from.

    Raises:
        BadgerError: If a cell is not a number; one line with row, value and the way to mend it.

    Example:
        >>> from bayes_badger.evidence.origin import table_origin
        >>> numbers_of_series(pd.Series(["3.5", None, "4"]), "x", table_origin("t")).missing
        array([False,  True, False])
    """
    if isinstance(series.dtype, pd.CategoricalDtype | pd.SparseDtype):
        series = pd.Series(np.asarray(series))
    if isinstance(series.dtype, pd.ArrowDtype) and series.dtype.kind == "O":
        series = pd.Series(_boxed(series), dtype=object)
    missing = series.isna().to_numpy(dtype=bool)
    kind = pd.api.types.infer_dtype(series, skipna=True) if _is_boxed(series) else series.dtype.kind
    if kind in ("M", "m", "datetime64", "datetime", "date", "timedelta", "timedelta64", "period"):
        _refuse_time(series, name, missing, origin)
    if kind in ("c", "complex"):
        position = int(np.argmax(~missing))
        origin.refuse(
            f"{name} is complex ({show(series.iloc[position])}): "
            "give its real and its imaginary part as two columns",
            position,
        )
    if kind in ("string", "mixed", "mixed-integer", "bytes", "interval", "time", "categorical"):
        return _numbers_of_text(series, name, missing, origin)
    if kind == "empty":
        return Numbers(name, np.full(len(series), np.nan), np.ones(len(series), bool))
    if kind in ("b", "boolean"):
        values = series.to_numpy(dtype=bool, na_value=False) if missing.any() else series
        return Numbers(name, np.asarray(values, dtype=bool), missing)
    if kind in ("i", "u", "integer"):
        whole = series.fillna(0) if missing.any() else series
        return Numbers(name, _whole(whole.to_numpy()), missing)
    filled = series.to_numpy(dtype=float, na_value=np.nan)
    return Numbers(name, filled, missing | np.isnan(filled))


def numbers_of_array(values: Any, name: str, origin: Origin) -> Numbers:
    """Reads an array `[rows, ...]`; a row is missing where any of its numbers is NaN.

    Raises:
        BadgerError: If it holds something else than numbers.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        flat = pd.Series(array.reshape(-1))
        width = max(array.size // max(len(array), 1), 1)
        by_row = replace(
            origin,
            label=lambda position: origin.label(position // width),
            detail=lambda position: origin.detail(position // width),
        )
        read = numbers_of_series(flat, name, by_row)
        missing = read.missing.reshape(len(array), -1).any(axis=1)
        return Numbers(name, read.values.reshape(array.shape), missing)
    if array.dtype.kind in "iu":
        return Numbers(name, _whole(array), np.zeros(len(array), bool))
    if array.dtype.kind == "f":
        array = array.astype(float)
        lacks = np.isnan(array.reshape(len(array), -1)).any(axis=1) if array.size else None
        return Numbers(name, array, np.zeros(len(array), bool) if lacks is None else lacks)
    return Numbers(name, array, np.zeros(len(array), bool))


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


def _is_boxed(series: pd.Series) -> bool:
    """Whether only its cells know what it holds: objects, text, and types of extensions."""
    return not isinstance(series.dtype, np.dtype) or series.dtype.kind == "O"


def _boxed(series: pd.Series) -> np.ndarray:
    """Cells as objects, one by one: lists of one length would else become an array of two axes."""
    return np.fromiter(series, dtype=object, count=len(series))


def _whole(values: np.ndarray) -> np.ndarray:
    """Integers as int64, or as floats where they are too large (refused later, as numbers)."""
    large = values.size and (values.max() > LARGEST_KEPT or values.min() < -LARGEST_KEPT)
    if large and values.dtype.kind == "O":
        values = np.clip(values, -HUGE, HUGE)
    return values.astype(float if large else np.int64)


def _refuse_time(series: pd.Series, name: str, missing: np.ndarray, origin: Origin) -> None:
    position = int(np.argmax(~missing)) if (~missing).any() else 0
    value = str(series.iloc[position])
    origin.refuse(
        f"{name} is a time ('{value}'), not a number: subtract a start and use days", position
    )


def _numbers_of_text(series: pd.Series, name: str, missing: np.ndarray, origin: Origin) -> Numbers:
    cells = _boxed(series)
    text = pd.Series(cells, dtype=object).where(~missing, "")
    if pd.api.types.infer_dtype(text) != "string":
        text = text.map(_as_text)
    text = text.str.strip()
    missing = missing | text.str.lower().isin(MISSING_WORDS).to_numpy(dtype=bool)
    values = pd.to_numeric(text.where(~missing, "nan"), errors="coerce").to_numpy(dtype=float)
    bad = np.isnan(values) & ~missing
    if bad.any():
        position = int(np.argmax(bad))
        origin.refuse(_not_a_number(cells[position], name) + such_rows(int(bad.sum())), position)
    # What is written without a point or an exponent is an integer.
    maybe = values.size and not missing.any() and (values == np.floor(values)).all()
    if maybe and text.str.fullmatch(r"[-+]?\d{1,18}").all():
        return Numbers(name, text.astype(np.int64).to_numpy(), missing)
    return Numbers(name, values, missing)


def _as_text(cell: Any) -> str:
    if isinstance(cell, bool | np.bool_):
        return str(int(cell))
    # A list or an array in a cell must not pass for text that spells a number.
    return str(cell) if isinstance(cell, str | int | float | np.number) else f"{cell!r} "


def _not_a_number(cell: Any, name: str) -> str:
    if isinstance(cell, list | tuple | np.ndarray | dict | set):
        held = cell.tolist() if isinstance(cell, np.ndarray) else cell
        return (
            f"{name} holds {show(held)}, more than one number in a cell: "
            f"give each its own column and gather them, columns = {{'{name}': [...]}}"
        )
    if isinstance(cell, complex):
        return f"{name} is complex ({show(cell)}): give real and imaginary part as two columns"
    text = str(cell).strip()
    if _DATE.fullmatch(text):
        return f"{name} is a time ({show(text)}), not a number: subtract a start and use days"
    if _THOUSANDS.fullmatch(text) and len(text) > 5:
        return f"{name}: {show(text)} is not a number: remove the separators of thousands"
    if _NUMBER_WITH_COMMA.fullmatch(text):
        mended = text.replace(",", ".")
        return f"{name}: {show(text)} is not a number: write a decimal point, as in {mended}"
    if re.match(r"[-+<>~$€£]?\s*\d", text):
        return f"{name}: {show(text)} is not a number: keep the number alone"
    return f"{name}: {show(text)} is not a number: code it as 0, 1, 2 ..."
