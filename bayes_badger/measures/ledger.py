"""Where a learner's code length goes, per task, in nats.

    E[-log q(D)]/m = noise E[-log p*(D | z)]/m
                   + task I(z; D | a)
                   + algorithm I(a; D_1:m)/m
                   + outer shortfall KL(p*(D), p(D))/m
                   + inner shortfall E_p* log p(D)/q(D) /m

p* is the world, p exact inference under the program, q the learner. Each term is estimated on tasks
of its own, and so is the code length: that they add up is a finding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from scipy.special import logsumexp

from bayes_badger.compilation import jit_lightly
from bayes_badger.errors import BadgerError
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import data_of, task_columns_of
from bayes_badger.inner_loop.experts import Experts, Settings
from bayes_badger.inner_loop.messages import messages, straight, under
from bayes_badger.inner_loop.protocol import InnerLoop, Report, silent
from bayes_badger.measures.estimate import Estimate, mean_of
from bayes_badger.measures.prequential import doubling, prior_values, score_spans
from bayes_badger.outer_loop.objective import log_evidence_and_slopes
from bayes_badger.program import Data, Program
from bayes_badger.program.parameters import free

TERMS = ("noise", "task", "algorithm", "outer", "inner")
# Fewer draws of a belief than this do not carry the predictive of a block.
FEW = 20.0
# Points of each expert of a task, and sets of them, where discrete latents are summed.
POINTS, SETS = 64, 2
# Draws of the prior over which what all tasks share is integrated out, and bounds that far apart.
SHARED, APART = 1000, 0.1


class Lifetimes(NamedTuple):
    """Simulated tasks, `task` of each lifetime in a row.

    Attributes:
        evidence: Of all lifetimes together.
        at: Log likelihood of each task at its own latents, nats, `[lifetime, task]`.
        rows: Of each row, `[lifetime * task, step]`; 0 where there is none.
        values: Of what is shared, by name `[lifetime, *shape]`.
    """

    evidence: Evidence
    at: np.ndarray
    rows: np.ndarray
    values: dict[str, Array]


def simulated(
    world: Program, queries: Evidence, lifetimes: int, tasks: int, key: PRNGKeyArray
) -> Lifetimes:
    """Lifetimes of a world, with rows as those of some tasks.

    Args:
        world: The lifted program that they come from.
        queries: Rows to resample tasks from; outcomes are not looked at.
        lifetimes: How many.
        tasks: Of each.
        key: Of everything random.
    """
    keys = jax.random.split(key)
    seed = np.asarray(jax.random.key_data(keys[0])).ravel().tolist()
    known = np.flatnonzero(queries.lengths)
    which = np.random.default_rng(seed).choice(known, lifetimes * tasks)
    chosen = dataclasses.replace(
        queries.select(which).without_outcome(), tasks=np.arange(len(which))
    )
    block = chosen.padded()
    data = data_of(block)
    split = jax.tree.map(lambda x: x.reshape(lifetimes, tasks, *x.shape[1:]), data)
    outcome, rows, shared = _drawn(world, split, jax.random.split(keys[1], lifetimes))
    flat = np.asarray(outcome).reshape(-1, *outcome.shape[2:])
    long = chosen.long([block], [flat])
    each = np.where(block.mask.reshape(rows.shape), np.asarray(rows, float), 0.0)
    answered = dataclasses.replace(chosen, outcome=long)
    return Lifetimes(answered, each.sum(-1), each.reshape(-1, each.shape[-1]), shared)


@jit_lightly
def _drawn(world: Program, data: Data, keys: Array) -> tuple[Array, Array, dict[str, Array]]:
    def one(data: Data, key: PRNGKeyArray) -> tuple[Array, Array, dict[str, Array]]:
        drawn = world.simulate(key, data)
        rows = world.log_likelihood_of(drawn.values, data._replace(outcome=drawn.outcome))
        return drawn.outcome, rows, {x.name: drawn.values[x.name] for x in world.select("lifetime")}

    return jax.vmap(one)(data, keys)


def log_evidence(
    program: Program,
    drawn: Lifetimes,
    key: PRNGKeyArray,
    own: bool = False,
    points: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Log p(D_1:m) of each lifetime in nats, and half the width of its bounds, `[lifetime]`.

    What is shared is integrated out over draws of the prior. In expectation the mean without the
    lifetime's own is a bound from below, and, if the lifetime is one of this program's, with it a
    bound from above.

    Args:
        program: Whose evidence.
        drawn: The tasks.
        key: Of everything random.
        own: Whether the lifetimes are the program's own.
        points: Of each of a task's experts, where tasks have no closed form: the logarithm of a
            mean of n points is too low by a part of 1/n, which no number of lifetimes averages out.
    """
    lifetimes, tasks = drawn.at.shape
    keys = jax.random.split(key, 3)
    if not program.lifetime_size:
        said, off = alone(program, drawn, keys[0])
        return said.sum(1), np.full(lifetimes, off * tasks)
    values = prior_values(program, drawn.evidence.select(np.arange(1)), keys[0], SHARED)
    said = messages(program, drawn.evidence, values, keys[1], points=points).log_evidence
    said = said.reshape(-1, lifetimes, tasks).sum(2)
    low = logsumexp(said, axis=0) - np.log(len(said))
    if not own:
        effective = np.exp(2 * logsumexp(said, axis=0) - logsumexp(2 * said, axis=0))
        return low + 0.5 / effective, 0.5 / effective
    with_own = np.concatenate([said, given_own(program, drawn, keys[2]).sum(1)[None]])
    high = logsumexp(with_own, axis=0) - np.log(len(with_own))
    return 0.5 * (low + high), 0.5 * (high - low)


