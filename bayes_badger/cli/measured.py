"""What a measure found, as tables of a terminal and as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import batched
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from rich.console import RenderableType
from rich.table import Table

from bayes_badger.cli.screen import told
from bayes_badger.cli.tables import HEADING, bullets
from bayes_badger.measures import registry
from bayes_badger.measures.labelled import EXACT, NATS, SE, doubts_of, notes_of, quantities_of

# Of a long axis so many entries are shown; side by side so many columns, each so wide.
ROWS, COLUMNS, WIDTH = 20, 3, 15


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
    """Single numbers, then what runs along an axis, quantity beside quantity; notes and doubts."""
    name = str(found.attrs["measure"])
    lines: list[RenderableType] = [told(name, "bold"), told(f"  {registry.question(name)}", "dim")]
    quantities = [found[x] for x in quantities_of(found)]
    single = [x for x in quantities if not x.ndim]
    if single:
        lines.append(_single(found, single))
    along: dict[Any, list[xr.DataArray]] = {}
    for x in quantities:
        if x.ndim == 1:
            along.setdefault(x.dims[0], []).append(x)
    for dim, several in along.items():
        columns = [column for x in several for column in _columns(found, x)]
        for some in batched(columns, COLUMNS):
            lines += ["", _along(str(dim), found[several[0].name].coords, some)]
    for x in quantities:
        if x.ndim > 1:
            lines += ["", *_matrix(found, x)]
    lines += [""] if notes_of(found) and len(lines) > 3 else []
    if notes_of(found):
        lines.append(bullets(notes_of(found), "dim"))
    if doubts_of(found):
        lines += [told("  Not to be trusted:", "bold yellow"), bullets(doubts_of(found), "yellow")]
    return lines


class _Column(NamedTuple):
    title: str
    values: np.ndarray
    errors: np.ndarray | None


def _single(found: xr.Dataset, quantities: Sequence[xr.DataArray]) -> Table:
    exact = any(str(x.name) + EXACT in found for x in quantities)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style=HEADING)
    table.add_column("", overflow="fold")
    for title in ("value", "se", *(["exact"] if exact else [])):
        table.add_column(title, no_wrap=True, justify="right")
    table.add_column("unit", overflow="fold")
    for x in quantities:
        beside = [found.get(str(x.name) + suffix) for suffix in ((SE, EXACT) if exact else (SE,))]
        cells = [_number(y.values) if y is not None else "" for y in (x, *beside)]
        table.add_row(told(f"  {_about(x)}"), *map(told, (*cells, _unit(x))))
    return table


def _columns(found: xr.Dataset, x: xr.DataArray) -> list[_Column]:
    """A quantity with its errors, and its truth beside it where that is known."""
    error, truth = (found.get(f"{x.name}{suffix}") for suffix in (SE, EXACT))
    errors = None if error is None else error.values
    columns = [_Column(f"{_about(x)} ({_unit(x)})", x.values, errors)]
    return columns if truth is None else [*columns, _Column("exact", truth.values, None)]


def _matrix(found: xr.Dataset, x: xr.DataArray) -> list[RenderableType]:
    """Of two axes the short one lies across; what has more than that is in the file."""
    title = told(f"  {_about(x)} ({_unit(x)})", HEADING)
    across = min(x.dims, key=lambda dim: x.sizes[dim])
    if x.ndim > 2 or x.sizes[across] > COLUMNS:
        size = " x ".join(f"{x.sizes[dim]} {_words(str(dim))}" for dim in x.dims)
        return [told(f"  {_about(x)}: {size}, in the file")]
    down = next(dim for dim in x.dims if dim != across)
    error = found.get(f"{x.name}{SE}")
    names = x.coords[across].values if across in x.coords else np.arange(x.sizes[across])
    columns = [
        _Column(
            str(name),
            x.isel({across: i}).values,
            None if error is None else error.isel({across: i}).values,
        )
        for i, name in enumerate(names)
    ]
    return [title, _along(str(down), x.coords, columns)]


def _along(dim: str, coords: Any, columns: Sequence[_Column]) -> Table:
    """A row for each entry of an axis; of many numbers some, ever further apart."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style=HEADING)
    table.add_column(told(f"  {_words(dim)}"), no_wrap=True, overflow="ellipsis")
    for column in columns:
        table.add_column(told(column.title), overflow="fold", justify="right", min_width=WIDTH)
    size = len(columns[0].values)
    names = coords[dim].values if dim in coords else np.arange(size)
    known = np.flatnonzero(np.any([np.isfinite(x.values) for x in columns], axis=0))
    rows, left = known, 0
    if len(known) > ROWS:
        numbers = np.issubdtype(np.asarray(names).dtype, np.number)
        steps = np.geomspace(1, len(known), ROWS // 2) - 1 if numbers else np.arange(ROWS)
        rows = known[np.unique(steps.round().astype(int))]
        left = len(known) - len(rows)
    for i in rows:
        cells = [_pair(x.values[i], None if x.errors is None else x.errors[i]) for x in columns]
        table.add_row(told(f"  {names[i]}"), *map(told, cells))
    if left:
        table.add_row(told(f"  ... {left} more in the file"))
    return table


def _about(x: xr.DataArray) -> str:
    return str(x.attrs.get("long_name", x.name))


def _unit(x: xr.DataArray) -> str:
    return str(x.attrs.get("units", NATS))


def _words(name: str) -> str:
    return name.replace("_", " ")


def _pair(value: Any, error: Any) -> str:
    """A number with its standard error, to two digits of that."""
    number, own = float(value), np.nan if error is None else float(error)
    if not (np.isfinite(number) and np.isfinite(own) and own > 0):
        return _number(value)
    places = int(np.clip(1 - np.floor(np.log10(own)), 0, 5))
    return f"{number:.{places}f} ± {own:.{places}f}"


def _number(value: Any) -> str:
    number = float(value)
    if not np.isfinite(number):
        return "" if np.isnan(number) else str(number)
    if number == round(number) and abs(number) < 1e6:
        return f"{number:.0f}"
    return f"{number:.4f}" if 1e-3 <= abs(number) < 1e4 else f"{number:.3g}"
