"""Log p(D_1:m) of simulated lifetimes, whose tasks share a latent `a`: bounds, by proposals of `a`.

    p(D_1:m) = ∫ p(a) Π_i p(D_i | a) da

Each task's own latents are integrated out given `a` (`inner_loop.messages`). Where it can be had
the proposal is the product of what experts believe of `a` from each task alone, as Gaussians,
refined by its own weights, beside a wider one and the prior; else it is the prior.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray
from scipy.special import logsumexp, softmax

from bayes_badger.belief import Mixture
from bayes_badger.belief.gaussian import log_standard_normal
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop import experts
from bayes_badger.inner_loop.messages import messages, messages_of_each
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.measures.nested import LogEvidence, log_evidence
from bayes_badger.measures.simulated import Lifetimes, rows_like, simulated
from bayes_badger.measures.weighing import believed
from bayes_badger.program import LIFETIME, Program

# Shares of the proposal, of one twice as wide, and of the prior.
SHARES = (0.75, 0.2, 0.05)
WIDER = 2.0
# Rounds in which proposals are moved, while fewer than this share of their draws count.
ROUNDS, COUNT = 3, 0.3
# Draws that must count for each dimension and one, in what a proposal is moved to.
SPARSE = 5.0
# Messages that are computed at once.
AT_ONCE = 2_000_000
# Experts that a task has alone, of which no more than a start is wanted.
FEW = experts.Settings(experts=16, refits=2, points=16)


class Groups(NamedTuple):
    """Some tasks of some lifetimes, each group of one lifetime.

    Attributes:
        task: Positions of the tasks of all groups, group by group.
        start: Where each group starts in it, `[group]`.
        lifetime: Of each group, `[group]`.
    """

    task: np.ndarray
    start: np.ndarray
    lifetime: np.ndarray

    @property
    def of(self) -> np.ndarray:
        """The group of each entry of `task`."""
        return np.repeat(np.arange(len(self.start)), np.diff([*self.start, len(self.task)]))


class Told(NamedTuple):
    """What tasks say of what they share, of simulated lifetimes, in nats.

    Attributes:
        own_alone: log p(D_i | a) at the true `a`, `[lifetime, task]`.
        alone: Bounds of log p(D_i), `[lifetime, task]`.
        own: log p(D_1:m | a) at the true `a`, `[lifetime, stage]`.
        together: Bounds of log p(D_1:m), `[lifetime, stage]`.
        effective: The least number of points on which log p(D_i | a) rests; infinite for closed
            forms.
    """

    own_alone: np.ndarray
    alone: LogEvidence
    own: np.ndarray
    together: LogEvidence
    effective: float


def told_by_experts(
    program: Program,
    drawn: Lifetimes,
    stages: np.ndarray,
    draws: int,
    key: PRNGKeyArray,
    report: Report = silent,
) -> Told:
    """With proposals from what experts believe of each task alone.

    Args:
        program: The lifted program: every latent whitened, none discrete.
        drawn: Lifetimes of at least as many tasks as the last stage has.
        stages: Numbers of tasks.
        draws: Of the proposal of each group.
        key: Of everything random.
        report: Is told how far it has come.
    """
    lifetimes, tasks = drawn.task.shape[:2]
    keys = jax.random.split(key, 3)
    belief = believed(program, drawn.evidence, keys[0], report, FEW)
    information, shift = _natural(belief, program.lifetime_size)
    chance = np.random.default_rng(np.asarray(jax.random.key_data(keys[1])).ravel())
    pairs = tasks + int(np.sum(stages))
    size = max(1, AT_ONCE // (pairs * (draws + 1)))
    done = []
    for first in range(0, lifetimes, size):
        report("lifetimes", first, lifetimes)
        groups = _groups(np.arange(first, min(first + size, lifetimes)), tasks, stages)
        precision = np.eye(program.lifetime_size) + np.add.reduceat(
            information[groups.task], groups.start
        )
        middle = np.linalg.solve(
            precision, np.add.reduceat(shift[groups.task], groups.start)[..., None]
        )
        place = middle[..., 0], np.linalg.inv(precision)
        truth = drawn.lifetime[groups.lifetime].astype(float)
        found = _weighed(program, drawn.evidence, groups, place, truth, draws, chance, keys[2])
        own, weights, effective = found
        both = [own, *log_evidence(*weights)]
        done.append(([x.reshape(-1, tasks + len(stages)) for x in both], effective))
    report("lifetimes", lifetimes, lifetimes)
    own, below, above = (np.concatenate(x) for x in zip(*(x for x, _ in done), strict=True))
    return Told(
        own[:, :tasks],
        LogEvidence(below[:, :tasks], above[:, :tasks]),
        own[:, tasks:],
        LogEvidence(below[:, tasks:], above[:, tasks:]),
        min(x for _, x in done),
    )


def told_by_prior(
    program: Program,
    drawn: Lifetimes,
    stages: np.ndarray,
    draws: int,
    key: PRNGKeyArray,
    report: Report = silent,
) -> Told:
    """With the prior as the proposal, the same draws for all lifetimes: for any program.

    The arguments are those of `told_by_experts`.
    """
    lifetimes, tasks = drawn.task.shape[:2]
    keys = jax.random.split(key)
    queries = rows_like(drawn.evidence, 1, 1, draws)
    seed = int(jax.random.randint(keys[0], (), 0, 2**31 - 1))
    prior = simulated(program, queries, draws, seed).values
    values = {
        x.name: jnp.concatenate([prior[x.name], drawn.values[x.name]])
        if x.scope == LIFETIME
        else jnp.concatenate([prior[x.name][:, :1], drawn.values[x.name][:, :1]])
        for x in program.latents
    }
    found = messages(program, drawn.evidence, values, keys[1], report=report)
    said = found.log_evidence.reshape(draws + lifetimes, lifetimes, tasks)
    own = said[draws + np.arange(lifetimes), np.arange(lifetimes)]
    weights = np.moveaxis(said[:draws], 0, -1)
    upto = [x - 1 for x in stages]
    together, own_together = np.cumsum(weights, 1)[:, upto], np.cumsum(own, 1)[:, upto]
    return Told(
        own,
        log_evidence(own, weights),
        own_together,
        log_evidence(own_together, together),
        float(found.effective.min()),
    )


def _groups(lifetimes: np.ndarray, tasks: int, stages: np.ndarray) -> Groups:
    """Of each lifetime: every task alone, then the first of each stage."""
    within = np.concatenate([np.arange(tasks), *(np.arange(m) for m in stages)])
    lengths = np.concatenate([np.ones(tasks, int), stages])
    task = (lifetimes[:, None] * tasks + within).ravel()
    starts = np.cumsum(lengths) - lengths
    start = (np.arange(len(lifetimes))[:, None] * len(within) + starts).ravel()
    return Groups(task, start, np.repeat(lifetimes, len(lengths)))


def _natural(belief: Mixture, k: int) -> tuple[np.ndarray, np.ndarray]:
    """What each task's belief about `a` adds to the prior, as a Gaussian: precision and shift."""
    weights = softmax(np.asarray(belief.log_weights, float), 1)
    mean = np.asarray(belief.loc, float)[..., :k]
    root = np.asarray(belief.scale_tril, float)[..., :k, :]
    middle = np.einsum("nk,nki->ni", weights, mean)
    away = mean - middle[:, None]
    covariance = np.einsum("nk,nkij,nklj->nil", weights, root, root)
    covariance += np.einsum("nk,nki,nkj->nij", weights, away, away)
    values, vectors = np.linalg.eigh(np.linalg.inv(covariance))
    gained = np.einsum("nij,nj,nkj->nik", vectors, np.maximum(values - 1.0, 0.0), vectors)
    return gained, middle + np.einsum("nij,nj->ni", gained, middle)


