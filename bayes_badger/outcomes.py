"""Whether outcomes are such as the program can have, told before any work."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from bayes_badger.compilation import jit_by_work
from bayes_badger.errors import BadgerError
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import blocks_of, data_of, task_columns_of
from bayes_badger.program import TASK, Data, Program
from bayes_badger.program.proof import prior_values
from bayes_badger.tables.supports import outside

# Draws from the prior at which an outcome must be outside the support to be refused.
SUPPORT_DRAWS = 20
# Where the support depends on latents, as many more draws from each of these many times the prior's
# spread: an outcome may need latents that the prior gives once in thousands of draws.
SPREADS = (2.0, 3.0, 4.0)


def typed_outcome(program: Program, evidence: Evidence) -> Evidence:
    """Whole numbers for a discrete outcome, real ones for another, whatever the table had."""
    if evidence.outcome is None:
        return evidence
    kind = np.int64 if program.outcome.discrete else np.float64
    return dataclasses.replace(evidence, outcome=evidence.outcome.astype(kind))


def check_outcome(program: Program, evidence: Evidence, key: Any) -> None:
    """Refuses outcomes that the program cannot have: NumPyro scores most of them in silence.

    Raises:
        BadgerError: Naming the first such row, its value, and what the outcome can be.
    """
    if evidence.outcome is None or not evidence.n_rows:
        return
    shape, wanted = evidence.outcome.shape[1:], program.outcome.shape
    if shape != wanted:
        raise BadgerError(
            f"{program.name}: {evidence.outcome_name} has shape {shape} for each row, and the "
            f"program's outcome has {wanted}"
        )
    whole = evidence.outcome == np.round(evidence.outcome)
    bad = ~whole if program.outcome.discrete else np.zeros(whole.shape, bool)
    if not bad.any():
        bad = _outside(program, typed_outcome(program, evidence), key)
    by_row = bad.reshape(len(bad), -1)
    rows = np.flatnonzero(by_row.any(1))
    if len(rows):
        label = evidence.tasks[evidence.task_index[rows[0]]]
        value, name = evidence.outcome[rows[0]], str(evidence.outcome_name)
        told = outside(name, value, program.outcome.family, program.outcome.support, len(rows))
        raise BadgerError(f"row {evidence.rows[rows[0]]}, {evidence.task_name} '{label}': {told}")


def _outside(program: Program, evidence: Evidence, key: Any) -> np.ndarray:
    """Which outcomes are outside their distribution's support, whatever the latents are.

    A support may depend on latents, as that of Uniform(0, z): so several draws must agree, and then
    draws from far beyond the bulk of the prior, too.
    """
    bad = np.ones(evidence.outcome.shape if evidence.outcome is not None else 0, bool)
    columns, blocks = task_columns_of(evidence), blocks_of(evidence)
    each = [(np.asarray(block.tasks), data_of(block)) for block in blocks]
    wider = SPREADS if program.outcome.support_moves else ()
    for number, spread in enumerate(np.repeat((1.0, *wider), SUPPORT_DRAWS)):
        draw = np.int32(number), np.float32(spread)
        found = [
            np.asarray(_within(program, key, *draw, columns, evidence.n_tasks, *one))
            for one in each
        ]
        bad &= ~evidence.long(blocks, found)
        if not bad.any():
            break
    return bad


@jit_by_work
def _within(
    program: Program,
    key: Any,
    number: Any,
    spread: Any,
    columns: Any,
    tasks: int,
    chosen: Any,
    data: Data,
) -> Array:
    """Whether each row's outcome is within the support, at latents so many prior sd away."""
    every = program.without_rows(columns, tasks)
    drawn = prior_values(program, jax.random.fold_in(key, number), every, spread)
    values = {
        latent.name: drawn[latent.name][chosen] if latent.scope == TASK else drawn[latent.name]
        for latent in program.latents
    }
    return program.supports(values, data)
