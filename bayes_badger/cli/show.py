"""`badger show`: one stored run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bayes_badger.cli import device, options
from bayes_badger.cli.screen import SESSION, Screen


def show(
    run: options.OptionalRunName = "last",
    tasks: Annotated[
        int | None,
        typer.Option(
            "--tasks",
            "-n",
            metavar="N",
            help="How many tasks to show.",
            callback=options.check_count,
            show_default="16; JSON: all",
        ),
    ] = None,
    out: options.Out = Path(options.DEFAULT_OUT),
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Show a stored run, once every file of it is verified.

    Example: `badger show last --tasks 85`
    """
    from bayes_badger.runs.listing import find_run

    screen = Screen(as_json=as_json)
    path = find_run(run, out)
    if not SESSION.get().debug:
        device.silence()
    from bayes_badger.cli import advice, summary
    from bayes_badger.runs.store import read_run

    found = read_run(path)
    if as_json:
        screen.answer_json(summary.as_json(found, tasks))
        return
    shown = summary.TASKS_SHOWN if tasks is None else tasks
    summary.show(screen, found, shown, advice.show_all(found, out))
