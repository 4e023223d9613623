"""The sines of MAML, 5 or 10 points without noise, after Finn et al. (2017).

The outer loop learns `sinusoid_maml` (frequency, noise, means and spreads of amplitude and phase)
from 100 tasks of 10 points; then 100 new tasks are inferred from 5 and from 10 points by the recipe
`experts`, and 100 others of each are predicted. `known` is the same with the true prior. Both
programs take the noise to be .01 at least.
"""

from __future__ import annotations

import jax
import numpy as np

from bayes_badger.evidence import from_arrays
from bayes_badger.outer_loop import learn
from benchmarks.few_shot.programs import lifted
from benchmarks.few_shot.sinusoid import by_experts

TASKS, STEPS, NEW, SHOTS, TARGETS, DRAWS = 100, 10, 100, (5, 10), 100, 1000


def world(seed: int) -> list[dict[str, object]]:
    """The known prior and the learned one, on the same tasks; mse is of 5 and of 10 points."""
    rng = np.random.default_rng(seed)
    x, y = _tasks(rng, TASKS, STEPS)
    new_x, new_y = _tasks(rng, NEW, max(SHOTS) + TARGETS)
    program = lifted("sinusoid_maml")
    evidence = from_arrays(program.signature, {"x": x}, y, {})
    learned = learn(program, evidence, jax.random.key(seed)).program
    rows: list[dict[str, object]] = []
    for name, one in (("known", lifted("sinusoid_maml", world=True)), ("learned", learned)):
        row: dict[str, object] = {"prior": name}
        for shots in SHOTS:
            # The points to predict are the same, however many were seen.
            kept = np.r_[:shots, max(SHOTS) : max(SHOTS) + TARGETS]
            found = by_experts(one, new_x[:, kept], new_y[:, kept], shots, DRAWS)
            row |= {f"{kind} {shots}": value for kind, value in found.items()}
            row[f"mse {shots}"] = found["rmse"] ** 2
        rows.append(row)
    return rows


def _tasks(rng: np.random.Generator, tasks: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    amplitude, phase = rng.uniform(0.1, 5.0, (tasks, 1)), rng.uniform(0.0, np.pi, (tasks, 1))
    x = rng.uniform(-5.0, 5.0, (tasks, steps))
    return x, amplitude * np.sin(x - phase)
