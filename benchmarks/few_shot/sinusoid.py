"""The sinusoids of PACOH: 20 tasks of 5 points, then new ones.

The outer loop learns the prior of `sinusoid_prior` from 20 tasks of 5 points; then each of 200 new
tasks is inferred from 5 points by the recipe `experts`, and 200 others of its points are predicted.
`known` is the same with the true prior, program `sinusoid`, whose exact answer has .154, .461 and
.851 in the long run. The others are `baselines`, the set network's program that which was learned.
"""

from __future__ import annotations

import jax
import numpy as np

from bayes_badger.evidence import from_arrays
from bayes_badger.inner_loop import experts
from bayes_badger.outer_loop import learn
from bayes_badger.program import Program
from benchmarks.few_shot import baselines, scores
from benchmarks.few_shot.programs import lifted

TASKS, STEPS, NEW, CONTEXT, TARGETS, DRAWS = 20, 5, 200, 5, 200, 4000


def world(seed: int) -> list[dict[str, object]]:
    """The known prior, the learned one and the baselines, on the same tasks."""
    rng = np.random.default_rng(seed)
    x, y = _tasks(rng, TASKS, STEPS)
    new = _tasks(rng, NEW, CONTEXT + TARGETS)
    program = lifted("sinusoid_prior")
    evidence = from_arrays(program.signature, {"x": x}, y, {})
    found = learn(program, evidence, jax.random.key(seed))
    told: list[dict[str, object]] = [
        {"prior": name, **by_experts(one, *new, CONTEXT, DRAWS)}
        for name, one in (("known", lifted("sinusoid")), ("learned", found.program))
    ]
    tasks = [(*task, CONTEXT) for task in zip(*new, strict=True)]
    return told + baselines.rows(x, y, tasks, found.program, seed)


def by_experts(
    program: Program, x: np.ndarray, y: np.ndarray, context: int, draws: int
) -> dict[str, float]:
    """Infers each task from its first points by `experts`, and predicts the others.

    Args:
        program: With its parameters.
        x: `[task, point]`.
        y: `[task, point]`.
        context: How many points to infer from.
        draws: Of each posterior.
    """
    seen = from_arrays(program.signature, {"x": x[:, :context]}, y[:, :context], {})
    loop = experts.make(experts.Settings(chains=1, draws=draws))
    found = loop.infer(program, seen, jax.random.key(0)).draws.values
    return scores.mean_of(
        [
            scores.of_draws(
                program,
                {name: np.asarray(v[0, :, i]) for name, v in found.items()},
                x[i, context:],
                y[i, context:],
            )
            for i in range(len(x))
        ]
    )


def _tasks(rng: np.random.Generator, tasks: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    slope, shift, level = (
        rng.normal(m, s, (tasks, 1)) for m, s in ((0.5, 0.2), (0, 0.1), (5, 0.1))
    )
    size, x = rng.uniform(0.7, 1.3, (tasks, 1)), rng.uniform(-5, 5, (tasks, steps))
    curve = slope * x + size * np.sin(1.5 * (x - shift)) + level
    return x, curve + 0.1 * rng.normal(size=x.shape)
