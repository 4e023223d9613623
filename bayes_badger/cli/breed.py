"""`badger breed`: a policy for a program of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bayes_badger.cli import checks, options
from bayes_badger.cli.completion import model_names
from bayes_badger.cli.interrupt import INTERRUPTED
from bayes_badger.cli.screen import SESSION, Screen, short_path, told
from bayes_badger.cli.working import working


def breed(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A program: a name (badger models), or a file, mine.py or mine.py:function.",
            autocompletion=model_names,
            show_default=False,
        ),
    ],
    to: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="Where the policy goes, NAME.safetensors.", show_default=False
        ),
    ],
    steps: Annotated[
        int, typer.Option(metavar="N", help="How many.", callback=options.check_count)
    ] = 300,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            "-d",
            metavar="FILE",
            help="Tasks to breed it on, as of badger fit; by default ever new ones are simulated.",
            show_default=False,
        ),
    ] = None,
    task: options.Task = None,
    learned: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="A run of the same program, whose learned parameters it is to have.",
            show_default=False,
        ),
    ] = None,
    missing: options.MissingRows = "refuse",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            "-s",
            metavar="KEY=VALUE",
            help="A setting of the program, of breeding: breeding.penalty=100, or of a policy that "
            "starts anew: policy.message=0. May be given several times.",
            show_default=False,
        ),
    ] = None,
    seed: options.Seed = 0,
    out: options.Out = Path(options.DEFAULT_OUT),
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> int:
    """Breed the policy that experts share for one program, from the one that is shipped.

    Ctrl-C keeps what was bred; the same command goes on.

    Example: `badger breed wave --to wave.safetensors`
    """
    screen = Screen(quiet, as_json)
    parsed = checks.settings_of(settings or [])
    # Not before: it waits for numpy and pydantic, and --help must not.
    from bayes_badger.preflight.checks import check_breed

    check_breed(model, data, task=task, settings=parsed, missing=missing)
    checks.check_folder(to.absolute().parent, "--to")
    with working(screen) as attention:
        from bayes_badger import policies
        from bayes_badger.runs import find_run, read_run

        found = policies.breed(
            model,
            data,
            to=to,
            steps=steps,
            learned=None if learned is None else read_run(find_run(learned, out)),
            task=task,
            settings=parsed,
            missing=missing,
            seed=seed,
            report=attention.report,
        )
    SESSION.get().kept = found.path
    curve = [float(line["divergence"]) for line in found.curve]
    screen.answer_json({"path": str(found.path), "steps": found.steps, "divergence": curve})
    if curve:
        screen.answer(
            f"{found.steps} steps; KL from posterior to experts, nats: {curve[0]:.4f} at first, "
            f"{curve[-1]:.4f} in the end"
        )
    path = short_path(found.path)
    screen.answer(told(f"  badger fit {model} -i experts --set inference.policy={path}", "cyan"))
    if not found.finished:
        screen.aside(f"interrupted; what was bred is kept in {path}; the same command goes on")
        return INTERRUPTED
    return 0
