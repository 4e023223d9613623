"""What reading a run leaves out, since it executes nothing: its program, its inner loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bayes_badger import shelves
from bayes_badger.errors import BadgerError, listed
from bayes_badger.evidence import Evidence
from bayes_badger.fitting import example_of
from bayes_badger.inner_loop import registry
from bayes_badger.inner_loop.protocol import InnerLoop
from bayes_badger.labels import safe_name
from bayes_badger.preflight.checks import check_unchanged, stored_program
from bayes_badger.program import Program, lift
from bayes_badger.program.parameters import from_table
from bayes_badger.runs import Run

AnyProgram = str | Path | Callable[..., Any] | shelves.LoadedProgram | None


def program_of(run: Run, program: AnyProgram = None) -> Program:
    """The run's program, lifted, with what it learned.

    From memory, from the shelf, or as given; never executed from a path in a run.

    Raises:
        BadgerError: Where it is not on the shelf and was not given, or is another than it was.
    """
    if run.program is not None:
        return run.program
    spec = run.spec["program"]
    loaded: Any = stored_program(run.spec, program)
    if isinstance(loaded, str | Path):
        loaded = shelves.load_program(loaded)
    groups = None
    model: Any = loaded
    if isinstance(loaded, shelves.LoadedProgram):
        check_unchanged(run.spec, loaded.path, loaded.sha256)
        model, groups = loaded.model, loaded.optional("columns")
    if spec["not_plain"]:
        raise BadgerError(
            f"this run was fitted with settings that could not be stored "
            f"({listed(spec['not_plain'])}): fit again, and predict before leaving Python"
        )
    settings = dict(spec["set"])
    example = example_of(Evidence.from_dataset(run.evidence))
    lifted = lift(model, example=example, settings=settings, groups=groups, name=spec["name"])
    expected = [latent["name"] for latent in spec["latents"]]
    if [latent.name for latent in lifted.latents] != expected:
        raise BadgerError(
            f"{lifted.name} has other latents than the run ({listed(expected)}): fit again"
        )
    return from_table(lifted, run.parameters)


def inner_loop_of(run: Run) -> InnerLoop:
    """The inner loop that the run was fitted with, from its stored settings.

    Raises:
        BadgerError: Where it is a file of the user's, which is not run unasked.
    """
    stored = dict(run.spec["recipe"]["inner_loop"])
    if "file" in stored:
        raise BadgerError(
            f"this run was fitted with {stored['file']}, which is not run unasked: new evidence "
            "needs a new fit, on the old and the new tasks together"
        )
    module = registry.module(stored.pop("name"))
    return module.make(module.Settings.model_validate(stored))


def check_whole(run: Run) -> None:
    """That a run holds all the evidence that its belief rests on.

    Raises:
        BadgerError: Where it goes on from another run: inferred anew from its own evidence alone,
            the belief would forget what the other taught.
    """
    before = run.spec.get("before")
    if before:
        raise BadgerError(
            f"{run.name} goes on from {before['run']} and does not hold the data of its "
            f"{before['tasks']} tasks, so that nothing can be inferred anew: give new outcomes to "
            "badger update, or bb.update, and ask the run that it returns"
        )


def draws_of(program: Program, run: Run) -> dict[str, np.ndarray]:
    """The run's posterior under the program's own names, `[chain, draw, ...]`."""
    posterior = run.tree["posterior"].to_dataset()
    names = [variable.name for variable in program.variables]
    return {name: np.asarray(posterior[safe_name(name)].values) for name in names}