def alone(program: Program, drawn: Lifetimes, key: PRNGKeyArray) -> tuple[np.ndarray, float]:
    """Log p(D_i) in nats, `[lifetime, task]`, where nothing is shared; by how much all may be off.

    By independent draws of experts near each posterior, and of the prior: points that are spread
    evenly have an error in common, which no number of tasks averages out. Where experts do not
    apply two sets of such points tell it.
    """
    loop = Experts(Settings())
    if not program.discrete and loop.why_not(program, drawn.evidence) is None:
        said, _ = log_evidence_and_slopes(
            program, free(program), drawn.evidence, loop, key, slopes=False
        )
        return said.reshape(drawn.at.shape), 0.0
    keys = jax.random.split(key)
    none = prior_values(program, drawn.evidence, keys[0], SETS)
    both = messages(program, drawn.evidence, none, keys[1], points=POINTS).log_evidence
    off = float(both.mean(1).std(ddof=1) / np.sqrt(SETS))
    return (logsumexp(both, axis=0) - np.log(SETS)).reshape(drawn.at.shape), off


def given_own(program: Program, drawn: Lifetimes, key: PRNGKeyArray) -> np.ndarray:
    """Log p(D_i | a) of each task at its lifetime's own shared latents, `[lifetime, task]`."""
    lifetimes, tasks = drawn.at.shape
    if not program.lifetime_size:
        return alone(program, drawn, key)[0]
    block = drawn.evidence.padded()
    columns = task_columns_of(drawn.evidence.select(np.arange(1)))
    points = jnp.repeat(_points(program, drawn.values, columns), tasks, axis=0)
    keys, seen = jax.random.split(key, len(points)), jnp.asarray(block.mask)
    linear = straight(program, drawn.evidence)
    said = _under(program, data_of(block), seen, points, keys, linear)
    return np.asarray(said, float).reshape(lifetimes, tasks)


@jit_lightly
def _under(
    program: Program, data: Data, seen: Array, points: Array, keys: Array, linear: bool
) -> Array:
    found: Array = under(program, data, seen, points, keys, 1, linear).log_evidence
    return found


@jit_lightly
def _points(program: Program, values: dict[str, Array], columns: dict[str, Array]) -> Array:
    """Coordinates of what is shared, `[lifetime, a]`."""
    none = program.constrain(
        jnp.zeros(program.lifetime_size), jnp.zeros((1, program.task_size)), columns
    )
    return jax.vmap(lambda one: program.unconstrain({**none, **one}, columns, 1)[0])(values)


def code(
    program: Program, drawn: Lifetimes, loop: InnerLoop, key: PRNGKeyArray, report: Report = silent
) -> tuple[np.ndarray, float]:
    """Log q(D_1:m) of each lifetime in nats, `[lifetime]`, and the fewest draws that carried it."""
    lifetimes, tasks = drawn.at.shape
    spans = doubling(int(drawn.evidence.lengths.max()))
    if not program.lifetime_size:
        found = score_spans(program, drawn.evidence, loop, key, spans, report)
        fewest = float(np.quantile(found.effective, 0.01))
        return found.log_score.sum(0).reshape(lifetimes, tasks).sum(1), fewest
    scores, fewest = np.empty(lifetimes), np.inf
    for i in range(lifetimes):
        report("coding lifetimes", i, lifetimes)
        one = drawn.evidence.select(np.arange(i * tasks, (i + 1) * tasks))
        each = score_spans(program, one, loop, jax.random.fold_in(key, i), spans)
        scores[i] = each.log_score.sum()
        fewest = min(fewest, float(each.effective.min()))
    return scores, fewest


