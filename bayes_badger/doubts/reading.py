"""What the checks read of a run: a run from a stranger may lack anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

SAMPLE = ("chain", "draw")
# The 89 % equal-tailed interval.
BOUNDS = (0.055, 0.945)
# A variable with more entries than this (a network's weights) says nothing one by one.
ENTRIES = 64


def part(mapping: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A table of a spec; a stored one may be anything."""
    found = mapping.get(name)
    return found if isinstance(found, Mapping) else {}


def texts(value: Any) -> list[str]:
    """A list of texts, whatever was stored."""
    return [str(item) for item in value] if isinstance(value, list | tuple) else []


def group(tree: xr.DataTree, name: str) -> xr.Dataset:
    """A group of a tree; empty where there is none."""
    return tree[name].to_dataset() if name in tree.children else xr.Dataset()


def drawn(tree: xr.DataTree) -> xr.Dataset:
    """Variables of the posterior that are numbers with draws."""
    found = group(tree, "posterior")
    return found[[name for name, x in found.data_vars.items() if is_drawn(x)]]


def is_drawn(variable: xr.DataArray) -> bool:
    """Whether a variable is made of numbers that have draws."""
    return set(SAMPLE) <= set(variable.dims) and variable.dtype.kind in "fiub" and variable.size > 0


def independent(spec: Mapping[str, Any]) -> bool:
    """Whether the draws are independent, so that chains have nothing to tell."""
    return part(spec, "result").get("independent") is True


def task_name(spec: Mapping[str, Any]) -> str:
    """What a task is called: the dim of the tasks."""
    return str(part(spec, "evidence").get("task_name") or "task")


def outcome_of(spec: Mapping[str, Any], names: list[str]) -> str:
    """The outcome that is meant, of several names."""
    asked = str(part(spec, "program").get("outcome"))
    return asked if asked in names else names[0]


def evenly(count: int, shown: int) -> np.ndarray:
    """Positions spread evenly over a range, the first and the last among them.

    Example:
        >>> evenly(5, 3), evenly(2, 16)
        (array([0, 2, 4]), array([0, 1]))
    """
    return np.unique(np.linspace(0, count - 1, min(count, shown)).round().astype(int))


def tried(what: str, make: Callable[[], Any]) -> tuple[Any, str]:
    """What was made, or the sentence that says why it was not."""
    try:
        return make(), ""
    except Exception as error:  # libraries raise whatever they like at what a stranger stored
        first = str(error).strip().partition("\n")[0]
        return None, f"{what}: {type(error).__name__}{f': {first}' if first else ''}."
