"""Mistakes that can be told before jax is imported, which takes seconds."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bayes_badger import shelves
from bayes_badger.errors import BadgerError, did_you_mean


def check_model(text: str) -> None:
    """Refuses a program that is not there.

    Raises:
        BadgerError: With the closest name.
    """
    before, colon, function = text.rpartition(":")
    named = bool(colon and before) and function.isidentifier() and not os.path.isfile(text)
    shelves.find("models", before if named else text)


def check_recipe(text: str) -> None:
    """Refuses a recipe that is not there.

    Raises:
        BadgerError: With the closest name.
    """
    shelves.find("inference", text)


def check_data(path: Path | None) -> None:
    """Refuses a file that is not there.

    Raises:
        BadgerError: With the closest name in its folder.
    """
    if path is None or path.exists():
        return
    try:
        beside = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        beside = []
    raise BadgerError(f"there is no file {path}{did_you_mean(path.name, beside)}: check --data")


def check_folder(folder: Path, option: str = "--out") -> None:
    """Refuses a folder in which nothing can be written, before hours of work and not after.

    It is tried, for permissions alone do not tell; what the trial made is removed.

    Raises:
        BadgerError: With what is in the way.
    """
    place = folder.expanduser().absolute()
    missing = [path for path in (place, *place.parents) if not os.path.lexists(path)]
    made = []
    try:
        for path in reversed(missing):
            path.mkdir()
            made.append(path)
        tempfile.TemporaryFile(dir=place).close()
    except OSError as error:
        raise BadgerError(
            f"nothing can be written to {option} {folder}: {error.strerror or error}"
        ) from error
    finally:
        for path in reversed(made):
            # Another process may have put something there meanwhile.
            with contextlib.suppress(OSError):
                path.rmdir()


def settings_of(texts: Sequence[str]) -> dict[str, Any]:
    """Settings from `KEY=VALUE`, each at most once.

    Raises:
        BadgerError: For one without `=`, or given twice.
    """
    from bayes_badger.recipe import parse_setting

    settings: dict[str, Any] = {}
    for text in texts:
        key, value = parse_setting(text)
        if key in settings:
            raise BadgerError(f"--set {key} is given twice: keep one of them")
        settings[key] = value
    return settings
