"""What a measure found, as a table of a terminal and as plain values."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import xarray as xr
from rich.console import RenderableType

from bayes_badger.cli.screen import told
from bayes_badger.cli.tables import bullets, grid
from bayes_badger.measures import registry
from bayes_badger.measures.labelled import EXACT, NATS, SE, doubts_of, notes_of, quantities_of

ROWS = 20


def as_json(found: xr.Dataset) -> dict[str, Any]:
    """All of it, as plain values."""
    return {
        "measure": found.attrs["measure"],
        "reference": found.attrs["reference"],
        "notes": notes_of(found),
        "doubts": doubts_of(found),
        "coords": {str(name): x.values.tolist() for name, x in found.coords.items()},
        "values": {
            str(name): {
                "dims": list(map(str, x.dims)),
                "units": x.attrs.get("units", ""),
                "value": x.values.tolist(),
            }
            for name, x in found.data_vars.items()
        },
    }


def shown(found: xr.Dataset) -> list[RenderableType]:
    """The table, with the first entries of what is long; notes and doubts."""
    name = str(found.attrs["measure"])
    exact = any(str(x).endswith(EXACT) for x in found.data_vars)
    table = grid(["", "value", "se", *(["exact"] if exact else []), "unit"])
    for quantity in quantities_of(found):
        x = found[quantity]
        beside = [found.get(quantity + suffix) for suffix in ((SE, EXACT) if exact else (SE,))]
        indices = list(itertools.product(*(range(n) for n in x.shape)))
        for at in indices[:ROWS]:
            cells = [_number(y.values[at]) if y is not None else "" for y in (x, *beside)]
            unit = str(x.attrs.get("units", NATS))
            table.add_row(told(f"  {_label(x, at)}"), *map(told, (*cells, unit)))
        if len(indices) > ROWS:
            table.add_row(told(f"  ... {len(indices) - ROWS} more in the file"))
    lines: list[RenderableType] = [told(name, "bold"), told(f"  {registry.question(name)}", "dim")]
    lines.append(table)
    if notes_of(found):
        lines.append(bullets(notes_of(found), "dim"))
    if doubts_of(found):
        lines += [told("  Not to be trusted:", "bold yellow"), bullets(doubts_of(found), "yellow")]
    return lines


def _label(x: xr.DataArray, at: tuple[int, ...]) -> str:
    about = str(x.attrs.get("long_name", x.name))
    if not at:
        return about
    places = [
        str(x.coords[dim].values[i]) if dim in x.coords else str(i)
        for dim, i in zip(x.dims, at, strict=True)
    ]
    return f"{about} {', '.join(places)}"


def _number(value: Any) -> str:
    number = float(value)
    if not np.isfinite(number):
        return "" if np.isnan(number) else str(number)
    return f"{number:.4f}" if 1e-3 <= abs(number) < 1e4 or number == 0 else f"{number:.3g}"
