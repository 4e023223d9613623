"""What learning ends with: the observed information, standard errors, and doubts about them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Key

from bayes_badger.errors import listed
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop.experts import Experts
from bayes_badger.outer_loop.drawn_anew import drawn_anew
from bayes_badger.outer_loop.information_test import (
    FOR_EACH,
    TASKS,
    Sandwich,
    beyond_chance,
    disagreement,
    is_suspect,
    sandwich,
    sets_of,
)
from bayes_badger.outer_loop.objective import around, is_smooth, log_evidence_and_slopes
from bayes_badger.outer_loop.observed import Observed, observed
from bayes_badger.outer_loop.penalty import penalty
from bayes_badger.outer_loop.standard_errors import (
    Covariance,
    Table,
    bounded,
    by_name,
    covariance,
    entries,
    flat_doubt,
    noise_doubt,
    table_at,
    that_do_not_fall,
    with_noise,
    without,
)
from bayes_badger.program import Program
from bayes_badger.program.parameters import bound

# Of the key for tasks that are drawn from the program.
DRAWN = 2**20


class Examiner:
    """Looks at the log evidence of tasks around parameters.

    Args:
        program: The lifted program.
        unflatten: From the flat vector to its parameters without bounds.
        evidence: The tasks that are learned from.
        loop: How to come near their posteriors.
        key: Of everything random.
        first: Where learning began, `[p]`.
        weight: λ of the penalty.
    """

    def __init__(
        self,
        program: Program,
        unflatten: Callable[[Any], Any],
        evidence: Evidence,
        loop: Experts,
        key: Key[Any, ""],
        first: np.ndarray,
        weight: float,
    ) -> None:
        self.program, self.unflatten, self.evidence = program, unflatten, evidence
        self.loop, self.key, self.first, self.weight = loop, key, first, weight
        self._last: tuple[bytes, Observed] | None = None

    @functools.cached_property
    def steady(self) -> bool:
        """Whether control variates take noise out of the slopes: where the density is smooth."""
        start = self._parameters(self.first)
        return is_smooth(self.program, start, self.evidence, self.loop, self.key)

    def key_of(self, points: float | np.ndarray) -> Key[Any, ""]:
        """The key of one of several sets of points."""
        return jax.random.fold_in(self.key, int(points)) if points else self.key

    def information(
        self, point: np.ndarray, points: float | np.ndarray
    ) -> tuple[np.ndarray, Observed]:
        """The observed information at a point, with what the penalty adds and without.

        Args:
            point: Parameters without bounds, `[p]`.
            points: With which points it was learned.
        """
        name = np.asarray(point, float).tobytes()
        if self._last is None or self._last[0] != name:
            at, key = self._parameters(point), self.key_of(points)
            look, noisy = around(self.program, at, self.evidence, self.loop, key, self.steady)

            def of(there: np.ndarray, points: int) -> tuple[np.ndarray, np.ndarray]:
                return look(self._parameters(there), points)

            found = observed(of, np.asarray(point, float), noisy)
            enough = self.evidence.n_tasks >= max(TASKS, FOR_EACH * len(self.first))
            if not found.known and enough:
                # Of that many tasks the products of their slopes say more than noise.
                products = found.slopes.T @ found.slopes
                found = found._replace(information=products, spread=np.zeros_like(products))
            self._last = name, found
        found = self._last[1]
        curvature = penalty(point, self.first, self.weight).curvature
        return found.information + curvature * np.eye(len(self.first)), found

    def errors(
        self, point: np.ndarray, points: float | np.ndarray
    ) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        """Standard errors by name at the estimate, and why they are not to be trusted."""
        at = np.asarray(point, float)
        information, found = self.information(at, points)

        def height(there: np.ndarray) -> float:
            # With slopes, since that is compiled already.
            values = self._slopes(there, self.evidence, points)[0]
            return float(values.sum()) + penalty(there, self.first, self.weight).value

        known = covariance(information, found.spread)
        known = without(known, that_do_not_fall(known, at, bounded(self.program), height))
        table = table_at(self.program, self.unflatten, jnp.asarray(at, jnp.float32))
        errors = by_name(table, with_noise(known, found.noise))
        doubts = (
            flat_doubt(errors) if found.known else _unknown(errors),
            noise_doubt(known, found.noise, "outer.points"),
            self._disagreement(table, known, found, points),
        )
        return errors, tuple(doubt for doubt in doubts if doubt is not None)

    def _disagreement(
        self, table: Table, known: Covariance, found: Observed, points: float | np.ndarray
    ) -> str | None:
        """Whether the products of the tasks' slopes say something else than the curvature."""

        def of(scores: np.ndarray) -> Sandwich:
            return sandwich(scores, known.matrix, found.information, table.slopes)

        both = of(found.slopes)
        if not is_suspect(both, len(self.first)):
            return None
        program = bound(self.program, self._parameters(found.point))
        key, count = jax.random.fold_in(self.key, DRAWN), sets_of(self.evidence.n_tasks)
        drawn = []
        for one in jax.random.split(key, count):
            again = drawn_anew(program, self.evidence, one)
            drawn.append(of(self._slopes(found.point, again, points)[1]).influence)
        chance = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel().tolist())
        beyond = beyond_chance(both, np.stack(drawn), chance)
        plain = [np.ravel(x) for x in by_name(table, known).values()]
        return disagreement(table.names, np.concatenate(plain), both, beyond)

    def _slopes(
        self, point: np.ndarray, evidence: Evidence, points: float | np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return log_evidence_and_slopes(
            self.program,
            self._parameters(point),
            evidence,
            self.loop,
            self.key_of(points),
            steady=self.steady,
        )

    def _parameters(self, point: np.ndarray) -> Any:
        return self.unflatten(jnp.asarray(point, jnp.float32))


def _unknown(errors: dict[str, np.ndarray]) -> str:
    """That the points do not tell the curvature, and what stands for it."""
    names = entries(errors)
    if names:
        none = f"{listed(names)}: no standard error"
    else:
        none = "standard errors are by the spread of the tasks' slopes alone"
    return f"{none}: the points do not tell the curvature of the likelihood; raise outer.points"
