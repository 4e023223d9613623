"""`badger update`: new tasks, from what a run learned of the old ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bayes_badger.cli import checks, options
from bayes_badger.cli.completion import model_names
from bayes_badger.cli.interrupt import INTERRUPTED
from bayes_badger.cli.screen import SESSION, Screen, short_path
from bayes_badger.cli.working import working


def update(
    run: options.RunName,
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            "-d",
            metavar="NEW",
            help="A table of new tasks, like the one that was fitted.",
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
    missing: options.MissingRows = "refuse",
    seed: options.Seed = 0,
    out: options.Out = Path(options.DEFAULT_OUT),
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> int:
    """Go on with new tasks from what a run learned, without the old data.

    What tasks share is carried from the run to a new one, which holds the new tasks, and says
    how far they moved the belief, in nats.

    Example: `badger update last --data new.csv`
    """
    from bayes_badger.runs.listing import find_run

    screen = Screen(quiet, as_json)
    path = find_run(run, out)
    checks.check_new_data(path, data, model, task, missing)
    checks.check_folder(out)
    with working(screen) as attention:
        from bayes_badger import shelves, updating
        from bayes_badger.runs.store import read_run

        found = updating.update(
            read_run(path),
            data,
            program=None if model is None else shelves.load_program(model),
            task=task,
            missing=missing,
            seed=seed,
            out=out,
            report=attention.report,
        )
    SESSION.get().kept = found.path
    # Not before: it waits for xarray, and --help must not.
    from bayes_badger.cli import advice, summary

    if as_json:
        screen.answer_json(summary.as_json(found))
    else:
        summary.show(screen, found, summary.TASKS_SHOWN, advice.show_all(found, out))
    if attention.pressed.is_set():
        kept = short_path(found.path) if found.path else ""
        screen.aside(f"interrupted; what was found until then is kept in {kept}")
        return INTERRUPTED
    return 0
