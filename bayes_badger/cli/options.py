"""Options that several commands share, with their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bayes_badger.cli.completion import run_names
from bayes_badger.cli.screen import SESSION

DEFAULT_OUT = "runs"
LARGEST_SEED = 2**63 - 1


def _set_debug(value: bool) -> bool:
    if value:
        SESSION.get().debug = True
    return value


def _check_seed(value: int) -> int:
    if not 0 <= value <= LARGEST_SEED:
        raise typer.BadParameter(f"{value} is not between 0 and {LARGEST_SEED}")
    return value


def check_count(value: int | None) -> int | None:
    """Refuses a number of things that is not one.

    Raises:
        typer.BadParameter: For zero and below.
    """
    if value is not None and value < 1:
        raise typer.BadParameter(f"{value} is not a number of things: give 1 or more")
    return value


Missing = Literal["refuse", "drop"]

Trust = Annotated[
    Literal["off", "weigh", "refine"],
    typer.Option(
        help="Of a belief that approximates: weigh its draws by the true density and flag tasks; "
        "refine flagged tasks, in the end by a sampler; or neither.",
    ),
]

RunName = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run: its name, the beginning of it, its path, or 'last'.",
        autocompletion=run_names,
        show_default=False,
    ),
]
OptionalRunName = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run: its name, the beginning of it, its path, or 'last'.",
        autocompletion=run_names,
    ),
]
Out = Annotated[
    Path, typer.Option("--out", "-o", metavar="DIR", help="The folder that holds the runs.")
]
Task = Annotated[
    str | None,
    typer.Option(
        "--task",
        "-t",
        metavar="COLUMN",
        help="The column that tells the tasks apart.",
        show_default=False,
    ),
]
MissingRows = Annotated[
    Missing,
    typer.Option(
        "--missing",
        help="Rows where something is missing: refuse them, or drop them and say so.",
    ),
]
Seed = Annotated[
    int,
    typer.Option(metavar="N", help="The seed of all chance.", callback=_check_seed),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing but errors.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Answer with one JSON object on stdout, an error too.")
]
Debug = Annotated[
    bool,
    typer.Option(
        "--debug",
        help="Show the traceback of an error, and the warnings of libraries.",
        callback=_set_debug,
    ),
]
