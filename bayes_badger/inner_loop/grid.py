"""Quadrature on lattices that find the posterior, with closed forms and sums where they will do."""

from __future__ import annotations

import dataclasses

import equinox as eqx
from jaxtyping import PRNGKeyArray
from pydantic import Field

from bayes_badger.belief import Posterior
from bayes_badger.errors import listed
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop._integrated import DrawSettings, integrate_all, split_for
from bayes_badger.inner_loop._split import Split, split
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.program import TASK, Program
from bayes_badger.program.quadratic import support_moves

# Nodes that an integral takes, by its dimensions: of the order of what was seen on the models here.
NODES = {0: 1, 1: 150, 2: 2_000, 3: 30_000}


# Evaluations that a quantile costs which has no closed form.
NUMERICAL = 300


class Settings(DrawSettings):
    """What a recipe may set."""

    tolerance: float = Field(1e-4, gt=0, description="error of an integral, estimated, in nats")
    evaluations: float = Field(
        2e10, gt=0, description="of the log density of a row, at most; more is refused"
    )


class Grid(eqx.Module):
    """The posterior and the log evidence by adaptive quadrature.

    At most three dimensions per task and three per lifetime need a lattice; what is linear-Gaussian
    given those does not count, so that a linear mixed model is a lattice over its scales. Estimates
    its own error.
    """

    settings: Settings = eqx.field(static=True)

    def why_not(self, program: Program, evidence: Evidence) -> str | None:
        """Why it does not apply; None where few enough dimensions need a lattice."""
        found = split(program, evidence)
        if isinstance(found, str):
            return found
        if any(found.lattice) and support_moves(program):
            return "cannot integrate over an outcome whose support depends on latents"
        needed = work(program, found, evidence)
        if needed > self.settings.evaluations:
            return (
                f"would need some {needed:.0e} evaluations of a row, more than its setting "
                f"evaluations = {self.settings.evaluations:.0e}"
            )
        return None

    def infer(
        self, program: Program, evidence: Evidence, key: PRNGKeyArray, report: Report = silent
    ) -> Posterior:
        """The posterior of a whole lifetime, with its log evidence."""
        found = split_for("grid", self.why_not(program, evidence), program, evidence)
        posterior = integrate_all(
            program, evidence, found, self.settings, key, report, self.settings.tolerance
        )
        return dataclasses.replace(posterior, notes=(told(program, found), *posterior.notes))


def work(program: Program, found: Split, evidence: Evidence) -> float:
    """Evaluations of the log density of a row, roughly, or what costs as much."""
    lifetime = NODES[len(found.lattice.lifetime)] * found.n_lifetime_states
    task = NODES[len(found.lattice.task)] * found.n_task_states
    numerical = any(
        not latent.closed_form for latent in program.select(TASK) if latent.name in found.names
    )
    each = max(evidence.n_rows, evidence.n_tasks * (NUMERICAL if numerical else 1))
    return float(lifetime * task * each)


def told(program: Program, found: Split) -> str:
    """What was integrated how, in one sentence."""
    names = {latent.name for latent in program.latents}
    sums = {*found.lifetime_states, *found.task_states}
    closed = [x.name for x in program.latents if x.name in names - sums - set(found.names)]
    parts = [f"a lattice over {listed(found.names)}"] if found.names else []
    parts += [f"sums over {listed(x.name for x in program.latents if x.name in sums)}"] * bool(sums)
    if closed:
        parts.append(
            f"closed forms for {listed(closed)}, in which the log density is proved quadratic"
        )
    return f"integrated by {'; '.join(parts)}"


def make(settings: Settings) -> Grid:
    """An inner loop from its validated settings."""
    return Grid(settings)
