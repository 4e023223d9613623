"""A run on disk: one folder, written whole or not at all, and verified before it is read."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bayes_badger.runs.listing import RunEntry, find_run, list_runs
    from bayes_badger.runs.run import Run
    from bayes_badger.runs.store import read_run, write_run
    from bayes_badger.runs.summary import posterior_table

__all__ = [
    "Run",
    "RunEntry",
    "find_run",
    "list_runs",
    "posterior_table",
    "read_run",
    "write_run",
]

# Listing runs must not wait for xarray, nor reading one for arviz.
_ROOMS = {
    "Run": "run",
    "RunEntry": "listing",
    "find_run": "listing",
    "list_runs": "listing",
    "posterior_table": "summary",
    "read_run": "store",
    "write_run": "store",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_ROOMS[name]}"), name)