def _weighed(
    program: Program,
    evidence: Evidence,
    groups: Groups,
    place: tuple[np.ndarray, np.ndarray],
    truth: np.ndarray,
    draws: int,
    chance: np.random.Generator,
    key: PRNGKeyArray,
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], float]:
    """Log likelihood of the truth, log weights of it and of draws, and the least effective."""
    mean, covariance = place
    some = evidence.select(groups.task)
    for left in reversed(range(ROUNDS + 1)):
        root = np.linalg.cholesky(covariance)
        points = _draws(mean, root, draws, chance)
        points = np.concatenate([truth[:, None], points], 1)
        said = messages_of_each(program, some, points[groups.of], key)
        own = np.add.reduceat(said.log_evidence, groups.start)
        weights = own + log_standard_normal(points) - _density(points, mean, root)
        counting = _effective(weights[:, 1:])
        poor = counting < COUNT * draws
        if not left or not poor.any():
            break
        # Of draws alone: with the truth among them a proposal would know of it.
        moved = _moved(points[:, 1:], weights[:, 1:], covariance)
        mean = np.where(poor[:, None], moved[0], mean)
        covariance = np.where(poor[:, None, None], moved[1], covariance)
    return own[:, 0], (weights[:, 0], weights[:, 1:]), float(said.effective.min())


def _draws(
    mean: np.ndarray, root: np.ndarray, draws: int, chance: np.random.Generator
) -> np.ndarray:
    """Independent draws of each group's proposal, `[group, draw, a]`."""
    noise = chance.normal(size=(len(mean), draws, mean.shape[1]))
    which = chance.choice(len(SHARES), (len(mean), draws, 1), p=SHARES)
    near = mean[:, None] + np.einsum("gij,gnj->gni", root, noise) * np.where(which == 1, WIDER, 1.0)
    return np.where(which == 2, noise, near)


def _density(points: np.ndarray, mean: np.ndarray, root: np.ndarray) -> np.ndarray:
    """Log density of each group's proposal at its points, `[group, draw]`."""
    k = mean.shape[1]
    white = np.swapaxes(np.linalg.solve(root, np.swapaxes(points - mean[:, None], 1, 2)), 1, 2)
    log_det = np.log(np.diagonal(root, axis1=1, axis2=2)).sum(1)[:, None]
    each = [
        log_standard_normal(white) - log_det,
        log_standard_normal(white / WIDER) - log_det - k * np.log(WIDER),
        log_standard_normal(points),
    ]
    return logsumexp(np.stack(each) + np.log(SHARES)[:, None, None], 0)


def _effective(log_weights: np.ndarray) -> np.ndarray:
    share = softmax(log_weights, -1)
    return 1.0 / (share**2).sum(-1)


def _moved(
    points: np.ndarray, log_weights: np.ndarray, covariance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of weighed draws, weights flattened until enough count."""
    k = points.shape[-1]
    wanted = min(SPARSE * (k + 1), 0.5 * points.shape[1])
    low, high = np.zeros(len(points)), np.ones(len(points))
    for _ in range(30):
        power = 0.5 * (low + high)
        enough = _effective(power[:, None] * log_weights) >= wanted
        low, high = np.where(enough, power, low), np.where(enough, high, power)
    share = softmax(low[:, None] * log_weights, -1)
    counting = 1.0 / (share**2).sum(-1)[:, None, None]
    mean = np.einsum("gn,gni->gi", share, points)
    away = points - mean[:, None]
    spread = np.einsum("gn,gni,gnj->gij", share, away, away)
    return mean, (counting * spread + (k + 2) * covariance) / (counting + k + 2)
