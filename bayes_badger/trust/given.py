"""Tasks that share latents: each is judged, and mended, given what they share.

Two levels. What tasks share was weighed by all of them together; a task is looked at given that,
for a joint weight of all tasks would leave no draw that counts. Where a task was inferred by
experts, its evidence given what is shared may rest on few points, or miss what a second look, from
other starts, finds. Then the lifetime is inferred again, with more experts for just those tasks.
What is still doubtful is drawn by NUTS, at the draws of what is shared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from bayes_badger.belief import Draws, Posterior, in_chains
from bayes_badger.errors import listed
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import task_columns_of
from bayes_badger.inner_loop._evidence_of_task import OfTasks
from bayes_badger.inner_loop._integrated import constrained
from bayes_badger.inner_loop._lifetime import ENOUGH_OF_TASK, told_missed
from bayes_badger.inner_loop._lifetime_rounds import Sizes
from bayes_badger.inner_loop._split import assignments
from bayes_badger.inner_loop.experts import Experts, Settings
from bayes_badger.inner_loop.messages import at_draws, lifetime_coordinates
from bayes_badger.inner_loop.protocol import Report
from bayes_badger.program import LIFETIME, TASK, Program
from bayes_badger.trust.given_sampler import sampled_given
from bayes_badger.trust.verdicts import MISSED, REFINE

# Experts over what tasks share, where some tasks are hard.
SHARED = 64
# Draws of what is shared at which tasks are looked at a second time; the look finds more where it
# does by so many standard errors.
LOOKS, ERRORS = 32, 3.0
# After NUTS: evidence of a task by two sets of points may differ by so many nats from one draw to
# another, for it is all that what is shared hears of the task; so many transitions may diverge.
AGREE, DIVERGED = 0.3, 1e-2


@dataclass(frozen=True)
class GivenVerdicts:
    """Of each task, given what tasks share.

    Attributes:
        ess: How many points its evidence rests on, in the mean over draws of what is shared;
            infinite for closed forms.
        missed: The share of its evidence that only a second look found; NaN without one.
        flagged: Whether it is not to be trusted.
        done: What was done to it: "weighed", "refined", "sampled".
    """

    ess: np.ndarray
    missed: np.ndarray
    flagged: np.ndarray
    done: np.ndarray

    def table(self) -> Mapping[str, np.ndarray]:
        """By name, `[task]`."""
        return {name: getattr(self, name) for name in ("ess", "missed", "flagged", "done")}


def judged_given(
    program: Program,
    evidence: Evidence,
    posterior: Posterior,
    key: PRNGKeyArray,
    how: str,
    report: Report,
) -> tuple[Posterior, GivenVerdicts | None]:
    """A lifetime's posterior, its doubtful tasks mended where that is asked for; their verdicts.

    Args:
        program: The lifted program.
        evidence: What was inferred from.
        posterior: With `effective`; any other is returned as it is.
        key: For points and draws.
        how: "weigh": tasks are flagged whose points are few. "refine": all tasks are looked at a
            second time, and those that are flagged get more experts, in the end a sampler.
        report: Is told how far it has come.
    """
    if posterior.effective is None or np.isinf(posterior.effective).all():
        return posterior, None
    done = np.full(evidence.n_tasks, "weighed", dtype="<U8")
    if how != REFINE or posterior.messages is None:
        return posterior, _by_points(posterior, done)
    keys = jax.random.split(key, 4)
    verdicts = _looked_at(program, evidence, posterior, done, keys[0], report)
    if not verdicts.flagged.any():
        return posterior, verdicts
    hard = verdicts.flagged
    settings = Settings(chains=posterior.draws.chains, draws=posterior.draws.draws, shared=SHARED)
    posterior = Experts(settings).infer_hard(program, evidence, keys[1], hard, report)
    done[hard] = "refined"
    verdicts = _looked_at(program, evidence, posterior, done, keys[2], report)
    left = np.flatnonzero(verdicts.flagged)
    if len(left) and not program.without_gradient:
        posterior, verdicts = _sampled(program, evidence, posterior, verdicts, keys[3], report)
    return _told(posterior, verdicts, evidence), verdicts


def _by_points(posterior: Posterior, done: np.ndarray) -> GivenVerdicts:
    assert posterior.effective is not None  # noqa: S101 - asked by `judged_given`
    ess = posterior.effective
    return GivenVerdicts(ess, np.full(len(ess), np.nan), ess < ENOUGH_OF_TASK, done)


def _looked_at(
    program: Program,
    evidence: Evidence,
    posterior: Posterior,
    done: np.ndarray,
    key: PRNGKeyArray,
    report: Report,
) -> GivenVerdicts:
    """A second look at all tasks, from other starts, at a few draws of what is shared."""
    verdicts, told = _by_points(posterior, done), _messages(posterior)
    at = _some(posterior)
    found = _asked(program, evidence, posterior, at, np.arange(evidence.n_tasks), key, report)
    more = (np.asarray(found.log_evidence, float) - told[at]).mean(0)
    # Points are the same at all draws, and so is their noise.
    error = np.sqrt(1 / verdicts.ess + 1 / np.asarray(found.effective, float).mean(0))
    more = np.nan_to_num(more, nan=np.inf)
    missed = np.clip(-np.expm1(-more), 0.0, 1.0)
    flagged = verdicts.flagged | ((missed > MISSED) & (more > ERRORS * error))
    return dataclasses.replace(verdicts, missed=missed, flagged=flagged)


def _messages(posterior: Posterior) -> np.ndarray:
    told = np.asarray(posterior.messages, float)
    return told.reshape(-1, told.shape[-1])


def _some(posterior: Posterior) -> np.ndarray:
    """A few of the draws."""
    return np.linspace(0, len(_messages(posterior)) - 1, LOOKS).astype(int)


def _flat(program: Program, posterior: Posterior) -> dict[str, np.ndarray]:
    """Draws of all latents in the user's own space, `[draw, ...]`."""
    values = posterior.draws.values
    return {x.name: values[x.name].reshape(-1, *values[x.name].shape[2:]) for x in program.latents}


