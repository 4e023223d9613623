"""One entry for every kind of source: a file, a data frame, arrays, a data set, or evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayes_badger.errors import BadgerError, did_you_mean, listed
from bayes_badger.evidence import arrays
from bayes_badger.evidence.assemble import assemble, assemble_split
from bayes_badger.evidence.dataset import is_evidence
from bayes_badger.evidence.evidence import Evidence
from bayes_badger.evidence.files import CsvTable, ParquetTable
from bayes_badger.evidence.table import FrameTable
from bayes_badger.signature import Signature
from bayes_badger.tables.cells import Cells, cells_of_table
from bayes_badger.tables.kinds import CSV, NETCDF, PARQUET, check_file
from bayes_badger.tables.origin import show, table_origin
from bayes_badger.tables.rows import REFUSE, check_missing_option

# A small file of a few kilobytes can claim arrays of any size.
LARGEST_DATASET = 16 * 2**30


def read(
    signature: Signature, source: Any, task: str | None = None, missing: str = REFUSE
) -> Evidence:
    """Reads evidence from whatever holds it.

    Args:
        signature: What the program asks for.
        source: The path of a .csv, .tsv (both also .gz), .parquet, .pq or .nc file; a data frame;
            a data set; a dict of arrays, `[task, step, ...]` or of columns of a table; evidence.
        task: The column, or the dimension, that labels the task; else it is looked for.
        missing: "refuse" a row that lacks an outcome or a column, or "drop" it and say so.

    Raises:
        BadgerError: One line that names source, column, row and value, and the way to mend it.

    Example:
        >>> table = {"task": ["a", "a", "b"], "x": [0.1, 0.2, 0.3], "y": [0, 1, 1]}
        >>> read(Signature("coin", ("x",), "y"), table)
        Evidence: 2 tasks, 3 rows (1 to 2 a task); columns x, outcome y (int64)
    """
    check_missing_option(missing)
    opened, name = _open(source)
    if isinstance(opened, Evidence):
        return _as_asked(signature, opened)
    return assemble(signature, _cells(signature, opened, name, task, False), missing)


def split_queries(
    signature: Signature, source: Any, task: str | None = None, missing: str = REFUSE
) -> tuple[Evidence, Evidence]:
    """Reads rows with an outcome as evidence, and rows without one as queries.

    Args:
        signature: What the program asks for.
        source: As for `read`; the outcome may be empty in some rows, or be absent altogether.
        task: As for `read`.
        missing: What becomes of a row that lacks a column.

    Returns:
        Observed rows, and queries, whose outcome is None; both over the same tasks in one order.

    Example:
        >>> table = {"task": ["a", "a", "b"], "x": [0.1, 0.2, 0.3], "y": [4, None, 5]}
        >>> observed, queries = split_queries(Signature("count", ("x",), "y"), table)
        >>> observed.outcome, queries.columns["x"], queries.tasks[queries.task_index]
        (array([4, 5]), array([0.2]), array(['a'], dtype=object))
    """
    check_missing_option(missing)
    opened, name = _open(source)
    if not isinstance(opened, Evidence):
        cells = _cells(signature, opened, name, task, queries=True)
        return assemble_split(signature, cells, missing)
    evidence = _as_asked(signature, opened)
    nothing = evidence.select_rows([])
    if evidence.outcome is None:
        return replace(nothing, outcome=np.zeros(0)), evidence
    return evidence, nothing.without_outcome()


def _open(source: Any) -> tuple[Any, str | None]:
    """Opens a path; gives evidence where the source holds evidence, and its name if it has one."""
    name = None
    if isinstance(source, str | Path):
        name = str(source)
        source = _open_file(Path(source))
    if isinstance(source, xr.Dataset) and is_evidence(source):
        source = Evidence.from_dataset(source)
    return source, name


def _cells(
    signature: Signature,
    source: Any,
    name: str | None,
    task: str | None,
    queries: bool,
) -> Cells:
    if isinstance(source, xr.Dataset):
        return arrays.cells_of_xarray(signature, source, task, name or arrays.DATASET, queries)
    if isinstance(source, Mapping):
        if _is_grid(signature, source):
            return _cells_of_mapping(signature, source, queries)
        source = _frame(source)
    if isinstance(source, pd.DataFrame):
        source = FrameTable(source, table_origin("the table"))
    if isinstance(source, FrameTable | CsvTable | ParquetTable):
        return cells_of_table(signature, source, task, queries)
    raise BadgerError(
        "evidence is a path, a data frame, a data set or a dict of arrays, not "
        f"{type(source).__name__}: give one of these"
    )


def _open_file(path: Path) -> Any:
    """Opens a file by its extension, as a table or a data set."""
    about = table_origin(str(path))
    check_file(path)
    lower = path.name.lower()
    if lower.endswith(CSV):
        return CsvTable.open(path)
    if path.stat().st_size == 0 and lower.endswith((*PARQUET, *NETCDF)):
        about.refuse("is empty: write it anew")
    if lower.endswith(PARQUET):
        return ParquetTable(path)
    return _open_netcdf(path)


def _open_netcdf(path: Path) -> xr.Dataset:
    about = table_origin(str(path))
    try:
        with xr.open_dataset(path, decode_timedelta=False) as dataset:
            if dataset.nbytes > LARGEST_DATASET:
                about.refuse(
                    f"claims {dataset.nbytes / 2**30:.0f} GiB, more than can be read: keep the "
                    "variables that the program names"
                )
            return dataset.load()
    except (OSError, ValueError, RuntimeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:120]
        return about.refuse(f"cannot be read as netCDF ({first}): write it anew, or as CSV")


def _as_asked(signature: Signature, evidence: Evidence) -> Evidence:
    """Evidence with the columns that the program names, in its order."""
    has = (*evidence.columns, *evidence.task_columns, evidence.outcome_name)
    for name in signature.names:
        if name not in has:
            raise BadgerError(
                f"the evidence has no {show(name)}, which the program {signature.program} needs"
                f"{did_you_mean(name, has)}: read it anew; it has {listed(has, 12)}"
            )

    def pick(held: Mapping[str, np.ndarray], names: tuple[str, ...]) -> dict[str, np.ndarray]:
        for name in names:
            if name not in held:
                raise BadgerError(
                    f"the evidence holds {name} as another kind of column than the program "
                    f"{signature.program} asks for: read it anew"
                )
        return {name: held[name] for name in names}

    if signature.outcome != evidence.outcome_name:
        pick({}, (signature.outcome,))
    return replace(
        evidence,
        columns=pick(evidence.columns, signature.columns),
        task_columns=pick(evidence.task_columns, signature.task_columns),
    )


def _is_grid(signature: Signature, source: Mapping[str, Any]) -> bool:
    """Whether columns are `[task, step, ...]`, not the columns of a table."""
    members = signature.table_columns(signature.columns[0])
    first = next((source[n] for n in (signature.columns[0], *members) if n in source), None)
    return first is not None and np.ndim(first) > 1


def _cells_of_mapping(signature: Signature, source: Mapping[str, Any], queries: bool) -> Cells:
    options = {
        name: source[name]
        for name in ("lengths", "mask", "tasks")
        if name in source and name not in signature.names
    }
    outcome = source.get(signature.outcome)
    if outcome is None and not queries:
        table_origin(arrays.ARRAYS).refuse(
            f"no {show(signature.outcome)}, which the program {signature.program} observes"
            f"{did_you_mean(signature.outcome, source)}: add it to {listed(source, 12)}"
        )
    return arrays.cells_of_arrays(signature, source, outcome, source, **options)


def _frame(source: Mapping[str, Any]) -> pd.DataFrame:
    columns = {
        name: values.reset_index(drop=True)
        if isinstance(values, pd.Series)
        else pd.Series(values if isinstance(values, list | tuple) else np.asarray(values))
        for name, values in source.items()
    }
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        sizes = listed([f"{name} {size}" for name, size in lengths.items()], 12)
        raise BadgerError(
            f"the columns differ in length ({sizes}): give one value for each row, or arrays "
            "[task, step, ...]"
        )
    return pd.DataFrame(columns)
