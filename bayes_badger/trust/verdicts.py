"""What is said of each task's belief: numbers, whether it is flagged, and what was done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

OFF, WEIGH, REFINE = "off", "weigh", "refine"
HOW = (OFF, WEIGH, REFINE)

# Pareto k of importance weights (Vehtari et al. 2024, "Pareto smoothed importance sampling"). Where
# nearly all draws count k is about a tail that does not matter, so then it is not asked.
PARETO_K, NEARLY_ALL = 0.7, 0.5
# A belief is flagged where it gives more than this share of the posterior too little density, by
# more than a nat, or where fewer than this share of the draws count.
MISSED, EFFECTIVE = 0.02, 0.05


@dataclass(frozen=True)
class Verdicts:
    """Of each task.

    Attributes:
        pareto_k: Of the importance weights of fresh draws; above .7 they cannot correct the belief.
        ess: How many of the draws count.
        draws: How many there were.
        prior_share: How much of the posterior was found by draws from the prior.
        missed: The share of the posterior to which the belief gives too little density, by more
            than a nat: there it would be taken by surprise.
        log_evidence: By importance weights, in nats.
        log_evidence_error: Its standard error, in nats.
        done: What was done to the task: "weighed", "refined", "sampled".
    """

    pareto_k: np.ndarray
    ess: np.ndarray
    draws: int
    prior_share: np.ndarray
    missed: np.ndarray
    log_evidence: np.ndarray
    log_evidence_error: np.ndarray
    done: np.ndarray

    @property
    def flagged(self) -> np.ndarray:
        """Which tasks are not to be trusted."""
        heavy = (self.pareto_k > PARETO_K) & (self.ess < NEARLY_ALL * self.draws)
        few = self.ess < EFFECTIVE * self.draws
        return (self.missed > MISSED) | heavy | few | ~np.isfinite(self.log_evidence)

    def table(self) -> Mapping[str, np.ndarray]:
        """By name, `[task]`; log evidence and its error in nats."""
        own = {name: getattr(self, name) for name in BY_TASK if name != "done"}
        return own | {"flagged": self.flagged, "done": self.done}

    def replaced(self, tasks: np.ndarray, others: Verdicts, done: str) -> Verdicts:
        """With the verdicts of some tasks instead."""

        def put(old: np.ndarray, new: np.ndarray) -> np.ndarray:
            old = old.copy()
            old[tasks] = new
            return old

        others = replace(others, done=np.full(len(tasks), done))
        changed: dict[str, Any] = {n: put(getattr(self, n), getattr(others, n)) for n in BY_TASK}
        return replace(self, **changed)

    def reason(self, task: int) -> str:
        """Why a task is flagged."""
        if not np.isfinite(self.log_evidence[task]):
            return "its weights are not finite"
        if self.missed[task] > MISSED:
            return f"{self.missed[task]:.1%} of its posterior has too little density"
        if self.pareto_k[task] > PARETO_K and self.ess[task] < NEARLY_ALL * self.draws:
            return f"Pareto k {self.pareto_k[task]:.2f}, above {PARETO_K}"
        return f"{self.ess[task]:.0f} of {self.draws} draws count"


# What there is one of for each task.
BY_TASK = tuple(x.name for x in fields(Verdicts) if x.name != "draws")


def told(verdicts: Verdicts, labels: Iterable[object], task_name: str, most: int = 3) -> list[str]:
    """Why the numbers are not to be trusted: one sentence, empty where they are."""
    flagged = np.flatnonzero(verdicts.flagged)
    if not len(flagged):
        return []
    names = list(labels)
    some = "; ".join(f"'{names[i]}': {verdicts.reason(int(i))}" for i in flagged[:most])
    more = f"; and {len(flagged) - most} more" if len(flagged) > most else ""
    unit = "task" if task_name == "task" else f"task ({task_name})"
    of = f"{len(flagged)} of {len(names)} {unit.replace('task', 'tasks', 1)}"
    return [f"{of} may be misjudged ({some}{more}): fit with trust = refine, or recipe nuts"]
