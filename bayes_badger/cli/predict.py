"""`badger predict`: tasks that a run has not seen, rows that nobody has measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bayes_badger.cli import advice, checks, device, options
from bayes_badger.cli.completion import model_names
from bayes_badger.cli.progress import Meter
from bayes_badger.cli.scalars import ENTRIES, Scalar, entries, scalars
from bayes_badger.cli.screen import Screen, Session, told
from bayes_badger.cli.stray import stray_output
from bayes_badger.cli.summary import TASKS_SHOWN, distrust, short_path
from bayes_badger.cli.tables import bullets, scalar_table
from bayes_badger.errors import BadgerError

if TYPE_CHECKING:
    import xarray as xr

ROWS_SHOWN = 20
OBS = "obs_id"
DISTRUST = "not to be trusted: "
KINDS = (".csv", ".nc")


def predict(
    ctx: typer.Context,
    run: options.RunName,
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            "-d",
            metavar="NEW",
            help="A table like the one that was fitted. Rows with an outcome are evidence, rows "
            "without one are predicted.",
            show_default=False,
        ),
    ],
    task: options.Task = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="FILE",
            help="The program, if it is not on the shelf: a stored path is never run unasked.",
            autocompletion=model_names,
            show_default=False,
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Where to store the predictions: all rows as .csv, or all draws as .nc.",
            show_default=False,
        ),
    ] = None,
    missing: options.MissingRows = "refuse",
    seed: options.Seed = 0,
    runs: Annotated[
        Path, typer.Option("--runs", metavar="DIR", help="The folder that holds the runs.")
    ] = Path(advice.DEFAULT_OUT),
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Predict tasks that a run has not seen, and rows without an outcome.

    A new task may have rows with outcomes, rows without, or none at all but its task columns.

    Example: `badger predict last --data new.csv --out predicted.csv`
    """
    from bayes_badger.runs.listing import find_run

    screen = Screen(quiet, as_json)
    path = find_run(run, runs)
    checks.check_data(data)
    if model is not None:
        checks.check_model(model)
    if to is not None:
        _check_target(to)
    with Meter(screen.err, shown=not quiet) as meter, stray_output():
        meter("starting JAX", 0, 1)
        device.prepare(ctx.ensure_object(Session).debug)
        from bayes_badger import prediction, shelves
        from bayes_badger.runs.store import read_run

        tree = prediction.predict(
            read_run(path),
            data,
            program=None if model is None else shelves.load_program(model),
            task=task,
            missing=missing,
            seed=seed,
            report=meter,
        )
    _store(tree, to)
    _answer(screen, tree, to)


def _answer(screen: Screen, tree: xr.DataTree, to: Path | None) -> None:
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
    count = 0
    for name, variable in _predicted(tree).items():
        count = variable.sizes[OBS]
        some = variable.isel({OBS: slice(0, ROWS_SHOWN)})
        labels = _row_labels(some)
        groups.append((f"{name}, predicted", scalars(some, OBS, None, False, labels)))
    if any(group for _, group in groups):
        screen.answer(scalar_table([pair for pair in groups if pair[1]]))
    screen.answer(told("  intervals: 89% equal-tailed", "dim"))
    if more:
        screen.answer(told(f"  {more} more tasks: --json, or --out FILE.nc", "dim"))
    if count > ROWS_SHOWN:
        screen.answer(told(f"  {count - ROWS_SHOWN} more rows: --out FILE.csv", "dim"))
    if to is not None:
        screen.answer(told(f"  stored in {short_path(to)}", "dim"))
    if warnings:
        screen.answer("", *distrust(warnings))


def _latents(tree: xr.DataTree, dim: str | None, tasks: int | None) -> dict[str, list[Scalar]]:
    """What is believed of each task."""
    posterior = tree["posterior"].to_dataset()
    if dim is None:
        return {}
    return {
        str(name): scalars(variable.isel({dim: slice(0, tasks)}), dim, None, diagnostics=False)
        for name, variable in posterior.data_vars.items()
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
        tasks = _tasks_of_rows(variable)
        for place, scalar in enumerate(scalars(variable, OBS, None, diagnostics=False)):
            per_row = max(1, entries(variable, OBS))
            row: dict[str, Any] = {"obs_id": scalar.label, "task": tasks[place // per_row]}
            row |= {"index": scalar.index} if per_row > 1 else {}
            numbers = ("mean", "sd", "eti89_lb", "eti89_ub")
            found.append(row | {name: getattr(scalar, name) for name in numbers})
    return found


def _row_labels(variable: xr.DataArray) -> list[str]:
    tasks = _tasks_of_rows(variable)
    rows = variable[OBS].values.tolist() if OBS in variable.coords else range(len(tasks))
    return [f"row {row}, {task}" for row, task in zip(rows, tasks, strict=True)]


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


def _check_target(to: Path) -> None:
    if to.suffix.lower() not in KINDS:
        raise BadgerError(f"--out {to}: the name should end in {' or '.join(KINDS)}")
    if to.is_dir():
        raise BadgerError(f"--out {to} is a folder: give the name of a file")
    checks.check_folder(to.absolute().parent)


def _store(tree: xr.DataTree, to: Path | None) -> None:
    """Writes under another name first: what was there stays until the new file is whole."""
    if to is None:
        return
    to.parent.mkdir(parents=True, exist_ok=True)
    part = to.with_name(f".{to.name}.part")
    try:
        if to.suffix.lower() == ".nc":
            from bayes_badger.runs.netcdf import write_netcdf

            write_netcdf(part, tree)
        else:
            _write_csv(_rows(tree), part)
        part.replace(to)
    except (OSError, RuntimeError) as error:
        raise BadgerError(f"--out {to} could not be written: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def _write_csv(rows: Sequence[dict[str, Any]], path: Path) -> None:
    import pandas as pd

    names = ["obs_id", "task", "mean", "sd", "eti89_lb", "eti89_ub"]
    pd.DataFrame(rows, columns=list(rows[0]) if rows else names).to_csv(path, index=False)
