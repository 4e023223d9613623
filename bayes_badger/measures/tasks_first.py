"""The chain rule begun with the tasks: what is left to learn of the algorithm once they are known.

    E_q KL(q(a | z), p(a | z)) = E_q [log p(D | z, a) - log p(D | z)]

It is 0 where the likelihood does not depend on `a` at a given z, in the user's own space. Else
log p(D | z) is a ratio of two integrals over `a`, each by adaptive importance sampling.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from bayes_badger.belief.gaussian import log_standard_normal
from bayes_badger.evidence.compiled import data_of, task_columns_of
from bayes_badger.measures.estimate import Estimate, mean_of
from bayes_badger.measures.subject import Subject
from bayes_badger.pointwise import log_likelihood_rows, over_draws
from bayes_badger.program import LIFETIME, TASK, WHITENED, Data, Program

# Coordinates of what tasks share; draws at which the integral is taken; points and rounds of it.
DIMS, DRAWS, POINTS, ROUNDS = 8, 200, 256, 5
# Draws on which it is tried whether the likelihood depends on the algorithm, and how far is equal.
TRIED, EQUAL = 64, 1e-5
# Effective points below which an integral is doubted.
FEW = 30


def likelihood_depends_on_algorithm(subject: Subject) -> bool:
    """Whether rows are scored otherwise at the same z under the algorithm of another draw."""
    program = subject.program
    flat = _flat(subject, TRIED)
    shared = [latent.name for latent in program.select(LIFETIME)]
    other = {n: jnp.roll(x, 1, 0) if n in shared else x for n, x in flat.items()}
    one, two = (
        log_likelihood_rows(program, subject.evidence, {n: x[None] for n, x in values.items()})
        for values in (flat, other)
    )
    return not np.allclose(one, two, rtol=EQUAL, atol=EQUAL)


def algorithm_given_tasks(subject: Subject, seed: int) -> Estimate | str:
    """E KL(q(a | z), p(a | z)), in nats; or why it is not told.

    Args:
        subject: A run whose program shares latents between tasks that have latents of their own.
        seed: Of the points.
    """
    program = subject.program
    if not likelihood_depends_on_algorithm(subject):
        return Estimate(0.0, 0.0)
    shared = program.select(LIFETIME)
    if any(latent.discrete or latent.kind != WHITENED for latent in shared):
        return "what tasks share has discrete latents, or some without a prior-normal coordinate"
    if program.lifetime_size > DIMS:
        return f"what tasks share has {program.lifetime_size} coordinates, more than {DIMS}"
    values = _flat(subject, DRAWS)
    block = subject.evidence.padded()
    args = (data_of(block), jnp.asarray(block.mask), task_columns_of(subject.evidence))
    noise = jax.random.normal(jax.random.key(seed), (ROUNDS, POINTS, program.lifetime_size))
    cells = block.mask.size * POINTS
    at = over_draws(_coordinates, program, values, args[2:], len(block.mask))
    centre = jnp.asarray(at.mean(0))
    root = jnp.linalg.cholesky(jnp.asarray(np.cov(at.T).reshape(2 * (at.shape[1],))))
    given = (*args, noise, centre, root)
    found = over_draws(_log_left, program, values, given, cells)
    gain, effective = np.asarray(found[0], float), np.asarray(found[1], float)
    mean = mean_of(gain)
    doubt = ""
    if np.median(effective) < FEW:
        doubt = (
            f"what is left to learn of the algorithm rests on {np.median(effective):.0f} points of "
            f"each integral, fewer than {FEW}"
        )
    return Estimate(mean.value, mean.error, doubt)


def _flat(subject: Subject, most: int) -> dict[str, Array]:
    """Some draws of the latents, `[draw, ...]`."""
    names = [latent.name for latent in subject.program.latents]
    flat = {n: jnp.asarray(subject.draws[n]) for n in names}
    flat = {n: x.reshape(-1, *x.shape[2:]) for n, x in flat.items()}
    many = len(next(iter(flat.values())))
    some = np.linspace(0, many - 1, min(most, many)).astype(int)
    return {n: x[some] for n, x in flat.items()}


def _coordinates(program: Program, values: Mapping[str, Array], columns: Any) -> Array:
    own = {n: x for n, x in values.items() if program.latent(n).scope == LIFETIME}
    tasks = {n: x[:1] for n, x in values.items() if n not in own}
    first = {n: x[:1] for n, x in columns.items()}
    return program.unconstrain({**own, **tasks}, first, 1)[0]


def _log_left(
    program: Program,
    values: Mapping[str, Array],
    data: Data,
    mask: Array,
    columns: Mapping[str, Array],
    noise: Array,
    centre: Array,
    root: Array,
) -> tuple[Array, Array]:
    """Log p(D | z, a) - log p(D | z) of one draw, and how many points it rests on."""
    shared = [latent.name for latent in program.select(LIFETIME)]
    own = {n: x for n, x in values.items() if program.latent(n).scope == TASK}
    tasks = len(mask)

    def density(a: Array, evidence: bool) -> Array:
        full = program.constrain(a, jnp.zeros((tasks, program.task_size)), columns)
        at = {**{n: full[n] for n in shared}, **own}
        sites = program.log_prior_by_site(at, columns, tasks)
        total = sum((jnp.sum(x) for n, x in sites.items() if n not in shared), jnp.zeros(()))
        total = total + log_standard_normal(a[None])[0]
        if evidence:
            rows = program.log_likelihood_of(at, data)
            total = total + jnp.where(mask, rows, 0.0).sum()
        return total

    start = centre, 1.5 * root
    with_, points = _integral(lambda a: density(a, True), noise, *start)
    without, others = _integral(lambda a: density(a, False), noise, *start)
    rows = program.log_likelihood_of(values, data)
    here = jnp.where(mask, rows, 0.0).sum()
    return here - (with_ - without), jnp.minimum(points, others)


def _integral(density: Any, noise: Array, centre: Array, root: Array) -> tuple[Array, Array]:
    """Log of an integral over a few coordinates, and its effective number of points."""
    size = len(centre)
    found = jnp.zeros(()), jnp.zeros(())
    for i, e in enumerate(noise):
        points = centre + e @ root.T
        log_det = jnp.log(jnp.diagonal(root)).sum()
        log_w = jax.vmap(density)(points) - (log_standard_normal(e) - log_det)
        top = jax.scipy.special.logsumexp(log_w)
        share = jnp.exp(log_w - top)
        found = top - jnp.log(len(e)), 1.0 / (share**2).sum()
        if i < len(noise) - 1:
            # A little wider than what was found, so that the next weights are bounded.
            centre = share @ points
            away = points - centre
            spread = 1.3 * jnp.einsum("p,pi,pj->ij", share, away, away)
            floor = 1e-6 + 1e-3 * jnp.trace(spread) / size
            root = jnp.linalg.cholesky(spread + floor * jnp.eye(size))
    return found
