"""Tasks that look like nothing the program expects, with what the outer loop learned in it.

Two questions of each task, answered by draws from its posterior. Are its outcomes as likely as
outcomes drawn anew at the same latents (a posterior predictive check of the log likelihood, Gelman,
Meng & Stern 1996)? And are its latents where the prior has its mass? In prior-normal coordinates
that is a chi-square. Both are conservative. The more tasks there are the stranger one must be to be
named, so that of runs in which all is as expected few name any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import PRNGKeyArray
from scipy.stats import chi2

from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import task_columns_of
from bayes_badger.pointwise import over_draws, replicated_rows
from bayes_badger.program import Program

# Below this tail probability a task is named; and below this one divided by the number of tasks.
TAIL, ANY = 1e-3, 0.01
# Of the outcomes drawn anew the highest, from which a tail is extrapolated: a share, and a number.
HIGHEST, FEW = 0.1, 20
# Draws that are looked at; fewer where rows times draws would be more than AT_MOST.
DRAWS, AT_MOST, AT_LEAST = 1000, 10**8, 50


@dataclass(frozen=True)
class Unlike:
    """Tail probabilities of each task.

    Attributes:
        outcomes: That outcomes drawn anew are as unlikely as its own, `[task]`.
        latents: That the prior draws latents as far out, `[task]`; 1 where that is not known.
    """

    outcomes: np.ndarray
    latents: np.ndarray

    def select(self, tasks: np.ndarray) -> Unlike:
        """Of some tasks, by position."""
        return Unlike(self.outcomes[tasks], self.latents[tasks])

    def table(self) -> dict[str, np.ndarray]:
        """By name, `[task]`."""
        return {"tail_of_outcomes": self.outcomes, "tail_of_latents": self.latents}

    def told(self, evidence: Evidence, most: int = 3) -> list[str]:
        """One sentence; none where all tasks are as expected."""
        return self.sentences(list(evidence.tasks), most)

    def sentences(self, labels: Sequence[object], most: int = 3) -> list[str]:
        """The same, of tasks that are called so."""
        named = np.flatnonzero(np.minimum(self.outcomes, self.latents) < self._limit)
        if not len(named):
            return []
        some = "; ".join(f"'{labels[i]}': {self._reason(int(i))}" for i in named[:most])
        more = f"; and {len(named) - most} more" if len(named) > most else ""
        return [
            f"{len(named)} of {len(self.outcomes)} tasks look like nothing the program expects "
            f"({some}{more}): what is said of them rests on a program that does not hold there"
        ]

    @property
    def _limit(self) -> float:
        return min(TAIL, ANY / max(len(self.outcomes), 1))

    def _reason(self, task: int) -> str:
        rare = f"fewer than 1 in {1 / self._limit:,.0f} would have"
        if self.outcomes[task] < self._limit:
            return f"{rare} outcomes as unlikely"
        return f"{rare} latents as far out"


def unlike(
    program: Program, evidence: Evidence, values: Mapping[str, Any], key: PRNGKeyArray
) -> Unlike:
    """How far each task is from what the program expects.

    Args:
        program: The lifted program, with its learned parameters.
        evidence: Of all tasks.
        values: Draws from the posterior, `[chain, draw, ...]`, latents by name.
        key: For the outcomes that are drawn anew.
    """
    wanted = int(np.clip(AT_MOST // max(evidence.n_rows, 1), AT_LEAST, DRAWS))
    own = {latent.name: np.asarray(values[latent.name]) for latent in program.latents}
    flat = {name: x.reshape(1, -1, *x.shape[2:]) for name, x in own.items()}
    many = next(iter(flat.values())).shape[1]
    some = np.linspace(0, many - 1, wanted).astype(int)
    thinned = {name: x[:, some] for name, x in flat.items()}
    return Unlike(
        _of_outcomes(program, evidence, thinned, key), _of_latents(program, evidence, thinned)
    )


def _of_outcomes(
    program: Program, evidence: Evidence, values: Mapping[str, Any], key: PRNGKeyArray
) -> np.ndarray:
    if not evidence.n_rows:
        return np.ones(evidence.n_tasks)
    rows = np.asarray(replicated_rows(program, evidence, values, key), float)[0]
    ends = np.cumsum(evidence.lengths)
    totals = np.concatenate([np.zeros((len(rows), 1)), np.cumsum(rows, 1)], 1)
    sums = totals[:, ends] - totals[:, ends - evidence.lengths]
    return np.where(evidence.lengths == 0, 1.0, exceeding_zero(sums))


def exceeding_zero(x: np.ndarray) -> np.ndarray:
    """Probability that another draw is at least zero, for each column of some draws.

    Where few are, from a generalised Pareto tail by probability-weighted moments (Hosking & Wallis
    1987), never lighter than exponential: log densities have such tails even where what they are
    of is heavy-tailed.

    Args:
        x: Draws `[draw, task]`.

    Example:
        >>> chance = np.random.default_rng(0)
        >>> x = chance.exponential(size=(1000, 1)) - np.log(1e5)
        >>> bool(1e-6 < exceeding_zero(x)[0] < 1e-4)
        True
    """
    many = len(x)
    count = min(max(int(HIGHEST * many), FEW), many - 1)
    highest = np.sort(x, axis=0)[many - count - 1 :]
    excess = highest[1:] - highest[0]
    first = excess.mean(0)
    place = (np.arange(count) + 0.65) / count
    second = ((1 - place)[:, None] * excess).mean(0)
    shape = 2 - first / np.maximum(first - 2 * second, 1e-12 * first + 1e-30)
    heavy = shape > 1e-3
    scale = np.where(heavy, 2 * first * second / np.maximum(first - 2 * second, 1e-30), first)
    away = np.maximum(-highest[0], 0.0) / np.maximum(scale, 1e-30)
    safe = np.where(heavy, shape, 1.0)
    log_tail = np.where(heavy, -np.log1p(safe * away) / safe, -away)
    empirical = (x >= 0).mean(0)
    return np.where(highest[0] >= 0, empirical, count / many * np.exp(log_tail))


def _of_latents(program: Program, evidence: Evidence, values: Mapping[str, Any]) -> np.ndarray:
    if not program.prior_normal or not program.task_size or program.discrete:
        return np.ones(evidence.n_tasks)
    args = task_columns_of(evidence), evidence.n_tasks
    drawn = {name: x[0] for name, x in values.items()}
    found = over_draws(Program.unconstrain, program, drawn, args, evidence.n_tasks)
    u = np.asarray(found[1], float)
    return np.asarray(chi2.sf((u**2).sum(-1), u.shape[-1]).mean(0))
