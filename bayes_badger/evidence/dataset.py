"""Evidence as an xarray data set that netCDF holds without loss, and back.

Attributes of netCDF are numbers and text only, and its names hold no "/", so everything else is one
JSON text in the attribute "bayes_badger_evidence".
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr

from bayes_badger.errors import BadgerError
from bayes_badger.evidence.evidence import Evidence

MARK = "bayes_badger_evidence"
ROW, INDEX, OBSERVATION = "row", "task_index", "obs_id"


def to_dataset(evidence: Evidence) -> xr.Dataset:
    """Writes evidence over the dimensions "obs_id" and the task.

    Returns:
        Columns, task columns and outcome as variables; labels, "task_index" and "row" as
        coordinates. A name that is taken or holds "/" is changed; the attribute knows the true one.
    """
    taken = {ROW, INDEX, OBSERVATION}

    def free(name: str) -> str:
        name = name.replace("/", "|").strip() or "_"
        while name in taken:
            name += "_"
        taken.add(name)
        return name

    task = free(evidence.task_name)
    variables: dict[str, Any] = {}
    names: dict[str, dict[str, str]] = {"columns": {}, "task_columns": {}, "outcome": {}}
    dtypes: dict[str, str] = {}

    def add(kind: str, name: str, dimension: str, values: np.ndarray) -> None:
        variable = free(name)
        names[kind][name] = variable
        dtypes[variable] = values.dtype.name
        trailing = [f"{variable}_dim_{axis}" for axis in range(values.ndim - 1)]
        variables[variable] = ([dimension, *trailing], values)

    for name, values in evidence.columns.items():
        add("columns", name, OBSERVATION, values)
    for name, values in evidence.task_columns.items():
        add("task_columns", name, task, values)
    if evidence.outcome is not None:
        add("outcome", evidence.outcome_name, OBSERVATION, evidence.outcome)
    about = {
        "names": names,
        "dtypes": dtypes,
        "task": task,
        "task_name": evidence.task_name,
        "outcome_name": evidence.outcome_name,
        "labels": "text" if evidence.tasks.dtype.kind in "OUT" else "int",
        "notes": list(evidence.notes),
    }
    coordinates = {
        task: (task, evidence.tasks),
        INDEX: (OBSERVATION, evidence.task_index),
        ROW: (OBSERVATION, evidence.rows),
    }
    return xr.Dataset(variables, coordinates, {MARK: json.dumps(about)})


def is_evidence(dataset: xr.Dataset) -> bool:
    """Whether `to_dataset` wrote the data set."""
    return MARK in dataset.attrs


def from_dataset(dataset: xr.Dataset) -> Evidence:
    """The evidence that `to_dataset` wrote.

    Raises:
        BadgerError: If it was not written by `to_dataset`.
    """
    if not is_evidence(dataset):
        raise BadgerError(
            f"the data set has no attribute '{MARK}', so it is not evidence that was written by "
            "to_dataset: read it with from_xarray"
        )
    about = json.loads(dataset.attrs[MARK])

    def values(variable: str) -> np.ndarray:
        return np.asarray(dataset[variable].values, dtype=about["dtypes"][variable])

    def group(kind: str) -> dict[str, np.ndarray]:
        return {name: values(variable) for name, variable in about["names"][kind].items()}

    outcomes = group("outcome")
    text = about["labels"] == "text"
    return Evidence(
        columns=group("columns"),
        outcome=outcomes.get(about["outcome_name"]),
        task_columns=group("task_columns"),
        task_index=np.asarray(dataset[INDEX].values, dtype=np.int64),
        tasks=np.asarray(dataset[about["task"]].values, dtype=object if text else np.int64),
        rows=np.asarray(dataset[ROW].values, dtype=np.int64),
        task_name=about["task_name"],
        outcome_name=about["outcome_name"],
        notes=tuple(about["notes"]),
    )
