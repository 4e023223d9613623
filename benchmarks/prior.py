"""A prior that is learned against the true one: held-out code length, in nats per task.

    uv run python -m benchmarks prior

Worlds of 2,000 tasks with 5 observations each, y ~ N(z, 1), whose z come from a normal, from a
Student t with 3 degrees of freedom, and from two clusters. The learner's prior is the same for all:
a mixture of four normals whose weights, places and scales are learned by the outer loop with its
default settings. They start at places from -2 to 2 with scales from 1/2 to 4: one that is wide from
the start finds tails, to which four of one scale come late. Held out are 20,000 tasks of the same
world; their code length under the learned prior is compared with that under the true one, both by
dense quadrature in float64, paired.

`schools`: 300 groups with one observation each, of known standard errors from 9 to 18, as in eight
schools; mean and scale against the maximum of the likelihood in closed form, over 20 worlds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
from scipy import stats
from scipy.optimize import minimize

import bayes_badger as bb
from bayes_badger.evidence import from_arrays
from bayes_badger.outer_loop import learn
from benchmarks._mixture import density, lifted

SEED, TASKS, STEPS, HELD_OUT, PARTS = 0, 2000, 5, 20_000, 4
SCALES = np.geomspace(0.5, 4.0, PARTS)
NODES = np.linspace(-30.0, 30.0, 6001)
GROUPS, WORLDS = 300, 20

Draw = Callable[[np.random.Generator, int], np.ndarray]
WORLDS_OF_Z: dict[str, tuple[Draw, Callable[[np.ndarray], np.ndarray]]] = {
    "normal": (
        lambda rng, n: 1.0 + 2.0 * rng.normal(size=n),
        lambda z: stats.norm.pdf(z, 1, 2),
    ),
    "heavy tails": (
        lambda rng, n: rng.standard_t(3, size=n),
        lambda z: stats.t.pdf(z, 3),
    ),
    "two clusters": (
        lambda rng, n: np.where(rng.uniform(size=n) < 0.3, -3.0, 2.0) + 0.5 * rng.normal(size=n),
        lambda z: 0.3 * stats.norm.pdf(z, -3, 0.5) + 0.7 * stats.norm.pdf(z, 2, 0.5),
    ),
}


def run(*parts: str) -> pd.DataFrame:
    """Each world, or those that are named; and `schools`."""
    rows = []
    for name in parts or (*WORLDS_OF_Z, "schools"):
        row = _schools() if name == "schools" else _world(name)
        print(row, file=sys.stderr, flush=True)
        rows.append(row)
    return pd.DataFrame(rows)


def _world(name: str) -> dict[str, object]:
    draw, truth = WORLDS_OF_Z[name]
    rng = np.random.default_rng(SEED)

    def outcomes(tasks: int) -> np.ndarray:
        return draw(rng, tasks)[:, None] + rng.normal(size=(tasks, STEPS))

    y, held_out = outcomes(TASKS), outcomes(HELD_OUT)
    program = lifted("clusters", PARTS, 2.0, SCALES)
    evidence = from_arrays(program.signature, {"x": np.zeros_like(y)}, y, {})
    started = time.monotonic()
    found = learn(program, evidence, jax.random.key(SEED))
    seconds = time.monotonic() - started
    learned = density(found.program.parameters, NODES)
    more = _code(held_out, learned) - _code(held_out, truth(NODES))
    return {
        "world": name,
        "nats per task more than the true prior": more.mean(),
        "se": more.std() / np.sqrt(len(more)),
        "outer steps": found.steps,
        "seconds": seconds,
        "warnings": "; ".join(found.warnings),
    }


def _code(y: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Code length of each task, in nats, for a prior density on the nodes."""
    mean, steps = y.mean(1), y.shape[1]
    apart = ((y - mean[:, None]) ** 2).sum(1)
    constant = -0.5 * apart - 0.5 * steps * np.log(2 * np.pi) + 0.5 * np.log(2 * np.pi / steps)
    found = []
    for some in np.array_split(mean, 40):
        kernel = stats.norm.pdf(some[:, None], NODES, 1 / np.sqrt(steps))
        found.append(np.log(kernel @ prior * (NODES[1] - NODES[0])))
    return -(constant + np.concatenate(found))


def levels(sigma, y=None):  # type: ignore[no-untyped-def]
    """Eight schools, many of them."""
    mu = numpyro.param("mu", 0.0)
    tau = numpyro.param("tau", 1.0, constraint=dist.constraints.positive)
    with numpyro.plate("task", sigma.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(mu, tau))
        with numpyro.plate("step", sigma.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z, sigma), obs=y)


def _schools() -> dict[str, object]:
    program = bb.lift(levels)
    rng, off, seconds = np.random.default_rng(SEED), [], []
    for i in range(WORLDS):
        sigma = rng.uniform(9, 18, (GROUPS, 1))
        y = 8.0 + 10.0 * rng.normal(size=sigma.shape) + sigma * rng.normal(size=sigma.shape)
        evidence = from_arrays(program.signature, {"sigma": sigma}, y, {})
        started = time.monotonic()
        found = learn(program, evidence, jax.random.key(i))
        seconds.append(time.monotonic() - started)

        def code(p: np.ndarray, y: np.ndarray = y, sigma: np.ndarray = sigma) -> float:
            spread = np.sqrt(np.exp(2 * p[1]) + sigma**2)
            return float(-stats.norm.logpdf(y, p[0], spread).sum())

        best = minimize(code, np.array([8.0, 2.3]))
        scale = float(found.program.parameters["tau"]) / np.exp(best.x[1])
        off.append((scale, float(found.program.parameters["mu"]) - best.x[0]))
    ratio, apart = np.array(off).T
    return {
        "world": "schools",
        "largest relative error of the scale": np.abs(ratio - 1).max(),
        "largest error of the mean": np.abs(apart).max(),
        "seconds": np.median(seconds),
    }
