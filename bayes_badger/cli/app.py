"""All commands under one name, and what becomes of their errors."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer
from rich.console import Console

from bayes_badger.cli.breed import breed
from bayes_badger.cli.compare import compare
from bayes_badger.cli.fit import fit
from bayes_badger.cli.interrupt import INTERRUPTED
from bayes_badger.cli.listing import models, recipes, runs
from bayes_badger.cli.measure import measure, measures
from bayes_badger.cli.predict import predict
from bayes_badger.cli.report import report
from bayes_badger.cli.screen import SESSION, Session, echo_json, interrupted, told
from bayes_badger.cli.show import show
from bayes_badger.cli.update import update
from bayes_badger.errors import BadgerError

FINE, DEFECT, MISTAKE = 0, 1, 2
REPORT_TO = "this is a defect of bayes-badger, not of yours"
EXIT_CODES = (
    "Exit codes: 0 fine, also where a warning says that a fit is not to be trusted; 1 a defect of "
    "bayes-badger; 2 a mistake in what was given, told in one line; 130 stopped by Ctrl-C. With "
    '--json an error is told on stdout too: {"error": {"message": ..., "kind": ...}}, its kind '
    "mistake, usage, defect or interrupted."
)
JSON = "--json"

app = typer.Typer(
    name="badger",
    help="Bayesian meta-learning: infer what many small data sets share, and what each one needs.",
    epilog=EXIT_CODES,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(value: bool) -> bool:
    if value:
        typer.echo(f"badger {version('bayes-badger')}")
        raise typer.Exit
    return value


@app.callback()
def _start(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    pass


for command in (
    fit,
    predict,
    update,
    breed,
    compare,
    show,
    report,
    measure,
    measures,
    runs,
    models,
    recipes,
):
    app.command()(command)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command `badger`.

    Args:
        argv: The words after `badger`; by default those of the process.

    Returns:
        The exit code.
    """
    session = Session()
    SESSION.set(session)
    words = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    kind = message = ""
    try:
        command = typer.main.get_command(app)
        code = command.main(words, prog_name="badger", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code, kind, message = INTERRUPTED, "interrupted", interrupted(session)
        _tell(message)
    except BadgerError as error:
        code, kind, message = MISTAKE, "mistake", str(error)
        _fail(message, session.debug)
    except BrokenPipeError:
        # The reader of a pipe has gone: nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = FINE
    except Exception as error:
        # What is wrong with a command line; Typer's name for it changed with its releases.
        if hasattr(error, "format_message"):
            code, kind, message = MISTAKE, "usage", _usage(error)
        else:
            code, kind, message = DEFECT, "defect", _defect(error, session.debug)
        _fail(message, session.debug)
    else:
        # Typer turns Ctrl-C in a command into this code; what the command returned is one too.
        code = code if isinstance(code, int) else FINE
        if code == INTERRUPTED and session.kept is None:
            kind, message = "interrupted", interrupted(session)
            _tell(message)
    # One JSON object is on stdout, whatever happens: the answer, or why there is none.
    if kind and JSON in words and not session.answered:
        echo_json({"error": {"message": message, "kind": kind}})
    return code


def _usage(error: Exception) -> str:
    """A wrong command line, in one line, with where to read how it goes."""
    message = str(getattr(error, "format_message", lambda: error)()).strip().rstrip(".")
    message = message.replace("Value error, ", "")
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "badger"
    return f"{message[:1].lower()}{message[1:]} ({path} --help)"


def _defect(error: Exception, debug: bool) -> str:
    first = str(error).partition("\n")[0]
    hint = "" if debug else "; --debug shows where"
    return f"{REPORT_TO}: {type(error).__name__}: {first}{hint}"


def _fail(message: str, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    _tell(message, "bold red")


def _tell(message: str, style: str = "bold") -> None:
    text = told("badger: ", style)
    text.append_text(told(message))
    Console(stderr=True, markup=False, highlight=False).print(text, soft_wrap=True)
