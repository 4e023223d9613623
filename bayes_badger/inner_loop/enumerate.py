"""Sums over discrete latents, with closed forms for the others."""

from __future__ import annotations

import equinox as eqx
from jaxtyping import PRNGKeyArray

from bayes_badger.belief import Posterior
from bayes_badger.errors import listed
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop._filter import StepByStep
from bayes_badger.inner_loop._integrated import DrawSettings, integrate_all, split_for
from bayes_badger.inner_loop._split import split
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.program import Program


class Settings(DrawSettings):
    """What a recipe may set."""


class Enumerate(StepByStep):
    """The posterior of a program with discrete latents, by adding up all their joint values.

    Up to 4,096 joint values in a task, and as many in the lifetime. Continuous latents must be
    linear-Gaussian given the discrete ones, and where tasks have discrete latents the lifetime must
    have no continuous one.
    """

    settings: Settings = eqx.field(static=True)

    def why_not(self, program: Program, evidence: Evidence) -> str | None:
        """Why it does not apply; None where sums and closed forms are all that is needed."""
        if not program.discrete:
            return "has no discrete latents to sum over"
        found = split(program, evidence)
        if isinstance(found, str):
            return found
        if not found.enumerated:
            return f"cannot sum over {listed(found.names)}: continuous, and not linear-Gaussian"
        return None

    def infer(
        self, program: Program, evidence: Evidence, key: PRNGKeyArray, report: Report = silent
    ) -> Posterior:
        """The posterior of a whole lifetime, with its density and log evidence."""
        found = split_for("enumerate", self.why_not(program, evidence), program, evidence)
        return integrate_all(program, evidence, found, self.settings, key, report)


def make(settings: Settings) -> Enumerate:
    """An inner loop from its validated settings."""
    return Enumerate(settings)
