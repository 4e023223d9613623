"""What an inner loop needs of a program to follow one task."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Array, Float

from bayes_badger.program.parts import Outcome
from bayes_badger.program.walk import Data


@runtime_checkable
class OneTask(Protocol):
    """A flat vector of one task, its prior N(0, I), and the log likelihood of the task's rows.

    A lifted program is one; so is a program in which what tasks share is held fixed.
    """

    @property
    def size(self) -> int:
        """Length of the flat vector."""

    @property
    def information(self) -> str:
        """Where the information of a row comes from."""

    @property
    def outcome(self) -> Outcome:
        """What is observed."""

    @property
    def example(self) -> Data:
        """Some rows, to tell shapes by."""

    def rows_and_factors(
        self, u: Float[Array, " size"], data: Data
    ) -> tuple[Float[Array, " step"], Float[Array, ""]]:
        """Log likelihood of each row of a task, `data` of `[1, step, ...]`, and of its factors."""

    def outcome_parameters(
        self, u: Float[Array, " size"], data: Data
    ) -> tuple[Float[Array, "step p"], Float[Array, "step p p"]]:
        """The parameters of each outcome's family, and what an outcome tells of them."""
