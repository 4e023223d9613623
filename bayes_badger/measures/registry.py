"""The measures, by name: a new one is one new file and one line here.

A measure is a module of `definitions` with the name of the measure and, in it:

- `QUESTION`: what it answers, one line that ends in a question mark;
- `REFERENCE`: where its definition comes from;
- a function of that same name, `(run, *, program=None, seed=0, report=silent, ...) -> xr.Dataset`,
  made by `labelled`; what else it takes are settings, with defaults, that a command line can set;
- `plot(found, axes)`, which draws the data set on matplotlib axes, with names and units.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import xarray as xr

from bayes_badger.errors import BadgerError, did_you_mean, listed

NAMES = (
    "algorithm_by_rows",
    "alone",
    "bottleneck",
    "capacity",
    "code_length",
    "endurance",
    "groups_or_observations",
    "influence",
    "information_between_tasks",
    "information_gain",
    "invariance",
    "is_it_bayesian",
    "memorisation",
    "posterior_shift",
    "prior_or_evidence",
    "sensitivity",
    "targeting",
    "transfer",
)
NO_SETTINGS = ("run", "program", "seed", "report")


def known(name: str) -> str:
    """The name of a measure, checked; a hyphen does for an underscore.

    Raises:
        BadgerError: If there is none of that name, with the closest one.
    """
    plain = name.replace("-", "_")
    if plain not in NAMES:
        raise BadgerError(
            f"there is no measure '{name}'{did_you_mean(plain, NAMES)}: choose one of "
            f"{listed(NAMES, 30)}"
        )
    return plain


def module(name: str) -> ModuleType:
    """The module of a measure."""
    return importlib.import_module(f"bayes_badger.measures.definitions.{known(name)}")


def function(name: str) -> Callable[..., xr.Dataset]:
    """The function of a measure."""
    found: Callable[..., xr.Dataset] = getattr(module(name), known(name))
    return found


def question(name: str) -> str:
    """What a measure answers."""
    return str(module(name).QUESTION)


def settings(name: str) -> dict[str, Any]:
    """What can be set of a measure, with its defaults."""
    parameters = inspect.signature(function(name)).parameters.values()
    return {x.name: x.default for x in parameters if x.name not in NO_SETTINGS}


def checked(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a measure, each with the type of its default.

    Raises:
        BadgerError: For one that it has not, or that is of another kind.
    """
    defaults, found = settings(name), {}
    for key, value in given.items():
        if key not in defaults:
            raise BadgerError(
                f"{name} has no setting '{key}'{did_you_mean(key, defaults)}: it has "
                f"{listed(defaults) or 'none'}"
            )
        kind: Any = type(defaults[key])
        wrong = kind is bool and not isinstance(value, bool)
        try:
            found[key] = value if kind is type(None) else kind(value)
        except (TypeError, ValueError):
            wrong = True
        if wrong or (kind is int and found[key] != value):
            raise BadgerError(
                f"{name}: {key} = {value!r} is no {kind.__name__}: its default is {defaults[key]!r}"
            )
    return found
