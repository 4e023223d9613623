"""A society of identical experts: many Gaussians, each a hypothesis of what a task is.

Experts split the prior where the program is nonlinear, climb from there into the evidence, are
weighed, split, merged and re-born by importance refits, and so become a mixture close to the
posterior: with several answers where there are several, bent where it is bent. One at a time, or
all evidence at once. They share one policy, which may be the identity: all is right before anything
is learned.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PRNGKeyArray
from pydantic import Field

from bayes_badger.belief import Draws, Mixture, Posterior, in_chains
from bayes_badger.compilation import jit_lightly
from bayes_badger.errors import BadgerError, listed
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import data_of, task_columns_of
from bayes_badger.inner_loop._alone import (
    as_lifetime,
    drawn,
    unfit_alone,
    unfit_given,
    why_not_alone,
)
from bayes_badger.inner_loop._assigned import infer_assigned, too_many, unfit_assigned
from bayes_badger.inner_loop._carried import Carried, carried_from, carried_mixture
from bayes_badger.inner_loop._chunks import over_chunks
from bayes_badger.inner_loop._integrated import DrawSettings, constrained
from bayes_badger.inner_loop._lifetime import doubts, infer_shared, told
from bayes_badger.inner_loop._lifetime_rounds import Sizes
from bayes_badger.inner_loop._offline import Effort, refit_only, take_in
from bayes_badger.inner_loop._plan import (
    Plan,
    make_plan,
    plan_of_example,
    prior_society,
    rows_to_look_at,
    straight_plan,
)
from bayes_badger.inner_loop._policy import Policy, Untaught
from bayes_badger.inner_loop._portions import at_one_length, portions
from bayes_badger.inner_loop._predictive import CLOUD
from bayes_badger.inner_loop._society import Society, alive, all_alike, as_mixture
from bayes_badger.inner_loop._split import unfit
from bayes_badger.inner_loop._stream import assimilate, through
from bayes_badger.inner_loop._taught import load
from bayes_badger.inner_loop.protocol import Report, StepInfo, silent
from bayes_badger.program import LIFETIME, Data, Program, Step

# The policy that is shipped, bred by `benchmarks/policy.py`.
UNIVERSAL = Path(__file__).with_name("universal.safetensors")
# Refits to each portion but the last.
ON_THE_WAY = 2
# So many rows are taken in all at once before a stream: while they are few, experts may still be
# on the wrong side of a bend, and no filter takes back what it made of a row.
HEAD = 64


class Settings(DrawSettings):
    """What a recipe may set."""

    experts: int = Field(64, ge=1, le=65536)
    sweeps: int = Field(8, ge=0, description="0: one pass of a filter, row by row")
    refits: int = Field(5, ge=0, description="where tasks share nothing, as points and policy")
    points: int = Field(32, ge=4, multiple_of=2, description="of each expert, in a refit")
    policy: str = Field("none", description="between refits: none, universal, or a file of one")
    stream: bool = Field(False, description="row by row after the first 64, in constant memory")
    shared: int = Field(32, ge=4, le=1024, description="experts over what tasks share")
    given: int = Field(8, ge=1, le=1024, description="experts of a task, given what is shared")


class ExpertState(eqx.Module):
    """The belief about the present task.

    Attributes:
        society: The experts.
        steps: Pieces of evidence of this task so far.
        prior: The experts before any.
        predictive: How an expert's predictive is integrated.
    """

    society: Society
    steps: Array
    prior: Society
    predictive: str = eqx.field(static=True)


class Inferred(NamedTuple):
    """What the experts found of all tasks, `[task, ...]`."""

    society: Society
    log_evidence: Any
    divergence: Any
    ess: Any
    sweeps: Any


class Experts(eqx.Module):
    """Amortised posterior inference by K experts.

    Attributes:
        settings: What a recipe may set.
        policy: How a belief is revised, where that is left open.
    """

    settings: Settings = eqx.field(static=True)
    policy: Policy = eqx.field(default_factory=Untaught)

    def why_not(self, program: Program, evidence: Evidence) -> str | None:
        """Why it does not apply; None where it does."""
        filters = not self.settings.sweeps or self.settings.stream
        if as_lifetime(program, evidence):
            unable = unfit_assigned if too_many(program) else unfit_given
            reason = unfit(program, evidence) or unable(program)
            if reason is None and filters:
                some = program.select(LIFETIME) or program.discrete
                what = "what tasks share" if program.select(LIFETIME) else "discrete latents"
                names = listed(latent.name for latent in some)
                reason = f"cannot carry {what} ({names}) through a filter: sweep instead"
            return reason
        reason = why_not_alone(program, evidence, state=True)
        if reason is None and filters and program.signature.stateful:
            reason = "cannot carry a program's state through a filter: sweep instead"
        if reason is None and not self.settings.sweeps:
            reason = _unfit_for_a_pass(program)
        return reason

    def infer(
        self, program: Program, evidence: Evidence, key: PRNGKeyArray, report: Report = silent
    ) -> Posterior:
        """The belief about each task, as a mixture of its experts, and draws from it."""
        reason = self.why_not(program, evidence)
        if reason is not None:
            raise BadgerError(f"experts {reason}")
        if too_many(program):
            shape = self.settings.chains, self.settings.draws
            experts = self.settings.experts
            return infer_assigned(program, evidence, key, shape, experts, report)
        if as_lifetime(program, evidence):
            return self._of_lifetime(program, evidence, key, report)
        keys = jax.random.split(key)
        found = self.societies(program, evidence, keys[0], report)
        mixture = as_mixture(found.society, program.latents)
        settings = self.settings
        values = drawn(program, evidence, mixture, keys[1], (settings.chains, settings.draws))
        total = found.log_evidence.sum()
        error = np.sqrt(np.sum(1.0 / np.maximum(found.ess, 1.0)))
        known = bool(np.isfinite(error))
        return Posterior(
            Draws(values, {}, variables=program.variables),
            mixture=mixture,
            log_evidence=float(total),
            log_evidence_error=float(error) if known else None,
            log_evidence_by_task=found.log_evidence,
            independent=True,
            approximate=True,
            notes=(self._told(found),),
        )

    def societies(
        self,
        program: Program,
        evidence: Evidence,
        key: PRNGKeyArray,
        report: Report = silent,
        turn: int = 0,
        begun: Society | None = None,
        plan: Plan | None = None,
    ) -> Inferred:
        """The experts of every task, without draws; tasks are independent of each other.

        Args:
            program: The program.
            evidence: Of all tasks.
            key: For scouts and refits.
            report: Is told how many tasks are done.
            turn: How the prior is split: another number, other centres.
            begun: Experts near the posterior, `[task, k, ...]`, in place of the prior's.
            plan: Of this program and evidence, where it was made already.
        """
        plan = self.plan(program, evidence) if plan is None else plan
        # Where one Gaussian is the posterior, all experts are that one.
        experts = 1 if plan.straight else self.settings.experts
        prior = prior_society(plan, experts, program.size, self.policy.width, turn)
        keys = jax.random.split(key, evidence.n_tasks)

        def work(tasks: np.ndarray, data: Data, mask: np.ndarray) -> Inferred:
            start = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(tasks), *x.shape)), prior)
            near = None if begun is None else jax.tree.map(lambda x: x[tasks], begun)
            return self._of_chunk(program, plan, start, near, data, mask, keys[jnp.asarray(tasks)])

        found = over_chunks(evidence, work, report, "experts")
        society = jax.tree.map(jnp.asarray, found.society)
        if plan.straight and begun is None:
            society = all_alike(society, self.settings.experts)
        return found._replace(society=society)

    def init(self, program: Program, key: PRNGKeyArray | None = None) -> ExpertState:
        """The prior, split among the experts.

        Raises:
            BadgerError: Where the program cannot be followed.
        """
        reason = unfit_alone(program) or _unfit_for_a_pass(program)
        if reason is not None:
            raise BadgerError(f"{program.name}: experts {reason}")
        plan = plan_of_example(program, jax.random.key(0))
        prior = prior_society(plan, self.settings.experts, program.size, self.policy.width)
        return ExpertState(prior, jnp.zeros((), int), prior, plan.predictive)

    def step(
        self, program: Program, state: ExpertState, evidence: Step
    ) -> tuple[ExpertState, StepInfo]:
        """One piece of evidence of the present task; memory does not grow. jit- and vmap-able."""
        society, info = _one_step(program, state.predictive, self.policy, state.society, evidence)
        return ExpertState(society, state.steps + 1, state.prior, state.predictive), info

    def new_task(self, program: Program, state: ExpertState) -> ExpertState:
        """Forgets the task.

        Raises:
            BadgerError: Where tasks share latents, which it cannot yet carry on.
        """
        if program.lifetime_size:
            names = listed(latent.name for latent in program.select(LIFETIME))
            raise BadgerError(
                f"{program.name}: experts cannot yet carry what tasks share ({names}) from one to "
                "the next"
            )
        return ExpertState(state.prior, jnp.zeros((), int), state.prior, state.predictive)

    def belief(self, program: Program, state: ExpertState) -> Mixture:
        """The belief about the present task."""
        return as_mixture(state.society, program.latents)

    def plan(self, program: Program, evidence: Evidence) -> Plan:
        """What is settled before any outcome is looked at."""
        if not evidence.n_rows:
            return straight_plan(program.size, CLOUD)
        some = np.flatnonzero(evidence.lengths)[:256]
        block = evidence.select(some).padded()
        return make_plan(program, rows_to_look_at(data_of(block), block.mask))

    def go_on(
        self,
        program: Program,
        evidence: Evidence,
        key: PRNGKeyArray,
        belief: Mixture,
        report: Report = silent,
    ) -> Posterior:
        """The belief about a lifetime after more tasks, without the evidence that came before.

        Args:
            program: Whose tasks share latents.
            evidence: Of the new tasks.
            key: For points and draws.
            belief: About what tasks share, before these: `Posterior.lifetime`.
            report: Is told how far the work has come.

        Returns:
            Draws of what tasks share and of the new tasks; the log evidence is that of the new
            outcomes given what the belief rests on.
        """
        return self._of_lifetime(program, evidence, key, report, carried_from(belief))

    def infer_hard(
        self,
        program: Program,
        evidence: Evidence,
        key: PRNGKeyArray,
        hard: np.ndarray,
        report: Report = silent,
    ) -> Posterior:
        """The belief about a lifetime some of whose tasks are hard: they have more experts.

        Args:
            program: Whose tasks share latents.
            evidence: Of all tasks.
            key: For points and draws.
            hard: Which tasks, `[task]`.
            report: Is told how far the work has come.
        """
        return self._of_lifetime(program, evidence, key, report, hard=hard)

    def _of_lifetime(
        self,
        program: Program,
        evidence: Evidence,
        key: PRNGKeyArray,
        report: Report,
        begun: tuple[Carried, ...] = (),
        hard: np.ndarray | None = None,
    ) -> Posterior:
        """The belief about what tasks share and about each of them, as draws."""
        settings = self.settings
        shape = settings.chains, settings.draws
        effort = Sizes().effort._replace(sweeps=settings.sweeps)
        sizes = Sizes(
            experts=settings.shared,
            of_task=settings.given,
            alone=settings.experts,
            effort=effort,
        )
        count = shape[0] * shape[1]
        found = infer_shared(program, evidence, key, count, sizes, report, begun, hard)
        columns = task_columns_of(evidence)
        values = constrained(program, found.lifetimes, found.tasks, columns, found.discrete)
        return Posterior(
            Draws(
                {name: in_chains(x, shape) for name, x in values.items()},
                {},
                variables=program.variables,
            ),
            lifetime=carried_mixture(found.carried, program.select(LIFETIME)),
            log_evidence=found.log_evidence,
            log_evidence_error=found.log_evidence_error,
            log_evidence_by_task=found.by_task,
            messages=None if found.messages is None else in_chains(found.messages, shape),
            effective=found.effective,
            independent=True,
            approximate=True,
            notes=(told(found, sizes),),
            warnings=doubts(found, evidence),
        )

    def _of_chunk(
        self,
        program: Program,
        plan: Plan,
        society: Society,
        near: Society | None,
        data: Data,
        mask: np.ndarray,
        keys: Key[Array, " task"],
    ) -> Inferred:
        settings, tasks = self.settings, len(mask)
        if not settings.sweeps:
            society, infos = through(
                program, plan.predictive, self.policy, society, data, jnp.asarray(mask)
            )
            unknown = np.full(tasks, np.nan)
            scores = jnp.sum(infos.log_score, 1)
            return Inferred(society, scores, unknown, unknown, np.zeros(tasks, int))
        if settings.stream and near is None and mask.shape[1] > HEAD:
            head = self._at_once(program, plan, society, None, *_rows(data, mask, 0, HEAD), keys)
            rest, seen = _rows(data, mask, HEAD, mask.shape[1])
            society, infos = through(
                program, plan.predictive, self.policy, head.society, rest, jnp.asarray(seen)
            )
            log_evidence = head.log_evidence + jnp.sum(infos.log_score, 1)
            unknown = np.where(seen.any(1), np.nan, 1.0)
            return Inferred(
                society, log_evidence, head.divergence * unknown, head.ess * unknown, head.sweeps
            )
        return self._at_once(program, plan, society, near, data, mask, keys)

    def _at_once(
        self,
        program: Program,
        plan: Plan,
        society: Society,
        near: Society | None,
        data: Data,
        mask: np.ndarray,
        keys: Key[Array, " task"],
    ) -> Inferred:
        settings, tasks = self.settings, len(mask)
        effort = Effort(settings.sweeps, settings.refits, settings.points)
        if near is not None:
            data, seen = at_one_length(data, mask)
            found = refit_only(program, self.policy, near, data, seen, keys, effort)
            log_evidence = found.check.log_evidence
        else:
            steps, log_evidence = list(portions(data, mask)), jnp.zeros(tasks)
            for i, portion in enumerate(steps):
                last = i == len(steps) - 1
                refits = settings.refits if last else min(ON_THE_WAY, settings.refits)
                found = take_in(
                    program,
                    self.policy,
                    society,
                    portion,
                    jax.vmap(lambda key, i=i: jax.random.fold_in(key, i))(keys),
                    effort._replace(refits=refits),
                    i == 0,
                    plan.straight,
                )
                society = found.society
                # Where nothing is refitted, a portion's evidence is of its new rows alone.
                rows = found.check.log_evidence
                log_evidence = log_evidence + rows if plan.straight else rows
        check = found.check
        return Inferred(found.society, log_evidence, check.divergence, check.ess, found.sweeps)

    def _told(self, found: Inferred) -> str:
        settings = self.settings
        living = np.asarray(jax.vmap(alive)(found.society.log_weights)).sum(1)
        who = f"{settings.experts} experts for each task, of which {_range(living)} live"
        if not settings.sweeps:
            return f"{who}; one pass of a filter over the rows in their order"
        swept = f"{who}; {_range(found.sweeps)} sweeps, {settings.refits} importance refits"
        if settings.policy != "none":
            swept = f"{swept} with the policy {settings.policy}"
        if settings.stream:
            return f"{swept} on the first {HEAD} rows, then one pass of a filter"
        return swept


def _rows(data: Data, mask: np.ndarray, start: int, stop: int) -> tuple[Data, np.ndarray]:
    """Some rows of each task, and which of them are real."""
    columns = {name: x[:, start:stop] for name, x in data.columns.items()}
    outcome = None if data.outcome is None else data.outcome[:, start:stop]
    return data._replace(columns=columns, outcome=outcome), mask[:, start:stop]


@jit_lightly
def _one_step(
    program: Program, predictive: str, policy: Policy, society: Society, evidence: Step
) -> tuple[Society, StepInfo]:
    def lead(columns: Mapping[str, Any]) -> dict[str, Array]:
        return {name: jnp.asarray(x)[None, None] for name, x in columns.items()}

    row = Data(
        lead(evidence.columns),
        lead(evidence.task_columns),
        jnp.asarray(evidence.outcome)[None, None],
    )
    return assimilate(program, predictive, policy, society, row, jnp.ones((), bool))


def _range(counts: np.ndarray) -> str:
    """The middle of some counts, and their ends.

    Example:
        >>> _range(np.array([3, 3])), _range(np.array([1, 2, 8]))
        ('3', '2 (1 to 8)')
    """
    low, middle, high = (int(x) for x in np.quantile(counts, (0, 0.5, 1)))
    return str(low) if low == high else f"{middle} ({low} to {high})"


def _unfit_for_a_pass(program: Program) -> str | None:
    if program.factors:
        return f"cannot take in factors ({listed(program.factors)}) row by row: sweep instead"
    return None


def make(settings: Settings) -> Experts:
    """An inner loop from its validated settings.

    Raises:
        BadgerError: Where the policy's file holds none.
    """
    if settings.policy == "none":
        return Experts(settings)
    name = UNIVERSAL if settings.policy == "universal" else Path(settings.policy)
    return Experts(settings, load(name))
