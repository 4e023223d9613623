"""`badger fit`: from a program and data to a stored run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bayes_badger.cli import checks, options
from bayes_badger.cli.completion import model_names, recipe_names
from bayes_badger.cli.interrupt import INTERRUPTED
from bayes_badger.cli.screen import SESSION, Screen, short_path
from bayes_badger.cli.working import working


def fit(
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
            help="A setting of the program, of the recipe: inference.grid.draws=500, or of the "
            "outer loop: outer.rate=0.003. May be given several times.",
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
    trust: options.Trust = "weigh",
    outer_steps: Annotated[
        int | None,
        typer.Option(
            "--outer-steps",
            metavar="N",
            min=0,
            help="Learn the program's parameters (numpyro.param, modules) in at most N steps; 0 "
            "keeps them.",
            show_default="300, if there are any",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Go on from the checkpoints of an interrupted fit, NAME.learning, with all else "
            "as it was.",
            show_default=False,
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="How long a way to infer may take: 90s, 2m, 1h. Recipe auto then goes on to the "
            "next one, and a sampler keeps the draws that it has.",
            show_default="5m for recipe auto",
        ),
    ] = None,
    out: options.Out = Path(options.DEFAULT_OUT),
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> int:
    """Fit a program to data, and store the run.

    Shows what was inferred of the lifetime and of the first 16 tasks, and whether the
    numbers are to be trusted. Ctrl-C keeps the draws made so far, if they are at least 100,
    and what the outer loop has learned.

    Example: `badger fit radon --set inference.grid.draws=2000`
    """
    screen = Screen(quiet, as_json)
    parsed = checks.settings_of(settings or [])
    # Not before: it waits for numpy and pydantic, and --help must not.
    from bayes_badger.preflight.checks import check_fit

    check_fit(
        model,
        data,
        task=task,
        inference=inference,
        settings=parsed,
        missing=missing,
        simulated=tasks is not None or steps is not None,
        budget=budget,
    )
    checks.check_folder(out)
    sizes: dict[str, Any] = {
        name: size for name, size in (("tasks", tasks), ("steps", steps)) if size is not None
    }
    with working(screen) as attention:
        from bayes_badger import fitting

        run = fitting.fit(
            model,
            data,
            task=task,
            inference=inference,
            settings=parsed,
            missing=missing,
            seed=seed,
            trust=trust,
            outer_steps=outer_steps,
            out=out,
            resume=resume,
            budget=budget,
            report=attention.report,
            **sizes,
        )
    SESSION.get().kept = run.path
    limits = {"outer-steps": outer_steps, "budget": budget}
    counts = sizes | {name: x for name, x in limits.items() if x is not None}
    asked = _asked(model, inference, data, task, missing, settings or [], seed, counts, trust, out)
    # Not before: it waits for xarray, and --help must not.
    from bayes_badger.cli import advice, fitted

    fitted.answer(screen, run, out, asked)
    checkpoints = run.spec.get("outer", {}).get("folder")
    if checkpoints:
        again = advice.command("badger", "fit", *asked, "--resume", short_path(Path(checkpoints)))
        screen.aside(f"interrupted; what was learned until then is kept. To go on: {again}")
        return INTERRUPTED
    if attention.pressed.is_set():
        kept = short_path(run.path)
        screen.aside(f"interrupted; what was drawn until then is kept in {kept}")
        return INTERRUPTED
    return 0


def _asked(
    model: str,
    inference: str,
    data: Path | None,
    task: str | None,
    missing: str,
    settings: list[str],
    seed: int,
    counts: dict[str, Any],
    trust: str,
    out: Path,
) -> list[str]:
    """The words of this very fit, those left out that are the default."""
    words: list[Any] = [model]
    words += ["--inference", inference] if inference != "auto" else []
    words += ["--data", data] if data is not None else []
    words += ["--task", task] if task is not None else []
    words += ["--missing", missing] if missing != "refuse" else []
    words += ["--seed", seed] if seed else []
    words += ["--trust", trust] if trust != "weigh" else []
    words += [word for name, count in counts.items() for word in (f"--{name}", count)]
    words += ["--out", out] if str(out) != options.DEFAULT_OUT else []
    words += [word for setting in settings for word in ("--set", setting)]
    return [str(word) for word in words]
