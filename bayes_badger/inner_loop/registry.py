"""Which inner loops there are: one file of this package each, listed without importing any."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

from bayes_badger.errors import BadgerError, did_you_mean, listed

PACKAGE = Path(__file__).resolve().parent
NOT_INNER_LOOPS = ("linear_gaussian", "messages", "protocol", "registry")


def inner_loops() -> tuple[str, ...]:
    """The names that a recipe may give as `inner_loop.name`.

    Example:
        >>> "registry" in inner_loops()
        False
    """
    found = (file.name for file in pkgutil.iter_modules([str(PACKAGE)]))
    return tuple(
        sorted(name for name in found if name not in NOT_INNER_LOOPS and not name.startswith("_"))
    )


def module(name: str) -> ModuleType:
    """Imports one inner loop: a module with `Settings` and `make(settings)`.

    Raises:
        BadgerError: Where there is no inner loop of that name.
    """
    return importlib.import_module(f"{__package__}.{known(name)}")


def known(name: str) -> str:
    """The name itself, where there is an inner loop of that name; it is not imported.

    Raises:
        BadgerError: Where there is none, with the closest name.
    """
    names = inner_loops()
    if name not in names:
        raise BadgerError(
            f"there is no inner loop '{name}'{did_you_mean(name, names)}; there are {listed(names)}"
        )
    return name
