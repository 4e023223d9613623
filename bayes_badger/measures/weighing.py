"""Importance weights of simulated tasks: what proposals say of log p(D), per task.

The proposal is the belief of experts with a share of the prior, so that where experts are wrong
weights stay bounded; or the prior alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from bayes_badger.belief import Mixture
from bayes_badger.belief.gaussian import log_standard_normal
from bayes_badger.compilation import jit_lightly
from bayes_badger.errors import BadgerError
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import data_of
from bayes_badger.inner_loop import auto, experts
from bayes_badger.inner_loop._society import as_mixture
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.measures.nested import LogEvidence, log_evidence
from bayes_badger.measures.simulated import whitened
from bayes_badger.program import Data, Program

# The share of the prior among the proposals.
PRIOR = 0.05
# Likelihoods of rows that are computed at once.
AT_ONCE = 2_000_000


class Weighed(NamedTuple):
    """What proposals say of simulated tasks, in nats, `[task]`.

    Attributes:
        log_likelihood: log p(D | u) at the latents that D was drawn with.
        evidence: Bounds of log p(D).
        log_q: Log density of the belief at these latents; None for the prior.
        log_prior: Of the prior; None for the prior.
        given: Bounds of log p(D | a) at the true `a`; None where nothing is shared.
    """

    log_likelihood: np.ndarray
    evidence: LogEvidence
    log_q: np.ndarray | None = None
    log_prior: np.ndarray | None = None
    given: LogEvidence | None = None


def check_proposal(measure: str, proposal: str) -> None:
    """Refuses a proposal that does not exist.

    Raises:
        BadgerError: With those that do.
    """
    if proposal not in ("experts", "prior"):
        raise BadgerError(f"{measure}: proposal is 'experts' or 'prior', not '{proposal}'")


def why_no_belief(program: Program) -> str | None:
    """Why experts cannot believe anything about one task, after "it "; None where they can."""
    if program.discrete:
        return "has discrete latents"
    if not whitened(program):
        return "has latents without a prior-normal coordinate"
    return None


def believed(
    program: Program,
    evidence: Evidence,
    key: PRNGKeyArray,
    report: Report = silent,
    settings: experts.Settings | None = None,
) -> Mixture:
    """The experts' belief about each task, as if of a lifetime of its own: arrays `[task, ...]`.

    By default of as many experts as recipe `experts` has.
    """
    loop = experts.make(auto.Experts() if settings is None else settings)
    return as_mixture(loop.societies(program, evidence, key, report).society, program.latents)


def weighed_by(
    program: Program,
    evidence: Evidence,
    points: np.ndarray,
    belief: Mixture,
    draws: int,
    key: PRNGKeyArray,
) -> Weighed:
    """With the belief about each task as the proposal.

    Args:
        program: The lifted program, every latent of which is whitened.
        evidence: Of all tasks, each of a lifetime of its own.
        points: The flat vectors that it was drawn with, `[task, u]`.
        belief: About each task, arrays `[task, ...]`.
        draws: Of the proposal, for each task.
        key: Of these.
    """
    block = evidence.padded()
    batch = max(1, AT_ONCE // (draws * block.mask.shape[1]))
    with jax.enable_x64(True):
        wide: Mixture = jax.tree.map(lambda x: jnp.asarray(np.asarray(x, float)), belief)
        xs = (data_of(block), jnp.asarray(block.mask), jnp.asarray(np.asarray(points, float)), wide)
        keys = jax.random.split(key, len(points))
        found = jax.tree.map(np.asarray, _by_belief(program, (*xs, keys), draws, batch))
    own, log_q, log_prior, whole, given = found
    return Weighed(
        own,
        log_evidence(*whole),
        log_q,
        log_prior,
        log_evidence(*given) if program.lifetime_size and program.task_size else None,
    )


@jit_lightly
def _by_belief(program: Program, xs: Any, draws: int, batch: int) -> Any:
    k = program.lifetime_size

    def one(xs: tuple[Data, Array, Array, Mixture, Array]) -> Any:
        data, mask, u, belief, key = xs
        data = jax.tree.map(lambda x: x[None], data)

        def log_likelihood(u: Array) -> Array:
            rows = program.terms(u[:k], u[None, k:], data).log_likelihood[0]
            return jnp.where(mask, rows, 0.0).sum()

        def weights(belief: Mixture, start: Array, at: Array, key: Array) -> tuple[Array, Array]:
            """Of the truth and of draws; `start` is given, `at` is what the belief is about."""
            keys = jax.random.split(key, 3)
            own, _ = belief.sample(keys[0], (draws,))
            others = jax.random.normal(keys[1], own.shape, own.dtype)
            from_prior = jax.random.uniform(keys[2], (draws, 1)) < PRIOR
            places = jnp.concatenate([at[None], jnp.where(from_prior, others, own)])

            def log_weight(v: Array) -> Array:
                prior = log_standard_normal(v)
                q = jnp.logaddexp(belief.log_prob(v) + np.log1p(-PRIOR), prior + np.log(PRIOR))
                return log_likelihood(jnp.concatenate([start, v])) + prior - q

            found = jax.vmap(log_weight)(places)
            return found[0], found[1:]

        keys = jax.random.split(key)
        whole = weights(belief, u[:0], u, keys[0])
        given = whole
        if k and program.task_size:
            rest = belief.condition(u[:k], scope="lifetime")
            given = weights(rest, u[:k], u[k:], keys[1])
        return log_likelihood(u), belief.log_prob(u), log_standard_normal(u), whole, given

    return jax.lax.map(one, xs, batch_size=batch)


def weighed_by_prior(
    program: Program,
    evidence: Evidence,
    values: dict[str, np.ndarray],
    draws: int,
    key: PRNGKeyArray,
) -> Weighed:
    """With the prior as the proposal, of any program: weights are likelihoods.

    Args:
        program: The lifted program.
        evidence: Of all tasks, each of a lifetime of its own.
        values: The latents that it was drawn with, in the user's own space, of one task each:
            `[task, ...]` in a lifetime, `[task, 1, ...]` in a task.
        draws: Of the prior, for each task.
        key: Of these.
    """
    block = evidence.padded()
    batch = max(1, AT_ONCE // (draws * block.mask.shape[1]))
    latents = {name: jnp.asarray(x) for name, x in values.items()}
    xs = data_of(block), jnp.asarray(block.mask), latents, jax.random.split(key, evidence.n_tasks)
    own, weights = jax.tree.map(np.asarray, _by_prior(program, xs, draws, batch))
    return Weighed(own.astype(float), log_evidence(own, weights))


@jit_lightly
def _by_prior(program: Program, xs: Any, draws: int, batch: int) -> Any:
    def one(xs: tuple[Data, Array, dict[str, Array], Array]) -> tuple[Array, Array]:
        data, mask, values, key = xs
        data = jax.tree.map(lambda x: x[None], data)

        def log_likelihood(values: dict[str, Array]) -> Array:
            return jnp.where(mask, program.log_likelihood_of(values, data)[0], 0.0).sum()

        def from_prior(key: Array) -> Array:
            drawn = program.simulate(key, data).values
            return log_likelihood({x.name: drawn[x.name] for x in program.latents})

        return log_likelihood(values), jax.vmap(from_prior)(jax.random.split(key, draws))

    return jax.lax.map(one, xs, batch_size=batch)
