"""What is true of a run's tasks, where that is known: they were simulated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bayes_badger import shelves
from bayes_badger.errors import BadgerError
from bayes_badger.fitting import example_of
from bayes_badger.measures.subject import AnyProgram, Subject
from bayes_badger.program import Program, lift
from bayes_badger.program.parameters import at_start


def world_of(subject: Subject, program: AnyProgram = None) -> Program | None:
    """The program that a run's tasks were drawn from; None where they are data.

    Args:
        subject: The run, opened.
        program: As it was given, for its file may define a world.

    Raises:
        BadgerError: Where they were drawn from a world that is not to be had.
    """
    notes = [note for note in subject.evidence.notes if note.startswith("simulated ")]
    if not notes:
        return None
    if notes[0].endswith("own prior"):
        # As it was before anything was learned: so it was simulated.
        return at_start(subject.program) if subject.program.parameters else subject.program
    spec = subject.run.spec["program"]
    if program is None and not spec["on_shelf"]:
        raise BadgerError(
            f"{subject.run.name} was simulated from the world of {spec['path']}, which is not run "
            "unasked: give the program, --model FILE"
        )
    loaded: Any = spec["name"] if program is None else program
    if isinstance(loaded, str | Path):
        loaded = shelves.load_program(loaded)
    world = loaded.optional("world") if isinstance(loaded, shelves.LoadedProgram) else None
    if world is None:
        raise BadgerError(f"{subject.run.name}: the program that was given defines no world")
    example = example_of(subject.evidence)
    groups = loaded.optional("columns")
    return lift(
        world, example=example, settings=dict(spec["set"]), groups=groups, name=f"{spec['name']}"
    )
