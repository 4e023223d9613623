"""What `badger predict` says at its end, and what it stores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr
from rich.table import Table

from bayes_badger.cli.scalars import ENTRIES, Scalar, entries, scalars
from bayes_badger.cli.screen import Screen, short_path, told
from bayes_badger.cli.summary import TASKS_SHOWN, distrust
from bayes_badger.cli.tables import bullets, grid, scalar_table
from bayes_badger.errors import BadgerError
from bayes_badger.named_values import chances
from bayes_badger.runs.netcdf import write_netcdf

ROWS_SHOWN = 20
OBS = "obs_id"
DISTRUST = "not to be trusted: "
# The attribute of a predicted variable whose values are labels of so many classes.
CLASSES = "classes"
COLUMNS = ["obs_id", "task", "mean", "sd", "eti89_lb", "eti89_ub"]


def answer(screen: Screen, tree: xr.DataTree, to: Path | None) -> None:
    """Shows what was predicted.

    Args:
        screen: Where to.
        tree: What `bayes_badger.predict` returned.
        to: Where it is stored.
    """
    dim = _task_dim(tree)
    said = [str(note) for note in json.loads(tree.attrs.get("notes", "[]"))]
    notes = [note for note in said if not note.startswith(DISTRUST)]
    warnings = [note.removeprefix(DISTRUST) for note in said if note.startswith(DISTRUST)]
    if screen.as_json:
        rows = [dict(row) for row in _rows(tree)]
        latents = [s.as_dict() for group in _latents(tree, dim, None).values() for s in group]
        stored = None if to is None else str(to)
        content = {"tasks": latents, "rows": rows, "notes": notes, "warnings": warnings}
        screen.answer_json({**content, "interval": "89% equal-tailed", "stored": stored})
        return
    if screen.quiet:
        return
    if notes:
        screen.answer(bullets(notes), "")
    groups = [(f"{name}, by {dim}", s) for name, s in _latents(tree, dim, TASKS_SHOWN).items()]
    more = max(0, tree["posterior"].sizes.get(dim, 0) - TASKS_SHOWN) if dim else 0
    count, shares = 0, []
    for name, variable in _predicted(tree).items():
        count = variable.sizes[OBS]
        if CLASSES in variable.attrs:
            shares.append(variable)
            continue
        some = variable.isel({OBS: slice(0, ROWS_SHOWN)})
        labels = _row_labels(some)
        groups.append((f"{name}, predicted", scalars(some, OBS, None, False, labels)))
    if any(group for _, group in groups):
        screen.answer(scalar_table([pair for pair in groups if pair[1]]))
    screen.answer(told("  intervals: 89% equal-tailed", "dim"))
    for variable in shares:
        screen.answer("", share_table(variable))
    if more:
        screen.answer(told(f"  {more} more tasks: --json, or --out FILE.nc", "dim"))
    if count > ROWS_SHOWN:
        screen.answer(told(f"  {count - ROWS_SHOWN} more rows: --out FILE.csv", "dim"))
    if to is not None:
        screen.answer(told(f"  stored in {short_path(to)}", "dim"))
    if warnings:
        screen.answer("", *distrust(warnings))


def store(tree: xr.DataTree, to: Path) -> None:
    """Stores all predicted rows as CSV, or the whole tree as netCDF.

    Raises:
        BadgerError: Where it cannot be written; what was there before is there still.
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    part = to.with_name(f".{to.name}.part")
    try:
        if to.suffix.lower() == ".nc":
            write_netcdf(part, tree)
        else:
            rows = _rows(tree)
            names = list(rows[0]) if rows else COLUMNS
            pd.DataFrame(rows, columns=names).to_csv(part, index=False)
        part.replace(to)
    except (OSError, RuntimeError) as error:
        raise BadgerError(f"--out {to} could not be written: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def _latents(tree: xr.DataTree, dim: str | None, tasks: int | None) -> dict[str, list[Scalar]]:
    """What is believed of each task."""
    posterior = tree["posterior"].to_dataset()
    if dim is None:
        return {}
    each = {name: chances(variable) for name, variable in posterior.data_vars.items()}
    return {
        str(name): scalars(variable.isel({dim: slice(0, tasks)}), dim, None, diagnostics=False)
        for name, variable in each.items()
        if dim in variable.dims and entries(variable, dim) <= ENTRIES
    }


def _predicted(tree: xr.DataTree) -> dict[str, xr.DataArray]:
    if "posterior_predictive" not in tree.children:
        return {}
    group = tree["posterior_predictive"].to_dataset()
    return {str(name): group[name] for name in group.data_vars if OBS in group[name].dims}


def _rows(tree: xr.DataTree) -> list[dict[str, Any]]:
    """Predicted rows as a table has them."""
    found = []
    for variable in _predicted(tree).values():
        if CLASSES in variable.attrs:
            found += _shares(variable)
            continue
        tasks, numbers_of_rows = _tasks_of_rows(variable), _numbers_of_rows(variable)
        for place, scalar in enumerate(scalars(variable, OBS, None, diagnostics=False)):
            per_row = max(1, entries(variable, OBS))
            row: dict[str, Any] = {
                "obs_id": numbers_of_rows[place // per_row],
                "task": tasks[place // per_row],
            }
            row |= {"index": scalar.index} if per_row > 1 else {}
            numbers = ("mean", "sd", "eti89_lb", "eti89_ub")
            found.append(row | {name: getattr(scalar, name) for name in numbers})
    return found


def _shares(variable: xr.DataArray) -> list[dict[str, Any]]:
    """For rows whose outcome is a label: the probability of each class."""
    drawn = variable.values.reshape(-1, variable.sizes[OBS])
    seen = max(int(variable.attrs[CLASSES]), int(drawn.max(initial=0)) + 1)
    pairs = zip(_numbers_of_rows(variable), _tasks_of_rows(variable), strict=True)
    return [
        {"obs_id": row, "task": task}
        | {f"p_{k}": float((drawn[:, i] == k).mean()) for k in range(seen)}
        for i, (row, task) in enumerate(pairs)
    ]


def share_table(variable: xr.DataArray) -> Table:
    """The probability of each class, a line for each row."""
    rows = _shares(variable.isel({OBS: slice(0, ROWS_SHOWN)}))
    classes = [name for name in rows[0] if name.startswith("p_")]
    table = grid([f"{variable.name}, probability of", *(name[2:] for name in classes)])
    for row in rows:
        label = f"  row {row['obs_id']}, {row['task']}"
        table.add_row(told(label), *(told(f"{row[name]:.2f}") for name in classes))
    return table


def _row_labels(variable: xr.DataArray) -> list[str]:
    pairs = zip(_numbers_of_rows(variable), _tasks_of_rows(variable), strict=True)
    return [f"row {row}, {task}" for row, task in pairs]


def _numbers_of_rows(variable: xr.DataArray) -> list[Any]:
    """The number of each row in its table."""
    known = OBS in variable.coords
    return variable[OBS].values.tolist() if known else list(range(variable.sizes[OBS]))


def _tasks_of_rows(variable: xr.DataArray) -> list[str]:
    """The label of each row's task: the one coordinate beside the rows' own."""
    for name, coordinate in variable.coords.items():
        if coordinate.dims == (OBS,) and name != OBS:
            return [str(label) for label in coordinate.values.tolist()]
    return [""] * variable.sizes[OBS]


def _task_dim(tree: xr.DataTree) -> str | None:
    """The dim that only the latents of tasks have, with the tasks as its coordinate."""
    posterior = tree["posterior"].to_dataset()
    dims = (str(dim) for dim in posterior.dims if dim not in ("chain", "draw"))
    return next((dim for dim in dims if dim in posterior.coords), None)
