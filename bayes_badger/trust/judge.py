"""Weighs a belief task by task, and mends it where that is asked for and needed.

Tasks are independent given what they share. Where they share nothing, as here, the posterior of
each is judged and corrected by itself, so that neither their number nor one bad task spoils the
others: a joint weight of all would leave no draw that counts. Where they do: `given`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from bayes_badger.belief import Draws, Mixture, Posterior
from bayes_badger.belief.importance import resampled, smoothed
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import task_columns_of
from bayes_badger.inner_loop import nuts
from bayes_badger.inner_loop._alone import in_user_space
from bayes_badger.inner_loop._chunks import over_chunks
from bayes_badger.inner_loop._portions import at_one_length
from bayes_badger.inner_loop._society import Society
from bayes_badger.inner_loop.experts import Experts, Settings
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.program import Data, Program
from bayes_badger.trust.given import GivenVerdicts, judged_given
from bayes_badger.trust.verdicts import OFF, REFINE, Verdicts, told
from bayes_badger.trust.weights import Weighed, weighed

# Draws that are weighed for each that is kept.
PER_DRAW = 2
# Refits of a task that is flagged.
MORE_REFITS = 8


def judged(
    program: Program,
    evidence: Evidence,
    posterior: Posterior,
    key: PRNGKeyArray,
    how: str = "weigh",
    report: Report = silent,
) -> tuple[Posterior, Verdicts | GivenVerdicts | None]:
    """The posterior with draws re-weighted by the true density, and a verdict for each task.

    Args:
        program: The lifted program.
        evidence: What was inferred from.
        posterior: With a mixture that approximates, or draws of a lifetime that do; any other is
            returned as it is.
        key: For the draws.
        how: "off": nothing is looked at. "weigh": draws are re-weighted, tasks flagged. "refine":
            flagged tasks get more experts and refits, those still flagged a sampler.
        report: Is told how far it has come.

    Returns:
        The posterior with a mixture of both societies' experts, draws that are re-weighted and
        drawn again, log evidence with its standard error, and a warning where tasks stay flagged;
        and the verdicts, None where nothing was judged.
    """
    if how == OFF or not posterior.approximate:
        return posterior, None
    if posterior.mixture is not None and program.discrete:
        # Populations of experts have judged each other.
        return posterior, None
    if posterior.mixture is None:
        return judged_given(program, evidence, posterior, key, how, report)
    keys = jax.random.split(key, 3)
    belief = as_society(posterior.mixture)
    other = Experts(Settings()).societies(program, evidence, keys[0], report, turn=1).society
    n = posterior.draws.chains * posterior.draws.draws
    verdicts, u, belief = _weigh(program, evidence, belief, other, keys[1], n, report)
    notes = [*posterior.notes]
    if how == REFINE and verdicts.flagged.any():
        experts = other.log_weights.shape[1]
        belief, verdicts, u = _refine(
            program, evidence, belief, experts, verdicts, u, keys[2], report
        )
        counts = {word: int((verdicts.done == word).sum()) for word in ("refined", "sampled")}
        notes += [_counted(count, word) for word, count in counts.items() if count]
    shape = posterior.draws.chains, posterior.draws.draws
    values = in_user_space(program, evidence, u, shape)
    notes.append(
        f"draws were weighed by the true density: of {verdicts.draws} for each task, "
        f"{verdicts.ess.min():.0f} or more count"
    )
    posterior = dataclasses.replace(
        posterior,
        draws=Draws(values, {}, variables=posterior.draws.variables),
        mixture=Mixture(belief.log_weights, belief.mean, belief.root, posterior.mixture.latents),
        log_evidence=float(verdicts.log_evidence.sum()),
        log_evidence_error=float(np.sqrt((verdicts.log_evidence_error**2).sum())),
        log_evidence_by_task=verdicts.log_evidence,
        notes=tuple(notes),
        warnings=(*posterior.warnings, *told(verdicts, evidence.tasks, evidence.task_name)),
    )
    return posterior, verdicts


def _counted(count: int, word: str) -> str:
    return f"{count} task{'s were' if count > 1 else ' was'} {word}"


def as_society(mixture: Mixture) -> Society:
    """A mixture of each task as experts; without discrete latents."""
    hidden = jnp.zeros((*mixture.loc.shape, 0))
    log_weights = jax.nn.log_softmax(mixture.log_weights, axis=-1)
    return Society(log_weights, mixture.loc, mixture.scale_tril, hidden)


def together(societies: Sequence[Society]) -> Society:
    """Societies of the same tasks as one, each with an equal share: what one lost another has."""
    joined = jax.tree.map(lambda *xs: jnp.concatenate(xs, 1), *societies)
    return joined._replace(log_weights=joined.log_weights - np.log(len(societies)))


def _weigh(
    program: Program,
    evidence: Evidence,
    belief: Society,
    other: Society,
    key: PRNGKeyArray,
    n: int,
    report: Report,
) -> tuple[Verdicts, np.ndarray, Society]:
    """The verdicts, n draws of each task, `[task, n, u]`, and the experts of both together."""
    keys = jax.random.split(key, evidence.n_tasks)
    chance_of = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    seeds = chance_of.integers(2**63, size=evidence.n_tasks)

    def work(tasks: np.ndarray, data: Data, mask: np.ndarray) -> tuple[Any, ...]:
        data, seen = at_one_length(data, mask)
        some = jnp.asarray(tasks)
        first, second = (jax.tree.map(lambda x: x[some], x) for x in (belief, other))
        found = weighed(program, first, second, data, seen, keys[some], PER_DRAW * n)
        return (*_told_of(found, seeds[tasks], n), found.joined)

    found = over_chunks(evidence, work, report, "weighing")
    k, ess, prior, missed, evidences, errors, u, joined = found
    done = np.full(evidence.n_tasks, "weighed", dtype="<U8")
    verdicts = Verdicts(k, ess, PER_DRAW * n, prior, missed, evidences, errors, done)
    return verdicts, u, jax.tree.map(jnp.asarray, joined)


def _told_of(found: Weighed, seeds: np.ndarray, n: int) -> tuple[np.ndarray, ...]:
    """Of each task: k, ess, prior share, missed, log evidence, its error, and n draws."""
    rows = []
    points = np.asarray(found.points)
    for i, log_weights in enumerate(np.asarray(found.log_weights, float)):
        weights, k, ess = smoothed(log_weights)
        total = np.logaddexp.reduce(log_weights) - np.log(len(log_weights))
        raw = np.exp(log_weights - log_weights.max())
        error = raw.std() / raw.mean() / np.sqrt(len(raw)) if np.isfinite(total) else np.inf
        which = resampled(weights, n, np.random.default_rng(seeds[i]))
        prior, missed = float(found.prior_share[i]), float(found.missed[i])
        rows.append((k, ess, prior, missed, total, error, points[i][which]))
    return tuple(np.array(x) for x in zip(*rows, strict=True))


def _refine(
    program: Program,
    evidence: Evidence,
    belief: Society,
    experts: int,
    verdicts: Verdicts,
    u: np.ndarray,
    key: PRNGKeyArray,
    report: Report,
) -> tuple[Society, Verdicts, np.ndarray]:
    """More experts and refits for flagged tasks, then a sampler for those that stay flagged."""
    settings = Settings(experts=experts, refits=MORE_REFITS)
    for stage, word in enumerate(("refined", "sampled")):
        bad = np.flatnonzero(verdicts.flagged)
        if not len(bad):
            break
        some, at = evidence.select(bad), jnp.asarray(bad)
        keys = jax.random.split(jax.random.fold_in(key, stage), 4)
        third = Experts(settings).societies(program, some, keys[0], report, turn=2 + stage).society
        near = [jax.tree.map(lambda x, at=at: x[at], belief), third]
        if word == "sampled":
            near.append(_from_sampler(program, some, u[bad], keys[1], report))
        found = Experts(settings).societies(program, some, keys[2], report, begun=together(near))
        again, draws, joined = _weigh(
            program, some, found.society, third, keys[3], u.shape[1], report
        )
        verdicts = verdicts.replaced(bad, again, word)
        u[bad] = draws
        belief = _with_tasks(belief, bad, joined)
    return belief, verdicts, u


def _from_sampler(
    program: Program,
    evidence: Evidence,
    u: np.ndarray,
    key: PRNGKeyArray,
    report: Report,
    experts: int = 64,
) -> Society:
    """Experts around the draws of NUTS, which starts, for each task, from the draws there are."""
    size, lifetime = program.size, program.lifetime_size
    loop = nuts.make(nuts.Settings(chains=8, warmup=500, draws=500))
    means, roots = [], []
    for i in range(evidence.n_tasks):
        start = u[i][:, :lifetime], u[i][:, None, lifetime:]
        one = evidence.select([i])
        found = loop.infer(program, one, jax.random.fold_in(key, i), report, start=start)
        latents = {x.name: found.draws.values[x.name] for x in program.latents}
        flat = _flat(program, one, latents)
        pick = np.linspace(0, len(flat) - 1, experts).astype(int)
        spread = np.cov(flat.T).reshape(size, size) * experts ** (-2.0 / (size + 4))
        means.append(flat[pick])
        roots.append(np.linalg.cholesky(spread + 1e-10 * np.trace(spread) * np.eye(size)))
    root = np.broadcast_to(np.stack(roots)[:, None], (len(roots), experts, size, size))
    shape = (len(means), experts)
    return Society(
        jnp.full(shape, -np.log(experts), jnp.float32),
        jnp.asarray(np.stack(means), jnp.float32),
        jnp.asarray(root, jnp.float32),
        jnp.zeros((*shape, size, 0)),
    )


def _flat(program: Program, evidence: Evidence, values: dict[str, np.ndarray]) -> np.ndarray:
    """Draws in the user's own space as flat vectors of the one task, `[draw, u]`."""
    columns = task_columns_of(evidence)
    flat = {n: jnp.asarray(x.reshape(-1, *x.shape[2:])) for n, x in values.items()}

    def one(values: dict[str, jax.Array]) -> jax.Array:
        lifetime, task = program.unconstrain(values, columns, 1)
        return jnp.concatenate([lifetime, task[0]])

    return np.asarray(jax.lax.map(one, flat, batch_size=100))


def _with_tasks(society: Society, tasks: np.ndarray, others: Society) -> Society:
    """The societies of some tasks replaced; where one has fewer experts, others have no weight."""
    most = max(society.log_weights.shape[1], others.log_weights.shape[1])

    def wide(one: Society) -> Society:
        short = most - one.log_weights.shape[1]
        first = jax.tree.map(lambda x: jnp.repeat(x[:, :1], short, 1), one)
        joined = jax.tree.map(lambda x, y: jnp.concatenate([x, y], 1), one, first)
        weights = joined.log_weights.at[:, most - short :].set(-jnp.inf)
        return joined._replace(log_weights=weights)

    old, new = wide(society), wide(others)
    return jax.tree.map(lambda x, y: x.at[jnp.asarray(tasks)].set(y), old, new)
