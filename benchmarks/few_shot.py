"""Few tasks to learn from, few points to go by: the sinusoids of PACOH.

    uv run python -m benchmarks few_shot [SEEDS]

The outer loop learns the prior of `sinusoid_prior` from 20 tasks of 5 points; then each of 200 new
tasks is inferred from 5 points by the recipe `experts`, and 200 others of its points are predicted.
Columns: root mean squared error of the predictive mean; mean log density of an outcome by itself
(marginal), and of a task's 200 outcomes together, per outcome (joint), in nats. `known` is the
same with the true prior, program `sinusoid`, whose exact answer has .154, .461 and .851 in the long
run. Means over worlds, each with its own tasks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

import bayes_badger as bb
from bayes_badger.evidence import from_arrays
from bayes_badger.inner_loop import experts
from bayes_badger.outer_loop import learn
from bayes_badger.program import Program
from bayes_badger.shelves import load_program

TASKS, STEPS, NEW, CONTEXT, TARGETS, DRAWS = 20, 5, 200, 5, 200, 4000


def run(seeds: str = "10") -> pd.DataFrame:
    """So many worlds."""
    rows = []
    for seed in range(int(seeds)):
        rng = np.random.default_rng(seed)
        x, y = _tasks(rng, TASKS, STEPS)
        new = _tasks(rng, NEW, CONTEXT + TARGETS)
        program = _lifted("sinusoid_prior")
        evidence = from_arrays(program.signature, {"x": x}, y, {})
        found = learn(program, evidence, jax.random.key(seed))
        for name, one in (("learned", found.program), ("known", _lifted("sinusoid"))):
            row = {"prior": name, "seed": seed, **_scores(one, *new)}
            print(row, found.steps, found.warnings, file=sys.stderr, flush=True)
            rows.append(row)
    return pd.DataFrame(rows).groupby("prior").mean().drop(columns="seed").reset_index()


def _tasks(rng: np.random.Generator, tasks: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    slope, shift, level = (
        rng.normal(m, s, (tasks, 1)) for m, s in ((0.5, 0.2), (0, 0.1), (5, 0.1))
    )
    size, x = rng.uniform(0.7, 1.3, (tasks, 1)), rng.uniform(-5, 5, (tasks, steps))
    curve = slope * x + size * np.sin(1.5 * (x - shift)) + level
    return x, curve + 0.1 * rng.normal(size=x.shape)


def _lifted(name: str) -> Program:
    loaded = load_program(name)
    return bb.lift(loaded.model, inputs=loaded.optional("inputs"), name=name)


def _scores(program: Program, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    context = from_arrays(program.signature, {"x": x[:, :CONTEXT]}, y[:, :CONTEXT], {})
    loop = experts.make(experts.Settings(chains=1, draws=DRAWS))
    found = loop.infer(program, context, jax.random.key(0)).draws.values
    noise = float(program.parameters.get("noise", 0.1))
    frequency = float(program.parameters.get("frequency", 1.5))
    curve: Callable[..., jax.Array] = jax.jit(
        lambda z, x: (
            z["slope"][:, None] * x
            + z["amplitude"][:, None] * jnp.sin(frequency * (x - z["shift"][:, None]))
            + z["level"][:, None]
        )
    )
    squares, marginal, joint = [], [], []
    for i in range(NEW):
        z = {n: np.asarray(v[0, :, i]) for n, v in found.items()}
        mean = np.asarray(curve(z, x[i, CONTEXT:]), float)
        target = y[i, CONTEXT:]
        each = -0.5 * ((target - mean) / noise) ** 2 - np.log(noise) - 0.5 * np.log(2 * np.pi)
        squares.append(((target - mean.mean(0)) ** 2).mean())
        marginal.append((np.logaddexp.reduce(each, axis=0) - np.log(len(each))).mean())
        whole = np.logaddexp.reduce(each.sum(1)) - np.log(len(each))
        joint.append(whole / TARGETS)
    rmse = float(np.sqrt(np.mean(squares)))
    return {"rmse": rmse, "marginal": float(np.mean(marginal)), "joint": float(np.mean(joint))}
