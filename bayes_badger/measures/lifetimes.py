"""Lifetimes drawn from a run's program, at inputs like its own, and what a belief predicts there.

A simulated task has the inputs of a task of the run, row by row with replacement: so it is as long
as one likes, and its latents are known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from bayes_badger.evidence import Evidence, from_arrays
from bayes_badger.evidence.blocks import single
from bayes_badger.inner_loop import registry
from bayes_badger.inner_loop.protocol import InnerLoop
from bayes_badger.outcomes import typed_outcome
from bayes_badger.pointwise import log_likelihood_rows
from bayes_badger.program import Data, Program

REFERENCES = ("exact", "enumerate", "grid")


class Lifetime(NamedTuple):
    """Simulated evidence.

    Attributes:
        evidence: Of all tasks, equally long.
        truth: The latents that it was simulated from, by name, `[...]` or `[task, ...]`.
    """

    evidence: Evidence
    truth: dict[str, np.ndarray]

    def rows(self, start: int, stop: int) -> Evidence:
        """Some steps of each task."""
        step = np.tile(np.arange(self.evidence.lengths[0]), self.evidence.n_tasks)
        return self.evidence.select_rows((step >= start) & (step < stop))


def inputs_like(evidence: Evidence, tasks: int, steps: int, rng: np.random.Generator) -> Data:
    """Inputs of so many tasks, each like those of one task of the evidence."""
    known = np.flatnonzero(evidence.lengths)
    which = rng.permutation(np.resize(rng.permutation(known), tasks))
    first = np.cumsum(evidence.lengths) - evidence.lengths
    rows = first[which, None] + (rng.random((tasks, steps)) * evidence.lengths[which, None]).astype(
        int
    )
    return Data(
        {name: jnp.asarray(single(x[rows])) for name, x in evidence.columns.items()},
        {name: jnp.asarray(single(x[which]))[:, None] for name, x in evidence.task_columns.items()},
    )


def simulated(
    program: Program,
    data: Data,
    key: PRNGKeyArray,
    values: Mapping[str, Any] | None = None,
) -> Lifetime:
    """Draws a lifetime at some inputs.

    Args:
        program: The lifted program.
        data: Inputs, `[task, step, ...]`.
        key: For latents and outcomes.
        values: Latents that are given, by name.
    """
    given = {name: jnp.asarray(x) for name, x in (values or {}).items()}
    drawn = program.simulate(key, data, given)
    evidence = from_arrays(
        program.signature,
        {name: np.asarray(x) for name, x in data.columns.items()},
        np.asarray(drawn.outcome),
        {name: np.asarray(x) for name, x in data.task_columns.items()},
    )
    truth = {x.name: np.asarray(drawn.values[x.name]) for x in program.latents}
    return Lifetime(typed_outcome(program, evidence), truth)


def reference_for(program: Program, evidence: Evidence) -> InnerLoop | None:
    """The inner loop that is exact for a program, or nearly so; None where there is none."""
    for name in REFERENCES:
        module = registry.module(name)
        loop: InnerLoop = module.make(module.Settings())
        if loop.why_not(program, evidence) is None:
            return loop
    return None


def log_predictive(
    program: Program, evidence: Evidence, draws: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Log predictive density of each row by itself, over draws of a belief: `[row]`, in nats."""
    values = {latent.name: jnp.asarray(draws[latent.name]) for latent in program.latents}
    rows = log_likelihood_rows(program, evidence, values)
    return log_mean_exp(rows.reshape(-1, rows.shape[-1]).astype(float))


def log_predictive_tasks(
    program: Program, evidence: Evidence, draws: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Log predictive density of all rows of each task together: `[task]`, in nats."""
    values = {latent.name: jnp.asarray(draws[latent.name]) for latent in program.latents}
    rows = log_likelihood_rows(program, evidence, values)
    return log_mean_exp(by_task(rows.reshape(-1, rows.shape[-1]).astype(float), evidence))


def by_task(rows: np.ndarray, evidence: Evidence) -> np.ndarray:
    """Sums over the rows of each task: `[..., row]` to `[..., task]`."""
    total = np.zeros((*rows.shape[:-1], evidence.n_tasks))
    np.add.at(np.moveaxis(total, -1, 0), evidence.task_index, np.moveaxis(rows, -1, 0))
    return total


def log_truth(program: Program, lifetime: Lifetime, evidence: Evidence) -> np.ndarray:
    """Log density of each row at the true latents: `[row]`."""
    values = {name: jnp.asarray(x)[None, None] for name, x in lifetime.truth.items()}
    return log_likelihood_rows(program, evidence, values)[0, 0].astype(float)


def divergence(log_q: np.ndarray, log_p: np.ndarray) -> np.ndarray:
    """Estimates of KL(p, q) from outcomes drawn from p, each unbiased and at least 0, in nats.

    Args:
        log_q: Log density of outcomes under a normalised q.
        log_p: Under p.

    Example:
        >>> np.round(divergence(np.log([0.4, 0.6]), np.log([0.5, 0.5])), 4)
        array([0.0231, 0.0177])
    """
    away = np.asarray(log_q, float) - np.asarray(log_p, float)
    return np.expm1(away) - away


def log_mean_exp(x: np.ndarray, axis: int = 0) -> np.ndarray:
    """Log of the mean of exp(x); -inf where all are.

    Example:
        >>> float(np.round(log_mean_exp(np.log([1.0, 3.0])), 6))
        0.693147
    """
    top = x.max(axis, keepdims=True)
    safe = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        found = np.log(np.exp(x - safe).mean(axis)) + safe.squeeze(axis)
    return np.asarray(found)


def keys(seed: int, n: int) -> list[PRNGKeyArray]:
    """Independent keys."""
    return list(jax.random.split(jax.random.key(seed), n))


def queries_like(evidence: Evidence, steps: int, rng: np.random.Generator) -> Evidence:
    """So many rows of each task, at inputs of its own, or of any where it has none."""
    first = np.cumsum(evidence.lengths) - evidence.lengths
    size = np.where(evidence.lengths > 0, evidence.lengths, evidence.n_rows)[:, None]
    first = np.where(evidence.lengths > 0, first, 0)[:, None]
    rows = (first + (rng.random((evidence.n_tasks, steps)) * size).astype(int)).ravel()
    return replace(
        evidence,
        columns={name: x[rows] for name, x in evidence.columns.items()},
        outcome=None,
        task_index=np.repeat(np.arange(evidence.n_tasks), steps),
        rows=rows,
    )


def joined(evidence: Evidence, queries: Evidence, outcome: np.ndarray) -> Evidence:
    """The rows of the evidence, and behind those of each task queries with their outcomes."""
    index = np.concatenate([evidence.task_index, queries.task_index])
    order = np.argsort(index, kind="stable")
    assert evidence.outcome is not None  # noqa: S101 - of what was fitted
    return replace(
        evidence,
        columns={
            name: np.concatenate([x, queries.columns[name]])[order]
            for name, x in evidence.columns.items()
        },
        outcome=np.concatenate([evidence.outcome, np.asarray(outcome)])[order],
        task_index=index[order],
        rows=np.arange(len(index)) + 1,
    )
