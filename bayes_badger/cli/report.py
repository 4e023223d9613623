"""`badger report`: one stored run as a page to read, print or mail."""

from __future__ import annotations

import time
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from bayes_badger.cli import checks, device, options
from bayes_badger.cli.progress import Meter
from bayes_badger.cli.screen import SESSION, Screen, short_path, told
from bayes_badger.errors import BadgerError


def report(
    run: options.OptionalRunName = "last",
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            metavar="FILE",
            help="Where to write the page; the name ends in .html.",
            show_default="report.html in the run's folder",
        ),
    ] = None,
    open_: Annotated[
        bool, typer.Option("--open", help="Show the page in the web browser.")
    ] = False,
    out: options.Out = Path(options.DEFAULT_OUT),
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Write one HTML page about a stored run: what was fitted, and whether to believe it.

    The page needs no other file, runs no script and fetches nothing: it can be mailed.

    Example: `badger report last --open`
    """
    from bayes_badger.runs.listing import find_run

    started = time.monotonic()
    screen = Screen(quiet, as_json)
    path = find_run(run, out)
    _check(path, to)
    if not SESSION.get().debug:
        device.silence()
    with Meter(screen.err, shown=not quiet) as meter:
        meter("reading the run", 0, 1)
        from bayes_badger.report.page import write_report
        from bayes_badger.runs.store import read_run

        page = write_report(read_run(path), to, report=meter)
    seconds, size = time.monotonic() - started, page.stat().st_size
    screen.answer_json({"path": str(page), "bytes": size, "seconds": round(seconds, 3)})
    if not (quiet or as_json):
        # Never wrapped: it is there to be copied.
        screen.out.print(told(short_path(page), "bold"), soft_wrap=True)
    if open_ and not _opened(page):
        screen.aside(f"no web browser could be opened: open {short_path(page)} in one")


def _check(run: Path, to: Path | None) -> None:
    """Refuses a place where nothing can be written, before the work and not after."""
    from bayes_badger.report.target import check_target

    target = check_target(run, to)
    if to is not None:
        checks.check_folder(target.parent, "--to")
        return
    try:
        checks.check_folder(target.parent, "the run's folder")
    except BadgerError as error:
        raise BadgerError(f"{error}: say where the report goes, --to FILE") from error


def _opened(page: Path) -> bool:
    try:
        return webbrowser.open(page.as_uri())
    except (webbrowser.Error, OSError):
        return False
