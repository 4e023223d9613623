"""Numbers of a measure as a labelled data set: units, standard errors, exact values, doubts.

Beside a variable `x` stand `x_se`, its standard error, and `x_exact`, where the truth is known.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

SE, EXACT = "_se", "_exact"
NATS = "nats"


class Quantity(NamedTuple):
    """One variable of a measure.

    Attributes:
        about: What it is, a few words: the label of its row in a table.
        value: `[*dims]`.
        error: Its standard error, or None where it has none.
        exact: The true value, where it is known.
        dims: The names of its axes.
        units: Of all three.
    """

    about: str
    value: Any
    error: Any = None
    exact: Any = None
    dims: tuple[str, ...] = ()
    units: str = NATS


def labelled(
    measure: str,
    reference: str,
    quantities: Mapping[str, Quantity],
    coords: Mapping[Any, Any] | None = None,
    notes: Sequence[str] = (),
    doubts: Sequence[str] = (),
) -> xr.Dataset:
    """What a measure found, as a data set.

    Args:
        measure: Its name in `measures.registry`.
        reference: Where the definition comes from.
        quantities: By name, in the order in which a table shows them.
        coords: Labels of axes.
        notes: What was chosen, and why, one sentence each.
        doubts: Why numbers are not to be trusted, one sentence each.

    Example:
        >>> found = labelled("demo", "nobody", {"gain": Quantity("gain", 0.5, 0.01, 0.49)})
        >>> float(found["gain_exact"]), found["gain"].attrs["units"]
        (0.49, 'nats')
    """
    variables: dict[Hashable, Any] = {}
    for name, (about, value, error, exact, dims, units) in quantities.items():
        attrs = {"units": units, "long_name": about}
        for suffix, x in (("", value), (SE, error), (EXACT, exact)):
            if x is not None:
                shape = np.shape(value)
                filled = np.broadcast_to(np.asarray(x, float), shape)
                variables[name + suffix] = (dims, filled.copy(), attrs)
    told = {"notes": json.dumps(list(notes)), "doubts": json.dumps(list(doubts))}
    attrs = {"measure": measure, "reference": reference, **told}
    return xr.Dataset(variables, coords=dict(coords or {}), attrs=attrs)


def doubts_of(found: xr.Dataset) -> list[str]:
    """Why the numbers are not to be trusted; empty where they are."""
    return [str(x) for x in json.loads(found.attrs.get("doubts", "[]"))]


def notes_of(found: xr.Dataset) -> list[str]:
    """What was chosen, and why."""
    return [str(x) for x in json.loads(found.attrs.get("notes", "[]"))]


def quantities_of(found: xr.Dataset) -> list[str]:
    """The names of the variables that are no error and no truth of another."""
    names = [str(name) for name in found.data_vars]
    return [
        name
        for name in names
        if not any(
            name.endswith(suffix) and name.removesuffix(suffix) in names for suffix in (SE, EXACT)
        )
    ]
