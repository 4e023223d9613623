"""Tasks with more joint values of discrete latents than can be summed, by annealed experts."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from bayes_badger.belief import Draws, Mixture, Posterior, in_chains
from bayes_badger.belief.importance import resampled
from bayes_badger.errors import BadgerError, listed
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import data_of, task_columns_of
from bayes_badger.inner_loop import _split
from bayes_badger.inner_loop._annealed import DRAWS, POPULATIONS, Annealed, annealed
from bayes_badger.inner_loop._chunks import over_chunks
from bayes_badger.inner_loop._given import plan_given
from bayes_badger.inner_loop._integrated import constrained
from bayes_badger.inner_loop._plan import prior_society, rows_to_look_at
from bayes_badger.inner_loop._portions import at_one_length
from bayes_badger.inner_loop._sites import Sites, sites_of
from bayes_badger.inner_loop._society import Society
from bayes_badger.inner_loop.protocol import Report
from bayes_badger.program import LIFETIME, Data, Program

# Assignments at which it is looked at whether the rest is linear-Gaussian, and experts if not.
LOOKED_AT, EXPERTS = 4, 8
# Points of what is continuous at which the prior of what is discrete must be the same.
POINTS = 3
# Populations disagree where their log evidence has a larger error, in nats, or a probability.
ROUGH, APART = 0.5, 0.1


class Assigned(NamedTuple):
    """The experts of all tasks, and what their populations say.

    Attributes:
        found: The experts, `[task, ...]`.
        weights: Of each assignment, normalised, `[task, population, expert, round]`.
        log_evidence: `[task]`, in nats.
        error: Its standard error, by the populations' spread, `[task]`.
        apart: The largest standard error of a probability of a value of an entry, `[task]`.
    """

    found: Annealed
    weights: np.ndarray
    log_evidence: np.ndarray
    error: np.ndarray
    apart: np.ndarray


def too_many(program: Program) -> bool:
    """Whether a task's discrete latents have lists of values, but too many joint ones to sum."""
    if not program.discrete or any(latent.scope == LIFETIME for latent in program.discrete):
        return False
    sites = sites_of(program)
    return sites is not None and sites.size > _split.STATES


def unfit_assigned(program: Program) -> str | None:
    """Why experts cannot hold one assignment each; None where they can."""
    sites = sites_of(program)
    names = listed(latent.name for latent in program.discrete)
    size = 0 if sites is None else sites.size
    many = f"cannot sum over {size} joint values of {names} for a task"
    if program.select(LIFETIME):
        shared = listed(latent.name for latent in program.select(LIFETIME))
        return (
            f"{many}, and can hold one for each expert only where tasks share nothing, not {shared}"
        )
    if sites is not None and _moves(program, sites):
        return f"{many}, nor hold one for each expert, where their prior depends on other latents"
    return None


def _moves(program: Program, sites: Sites) -> bool:
    """Whether the prior of discrete latents moves with what is continuous."""
    if not program.task_size:
        return False
    chance, example = np.random.default_rng(0), program.example.task(slice(0, 1))
    at = jnp.asarray(chance.normal(size=(POINTS, program.task_size)), jnp.float32)
    for positions in _at_random(sites, POINTS):
        assignment = sites.assignment(jnp.asarray(positions))
        each = [program.log_prior_of_discrete(z, example, assignment) for z in at]
        found = np.asarray(jnp.stack(each), float)
        if np.isfinite(found).any() and not np.ptp(found) <= 1e-5 * (1 + np.abs(found).max()):
            return True
    return False


