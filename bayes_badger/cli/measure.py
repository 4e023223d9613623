"""`badger measure` and `badger measures`: a run in nats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from bayes_badger.cli import checks, options
from bayes_badger.cli.completion import model_names
from bayes_badger.cli.screen import Screen, short_path, told
from bayes_badger.cli.working import working
from bayes_badger.errors import BadgerError

ALL, FOLDER = "all", "measures"


def measures(as_json: options.AsJson = False, debug: options.Debug = False) -> None:
    """List the measures, and the question that each answers.

    Example: `badger measures`
    """
    from bayes_badger.cli.tables import facts
    from bayes_badger.measures import registry

    screen = Screen(as_json=as_json)
    found = [{"name": name, "question": registry.question(name)} for name in registry.NAMES]
    screen.answer_json({"measures": found})
    screen.answer(facts([(x["name"], x["question"]) for x in found]))


def measure(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A measure, one of those that `badger measures` lists, or 'all'.",
            show_default=False,
        ),
    ],
    run: options.OptionalRunName = "last",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the measure."),
    ] = None,
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
            "--to",
            metavar="DIR",
            help="Where to write NAME.nc and its picture.",
            show_default="measures in the run's folder",
        ),
    ] = None,
    picture: Annotated[
        Literal["png", "svg", "pdf", "html"],
        typer.Option(help="The picture's format; html is a page to zoom in, and needs plotly."),
    ] = "png",
    seed: options.Seed = 0,
    out: options.Out = Path(options.DEFAULT_OUT),
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Measure a stored run, in nats: a table, a netCDF file and a picture.

    Example: `badger measure posterior_shift last`
    """
    from bayes_badger.measures import picture as pictures
    from bayes_badger.measures import registry
    from bayes_badger.runs.listing import find_run

    screen = Screen(quiet, as_json)
    names = registry.NAMES if name == ALL else (registry.known(name),)
    given = checks.settings_of(settings or [])
    if name == ALL and given:
        raise BadgerError("--set is for one measure: name it instead of 'all'")
    path = find_run(run, out)
    target = path / FOLDER if to is None else to
    checks.check_folder(target, "--to")
    pictures.check(picture)
    if model is not None:
        checks.check_model(model)
    answers, refused = [], {}
    with working(screen) as attention:
        from bayes_badger import shelves
        from bayes_badger.measures import storing
        from bayes_badger.runs.store import read_run

        program = None if model is None else shelves.load_program(model)
        opened = read_run(path)
        for one in names:
            chosen = registry.checked(one, given)
            try:
                found = registry.function(one)(
                    opened, program=program, seed=seed, report=attention.report, **chosen
                )
            except BadgerError as error:
                if name != ALL:
                    raise
                refused[one] = str(error)
            else:
                answers.append((found, storing.store(found, target, picture)))
    _answer(screen, answers, refused)


def _answer(
    screen: Screen, answers: Sequence[tuple[Any, Sequence[Path]]], refused: dict[str, str]
) -> None:
    from bayes_badger.cli import measured

    screen.answer_json(
        {
            "measures": [
                measured.as_json(found) | {"files": [str(path) for path in files]}
                for found, files in answers
            ],
            "refused": refused,
        }
    )
    for i, (found, files) in enumerate(answers):
        screen.answer(*([""] if i else []), *measured.shown(found))
        screen.answer(told("  " + ", ".join(short_path(path) for path in files), "dim"))
    for name, reason in refused.items():
        screen.answer("", told(name, "bold"), told(f"  not for this run: {reason}", "yellow"))
