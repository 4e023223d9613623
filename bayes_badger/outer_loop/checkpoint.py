"""The state of an outer loop on disk: written whole or not at all, and read back bit for bit.

Each checkpoint is a file of arrays and, written after it, a small one that says its digest; the
last two are kept. Whatever kills the writer, the newest whole one is found. No pickle.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from jaxtyping import PyTree

from bayes_badger.errors import BadgerError

KEPT = 2
NAME = re.compile(r"step-(\d{9})\.json")


def write(folder: Path, step: int, state: PyTree, curve: Sequence[Mapping[str, Any]]) -> None:
    """Writes the arrays of a state after so many steps, and the learning curve so far.

    Older ones but one are removed.

    Raises:
        BadgerError: Where it cannot be written; what stood there before still stands.
    """
    arrays = {f"{i:05}": _array(x) for i, x in enumerate(jax.tree.leaves(state))}
    content = safetensors.numpy.save(arrays)
    told: dict[str, Any] = {"format": "bayes-badger learning", "version": 1, "step": step}
    told |= {"sha256": hashlib.sha256(content).hexdigest(), "curve": list(curve)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _put(folder / f"step-{step:09}.safetensors", content)
        _put(folder / f"step-{step:09}.json", (json.dumps(told) + "\n").encode())
        remove(folder, KEPT)
    except OSError as error:
        raise BadgerError(f"no checkpoint in {folder}: {error.strerror or error}") from error


def newest(folder: Path, like: PyTree) -> tuple[int, PyTree, list[dict[str, Any]]] | None:
    """The newest whole checkpoint: steps done, state and curve; None where there is none.

    Args:
        folder: Where checkpoints were written.
        like: A state of the same shape.

    Raises:
        BadgerError: Where it is of another program or another recipe.
    """
    for step in _steps(folder):
        try:
            told = json.loads((folder / f"step-{step:09}.json").read_text())
            content = (folder / f"step-{step:09}.safetensors").read_bytes()
        except (OSError, ValueError):
            continue
        if not isinstance(told, dict) or told.get("sha256") != hashlib.sha256(content).hexdigest():
            continue
        arrays = safetensors.numpy.load(content)
        leaves, tree = jax.tree.flatten(like)
        stored = [arrays[name] for name in sorted(arrays)]
        shapes = [(x.shape, str(x.dtype)) for x in map(_array, leaves)]
        if shapes != [(x.shape, str(x.dtype)) for x in stored]:
            raise BadgerError(f"{folder} was learned for another program, or with other settings")
        kept = [
            jnp.asarray(x) if isinstance(leaf, jax.Array) else x
            for x, leaf in zip(stored, leaves, strict=True)
        ]
        curve = [line for line in told.get("curve") or [] if isinstance(line, dict)]
        return step, jax.tree.unflatten(tree, kept), curve
    return None


def remove(folder: Path, kept: int = 0) -> None:
    """Removes all checkpoints of a folder but the newest few; nothing else in it is touched."""
    for old in _steps(folder)[kept:]:
        for suffix in ("json", "safetensors"):
            (folder / f"step-{old:09}.{suffix}").unlink(missing_ok=True)


def _array(x: Any) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(x)).reshape(np.shape(x))


def _steps(folder: Path) -> list[int]:
    """The steps of the checkpoints that say they are whole, the newest first."""
    names = [NAME.fullmatch(path.name) for path in folder.iterdir()] if folder.is_dir() else []
    return sorted((int(found[1]) for found in names if found), reverse=True)


def _put(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.writing")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
