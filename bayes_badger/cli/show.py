"""`badger show`: one stored run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bayes_badger.cli import advice, device, options, summary
from bayes_badger.cli.screen import Screen, Session


def show(
    ctx: typer.Context,
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
    out: options.Out = Path(advice.DEFAULT_OUT),
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Show a stored run, once every file of it is verified.

    Example: `badger show last --tasks 85`
    """
    from bayes_badger.runs.listing import find_run

    screen = Screen(as_json=as_json)
    path = find_run(run, out)
    if not ctx.ensure_object(Session).debug:
        device.silence()
    from bayes_badger.runs.store import read_run

    found = read_run(path)
    if as_json:
        screen.answer_json(summary.as_json(found, tasks))
        return
    shown = summary.TASKS_SHOWN if tasks is None else tasks
    count = summary.part(found.spec, "evidence").get("tasks")
    again = advice.show_command(found, out, count if isinstance(count, int) else None)
    summary.show(screen, found, shown, again)
