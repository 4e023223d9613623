"""Programs of the shelf, lifted."""

from __future__ import annotations

import bayes_badger as bb
from bayes_badger.program import Program
from bayes_badger.shelves import load_program


def lifted(name: str, *, world: bool = False) -> Program:
    """The program of that name; or the true generator that its file has beside it."""
    loaded = load_program(name)
    model = loaded.optional("world") if world else loaded.model
    groups = loaded.optional("columns")
    return bb.lift(model, inputs=loaded.optional("inputs"), groups=groups, name=name)
