"""Labels of tasks: whole numbers stay numbers, text stays text."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bayes_badger.tables.labels import PLAIN_INTEGER, Labels, complete
from bayes_badger.tables.origin import Origin


def labels_of_series(series: pd.Series, name: str, origin: Origin, untyped: bool = False) -> Labels:
    """Numbers the tasks of a column in order of first appearance.

    Args:
        series: The label of each row.
        name: The column's name, for messages.
        origin: Where it came from.
        untyped: Whether the source was text alone (CSV), where whole numbers are text too.

    Raises:
        BadgerError: If a row has no label.

    Example:
        >>> from bayes_badger.tables.origin import table_origin
        >>> labels_of_series(pd.Series(["b", "a", "b"]), "county", table_origin("t"))[:2]
        (array([0, 1, 0]), array(['b', 'a'], dtype=object))
    """
    try:
        codes, uniques = pd.factorize(series)
    except (TypeError, NotImplementedError):
        origin.refuse(f"{name} holds lists, not labels: give each task a number or a name")
    kinds = pd.Series(np.asarray(uniques, dtype=object), dtype=object)
    kind = pd.api.types.infer_dtype(kinds, skipna=False)
    notes: tuple[str, ...] = ()
    if kind in ("floating", "mixed-integer-float") and (kinds % 1 == 0).all():
        kinds, kind = kinds.astype(np.int64).astype(object), "integer"
    if kind == "integer":
        try:
            return complete(Labels(codes, kinds.to_numpy().astype(np.int64), ()), name, origin)
        except OverflowError:
            pass
    if kind != "string":
        kinds = kinds.map(str)
        if kind == "mixed-integer":
            notes = (f"{name} mixes numbers and text, so all its labels are read as text",)
        # Labels that differ in type alone, 1 and "1", are one task now.
        again, merged = pd.factorize(kinds)
        codes = np.where(codes < 0, -1, again[codes] if len(again) else codes)
        kinds = pd.Series(np.asarray(merged, dtype=object), dtype=object)
    blank = (kinds.str.strip() == "").to_numpy(dtype=bool)
    if blank.any():
        position = np.cumsum(~blank) - 1
        codes = np.where((codes < 0) | blank[codes], -1, position[codes])
        kinds = kinds[~blank]
    tasks = kinds.to_numpy(dtype=object)
    if untyped and len(tasks) and kinds.str.fullmatch(PLAIN_INTEGER).all():
        tasks = tasks.astype(np.int64)
    elif untyped and (odd := sorted({"NA", "NaN", "nan", "null", "None"} & set(tasks))):
        notes += (f"{name} '{odd[0]}' is taken for the label of a task, not for a missing one",)
    return complete(Labels(codes, tasks, notes), name, origin)