def _at_random(sites: Sites, n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(sites.counts, size=(n, len(sites.counts)))


def infer_assigned(
    program: Program,
    evidence: Evidence,
    key: PRNGKeyArray,
    shape: tuple[int, int],
    experts: int,
    report: Report,
) -> Posterior:
    """The belief about tasks that share nothing, as experts with one assignment each.

    Args:
        program: The lifted program.
        evidence: Of all tasks.
        key: For experts and draws.
        shape: Chains, and draws of each.
        experts: Of each population.
        report: Is told how far it has come.

    Raises:
        BadgerError: Where no assignment that was tried is possible.
    """
    sites = sites_of(program)
    assert sites is not None  # noqa: S101 - `too_many` asks
    keys = jax.random.split(key)
    of_tasks = jax.random.split(keys[0], evidence.n_tasks)
    bent = _bent(program, evidence, sites)

    def work(tasks: np.ndarray, data: Data, mask: np.ndarray) -> Annealed:
        data, seen = at_one_length(data, mask)
        some = of_tasks[jnp.asarray(tasks)]
        return annealed(program, sites, bent, data, seen, some, experts)

    told = _told(over_chunks(evidence, work, report, "experts"), sites)
    if not np.isfinite(told.log_evidence).all():
        bad = evidence.tasks[int(np.flatnonzero(~np.isfinite(told.log_evidence))[0])]
        raise BadgerError(
            f"{program.name}: of the values of {listed(sites.names)} that were tried none explains "
            f"task '{bad}': check the data, or write what a factor demands into the prior, each "
            "latent given those before it"
        )
    chance = np.random.default_rng(np.asarray(jax.random.key_data(keys[1])).ravel())
    count = shape[0] * shape[1]
    positions, latents = _drawn(told, count, chance)
    flat = jax.vmap(jax.vmap(sites.assignment))
    columns = task_columns_of(evidence)
    empty = np.zeros((count, 0))
    values = constrained(program, empty, latents, columns, flat(jnp.asarray(positions)))
    found = told.found
    lead, size = (evidence.n_tasks, POPULATIONS * experts), program.task_size
    mixture = Mixture(
        _log_weights(told.weights[..., -1]).reshape(lead),
        jnp.asarray(found.mean.reshape(*lead, size)),
        jnp.asarray(found.root.reshape(*lead, size, size)),
        program.latents,
        flat(jnp.asarray(found.positions[:, :, :, -1].reshape(*lead, -1))),
    )
    return Posterior(
        Draws(
            {name: in_chains(x, shape) for name, x in values.items()},
            {},
            variables=program.variables,
        ),
        mixture=mixture,
        log_evidence=float(told.log_evidence.sum()),
        log_evidence_error=float(np.sqrt((told.error**2).sum())),
        log_evidence_by_task=told.log_evidence,
        independent=True,
        approximate=True,
        notes=_notes(told, sites, experts),
        warnings=_doubts(told, evidence),
    )


def _bent(program: Program, evidence: Evidence, sites: Sites) -> Society | None:
    """Experts of what is continuous; None where it is linear-Gaussian given an assignment."""
    some = evidence.select(np.flatnonzero(evidence.lengths)[:256])
    if not program.task_size or not some.n_rows:
        return None
    block = some.padded()
    rows = rows_to_look_at(data_of(block), block.mask)
    plans = [
        plan_given(program, rows, sites.assignment(jnp.asarray(positions)))
        for positions in _at_random(sites, LOOKED_AT)
    ]
    plan = max(plans, key=lambda plan: plan.directions.shape[1])
    return None if plan.straight else prior_society(plan, EXPERTS, program.task_size)


def _told(found: Annealed, sites: Sites) -> Assigned:
    """What the populations say together, and how far they are apart."""
    logs = np.asarray(found.log_weights, float)
    logs = np.where(np.isfinite(logs), logs, -np.inf)
    logs = logs.reshape(*logs.shape[:2], -1)
    each = np.logaddexp.reduce(logs, axis=2) - np.log(logs.shape[2])
    log_evidence = np.logaddexp.reduce(each, axis=1) - np.log(POPULATIONS)
    with np.errstate(invalid="ignore"):
        relative = np.exp(each - log_evidence[:, None])
        error = relative.std(1, ddof=1) / np.sqrt(POPULATIONS)
        weights = np.exp(logs - log_evidence[:, None, None]) / logs[0].size
    positions = np.asarray(found.positions).reshape(*logs.shape, -1)
    # How often each value is met in each population, less how often in all, weighed by evidence.
    each_value = [
        np.einsum("tpk,tpke->tpe", np.nan_to_num(weights), positions == value)
        for value in range(sites.values.shape[1])
    ]
    own = np.stack(each_value, -1)
    mean = own.sum(1, keepdims=True)
    off = own - weights.sum(2)[..., None, None] * mean
    apart = np.sqrt((off**2).sum(1) * POPULATIONS / (POPULATIONS - 1)).max((1, 2))
    weights = weights.reshape(found.log_weights.shape)
    return Assigned(found, weights, log_evidence, error, apart)


def _log_weights(weights: np.ndarray) -> jax.Array:
    """Normalised over the last two axes."""
    weights = weights / weights.sum((-2, -1), keepdims=True)
    return jnp.asarray(np.log(np.maximum(weights, 1e-38)), jnp.float32)


def _drawn(told: Assigned, n: int, chance: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Positions `[draw, task, entry]` and latents `[draw, task, z]`, by the experts' weights."""
    positions, latents = [], []
    for i, weights in enumerate(told.weights):
        which = resampled(weights.ravel(), n, chance)
        own = told.found.positions[i].reshape(weights.size, -1)
        drawn = told.found.latents[i].reshape(weights.size, *told.found.latents.shape[-2:])
        positions.append(own[which])
        latents.append(drawn[which, chance.integers(DRAWS, size=n)])
    return np.stack(positions, 1), np.stack(latents, 1)


def _notes(told: Assigned, sites: Sites, experts: int) -> tuple[str, ...]:
    flat = told.found.positions.reshape(len(told.weights), -1, len(sites.support))
    each = [
        len(np.unique(one[weights.ravel() > 0], axis=0))
        for one, weights in zip(flat, told.weights, strict=True)
    ]
    rises = int(np.asarray(told.found.rises).max(initial=0))
    return (
        f"{POPULATIONS} populations of {experts} experts for each task, each with one of "
        f"{sites.size} joint values of {listed(sites.names)}; annealed in {rises} steps or fewer, "
        f"they come to {min(each)} different ones or more; the standard error of a probability of "
        f"theirs is {told.apart.max():.2g} at most",
    )


def _doubts(told: Assigned, evidence: Evidence) -> tuple[str, ...]:
    bad = np.flatnonzero((told.error > ROUGH) | (told.apart > APART))
    if not len(bad):
        return ()
    names = listed([f"'{evidence.tasks[i]}'" for i in bad], 3)
    return (
        f"populations of experts disagree about {len(bad)} of {evidence.n_tasks} tasks ({names}), "
        f"by {told.error.max():.2f} nats or {told.apart.max():.2f} of a probability at most: raise "
        "inference.experts",
    )
