"""Cells as numbers: what a column of a table holds, or why it holds none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from bayes_badger.tables.numbers import MISSING_WORDS, Numbers, refuse_text
from bayes_badger.tables.origin import Origin, show

# Beyond this an integer is kept as a float, to be refused by its size.
LARGEST_KEPT = 2**62
# Python's integers know no end, floats do.
HUGE = 10**300


def numbers_of_series(series: pd.Series, name: str, origin: Origin) -> Numbers:
    """Reads a column of a table.

    Args:
        series: The column.
        name: Its name, for messages.
        origin: Where it came from.

    Raises:
        BadgerError: If a cell is not a number; one line with row, value and the way to mend it.

    Example:
        >>> from bayes_badger.tables.origin import table_origin
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
        words = text[bad].tolist()
        refuse_text(cells[position], words, int((~missing).sum()), name, origin, position)
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
