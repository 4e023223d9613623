"""How far each scalar of a posterior can be trusted: r_hat and effective draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayes_badger.report.contents import Scalar, evenly, scalars, task_labels
from bayes_badger.report.once import once
from bayes_badger.runs.run import Run
from bayes_badger.whole_process import quiet

# More than these take too long (5 s for a thousand of 4000 draws): the rest is passed over evenly.
MOST = 1_000
TAIL = (0.05, 0.95)


@dataclass(frozen=True, eq=False)
class Diagnostics:
    """Diagnostics of scalars, each `[scalar]`.

    Attributes:
        names: What each is called, `theta[A]`.
        draws: `[chain, draw, scalar]`.
        r_hat: How far the chains disagree; NaN where it cannot be told.
        bulk: Effective draws for the mean.
        tail: Effective draws for the ends of the 90 % interval.
        moves: Whether there is more than one value.
        total: How many scalars the posterior has; more than there are names where too many.
    """

    names: list[str]
    draws: np.ndarray
    r_hat: np.ndarray
    bulk: np.ndarray
    tail: np.ndarray
    moves: np.ndarray
    total: int


@once
def diagnose(run: Run) -> Diagnostics:
    """The diagnostics of a run's scalars, lifetime first; of at most 1,000 of them."""
    found, labels = scalars(run), task_labels(run)
    places: list[tuple[Scalar, int | None]] = [(scalar, None) for scalar in found.lifetime]
    places += [(scalar, i) for scalar in found.tasks for i in range(len(labels))]
    kept = [places[i] for i in evenly(len(places), MOST)] if places else []
    names = [x.name if i is None else x.of(labels[i]) for x, i in kept]
    columns = [_draws(scalar, i) for scalar, i in kept]
    draws = np.stack(columns, -1) if columns else np.zeros((0, 0, 0))
    r_hat, bulk, tail, moves = _numbers(draws)
    return Diagnostics(names, draws, r_hat, bulk, tail, moves, len(places))


def _draws(scalar: Scalar, task: int | None) -> np.ndarray:
    return scalar.draws if task is None else scalar.draws[..., task]


def _numbers(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    # Not by way of arviz: its plots take seconds to import.
    from arviz_stats.base import array_stats

    nothing = np.full(draws.shape[2:], np.nan)
    finite = np.isfinite(draws).all((0, 1)) if draws.size else np.zeros(draws.shape[2:], bool)
    moves = np.asarray(draws.min((0, 1)) < draws.max((0, 1))) if draws.size else finite
    told = finite & moves
    if not told.any() or draws.shape[1] < 4:
        return nothing, nothing, nothing, moves
    axes = {"chain_axis": 0, "draw_axis": 1}
    with quiet(), np.errstate(all="ignore"):
        found = [
            array_stats.rhat(draws[..., told], **axes) if len(draws) > 1 else nothing[told],
            array_stats.ess(draws[..., told], method="bulk", **axes),
            array_stats.ess(draws[..., told], method="tail", prob=TAIL, **axes),
        ]
    columns = []
    for values in found:
        column = nothing.copy()
        column[told] = values
        columns.append(column)
    r_hat, bulk, tail = columns
    return r_hat, bulk, tail, moves
