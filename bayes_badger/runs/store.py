"""Writes a run into a folder, whole or not at all, and reads it back once it is verified.

A run is written under a temporary sibling name, each file flushed to the disk, the manifest last;
then the folder is renamed. Whatever kills the writer, a folder under its final name is whole.
Nothing in it is ever executed: no pickle.
"""

from __future__ import annotations

import datetime
import errno
import json
import os
import re
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import xarray as xr

from bayes_badger.errors import BadgerError
from bayes_badger.runs import manifest, netcdf
from bayes_badger.runs.run import Run
from bayes_badger.runs.spec_toml import to_toml

# What encoders and a full disk raise; anything else is a defect.
TROUBLE = (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError)
STORABLE = {
    "bool",
    *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
    *(f"float{bits}" for bits in (16, 32, 64)),
}


def write_run(
    parent: str | Path,
    name: str,
    *,
    spec: Mapping[str, Any],
    tree: xr.DataTree,
    evidence: xr.Dataset,
    parameters: Mapping[str, Any],
    metrics: Sequence[Mapping[str, Any]],
) -> Path:
    """Writes a run into a new folder `NAME-YYYYMMDD-HHMMSS` of `parent`.

    Args:
        parent: Where runs are kept; made if it does not exist.
        name: What the run is of; characters that do not suit a folder become `-`.
        spec: What was asked and with what: text, numbers, lists and tables.
        tree: The posterior and the other groups.
        evidence: What it was fitted to.
        parameters: What was learned: arrays by name.
        metrics: One table of numbers for each line of progress.

    Returns:
        The new folder.

    Raises:
        BadgerError: Where something cannot be stored, or the disk is full; nothing is left then.
    """
    parent = Path(parent).expanduser().absolute()
    now = _now()
    folder_name = f"{_slug(name)}-{now:%Y%m%d-%H%M%S}"
    writers: dict[str, Callable[[Path], object]] = {
        manifest.SPEC: lambda path: path.write_bytes(to_toml(spec).encode()),
        manifest.EVIDENCE: lambda path: netcdf.write_netcdf(path, evidence),
        manifest.POSTERIOR: lambda path: netcdf.write_netcdf(path, tree),
        manifest.PARAMETERS: lambda path: path.write_bytes(_parameter_bytes(parameters)),
        manifest.METRICS: lambda path: path.write_text(_lines(metrics), encoding="utf-8"),
        manifest.MANIFEST: lambda path: path.write_text(
            manifest.manifest_text(path.parent, now.isoformat()), encoding="utf-8"
        ),
    }
    try:
        parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder_name}.writing-", dir=parent))
    except OSError as error:
        raise BadgerError(
            f"no run can be written to {parent}: {error.strerror or error}"
        ) from error
    file = ""
    try:
        temporary.chmod(0o755)
        for file, write in writers.items():
            write(temporary / file)
            _finish_file(temporary / file)
        _flush(temporary)
        final = _renamed(temporary, parent / folder_name)
        _flush(parent)
    except TROUBLE as error:
        _discard(temporary)
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        # This is all that netCDF has to say of a full disk.
        hint = " (is the disk full?)" if "HDF error" in reason else ""
        raise BadgerError(
            f"the run could not be written to {parent}: {file}: {reason}{hint}"
        ) from error
    except BaseException:
        _discard(temporary)
        raise
    return final


def read_run(path: str | Path) -> Run:
    """Reads a run, once every file of it is verified against the manifest.

    Raises:
        BadgerError: Where the folder is not a whole and undamaged run.
    """
    folder = Path(path).expanduser().absolute()
    found = manifest.condition(folder, thorough=True)
    if found.state != "complete":
        raise BadgerError(f"run {folder}: {found.reason}")
    name = manifest.SPEC
    try:
        spec = tomllib.loads((folder / name).read_text(encoding="utf-8"))
        name = manifest.EVIDENCE
        evidence = netcdf.read_dataset(folder / name)
        name = manifest.POSTERIOR
        tree = netcdf.read_tree(folder / name)
        name = manifest.PARAMETERS
        parameters = safetensors.numpy.load((folder / name).read_bytes())
        name = manifest.METRICS
        lines = (folder / name).read_text(encoding="utf-8").splitlines()
        metrics = [json.loads(line) for line in lines]
    except BadgerError as error:
        raise BadgerError(f"run {folder}: {error}") from error
    except Exception as error:  # the decoders of a hostile file raise whatever they like
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise BadgerError(f"run {folder}: {name} cannot be read: {reason}") from error
    return Run(
        spec=spec,
        tree=tree,
        evidence=evidence,
        parameters=parameters,
        metrics=metrics,
        path=folder,
    )


def _now() -> datetime.datetime:
    return datetime.datetime.now().astimezone()


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name)[:60].strip("-.") or "run"


def _parameter_bytes(parameters: Mapping[str, Any]) -> bytes:
    arrays = {}
    for name, value in parameters.items():
        # safetensors stores the memory as it lies: it must lie in order.
        array = np.asarray(value, order="C")
        if array.dtype.name == "bfloat16":
            array = array.astype(np.float32)
        if array.dtype.name not in STORABLE or name == "__metadata__":
            raise BadgerError(f"parameter '{name}' of type {array.dtype} cannot be stored")
        arrays[str(name)] = array.astype(array.dtype.newbyteorder("="), copy=False)
    return safetensors.numpy.save(arrays)


def _lines(metrics: Sequence[Mapping[str, Any]]) -> str:
    def plain(value: Any) -> Any:
        return value.tolist() if hasattr(value, "tolist") else str(value)

    return "".join(json.dumps(dict(line), default=plain) + "\n" for line in metrics)


def _finish_file(path: Path) -> None:
    path.chmod(0o644)
    _flush(path)


def _flush(path: Path) -> None:
    """Waits until a file, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _renamed(temporary: Path, wanted: Path) -> Path:
    """Gives the folder its name, or the next one that is free."""
    number = 1
    while True:
        final = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        number += 1
        if os.path.lexists(final):
            continue
        try:
            temporary.rename(final)
        except OSError as error:  # another writer was faster
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
        else:
            return final


def _discard(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
