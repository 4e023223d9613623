"""What the outer loop memorises, and what it leaves to the inner loop: a sweep of the penalty λ.

    uv run python -m benchmarks memorise [WORLDS]

Each world has a pool of four tasks, levels drawn from N(0, 2²); 200 lifetimes of 3 observations
y ~ N(z, 1) come from tasks of the pool. The learner's prior is a mixture of eight normals that the
outer loop may narrow to the pool, and that starts as wide as the world. In nats per lifetime, on
2,000 new ones of the same pool, by dense quadrature:

- memorised: how much better the learned prior predicts them than the prior that it started as;
- learned: E KL(p(z | D), p_ψ(z)), how far evidence moves the belief of the inner loop;
- elsewhere: what the learned prior costs on lifetimes of tasks that are not in the pool.

Means over worlds with their standard errors. A pool of four is memorised whole where evidence says
no more than which of the four it is: log 4 = 1.386 nats at most.
"""

from __future__ import annotations

import sys

import jax
import numpy as np
import pandas as pd

from bayes_badger.evidence import from_arrays
from bayes_badger.outer_loop import Settings, learn
from benchmarks._mixture import density, lifted

POOL, LIFETIMES, ROWS, NEW, PARTS, WIDTH = 4, 200, 3, 2000, 8, 2.0
PENALTIES = (0.0, 0.1, 1.0, 10.0, 100.0, 1000.0, 10_000.0)
NODES = np.linspace(-16.0, 16.0, 6401)


def run(worlds: str = "6") -> pd.DataFrame:
    """One row for each λ."""
    found = []
    for seed in range(int(worlds)):
        found += [{"penalty": weight, **_world(seed, weight)} for weight in PENALTIES]
        print(seed, file=sys.stderr, flush=True)
    groups = pd.DataFrame(found).groupby("penalty")
    means, errors = groups.mean(), groups.std() / np.sqrt(int(worlds))
    return means.join(errors, rsuffix=" se").reset_index()


def _world(seed: int, weight: float) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    levels = WIDTH * rng.normal(size=POOL)

    def lifetimes(n: int, z: np.ndarray) -> np.ndarray:
        return z[:, None] + rng.normal(size=(n, ROWS))

    y = lifetimes(LIFETIMES, rng.choice(levels, LIFETIMES))
    new = lifetimes(NEW, rng.choice(levels, NEW))
    other = lifetimes(NEW, WIDTH * rng.normal(size=NEW))
    program = lifted("pool", PARTS, WIDTH, WIDTH / 2)
    evidence = from_arrays(program.signature, {"x": np.zeros_like(y)}, y, {})
    found = learn(program, evidence, jax.random.key(seed), Settings(penalty=weight))
    start, learned = (density(one.parameters, NODES) for one in (program, found.program))
    before, _ = _looked_at(new, start)
    after, moved = _looked_at(new, learned)
    elsewhere = _looked_at(other, start)[0] - _looked_at(other, learned)[0]
    return {
        "memorised": float((after - before).mean()),
        "learned": float(moved.mean()),
        "elsewhere": float(elsewhere.mean()),
    }


def _looked_at(y: np.ndarray, prior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log evidence of each lifetime up to a constant, and KL(posterior, prior), in nats."""
    step = NODES[1] - NODES[0]
    kernel = -0.5 * ROWS * (y.mean(1)[:, None] - NODES) ** 2
    mass = np.exp(kernel) * prior * step
    evidence = mass.sum(1)
    posterior = mass / evidence[:, None]
    return np.log(evidence), (posterior * kernel).sum(1) - np.log(evidence)
