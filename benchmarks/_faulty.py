"""Inner loops for the normal hierarchy, sound or with one fault each: for the benchmark of faults.

a ~ N(0, 1), z_i ~ N(a, 1/q), y ~ N(z_i, 1), in closed form. A row counts with a weight w; with
P = Σ w and S = Σ w y of a task

    z | a, D ~ N((q a + S) / (q + P), 1 / (q + P)),

and of a it says S / P, with precision q P / (q + P).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

import bayes_badger as bb
from bayes_badger.evidence import Evidence
from bayes_badger.program import Program

DRAWS = 1000


@dataclasses.dataclass(frozen=True)
class Hierarchy:
    """Exact inference, but for what is set.

    Attributes:
        heeds: 0 for a learner that ignores its evidence.
        decay: A row counts so much less for each that came after it in its task.
        width: Of what it believes, in standard deviations of the posterior.
        drift: By how much each row of a task moves its level beyond what it should.
        carries: 0 for a learner that forgets what tasks share as each of them ends.
        stops: After how many rows of a task it takes no more notice; 0 for never.
        tau: Sd of levels, q = 1/tau².
    """

    heeds: float = 1.0
    decay: float = 1.0
    width: float = 1.0
    drift: float = 0.0
    carries: float = 1.0
    stops: int = 0
    tau: float = 1.0

    def why_not(self, program: Program, evidence: Evidence) -> str | None:
        """It is made for one program."""
        return None

    def infer(self, program: Program, evidence: Evidence, key: Any, report: Any = None):
        """Draws of the belief."""
        n, of = evidence.n_tasks, evidence.task_index
        lengths = evidence.lengths
        place = np.arange(evidence.n_rows) - (np.cumsum(lengths) - lengths)[of]
        w = self.heeds * self.decay ** (lengths[of] - 1.0 - place)
        if self.stops:
            w = w * (place < self.stops)
        p, s = (np.bincount(of, x, n) for x in (w, w * np.asarray(evidence.outcome, float)))
        q, counts = self.tau**-2, np.full(n, self.carries)
        precision = 1 + (counts * q * p / (q + p)).sum()
        seed = np.asarray(jax.random.key_data(key)).ravel().tolist()
        rng = np.random.default_rng(seed)
        centre = (counts * q * s / (q + p)).sum() / precision
        a = centre + rng.normal(size=DRAWS) * self.width / np.sqrt(precision)
        mean = (q * a[:, None] + s) / (q + p) + self.drift * lengths
        z = mean + rng.normal(size=(DRAWS, n)) * self.width / np.sqrt(q + p)
        values = {"a": a.astype(np.float32)[None], "z": z.astype(np.float32)[None]}
        draws = bb.belief.Draws(values, {}, variables=program.variables)
        return bb.belief.Posterior(draws, independent=True)
