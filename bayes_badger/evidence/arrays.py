"""Evidence from arrays `[task, step, ...]` and from xarray data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayes_badger.errors import did_you_mean, listed
from bayes_badger.evidence.assemble import assemble
from bayes_badger.evidence.evidence import Evidence
from bayes_badger.evidence.labels import labels_of_series
from bayes_badger.evidence.numbers import numbers_of_array
from bayes_badger.signature import Signature
from bayes_badger.tables.cells import Cells
from bayes_badger.tables.numbers import Numbers
from bayes_badger.tables.origin import Origin, show, table_origin
from bayes_badger.tables.rows import REFUSE

ARRAYS, DATASET = "the arrays", "the data set"


def from_arrays(
    signature: Signature,
    columns: Mapping[str, Any],
    outcome: Any = None,
    task_columns: Mapping[str, Any] | None = None,
    lengths: Any = None,
    mask: Any = None,
    tasks: Any = None,
    missing: str = REFUSE,
) -> Evidence:
    """Evidence from arrays `[task, step, ...]`.

    Args:
        signature: What the program asks for.
        columns: Name to values, `[task, step, ...]`.
        outcome: Outcomes, `[task, step, ...]`; None where nothing was observed.
        task_columns: Name to values, `[task, ...]` or `[task, 1, ...]`.
        lengths: Rows of each task, where tasks are ragged, `[task]`; the rest is padding.
        mask: Or: True where there is a row, `[task, step]`.
        tasks: Labels, `[task]`; 0, 1, 2 ... by default.
        missing: "refuse" a row that lacks an outcome or a column, or "drop" it and say so.

    Raises:
        BadgerError: One line that names the array and the way to mend it.

    Example:
        >>> signature = Signature("line", ("x",), "y")
        >>> x = np.linspace(0.0, 1.0, 8).reshape(2, 4)
        >>> from_arrays(signature, {"x": x}, 2 * x, lengths=[4, 1])
        Evidence: 2 tasks, 5 rows (1 to 4 a task); columns x, outcome y (float64)
    """
    cells = cells_of_arrays(signature, columns, outcome, task_columns, lengths, mask, tasks)
    return assemble(signature, cells, missing)


def from_xarray(
    signature: Signature,
    dataset: xr.Dataset,
    task: str | None = None,
    missing: str = REFUSE,
    source: str = DATASET,
) -> Evidence:
    """Evidence from a data set over (task, step[, feature]).

    A cell where the outcome and every column are NaN is a cell that is not there. A column over the
    task or the step alone is repeated along the other.

    Args:
        signature: What the program asks for.
        dataset: Variables or coordinates by the names of the program.
        task: The dimension of tasks, "task" by default.
        missing: "refuse" a row that lacks an outcome or a column, or "drop" it and say so.
        source: What messages call it.

    Raises:
        BadgerError: One line that names the variable and the way to mend it.

    Example:
        >>> y = xr.DataArray([[1.0, 2.0], [3.0, np.nan]], dims=("school", "pupil"))
        >>> dataset = xr.Dataset({"x": 2 * y, "y": y})
        >>> from_xarray(Signature("line", ("x",), "y"), dataset, task="school")
        Evidence: 2 tasks by school, 3 rows (1 to 2 a task); columns x, outcome y (int64)
          1 cell is not there, since x and y are all NaN
    """
    return assemble(signature, cells_of_xarray(signature, dataset, task, source), missing)


def cells_of_arrays(
    signature: Signature,
    columns: Mapping[str, Any],
    outcome: Any = None,
    task_columns: Mapping[str, Any] | None = None,
    lengths: Any = None,
    mask: Any = None,
    tasks: Any = None,
    source: str = ARRAYS,
    task_name: str = "task",
    padding: bool = False,
    notes: tuple[str, ...] = (),
) -> Cells:
    """Cells of arrays; with `padding`, those where everything is NaN are not there.

    The arguments are those of `from_arrays`, and `source` and `task_name` for messages.
    """
    about = table_origin(source)
    given = {name: _array(columns, name, signature, about) for name in signature.columns}
    if outcome is not None:
        given[signature.outcome] = np.asarray(outcome)
    lead = signature.columns[0]
    shape = given[lead].shape[:2]
    for name, array in given.items():
        if array.ndim < 2:
            about.refuse(
                f"{name} has shape {array.shape}, but a column has one axis of tasks and one of "
                "steps: give it as [task, step, ...], or give a table"
            )
        if array.shape[:2] != shape:
            about.refuse(
                f"{name} has {array.shape[0]} x {array.shape[1]} values where {lead} has "
                f"{shape[0]} x {shape[1]}: give both as [task, step, ...]"
            )
    if not shape[0]:
        about.refuse("holds no task: give at least one")
    labels = np.arange(shape[0]) if tasks is None else np.asarray(tasks)
    if len(labels) != shape[0]:
        about.refuse(f"{len(labels)} labels for {shape[0]} tasks: give one label for each")
    by_task = Origin(source, lambda i: show(labels[i]), "task")
    codes, labels, said = labels_of_series(pd.Series(labels), "tasks", by_task)
    if len(labels) != shape[0]:
        repeated = int(np.argmax(np.bincount(codes) > 1))
        about.refuse(
            f"the label {show(labels[repeated])} stands for {np.bincount(codes)[repeated]} tasks: "
            "give each task its own"
        )
    cell = Origin(
        source,
        lambda i: f"[{i // shape[1]}, {i % shape[1]}]",
        "cell",
        lambda i: f" (task {show(labels[i // shape[1]])})",
    )
    numbers = {
        name: numbers_of_array(array.reshape(-1, *array.shape[2:]), name, cell)
        for name, array in given.items()
    }
    present = _present(lengths, mask, shape, about)
    if padding:
        gone = np.logical_and.reduce([_all_nan(one.values) for one in numbers.values()])
        present &= ~gone
        if gone.any():
            some = "1 cell is" if gone.sum() == 1 else f"{gone.sum()} cells are"
            notes += (f"{some} not there, since {' and '.join(numbers)} are all NaN",)
    return Cells(
        origin=cell,
        columns={name: [numbers[name]] for name in signature.columns},
        outcome=None if outcome is None else [numbers[signature.outcome]],
        task_columns={
            name: [_task_column(task_columns or {}, name, signature, shape[0], by_task)]
            for name in signature.task_columns
        },
        codes=np.repeat(np.arange(shape[0]), shape[1]),
        tasks=labels,
        task_name=task_name,
        task_origin=by_task,
        present=np.flatnonzero(present),
        notes=(*said, *notes),
    )


def _array(columns: Mapping[str, Any], name: str, signature: Signature, about: Origin) -> Any:
    """One column of the program; a group may come as its members."""
    if name in columns:
        return np.asarray(columns[name])
    members = signature.table_columns(name)
    if name in signature.groups and all(member in columns for member in members):
        return np.stack([np.asarray(columns[member]) for member in members], axis=-1)
    absent = next((member for member in members if member not in columns), name)
    return about.refuse(
        f"no {show(absent)}, which the program {signature.program} needs"
        f"{did_you_mean(absent, columns)}: add it to {listed(columns, 12) or 'the columns'}"
    )


def _task_column(
    task_columns: Mapping[str, Any], name: str, signature: Signature, tasks: int, by_task: Origin
) -> Numbers:
    array = _array(task_columns, name, signature, by_task)
    if (
        array.ndim > 1
        and array.shape[1] == 1
        and not (array.ndim == 2 and name in signature.groups)
    ):
        array = array[:, 0]
    if array.ndim == 0 or len(array) != tasks:
        by_task.refuse(
            f"{name} has shape {array.shape} for {tasks} tasks: give it as [task, ...]; what "
            "differs from step to step is a positional column of the program"
        )
    numbers = numbers_of_array(array, name, by_task)
    if numbers.missing.any():
        by_task.refuse(
            f"{name} is missing: a column of the task is needed even where it has no rows, so "
            "fill it in, or remove the task",
            int(np.argmax(numbers.missing)),
        )
    return numbers


def _present(lengths: Any, mask: Any, shape: tuple[int, ...], about: Origin) -> np.ndarray:
    """Whether each cell is a row, `[task * step]`."""
    if lengths is not None and mask is not None:
        about.refuse("both lengths and mask say which rows are there: give one of them")
    if mask is not None:
        mask = np.asarray(mask)
        if mask.shape != tuple(shape) or mask.dtype != bool:
            about.refuse(
                f"mask is {mask.dtype} of shape {mask.shape}: give bool of shape {tuple(shape)}"
            )
        return mask.reshape(-1).copy()
    if lengths is None:
        return np.ones(shape[0] * shape[1], bool)
    lengths = np.asarray(lengths)
    if lengths.shape != (shape[0],) or lengths.dtype.kind not in "iu":
        about.refuse(f"lengths has shape {lengths.shape}: give one whole number for each task")
    if (lengths < 0).any() or (lengths > shape[1]).any():
        bad = lengths[(lengths < 0) | (lengths > shape[1])][0]
        about.refuse(f"a length is {bad}, but a task has 0 to {shape[1]} steps: mend lengths")
    return (np.arange(shape[1]) < lengths[:, None]).reshape(-1)


def _all_nan(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind != "f" or not values.size:
        return np.zeros(len(values), bool)
    return np.isnan(values.reshape(len(values), -1)).all(axis=1)


def cells_of_xarray(
    signature: Signature, dataset: xr.Dataset, task: str | None, source: str, queries: bool = False
) -> Cells:
    """Cells of a data set; with `queries`, the outcome may be absent. See `from_xarray`."""
    about = table_origin(source)
    known = [str(name) for name in dataset.variables]
    dimensions = [str(name) for name in dataset.dims]
    task = task or "task"
    if task not in dimensions:
        about.refuse(
            f"has no dimension {show(task)}{did_you_mean(task, dimensions)}: "
            f"say --task DIMENSION, one of {listed(dimensions, 12)}"
        )

    def found(name: str) -> xr.DataArray | None:
        if name in known:
            return dataset[name]
        members = signature.table_columns(name)
        if name in signature.groups and all(member in known for member in members):
            return xr.concat([dataset[m] for m in members], "feature", coords="minimal")
        return None

    arrays: dict[str, xr.DataArray] = {}
    for name in signature.names:
        array = found(name)
        if array is not None:
            arrays[name] = array
        elif not (queries and name == signature.outcome):
            about.refuse(
                f"has no variable {show(name)}, which the program {signature.program} needs"
                f"{did_you_mean(name, known)}: rename or add it; it has {listed(known, 12)}"
            )
    by_row = [arrays[name] for name in (*signature.columns, signature.outcome) if name in arrays]
    step = _step_dimension(by_row, task, about)
    grid = {task: dataset.sizes[task], step: dataset.sizes[step]}

    def rows(name: str) -> np.ndarray:
        array = arrays[name]
        grown = array.expand_dims({k: n for k, n in grid.items() if k not in array.dims})
        return grown.transpose(task, step, ...).values

    by_task: dict[str, np.ndarray] = {}
    for name in signature.task_columns:
        array = arrays[name]
        if step in array.dims or task not in array.dims:
            about.refuse(
                f"{name} is over {listed(array.dims)}, but a column of the task is over {task} "
                "alone: make it a positional column of the program"
            )
        # With an axis of one step, so that an axis of one feature is not taken for it.
        by_task[name] = array.transpose(task, ...).values[:, None]
    return cells_of_arrays(
        signature,
        {name: rows(name) for name in signature.columns},
        rows(signature.outcome) if signature.outcome in arrays else None,
        by_task,
        tasks=dataset[task].values,
        source=source,
        task_name=task,
        padding=True,
    )


def _step_dimension(arrays: Sequence[xr.DataArray], task: str, about: Origin) -> str:
    """The dimension of steps: "step", else the one that most columns have beside the task."""
    others = [str(name) for array in arrays for name in array.dims if name != task]
    if "step" in others:
        return "step"
    if not others:
        return about.refuse(f"its variables are over {task} alone: add a dimension of steps")
    # The outcome is last and decides among equals.
    return max(reversed(others), key=others.count)
