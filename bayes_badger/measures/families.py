"""Which family of tasks is it? The information of a task's evidence about the program it is from.

    I(family; D) = Σ_k w_k KL(p_k(D), Σ_j w_j p_j(D)),  at most H(w) <= log(number of families)

the Jensen-Shannon divergence of the programs' evidences (Lin 1991). 0: a task of one could as well
be of another; log K: one task tells them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np
from scipy.special import logsumexp

from bayes_badger.errors import BadgerError
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.measures.estimate import Estimate, mean_of
from bayes_badger.measures.nested import NARROW
from bayes_badger.measures.simulated import check_simulable, rows_like, simulated, usual_steps
from bayes_badger.measures.weighing import believed, weighed_by, why_no_belief
from bayes_badger.program import Program


class Families(NamedTuple):
    """What tasks say of the family they are from, in nats.

    Attributes:
        together: I(family; D) of all.
        pairs: The same of each two alone, with equal weights, `[family, family]`: at most log 2.
    """

    together: Estimate
    pairs: Estimate


def jensen_shannon(log_density: np.ndarray, weights: np.ndarray | None = None) -> Estimate:
    """I(family; D) of a mixture of families, from the density of their evidence under each.

    Args:
        log_density: log p_j(D) of evidence D of family k, `[k, sample, j]`.
        weights: Of the families, `[k]`, that sum to 1; equal by default.

    Example:
        >>> apart = np.where(np.eye(2, dtype=bool)[:, None], 0.0, -np.inf) * np.ones((2, 5, 1))
        >>> bool(np.isclose(jensen_shannon(apart).value, np.log(2)))
        True
    """
    log_p = np.asarray(log_density, float)
    k = len(log_p)
    share = np.full(k, 1 / k) if weights is None else np.asarray(weights, float)
    own = np.moveaxis(np.diagonal(log_p, axis1=0, axis2=2), -1, 0)
    each = mean_of(own - logsumexp(log_p + np.log(share), axis=2), axis=1)
    return Estimate(float(share @ each.value), float(np.sqrt(share**2 @ np.square(each.error))))


def of_pairs(log_density: np.ndarray) -> Estimate:
    """The divergence of each two families with equal weights, `[family, family]`: at most log 2.

    Args:
        log_density: log p_j(D) of evidence D of family k, `[k, sample, j]`.

    Example:
        >>> same = np.zeros((3, 5, 3))
        >>> print(of_pairs(same).value[0])
        [0. 0. 0.]
    """
    log_p = np.asarray(log_density, float)
    own = np.moveaxis(np.diagonal(log_p, axis1=0, axis2=2), -1, 0)[..., None]
    mixed = np.logaddexp(own, log_p) - np.log(2)
    each = mean_of(own - mixed, axis=1)
    value, error = np.asarray(each.value), np.asarray(each.error)
    return Estimate(0.5 * (value + value.T), 0.5 * np.hypot(error, error.T))


def log_densities(
    programs: Sequence[Program],
    evidence: Evidence,
    *,
    tasks: int = 200,
    draws: int = 256,
    steps: int = 0,
    seed: int = 0,
    report: Report = silent,
) -> tuple[np.ndarray, float]:
    """Log p(D) under each program of tasks that each would give, on the same rows.

    Each task is one of a lifetime of its own: what tasks share is integrated out.

    Args:
        programs: Lifted, of the same columns and outcome; without factors or discrete latents.
        evidence: Whose columns are taken.
        tasks: To simulate from each.
        draws: Of the experts' belief, for each task and program.
        steps: Rows of each task; 0 for as many as the tasks of the evidence have.
        seed: Of everything random.
        report: Is told how far the work has come.

    Returns:
        log p_j(D) of a task D of program k, in nats, `[k, task, j]`; and by how much that of a
        task's own program is uncertain, the mean distance of its bounds.

    Raises:
        BadgerError: For fewer than two programs, or programs that cannot be compared.
    """
    _check(programs)
    longest = steps or usual_steps(evidence)
    found = np.empty((len(programs), tasks, len(programs)))
    unsure = 0.0
    for k, family in enumerate(programs):
        report("families", k, len(programs), family.name)
        queries = replace(
            rows_like(evidence, 1, longest, tasks, seed), outcome_name=family.signature.outcome
        )
        drawn = simulated(family, queries, tasks, seed + k)
        for j, other in enumerate(programs):
            keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), k * len(programs) + j))
            belief = believed(other, drawn.evidence, keys[0])
            points = np.zeros((tasks, other.size))
            if j == k:
                points = np.concatenate([drawn.lifetime, drawn.task[:, 0]], 1)
            told = weighed_by(other, drawn.evidence, points, belief, draws, keys[1]).evidence
            found[k, :, j] = told.below
            if j == k:
                unsure = max(unsure, float((told.above - told.below).mean()))
    report("families", len(programs), len(programs))
    return found, unsure


def information_between_families(
    programs: Sequence[Program],
    evidence: Evidence,
    *,
    weights: np.ndarray | None = None,
    tasks: int = 200,
    draws: int = 256,
    steps: int = 0,
    seed: int = 0,
    report: Report = silent,
) -> Families:
    """What one task's evidence says of the program that it is from, of several.

    Args:
        programs: As `log_densities` takes them.
        evidence: Whose columns are taken.
        weights: Of the programs, `[family]`, that sum to 1; equal by default.
        tasks: To simulate from each.
        draws: Of the experts' belief, for each task and program.
        steps: Rows of each task; 0 for as many as the tasks of the evidence have.
        seed: Of everything random.
        report: Is told how far the work has come.

    Raises:
        BadgerError: As `log_densities`.
    """
    log_p, unsure = log_densities(
        programs, evidence, tasks=tasks, draws=draws, steps=steps, seed=seed, report=report
    )
    doubt = ""
    if unsure > NARROW:
        doubt = (
            f"log p(D) of a task's own family is known to {unsure:.2g} nats only: set draws higher"
        )
    return Families(
        jensen_shannon(log_p, weights)._replace(doubt=doubt), of_pairs(log_p)._replace(doubt=doubt)
    )


def _check(programs: Sequence[Program]) -> None:
    if len(programs) < 2:
        raise BadgerError("families are told apart from each other: give two programs or more")
    first = programs[0]
    for program in programs:
        check_simulable(program, "information_between_families")
        reason = why_no_belief(program)
        if reason:
            raise BadgerError(
                f"{program.name}: information_between_families needs experts, and it {reason}"
            )
        mine, theirs = program.signature, first.signature
        if set(mine.columns) != set(theirs.columns) or set(mine.task_columns) != set(
            theirs.task_columns
        ):
            raise BadgerError(
                f"{program.name} has other columns than {first.name}: families see the same rows"
            )
        if (program.outcome.discrete, program.outcome.shape) != (
            first.outcome.discrete,
            first.outcome.shape,
        ):
            raise BadgerError(
                f"{program.name} has another kind of outcome than {first.name}: nothing is left "
                "to be told apart"
            )
