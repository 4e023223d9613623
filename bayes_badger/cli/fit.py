"""`badger fit`: from a program and data to a stored run."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bayes_badger.cli import advice, checks, device, options, summary
from bayes_badger.cli.completion import model_names, recipe_names
from bayes_badger.cli.progress import Meter
from bayes_badger.cli.screen import Screen, Session, told
from bayes_badger.cli.stray import stray_output

if TYPE_CHECKING:
    from bayes_badger.runs import Run

INTERRUPTED = 130


def fit(
    ctx: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A program: a name (badger models), or a file, mine.py or mine.py:function.",
            autocompletion=model_names,
            show_default=False,
        ),
    ],
    inference: Annotated[
        str,
        typer.Option(
            "--inference",
            "-i",
            metavar="RECIPE",
            help="How to infer: a name (badger recipes), or a TOML file.",
            autocompletion=recipe_names,
        ),
    ] = "auto",
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            "-d",
            metavar="FILE",
            help="A table: CSV, TSV, Parquet or netCDF. By default the program's own data, or "
            "else simulated ones.",
            show_default=False,
        ),
    ] = None,
    task: options.Task = None,
    missing: options.MissingRows = "refuse",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            "-s",
            metavar="KEY=VALUE",
            help="A setting of the program, or of the recipe: inference.nuts.draws=500. May be "
            "given several times.",
            show_default=False,
        ),
    ] = None,
    seed: options.Seed = 0,
    tasks: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="How many tasks to simulate, if there are no data.",
            callback=options.check_count,
            show_default="20",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="How many steps of each task to simulate.",
            callback=options.check_count,
            show_default="10",
        ),
    ] = None,
    out: options.Out = Path(advice.DEFAULT_OUT),
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> int:
    """Fit a program to data, and store the run.

    Shows what was inferred of the lifetime and of the first 16 tasks, and whether the
    numbers are to be trusted. Ctrl-C keeps the draws made so far, if they are at least 100.

    Example: `badger fit radon --set inference.nuts.draws=2000`
    """
    session = ctx.ensure_object(Session)
    screen = Screen(quiet, as_json)
    parsed = checks.settings_of(settings or [])
    checks.check_model(model)
    checks.check_recipe(inference)
    checks.check_data(data)
    checks.check_folder(out)
    sizes: dict[str, Any] = {
        name: size for name, size in (("tasks", tasks), ("steps", steps)) if size is not None
    }
    with Meter(screen.err, shown=not quiet) as meter, stray_output():
        meter("starting JAX", 0, 1)
        device.prepare(debug)
        from bayes_badger import fitting

        with _ctrl_c() as pressed:
            run = fitting.fit(
                model,
                data,
                task=task,
                inference=inference,
                settings=parsed,
                missing=missing,
                seed=seed,
                out=out,
                report=meter,
                **sizes,
            )
    session.kept = run.path
    if sizes and "truth" not in run.tree.children:
        screen.aside("nothing was simulated, so --tasks and --steps made no difference")
    again = advice.show_command(run, out, run.spec["evidence"]["tasks"])
    asked = _asked(model, inference, data, task, missing, settings or [], seed, sizes, out)
    _answer(screen, run, again, advice.after_fit(run, out, asked))
    if pressed.is_set():
        screen.aside(f"interrupted; what was drawn until then is kept in {run.path}")
        return INTERRUPTED
    return 0


def _answer(screen: Screen, run: Run, again: str, next_commands: list[str]) -> None:
    if screen.as_json:
        screen.answer_json({**summary.as_json(run), "next": next_commands})
    elif not screen.quiet:
        summary.show(screen, run, summary.TASKS_SHOWN, again)
        screen.answer("", told("Next:", "bold"))
        for line in next_commands:
            # Never wrapped: it is there to be copied.
            screen.out.print(told(f"  {line}", "cyan"), soft_wrap=True)


def _asked(
    model: str,
    inference: str,
    data: Path | None,
    task: str | None,
    missing: str,
    settings: list[str],
    seed: int,
    sizes: dict[str, int],
    out: Path,
) -> list[str]:
    """The words of this very fit, those left out that are the default."""
    words: list[Any] = [model]
    words += ["--inference", inference] if inference != "auto" else []
    words += ["--data", data] if data is not None else []
    words += ["--task", task] if task is not None else []
    words += ["--missing", missing] if missing != "refuse" else []
    words += ["--seed", seed] if seed else []
    words += [word for name, size in sizes.items() for word in (f"--{name}", size)]
    words += ["--out", out] if str(out) != advice.DEFAULT_OUT else []
    words += [word for setting in settings for word in ("--set", setting)]
    return [str(word) for word in words]


@contextlib.contextmanager
def _ctrl_c() -> Iterator[threading.Event]:
    """Notes that Ctrl-C was pressed, also where the sampler hears it and keeps its draws."""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return

    def press(number: int, frame: Any) -> None:
        pressed.set()
        signal.default_int_handler(number, frame)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)
