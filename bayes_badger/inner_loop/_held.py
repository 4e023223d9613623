"""A program of which something is held fixed: what is left is a task's own flat vector."""

from __future__ import annotations

from typing import Any

import equinox as eqx

from bayes_badger.program import Data, Program


class Held(eqx.Module):
    """What a `OneTask` says of itself, where it is a program with something held fixed."""

    program: eqx.AbstractVar[Program]

    @property
    def size(self) -> int:
        """Length of a task's own flat vector."""
        return self.program.task_size

    @property
    def information(self) -> str:
        """Where its information comes from."""
        return self.program.information

    @property
    def outcome(self) -> Any:
        """What is observed."""
        return self.program.outcome

    @property
    def example(self) -> Data:
        """As the program's."""
        return self.program.example