def _asked(
    program: Program,
    evidence: Evidence,
    posterior: Posterior,
    at: np.ndarray,
    tasks: np.ndarray,
    key: PRNGKeyArray,
    report: Report,
) -> OfTasks:
    """What some tasks say at some draws, with all the effort that hard ones are worth."""
    values = {name: x[at] for name, x in _flat(program, posterior).items()}
    for latent in program.select(TASK):
        values[latent.name] = values[latent.name][:, tasks]
    sizes, some = Sizes(), evidence.select(tasks)
    effort, experts = sizes.effort_of_hard, sizes.of_hard
    return at_draws(program, some, values, key, effort, experts, search=True, report=report)


def _sampled(
    program: Program,
    evidence: Evidence,
    posterior: Posterior,
    verdicts: GivenVerdicts,
    key: PRNGKeyArray,
    report: Report,
) -> tuple[Posterior, GivenVerdicts]:
    """Flagged tasks drawn by NUTS; one stays so where what is shared heard it badly."""
    tasks, keys = np.flatnonzero(verdicts.flagged), jax.random.split(key, 3)
    everywhere, at = np.arange(len(_messages(posterior))), _some(posterior)
    start = _asked(program, evidence, posterior, everywhere, tasks, keys[0], report)
    again = np.asarray(start.log_evidence, float)[at] - _messages(posterior)[np.ix_(at, tasks)]
    columns, flat = task_columns_of(evidence.select(np.arange(1))), _flat(program, posterior)
    lifetimes = lifetime_coordinates(program, columns, flat)
    shared = {x.name: flat[x.name] for x in program.discrete if x.scope == LIFETIME}
    states = assignments(program, TASK)
    assigned = np.asarray(start.states)[:, :, 0]
    own = {} if isinstance(states, str) else {name: x[assigned] for name, x in states.items()}
    flagged, done = verdicts.flagged.copy(), verdicts.done.copy()
    latents = np.array(start.latents[:, :, 0])
    for i, task in enumerate(tasks):
        report("NUTS for tasks that are flagged", i, len(tasks))
        discrete = shared | {name: x[:, i] for name, x in own.items()}
        one, chance = evidence.select(tasks[i : i + 1]), jax.random.fold_in(keys[1], i)
        latents[:, i], diverged = sampled_given(
            program, one, lifetimes, discrete, latents[:, i], chance
        )
        flagged[task] = not (again[:, i].std() < AGREE and diverged < DIVERGED)
        done[task] = "sampled"
    report("NUTS for tasks that are flagged", len(tasks), len(tasks))
    some = task_columns_of(evidence.select(tasks))
    changed = constrained(program, lifetimes, latents, some, shared | own)
    values, draws = dict(posterior.draws.values), posterior.draws
    for variable in program.variables:
        if variable.scope == TASK:
            x = np.array(values[variable.name])
            x[:, :, tasks] = in_chains(changed[variable.name], (draws.chains, draws.draws))
            values[variable.name] = x
    posterior = dataclasses.replace(posterior, draws=Draws(values, {}, variables=draws.variables))
    return posterior, dataclasses.replace(verdicts, flagged=flagged, done=done)


def _told(posterior: Posterior, verdicts: GivenVerdicts, evidence: Evidence) -> Posterior:
    """With notes of what was done, and a warning of what is left."""
    assert posterior.effective is not None  # noqa: S101 - asked by `judged_given`
    missed = told_missed(posterior.effective, evidence)
    warnings = [sentence for sentence in posterior.warnings if sentence != missed]
    left = [f"'{evidence.tasks[i]}'" for i in np.flatnonzero(verdicts.flagged)]
    if left:
        warnings.append(
            f"{len(left)} of {evidence.n_tasks} tasks stay doubtful given what is shared "
            f"({listed(left, 3)}): use recipe nuts"
        )
    notes = [
        f"{count} of {evidence.n_tasks} tasks {'were' if count > 1 else 'was'} {word}, given what "
        "is shared"
        for word in ("refined", "sampled")
        if (count := int((verdicts.done == word).sum()))
    ]
    return dataclasses.replace(
        posterior, notes=(*posterior.notes, *notes), warnings=tuple(warnings)
    )
