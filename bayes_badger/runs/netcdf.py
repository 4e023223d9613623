"""Labelled arrays as netCDF, around its traps: what it cannot hold, holds wrongly, or only claims.

netCDF-4 turns a missing label into an empty one and cuts text at a NUL without a word, refuses
truth values as attributes, and a file of a kilobyte may claim terabytes of zeros.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import xarray as xr
from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK

from bayes_badger.errors import BadgerError

MAX_CLAIM = 1_000_000_000
MAX_RATIO = 1000


def write_netcdf(path: Path, data: xr.Dataset | xr.DataTree) -> None:
    """Writes a data set or a tree of them, labels as text and odd attributes as JSON.

    Raises:
        BadgerError: Where a variable cannot be stored, by name.
    """
    if isinstance(data, xr.Dataset):
        stored: xr.Dataset | xr.DataTree = _storable(data)
    else:
        nodes = {node.path: _storable(node.to_dataset(inherit=False)) for node in data.subtree}
        stored = xr.DataTree.from_dict(nodes)
    stored.to_netcdf(path, engine="netcdf4")


def read_dataset(path: Path) -> xr.Dataset:
    """Loads a data set into memory.

    Raises:
        BadgerError: Where the file claims far more than it can hold.
    """
    _check_claim(path)
    return xr.load_dataset(path, engine="netcdf4")


def read_tree(path: Path) -> xr.DataTree:
    """Loads a tree of data sets into memory.

    Raises:
        BadgerError: Where the file claims far more than it can hold.
    """
    _check_claim(path)
    return xr.load_datatree(path, engine="netcdf4")


def _check_claim(path: Path) -> None:
    # With netCDF4 alone: xarray loads the coordinates as soon as it opens a file.
    size = path.stat().st_size
    # No two threads may be within the C library: xarray holds the same lock when it is.
    with NETCDF4_PYTHON_LOCK, netCDF4.Dataset(path, "r") as file:
        claimed = _claimed(file)
    if claimed > max(MAX_CLAIM, MAX_RATIO * size):
        raise BadgerError(
            f"{path.name} has {size} bytes and claims to hold {claimed}: it is not loaded"
        )


def _claimed(group: Any) -> int:
    total = 0
    for variable in group.variables.values():
        item = 16 if variable.dtype is str else np.dtype(variable.dtype).itemsize
        entries = 1
        for length in variable.shape:
            entries *= int(length)
        total += item * entries
    return total + sum(_claimed(inner) for inner in group.groups.values())


def _storable(dataset: xr.Dataset) -> xr.Dataset:
    replaced = {}
    for name, variable in dataset.variables.items():
        for word in (name, *variable.dims):
            if "/" in str(word):
                raise BadgerError(
                    f"'{word}' cannot be stored: netCDF takes '/' for a group, rename it"
                )
        values = _values(str(name), variable)
        attributes = _attributes(variable.attrs)
        if values is not None or any(
            attributes[key] is not variable.attrs[key] for key in attributes
        ):
            values = variable.data if values is None else values
            replaced[name] = (variable.dims, values, attributes)
    coordinates = {name: value for name, value in replaced.items() if name in dataset.coords}
    variables = {name: value for name, value in replaced.items() if name not in coordinates}
    clean = dataset.assign_coords(coordinates).assign(variables).drop_encoding()
    clean.attrs = _attributes(dataset.attrs)
    return clean


def _values(name: str, variable: xr.Variable) -> np.ndarray | None:
    """The values as netCDF can hold them; None where it can as they are."""
    dtype = variable.dtype
    if not isinstance(dtype, np.dtype) or dtype.kind in "OUST":
        return _labels(name, np.asarray(variable.values, dtype=object))
    if dtype.kind == "c":
        raise BadgerError(
            f"'{name}' cannot be stored: it is complex, give its real and imaginary part"
        )
    if dtype.name in ("float16", "bfloat16"):
        return variable.values.astype(np.float32)
    return variable.values.astype(np.float64) if dtype.name == "longdouble" else None


def _labels(name: str, values: np.ndarray) -> np.ndarray:
    """Text, or what objects hide: whole numbers, numbers or truth values, but of one kind."""
    items = values.ravel().tolist()
    kinds = {type(item) for item in items}
    if all(isinstance(item, str) for item in items):
        bad = [item for item in items if "\0" in item or not _is_unicode(item)]
        if bad:
            raise BadgerError(
                f"'{name}' cannot be stored: its label {bad[0]!r} is not text that a file can hold"
            )
        # An empty array of objects tells xarray nothing of what it would have held.
        return values if items else values.astype("U1")
    if kinds == {bool} or kinds <= {int} or kinds <= {int, float}:
        return np.array(items).reshape(values.shape)
    odd = next(item for item in items if not isinstance(item, str))
    raise BadgerError(
        f"'{name}' cannot be stored: it holds {odd!r} of type {type(odd).__name__}: labels are "
        "all text, or all numbers, and none is missing"
    )


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _attributes(attributes: Any) -> dict[str, Any]:
    return {key: _attribute(value) for key, value in attributes.items()}


def _attribute(value: Any) -> Any:
    """Text and numbers as they are, all else as JSON."""
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "iuf":
        return value
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, str):
        return value
    if isinstance(value, float) or (type(value) is int and abs(value) < 2**63):
        return value
    return json.dumps(value, default=str)
