"""Closed forms: for programs whose log density is quadratic in all latents together."""

from __future__ import annotations

import dataclasses

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

PROVED = "the log density is proved to be quadratic in all latents together"


class Settings(DrawSettings):
    """What a recipe may set."""


class Exact(StepByStep):
    """The posterior of a linear-Gaussian program, and its log evidence, to rounding.

    Gelman et al. (2013), "Bayesian Data Analysis", ch. 14 and 15: with everything else known,
    tasks are integrated out one by one, then what they share.
    """

    settings: Settings = eqx.field(static=True)

    def why_not(self, program: Program, evidence: Evidence) -> str | None:
        """Why it does not apply; None where the program is linear-Gaussian."""
        if program.discrete:
            names = listed(latent.name for latent in program.discrete)
            return f"has no closed form for discrete latents ({names})"
        if program.outcome.discrete:
            return f"has no closed form for a {program.outcome.family} outcome"
        found = split(program, evidence)
        if isinstance(found, str):
            return found
        if not found.closed_form:
            return f"is not linear-Gaussian in {listed(found.names)}"
        return None

    def infer(
        self, program: Program, evidence: Evidence, key: PRNGKeyArray, report: Report = silent
    ) -> Posterior:
        """The posterior of a whole lifetime, with its density and log evidence."""
        found = split_for("exact", self.why_not(program, evidence), program, evidence)
        posterior = integrate_all(program, evidence, found, self.settings, key, report)
        return dataclasses.replace(posterior, notes=(PROVED, *posterior.notes))


def make(settings: Settings) -> Exact:
    """An inner loop from its validated settings."""
    return Exact(settings)
