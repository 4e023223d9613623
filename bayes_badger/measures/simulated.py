"""Evidence that a program itself would give, on rows like those of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Key

from bayes_badger.compilation import jit_lightly
from bayes_badger.errors import BadgerError, listed
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import data_of
from bayes_badger.program import WHITENED, Data, Program

# Rows of a task that are simulated where nobody said how many.
MOST = 100


class Lifetimes(NamedTuple):
    """Lifetimes drawn from a program, each of as many tasks.

    Attributes:
        evidence: Of all tasks, those of a lifetime one after another.
        lifetime: Coordinates of what tasks share, `[lifetime, a]`.
        task: Of each task's own, `[lifetime, task, z]`.
        values: Latents in the user's own space, `[lifetime, ...]` or `[lifetime, task, ...]`.
    """

    evidence: Evidence
    lifetime: np.ndarray
    task: np.ndarray
    values: dict[str, np.ndarray]


def whitened(program: Program) -> bool:
    """Whether the prior of every continuous latent is N(0, 1) in its coordinate."""
    return all(latent.discrete or latent.kind == WHITENED for latent in program.latents)


def check_simulable(program: Program, measure: str) -> None:
    """Refuses a program whose draws do not follow its density.

    Raises:
        BadgerError: For one with factors.
    """
    if program.factors:
        raise BadgerError(
            f"{program.name}: {measure} simulates from the program, and draws know nothing of its "
            f"factors ({listed(program.factors)}): write them as distributions of latents"
        )


def rows_like(
    evidence: Evidence, tasks: int, steps: int | None = None, lifetimes: int = 1, seed: int = 0
) -> Evidence:
    """Queries of simulated tasks: each has the columns of one of the tasks of some evidence.

    Within a lifetime no task comes twice before all have come once. Its first rows are taken; where
    it has too few, they come again.

    Args:
        evidence: Of the run.
        tasks: Of each lifetime.
        steps: Rows of each task; by default as many as it has.
        lifetimes: How many.
        seed: Of the order of tasks.

    Raises:
        BadgerError: Where no task has rows.

    Example:
        >>> from bayes_badger.evidence import from_arrays
        >>> from bayes_badger.program import Signature
        >>> line = Signature("line", ("x",), "y")
        >>> some = from_arrays(line, {"x": np.arange(4.0).reshape(2, 2)}, np.zeros((2, 2)))
        >>> whole = rows_like(some, 1, 3).columns["x"] // 2  # of one task: all alike
        >>> bool((whole == whole[0]).all())
        True
    """
    usable = np.flatnonzero(evidence.lengths > 0)
    if not len(usable):
        raise BadgerError("no task of this run has rows, so that there is nothing to simulate")
    chance = np.random.default_rng(seed)
    rounds = -(-tasks // len(usable))
    order = [
        np.concatenate([chance.permutation(usable) for _ in range(rounds)])[:tasks]
        for _ in range(lifetimes)
    ]
    sources = np.concatenate(order)
    lengths = evidence.lengths[sources] if steps is None else np.full(len(sources), steps)
    starts = (np.cumsum(evidence.lengths) - evidence.lengths)[sources]
    index = np.repeat(np.arange(len(sources)), lengths)
    within = np.arange(len(index)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    rows = starts[index] + within % evidence.lengths[sources][index]
    return replace(
        evidence,
        columns={name: x[rows] for name, x in evidence.columns.items()},
        outcome=None,
        task_columns={name: x[sources] for name, x in evidence.task_columns.items()},
        task_index=index,
        tasks=np.arange(len(sources)),
        rows=np.arange(1, len(rows) + 1),
    )


def usual_steps(evidence: Evidence) -> int:
    """The median length of its tasks that have rows, at most 100."""
    some = evidence.lengths[evidence.lengths > 0]
    return int(np.clip(np.median(some) if len(some) else 1, 1, MOST))


def ladder(most: int) -> np.ndarray:
    """1, 2, 5, 10, 20, 50, ... and in the end `most`.

    Example:
        >>> ladder(12)
        array([ 1,  2,  5, 10, 12])
    """
    steps = [m * 10**e for e in range(len(str(most))) for m in (1, 2, 5)]
    return np.array([*(x for x in steps if x < most), most])


def simulated(program: Program, queries: Evidence, lifetimes: int, seed: int = 0) -> Lifetimes:
    """Lifetimes from the program, for some queries of as many tasks each.

    Args:
        program: The lifted program, without factors.
        queries: Of all tasks, those of a lifetime one after another.
        lifetimes: How many.
        seed: Of everything.
    """
    block = queries.padded()
    data = jax.tree.map(
        lambda x: x.reshape(lifetimes, -1, *x.shape[1:]), data_of(block)._replace(outcome=None)
    )
    drawn = _drawn(program, data, jax.random.split(jax.random.key(seed), lifetimes))
    lifetime, task, values, outcome = jax.tree.map(np.asarray, drawn)
    flat = outcome.reshape(-1, *outcome.shape[2:])
    evidence = replace(queries, outcome=queries.long([block], [flat]))
    return Lifetimes(evidence, lifetime, task, values)


@jit_lightly
def _drawn(
    program: Program, data: Data, keys: Key[Array, " lifetime"]
) -> tuple[Array, Array, Mapping[str, Array], Array]:
    def one(xs: tuple[Data, Array]) -> tuple[Array, Array, Mapping[str, Array], Array]:
        data, key = xs
        keys = jax.random.split(key, 4)
        lifetime = jax.random.normal(keys[0], (program.lifetime_size,))
        task = jax.random.normal(keys[1], (data.tasks, program.task_size))
        values: Mapping[str, Array] = {}
        if whitened(program):
            values = program.constrain(lifetime, task, data.task_columns, keys[2])
        latents = {x.name: values[x.name] for x in program.latents if x.name in values}
        drawn = program.simulate(keys[3], data, latents)
        values = {x.name: drawn.values[x.name] for x in program.latents}
        return lifetime, task, values, drawn.outcome

    return jax.vmap(one)((data, keys))
