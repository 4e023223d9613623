"""What every way to infer has in common.

An inner loop is one file with two names: `Settings`, a pydantic model of what a recipe may set, and
`make(settings)`, which returns an object with the two methods below.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array, PRNGKeyArray

from bayes_badger.belief import Posterior
from bayes_badger.evidence import Evidence
from bayes_badger.program import Program


@runtime_checkable
class Report(Protocol):
    """Is told how far long work has come: stage, steps done, steps in all, and a note."""

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Hears that `done` of `total` are done of a stage."""


def silent(stage: str, done: int, total: int, note: str = "") -> None:
    """A report that nobody reads."""


class StepInfo(NamedTuple):
    """What one piece of evidence did, in nats.

    Attributes:
        log_score: Log predictive probability of the outcome before it was seen: a proper code.
        information_gain: KL of the new belief from the old, of the weights and of each Gaussian.
    """

    log_score: float | Array
    information_gain: float | Array


@runtime_checkable
class InnerLoop(Protocol):
    """A way to infer the latents of a program from evidence."""

    def why_not(self, program: Program, evidence: Evidence) -> str | None:
        """Why it cannot infer this program, in words that follow "it "; None where it can."""

    def infer(
        self, program: Program, evidence: Evidence, key: PRNGKeyArray, report: Report = silent
    ) -> Posterior:
        """The belief about a whole lifetime.

        Raises:
            BadgerError: Where `why_not` gives a reason.
        """
