"""Points of tasks that serve all lifetimes: made where needed, given up where they fail."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Array, Float, Key, PRNGKeyArray

from bayes_badger.belief.importance import resampled
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop._evidence_of_task import OfTasks
from bayes_badger.inner_loop._reused import LIFETIMES, Table, at_lifetimes, table_of
from bayes_badger.program import Program

# Points of a task that should count where its lifetime weighs; with fewer they are made anew,
# around such lifetimes, at most so often at a time and in all. Then they may do with less.
ENOUGH, LEAST, AT_A_TIME, MADE = 100.0, 20.0, 3, 6
# They are made around at least so many lifetimes in effect.
AROUND = 16.0


class LookedUp:
    """What is kept of tasks while what they share is inferred.

    Attributes:
        served: Whether what was last asked was answered by points.
    """

    def __init__(self, program: Program, own: Mapping[str, np.ndarray]) -> None:
        self.program, self.own, self.served = program, own, False
        self.kept: dict[tuple[object, ...], tuple[Table | None, int]] = {}

    def at(
        self,
        evidence: Evidence,
        lifetimes: Float[np.ndarray, "lifetime a"],
        discrete: Mapping[str, Array],
        log_prior: Float[np.ndarray, " lifetime"],
        keys: tuple[Key[Array, " task"], PRNGKeyArray],
    ) -> OfTasks | None:
        """All tasks at some lifetimes; None where points do not carry.

        Args:
            evidence: Of the tasks.
            lifetimes: Coordinates of what is shared.
            discrete: Values of discrete latents that are shared.
            log_prior: Of these lifetimes.
            keys: One for each task, for its points, and one for the draws.
        """
        name = evidence.n_tasks, *((n, np.asarray(x).tobytes()) for n, x in discrete.items())
        table, made = self.kept.get(name, (None, 0))
        around = np.ones(len(lifetimes))
        self.served = False
        most = min(made + AT_A_TIME, MADE)
        while table is not None or made < most:
            if table is None:
                which = resampled(around, LIFETIMES, np.random.default_rng(made))
                table = table_of(
                    self.program, evidence, lifetimes[which], discrete, self.own, keys[0]
                )
                made += 1
            found = at_lifetimes(self.program, table, lifetimes, discrete, keys[1])
            joint = log_prior + found.log_evidence.astype(float).sum(1)
            effective = (tempered(joint, 1.0) @ found.effective).min()
            if effective >= (LEAST if made == most else ENOUGH):
                self.kept[name] = table, made
                self.served = True
                return found
            around, table = tempered(joint, AROUND), None
        # What was missed is not tried again.
        self.kept[name] = None, MADE
        return None


def tempered(log_weights: np.ndarray, least: float) -> np.ndarray:
    """Weights, flattened by a power until as many count.

    Example:
        >>> weights = tempered(np.array([0.0, -50.0, -50.0, -50.0]), 2.0)
        >>> round(float(1 / (weights**2).sum()), 3)
        2.0
    """
    logs = np.where(np.isfinite(log_weights), log_weights, -np.inf)
    logs = logs - logs.max()

    def share(power: float) -> np.ndarray:
        weights = np.exp(np.where(np.isfinite(logs), power * logs, -np.inf))
        return np.asarray(weights / weights.sum())

    low, high = 0.0, 1.0
    if 1.0 / (share(1.0) ** 2).sum() >= least:
        return share(1.0)
    for _ in range(30):
        middle = 0.5 * (low + high)
        fits = 1.0 / (share(middle) ** 2).sum() >= least
        low, high = (middle, high) if fits else (low, middle)
    return share(low)
