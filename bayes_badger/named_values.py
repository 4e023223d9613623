"""Discrete latents whose values have names: each value has a probability, a mean says nothing."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

# The attribute of a discrete latent that has what its values are called, a list in JSON; the dim of
# those values; the attribute of what is a probability in the mean.
LABELS, VALUE, PROBABILITY = "labels", "value", "probability"


def names_of(variable: xr.DataArray) -> tuple[str, ...]:
    """What values 0, 1, ... are called; empty where they have no names, or broken ones.

    Example:
        >>> import xarray as xr
        >>> names_of(xr.DataArray([0, 1], attrs={"labels": '["ridge", "pool"]'}))
        ('ridge', 'pool')
    """
    try:
        labels = json.loads(variable.attrs.get(LABELS, "[]"))
    except (TypeError, ValueError):
        return ()
    return tuple(str(label) for label in labels) if isinstance(labels, list) else ()


def chances(variable: xr.DataArray, names: tuple[str, ...] | None = None) -> xr.DataArray:
    """Whether each named value is the one, `[..., value]`: in the mean, its probability.

    Args:
        variable: Draws of a discrete latent; what has no names is returned as it is.
        names: Of its values, where it does not bring them itself.
    """
    names = names_of(variable) if names is None else names
    if not names:
        return variable
    values = xr.DataArray(np.arange(len(names)), dims=VALUE, coords={VALUE: list(names)})
    found = (variable == values).astype(float).rename(variable.name)
    return found.assign_attrs({PROBABILITY: 1})
