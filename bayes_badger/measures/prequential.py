"""The code of a learner: what comes next is scored by what it believes of the rows before.

    log q(D) = Σ_b log q(block b | rows before b)

A learner is asked only for draws of its belief, so that all inner loops are scored alike; a block's
predictive is the mean of its likelihood over draws. Where tasks share latents a block holds rows of
all tasks, which are scored together.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from scipy.special import logsumexp

from bayes_badger.compilation import jit_lightly
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import task_columns_of
from bayes_badger.inner_loop.messages import messages
from bayes_badger.inner_loop.protocol import InnerLoop, Report, silent
from bayes_badger.pointwise import log_likelihood_rows
from bayes_badger.program import Program

Span = tuple[int, int]
# Draws of the prior, which stands for the belief before any row.
PRIOR = 4000


class Scores(NamedTuple):
    """What spans of rows were worth.

    Attributes:
        log_score: log q(rows of the span | rows before), nats, `[span, task]`; where tasks share
            latents `[span, 1]`, of all together.
        effective: How many draws carry it, of the same shape.
    """

    log_score: np.ndarray
    effective: np.ndarray


def doubling(steps: int) -> tuple[Span, ...]:
    """Spans of rows that double: one, one, two, four, ...

    Example:
        >>> doubling(6)
        ((0, 1), (1, 2), (2, 4), (4, 6))
    """
    cuts = [0]
    while cuts[-1] < steps:
        cuts.append(min(max(2 * cuts[-1], 1), steps))
    return tuple(itertools.pairwise(cuts))


def step_of(evidence: Evidence) -> np.ndarray:
    """The position of each row within its task, from 0, `[row]`."""
    starts = np.cumsum(evidence.lengths) - evidence.lengths
    return np.arange(evidence.n_rows) - starts[evidence.task_index]


def score_spans(
    program: Program,
    evidence: Evidence,
    loop: InnerLoop,
    key: PRNGKeyArray,
    spans: Sequence[Span],
    report: Report = silent,
) -> Scores:
    """Scores spans of rows, each by the belief after the rows before it.

    Args:
        program: The lifted program.
        evidence: With outcomes.
        loop: The learner.
        key: Of everything random.
        spans: Of rows of a task, first and one past the last.
        report: Is told how far it has come.
    """
    step, found = step_of(evidence), []
    for i, (first, last) in enumerate(spans):
        report("coding", i, len(spans))
        before, rows = evidence.select_rows(step < first), (step >= first) & (step < last)
        block, keys = evidence.select_rows(rows), jax.random.split(jax.random.fold_in(key, i))
        if program.lifetime_size and not first:
            found.append(_of_prior(program, block, keys[0]))
            continue
        values = (
            loop.infer(program, before, keys[0]).draws.values
            if first
            else drawn_from_prior(program, evidence, keys[1])
        )
        draws = {name: jnp.asarray(x) for name, x in values.items()}
        found.append(_of_draws(program, block, draws))
    report("coding", len(spans), len(spans))
    return Scores(*(np.stack(x) for x in zip(*found, strict=True)))


def _of_draws(
    program: Program, block: Evidence, draws: Mapping[str, Array]
) -> tuple[np.ndarray, np.ndarray]:
    by_row = log_likelihood_rows(program, block, draws)
    by_row = by_row.reshape(-1, by_row.shape[-1]).astype(float)
    of_tasks = np.zeros((len(by_row), block.n_tasks))
    np.add.at(of_tasks.T, block.task_index, by_row.T)
    return _mean(of_tasks.sum(1, keepdims=True) if program.lifetime_size else of_tasks)


def _of_prior(
    program: Program, block: Evidence, key: PRNGKeyArray
) -> tuple[np.ndarray, np.ndarray]:
    """Before any row, each task's own latents integrated out."""
    keys = jax.random.split(key)
    flat = prior_values(program, block, keys[0])
    said = messages(program, block, flat, keys[1])
    return _mean(said.log_evidence.sum(1, keepdims=True))


def _mean(log_likelihood: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    total = logsumexp(log_likelihood, axis=0)
    effective = np.exp(2 * total - logsumexp(2 * log_likelihood, axis=0))
    return total - np.log(len(log_likelihood)), effective


def prior_values(
    program: Program, evidence: Evidence, key: PRNGKeyArray, draws: int = PRIOR
) -> dict[str, Array]:
    """Draws of all latents from the prior, `[draw, ...]` or `[draw, task, ...]`."""
    columns = task_columns_of(evidence)
    return _prior(program, columns, evidence.n_tasks, jax.random.split(key, draws))


def drawn_from_prior(
    program: Program, evidence: Evidence, key: PRNGKeyArray, draws: int = PRIOR
) -> dict[str, Array]:
    """The same with an axis of one chain in front."""
    return {n: x[None] for n, x in prior_values(program, evidence, key, draws).items()}


@jit_lightly
def _prior(
    program: Program, columns: Mapping[str, Array], tasks: int, keys: Any
) -> dict[str, Array]:
    def one(key: PRNGKeyArray) -> dict[str, Array]:
        each = jax.random.split(key, 3)
        lifetime = jax.random.normal(each[0], (program.lifetime_size,))
        own = jax.random.normal(each[1], (tasks, program.task_size))
        return program.constrain(lifetime, own, columns, each[2])

    return jax.vmap(one)(keys)
