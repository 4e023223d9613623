"""`badger predict`: tasks that a run has not seen, rows that nobody has measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bayes_badger.cli import checks, options
from bayes_badger.cli.completion import model_names
from bayes_badger.cli.interrupt import INTERRUPTED
from bayes_badger.cli.screen import Screen
from bayes_badger.cli.working import working
from bayes_badger.errors import BadgerError

KINDS = (".csv", ".nc")


def predict(
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
    ] = Path(options.DEFAULT_OUT),
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> int:
    """Predict tasks that a run has not seen, and rows without an outcome.

    A new task may have rows with outcomes, rows without, or none at all but its task columns.

    Example: `badger predict last --data new.csv --out predicted.csv`
    """
    from bayes_badger.runs.listing import find_run

    screen = Screen(quiet, as_json)
    path = find_run(run, runs)
    checks.check_new_data(path, data, model, task, missing, queries=True)
    if to is not None:
        _check_target(to)
    with working(screen) as attention:
        from bayes_badger import prediction, shelves
        from bayes_badger.runs.store import read_run

        tree = prediction.predict(
            read_run(path),
            data,
            program=None if model is None else shelves.load_program(model),
            task=task,
            missing=missing,
            seed=seed,
            report=attention.report,
        )
    # Not before: it waits for xarray, and --help must not.
    from bayes_badger.cli import predicted

    if to is not None:
        predicted.store(tree, to)
    predicted.answer(screen, tree, to)
    if attention.pressed.is_set():
        screen.aside("interrupted; the answer rests on what was drawn until then")
        return INTERRUPTED
    return 0


def _check_target(to: Path) -> None:
    if to.suffix.lower() not in KINDS:
        raise BadgerError(f"--out {to}: the name should end in {' or '.join(KINDS)}")
    if to.is_dir():
        raise BadgerError(f"--out {to} is a folder: give the name of a file")
    checks.check_folder(to.absolute().parent)
