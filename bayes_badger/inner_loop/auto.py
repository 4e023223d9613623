"""The default: picks the best inner loop that fits the program, and says why."""

from __future__ import annotations

import dataclasses

import equinox as eqx
from jaxtyping import PRNGKeyArray
from pydantic import BaseModel, ConfigDict, Field

from bayes_badger.belief import Posterior
from bayes_badger.errors import BadgerError, listed
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop import enumerate as enumerate_loop
from bayes_badger.inner_loop import exact as exact_loop
from bayes_badger.inner_loop import experts as experts_loop
from bayes_badger.inner_loop import grid as grid_loop
from bayes_badger.inner_loop import nuts as nuts_loop
from bayes_badger.inner_loop._budget import Limited, OutOfTimeError
from bayes_badger.inner_loop.protocol import InnerLoop, Report, silent
from bayes_badger.program import Program

# Seconds that one way to infer may take.
BUDGET = 300.0


class Experts(experts_loop.Settings):
    """Experts with the policy that is shipped, as recipe `experts` has them."""

    policy: str = "universal"
    points: int = Field(30, ge=4, multiple_of=2)


class Settings(BaseModel):
    """The settings of each inner loop that may be picked."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    exact: exact_loop.Settings = exact_loop.Settings()
    enumerate: enumerate_loop.Settings = enumerate_loop.Settings()
    # What takes longer than a minute or so is left to those that follow.
    grid: grid_loop.Settings = grid_loop.Settings(evaluations=1e9)
    experts: Experts = Experts()
    nuts: nuts_loop.Settings = nuts_loop.Settings()
    # Seconds for each of them. What takes longer is left for the next; the last keeps its draws.
    budget: float = Field(BUDGET, gt=0)


class Auto(eqx.Module):
    """Tries inner loops in order of preference, and takes the first that applies.

    Attributes:
        candidates: Name, inner loop and merit of each.
        given: The names of those for which settings were given.
        budget: Seconds that each may take.
        late: What was told of those that took longer.
    """

    candidates: tuple[tuple[str, InnerLoop, str], ...]
    given: tuple[str, ...] = ()
    budget: float = BUDGET
    late: tuple[str, ...] = ()

    def pick(self, program: Program, evidence: Evidence) -> tuple[str, InnerLoop, str]:
        """The name, the inner loop, and the reason.

        Raises:
            BadgerError: Where none applies, with each one's reason.
        """
        reasons: list[str] = []
        for name, loop, merit in self.candidates:
            reason = loop.why_not(program, evidence)
            if reason is None:
                passed = f" (passed over: {'; '.join(reasons)})" if reasons else ""
                return name, loop, f"auto picked {name}: {merit}{passed}"
            reasons.append(f"{name} {reason}")
        raise BadgerError(f"no inner loop applies to {program.name}: {'; '.join(reasons)}")

    def after(self, program: Program, evidence: Evidence) -> Auto | None:
        """The same without the inner loop that it picks and those before; None where none is left.

        For a program whose posterior that inner loop was seen to miss.
        """
        name, _, _ = self.pick(program, evidence)
        names = [own for own, _, _ in self.candidates]
        left = dataclasses.replace(self, candidates=self.candidates[names.index(name) + 1 :])
        return left if left.why_not(program, evidence) is None else None

    def why_not(self, program: Program, evidence: Evidence) -> str | None:
        """None where one of the candidates applies."""
        try:
            self.pick(program, evidence)
        except BadgerError as error:
            return f"finds that {error}"
        return None

    def infer(
        self, program: Program, evidence: Evidence, key: PRNGKeyArray, report: Report = silent
    ) -> Posterior:
        """Infers by the inner loop that was picked; the reason is the belief's first note.

        Raises:
            BadgerError: Where none applies, or none arrives in time.
        """
        return self.arrived(program, evidence, key, report)[0]

    def arrived(
        self, program: Program, evidence: Evidence, key: PRNGKeyArray, report: Report = silent
    ) -> tuple[Posterior, Auto]:
        """The belief of the first inner loop that arrives in time, and the Auto that picked it.

        Raises:
            BadgerError: Where none applies, or none arrives in time.
        """
        name, loop, why = self.pick(program, evidence)
        other = self.after(program, evidence)
        try:
            limited = Limited(loop, self.budget, last=other is None)
            belief = limited.infer(program, evidence, key, report)
        except OutOfTimeError as late:
            told = f"{name} {late}"
            if other is None:
                raise OutOfTimeError(
                    f"{'; '.join((*self.late, told))}: give more time, as in "
                    f"--budget {4 * self.budget:.0f}s, or name a recipe"
                ) from late
            return dataclasses.replace(other, late=(*self.late, told)).arrived(
                program, evidence, key, report
            )
        unused = [given for given in self.given if given != name]
        note = [f"settings of {listed(unused)} were not used"] if unused else []
        left = [f"{sentence}: left for {name}" for sentence in self.late]
        return dataclasses.replace(belief, notes=(why, *left, *note, *belief.notes)), self


def make(settings: Settings) -> Auto:
    """An inner loop from its validated settings."""
    candidates = (
        ("exact", exact_loop.make(settings.exact), "closed forms, exact to rounding"),
        (
            "enumerate",
            enumerate_loop.make(settings.enumerate),
            "sums and closed forms, exact to rounding",
        ),
        ("grid", grid_loop.make(settings.grid), "quadrature that knows its own error"),
        (
            "experts",
            experts_loop.make(settings.experts),
            "a mixture close to the posterior of each task, and it can be told how close",
        ),
        ("nuts", nuts_loop.make(settings.nuts), "exact in the limit, whatever has a gradient"),
    )
    given = tuple(sorted(settings.model_fields_set - {"budget"}))
    return Auto(candidates, given, settings.budget)