class Ledger(NamedTuple):
    """Nats per task.

    Attributes:
        code: E[-log q(D)]/m.
        terms: By name, those of `TERMS`.
    """

    code: Estimate
    terms: dict[str, Estimate]

    @property
    def apart(self) -> Estimate:
        """The code length less the sum of the terms, with their joint standard error."""
        each = self.terms.values()
        value = float(self.code.value) - sum(float(x.value) for x in each)
        error = np.sqrt(float(self.code.error) ** 2 + sum(float(x.error) ** 2 for x in each))
        return Estimate(value, float(error))


def ledger(
    program: Program,
    world: Program,
    queries: Evidence,
    loop: InnerLoop,
    key: PRNGKeyArray,
    lifetimes: int = 64,
    coded: int = 64,
    tasks: int = 4,
    same: bool = False,
    report: Report = silent,
    before: Ledger | None = None,
) -> Ledger:
    """The ledger of a learner in a world that is known.

    Args:
        program: What the learner believes, lifted.
        world: What is true, lifted; its outcomes are of the same kind.
        queries: Rows to resample tasks from.
        loop: The learner.
        key: Of everything random.
        lifetimes: Simulated for each term.
        coded: Of these, how many are simulated for what asks the learner.
        tasks: Of each lifetime.
        same: Whether world and program are one, so that the outer shortfall is 0 by construction.
        report: Is told how far it has come.
        before: One of the same world, whose noise, task and algorithm are taken over.

    Raises:
        BadgerError: Where log densities are not finite.
    """
    keys = jax.random.split(key, 12)
    m = tasks

    def some(i: int, many: int = lifetimes) -> Lifetimes:
        return simulated(world, queries, many, tasks, keys[i])

    terms = _of_world(world, some, keys[6:9], m) if before is None else dict(before.terms)
    terms["outer"] = Estimate(0.0, 0.0)
    if not same:
        other = some(3)
        true, wide = log_evidence(world, other, keys[7], own=True)
        believed, off = log_evidence(program, other, keys[9])
        terms["outer"] = _estimate((true - believed) / m, (wide.mean() + off.mean()) / m)
    judged = some(4, coded)
    exact, off = log_evidence(program, judged, keys[9], own=same, points=POINTS)
    scored, fewest = code(program, judged, loop, keys[10], report)
    doubt = ""
    if fewest < FEW:
        doubt = (
            f"rows were predicted by {fewest:.0f} draws of the learner's belief: take more draws"
        )
    terms["inner"] = _estimate((exact - scored) / m, off.mean() / m)
    if doubt:
        terms["inner"] = terms["inner"]._replace(doubt=doubt)
    coding, _ = code(program, some(5, coded), loop, keys[11], report)
    return Ledger(_estimate(-coding / m), terms)


def _of_world(
    world: Program, some: Callable[[int], Lifetimes], keys: Array, tasks: int
) -> dict[str, Estimate]:
    """What no learner is to blame for: noise, and what there is to learn."""
    noise, own = some(0), some(1)
    of_tasks, off = (
        (given_own(world, own, keys[0]), 0.0) if world.lifetime_size else alone(world, own, keys[0])
    )
    found = {
        "noise": _estimate(-noise.at.sum(1) / tasks),
        "task": _estimate((own.at - of_tasks).sum(1) / tasks, off),
        "algorithm": Estimate(0.0, 0.0),
    }
    if world.lifetime_size:
        shared = some(2)
        total, half = log_evidence(world, shared, keys[1], own=True)
        gained = given_own(world, shared, keys[2]).sum(1) - total
        found["algorithm"] = _estimate(gained / tasks, half.mean() / tasks)
    return found


def _estimate(samples: np.ndarray, width: float = 0.0) -> Estimate:
    if not np.isfinite(samples).all():
        raise BadgerError(
            "a log density of the ledger is not finite: outcomes of the world lie where the "
            "program has none"
        )
    found = mean_of(samples)
    doubt = "" if width < APART else f"bounds of what is shared are {2 * width:.2g} nats apart"
    return Estimate(found.value, float(np.hypot(float(found.error), width)), doubt)
