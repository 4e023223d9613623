"""A learner as functions, so that any can be examined: a program's inner loop, or a faulty one.

A learner has places, rows whose columns are fixed, and is given outcomes there. A case is one data
set; all cases of a call have as many rows. It knows the world that it believes in, and can draw
from it: it is that world in which it should be calibrated.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import task_columns_of
from bayes_badger.inner_loop.protocol import InnerLoop
from bayes_badger.pointwise import log_likelihood_rows, over_draws, predict_rows
from bayes_badger.program import LIFETIME, Program
from bayes_badger.program.walk import family
from bayes_badger.trust import judged

# Draws of each belief that are kept.
DRAWS = 1000

Values = Mapping[str, Any]


class Seen(NamedTuple):
    """What some cases have seen.

    Attributes:
        places: Which rows, in the order in which they came, `[case, t]`.
        outcomes: Their outcomes, `[case, t, ...]`.
    """

    places: np.ndarray
    outcomes: np.ndarray

    def then(self, places: np.ndarray, outcomes: np.ndarray) -> Seen:
        """With more rows after them."""
        return Seen(
            np.concatenate([self.places, places], 1), np.concatenate([self.outcomes, outcomes], 1)
        )

    def repeated(self, times: int) -> Seen:
        """Each case so many times, side by side."""
        return Seen(np.repeat(self.places, times, 0), np.repeat(self.outcomes, times, 0))


@runtime_checkable
class Learner(Protocol):
    """What is examined. Latents are by name, `[case, ...]`; draws of them `[draw, case, ...]`."""

    @property
    def size(self) -> int:
        """How many places there are; further rows come to the same places again."""

    @property
    def outcomes(self) -> np.ndarray | None:
        """All values that an outcome can have, `[k]`; None where they are not a few."""

    def simulate(
        self, places: np.ndarray, seed: int, given: Values | None = None
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Latents from its prior (or those given), and outcomes at places, `[case, t]`."""

    def log_likelihood(self, values: Values, seen: Seen) -> np.ndarray:
        """Of all rows of each case, at draws of the latents, in nats: `[draw, case]`."""

    def draws(self, seen: Seen, seed: int) -> dict[str, np.ndarray]:
        """From its belief."""

    def log_predictive(self, seen: Seen, place: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
        """Log probability of outcomes `y`, `[case, k]`, at `place`, `[case]`, in nats."""


class OfProgram:
    """The learner that an inner loop is for a program.

    Where tasks share nothing each case is one task, and all are inferred at once. Else each case is
    a lifetime with the tasks of the design, inferred by itself.

    Attributes:
        program: Lifted.
        loop: Its inner loop.
        design: Rows with their columns: the places, task by task.
        trust: What is done about a belief that approximates, as in `fit`.
    """

    def __init__(
        self, program: Program, loop: InnerLoop, design: Evidence, trust: str = "weigh"
    ) -> None:
        self.program, self.loop, self.trust = program, loop, trust
        self.shared = bool(program.select(LIFETIME))
        design = design if self.shared else design.select([0])
        # Places run through the tasks in turn, so that the first few are of all of them.
        step = np.concatenate([np.arange(n) for n in design.lengths])
        self.design, self.order = design, np.lexsort((design.task_index, step))
        site = program.walk_at({}, program.example).sites[program.outcome.site]
        fn = family(site.fn)
        few = program.outcome.discrete and fn.has_enumerate_support and not fn.event_shape
        self._outcomes = np.ravel(fn.enumerate_support(expand=False)) if few else None

    @property
    def size(self) -> int:
        """How many places there are."""
        return self.design.n_rows

    @property
    def outcomes(self) -> np.ndarray | None:
        """All values of an outcome, where they are a few."""
        return self._outcomes

    def simulate(
        self, places: np.ndarray, seed: int, given: Values | None = None
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """From the program; see `Learner`."""
        keys = jax.random.split(jax.random.key(seed), 2)
        values = self._prior(len(places), keys[0]) if given is None else dict(given)
        found = []
        for cases in self._groups(len(places)):
            evidence, back = self._evidence(places[cases])
            own = {n: self._as_draws(np.asarray(x)[None], cases) for n, x in values.items()}
            key = jax.random.fold_in(keys[1], int(cases[0]))
            rows = predict_rows(self.program, evidence, own, key)[0, 0]
            found.append(rows[back].reshape(*places[cases].shape, *rows.shape[1:]))
        return {n: np.asarray(x) for n, x in values.items()}, np.concatenate(found)

    def log_likelihood(self, values: Values, seen: Seen) -> np.ndarray:
        """See `Learner`."""
        return np.concatenate([rows.sum(-1) for rows in self._rows(values, seen)], axis=1)

    def draws(self, seen: Seen, seed: int) -> dict[str, np.ndarray]:
        """By the inner loop; see `Learner`."""
        cases, key = len(seen.places), jax.random.key(seed)
        if not seen.places.shape[1]:
            drawn = self._prior(DRAWS * cases, key)
            return {n: x.reshape(DRAWS, cases, *x.shape[1:]) for n, x in drawn.items()}
        found: dict[str, list[np.ndarray]] = {x.name: [] for x in self.program.latents}
        for group in self._groups(cases):
            evidence, _ = self._evidence(seen.places[group], seen.outcomes[group])
            keys = jax.random.split(jax.random.fold_in(key, int(group[0])))
            belief = self.loop.infer(self.program, evidence, keys[0])
            belief, _ = judged(self.program, evidence, belief, keys[1], self.trust)
            for latent in self.program.latents:
                x = np.asarray(belief.draws.values[latent.name])
                x = x.reshape(-1, *x.shape[2:])
                x = x[np.linspace(0, len(x) - 1, min(DRAWS, len(x))).astype(int)]
                found[latent.name].append(x[:, None] if self.shared else x)
        return {n: np.concatenate(x, 1) for n, x in found.items()}

    def log_predictive(self, seen: Seen, place: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
        """The mean over draws of its belief; see `Learner`."""
        drawn = self.draws(seen, seed)
        columns = []
        for one in np.moveaxis(np.asarray(y), 1, 0):
            row = Seen(place[:, None], one[:, None])
            if self.program.signature.stateful:
                row = seen.then(*row)
            rows = np.concatenate([x[..., -1] for x in self._rows(drawn, row)], axis=1)
            columns.append(np.logaddexp.reduce(rows, 0) - np.log(len(rows)))
        return np.stack(columns, 1)

    def _groups(self, cases: int) -> list[np.ndarray]:
        """Cases that are inferred together."""
        return [np.array([i]) for i in range(cases)] if self.shared else [np.arange(cases)]

    def _evidence(
        self, places: np.ndarray, outcomes: np.ndarray | None = None
    ) -> tuple[Evidence, np.ndarray]:
        """Of some cases, and where each of their rows is in it."""
        design = self.design
        rows = self.order[np.ravel(places) % self.size]
        case = np.repeat(np.arange(len(places)), places.shape[1])
        task = design.task_index[rows] if self.shared else case
        order = np.argsort(task, kind="stable")
        flat = None
        if outcomes is not None:
            flat = np.reshape(outcomes, (-1, *outcomes.shape[2:]))[order]
            flat = flat.astype(np.int64 if self.program.outcome.discrete else np.float64)
        tasks = np.arange(design.n_tasks if self.shared else len(places))
        at = tasks if self.shared else np.zeros(len(places), int)
        evidence = dataclasses.replace(
            design,
            columns={n: x[rows][order] for n, x in design.columns.items()},
            outcome=flat,
            task_columns={n: x[at] for n, x in design.task_columns.items()},
            task_index=task[order],
            tasks=tasks,
            rows=np.arange(1, len(rows) + 1),
        )
        return evidence, np.argsort(order)

    def _as_draws(self, x: np.ndarray, cases: np.ndarray) -> Array:
        """Of `[draw, case, ...]` those of some cases, as the program takes them."""
        own = x[:, cases]
        return jnp.asarray(own[:, 0] if self.shared else own)[None]

    def _rows(self, values: Values, seen: Seen) -> list[np.ndarray]:
        """Log likelihood of rows, for each group of cases `[draw, case, t]`."""
        found = []
        for cases in self._groups(len(seen.places)):
            evidence, back = self._evidence(seen.places[cases], seen.outcomes[cases])
            own = {n: self._as_draws(np.asarray(x), cases) for n, x in values.items()}
            rows = log_likelihood_rows(self.program, evidence, own)[0].astype(float)
            found.append(rows[:, back].reshape(len(rows), *seen.places[cases].shape))
        return found

    def _prior(self, cases: int, key: Any) -> dict[str, np.ndarray]:
        columns = task_columns_of(self.design)
        if self.shared:
            args = key, columns, self.design.n_tasks
            numbers = np.arange(cases)
            drawn = over_draws(_numbered_draw, self.program, numbers, args, self.design.n_tasks)
        else:
            wide = {n: jnp.broadcast_to(x, (cases, *x.shape[1:])) for n, x in columns.items()}
            drawn = _prior_draw(self.program, key, wide, cases)
        return {x.name: np.asarray(drawn[x.name]) for x in self.program.latents}


def _numbered_draw(
    program: Program, number: Array, key: Array, columns: Any, tasks: int
) -> dict[str, Array]:
    return _prior_draw(program, jax.random.fold_in(key, number), columns, tasks)


def _prior_draw(program: Program, key: Array, columns: Any, tasks: int) -> dict[str, Array]:
    return program.simulate(key, program.without_rows(columns, tasks)).values
