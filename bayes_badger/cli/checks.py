"""Mistakes that can be told before jax is imported, which takes seconds."""

from __future__ import annotations

import contextlib
import os
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bayes_badger.errors import BadgerError
from bayes_badger.runs.manifest import SPEC


def check_model(text: str) -> None:
    """Refuses a program that is not there, or of which it is certain that it cannot be lifted.

    Raises:
        BadgerError: With the closest name, or the line of the file.
    """
    from bayes_badger.preflight.source import read_source

    read_source(text).signature()


def check_new_data(
    run: Path,
    data: Path,
    model: str | None,
    task: str | None,
    missing: str,
    queries: bool = False,
) -> None:
    """Refuses new data for a stored run, by the text of its program.

    Raises:
        BadgerError: In one line.
    """
    # Not before: it waits for numpy and pydantic, and --help must not.
    from bayes_badger.preflight import checks
    from bayes_badger.tables.kinds import check_file

    check_file(data)
    if model is not None:
        check_model(model)
    try:
        spec = tomllib.loads((run / SPEC).read_text(encoding="utf-8"))
        if not {"on_shelf", "name", "path", "sha256"} <= set(spec["program"]):
            return
    except (OSError, ValueError, KeyError, TypeError):
        return  # what is wrong with a run is told when it is read
    checks.check_new_data(spec, model, data, task=task, missing=missing, queries=queries)


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
