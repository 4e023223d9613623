"""Standard errors of learned parameters against the exact ones, and how often they hold.

    uv run python -m benchmarks standard_errors [PART[:WORLDS | :FROM:TO] ...]

`levels`: the table of the README, against the curvature of its marginal likelihood, which is known
in closed form, in float64. `4`, `20`, `200`: worlds of so many tasks with two rows each, y ~ N(z,
sigma), z ~ N(1, 1.5²), sigma from .3 to .6. The parameters are learned in each; told are the share
of worlds in which the truth lies within two standard errors, of those that have one, and the
largest relative difference from the exact standard error at the exact maximum. The parameter tau
has none where the likelihood is flat towards tau = 0. `heads`: worlds of 40 tasks of eight tosses
whose log odds are N(.5, 1.5²), against quadrature: nothing is in closed form there.

"Doubted" are worlds in which it is said that the program does not describe how tasks vary. All are
as the program says but for the parts `clusters` and `tails`: 200 tasks whose z lie at -.5 and 2.5,
and z from Student's t with 3 degrees of freedom.

Each world is drawn by its number alone and is kept when it is done, so that `20:0:250` and
`20:250:500` may be two processes, and `20` then adds them up.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
from scipy.optimize import minimize

import bayes_badger as bb
from bayes_badger.evidence import Evidence, from_arrays
from bayes_badger.outer_loop import Learned, Settings, learn
from bayes_badger.program import Signature
from benchmarks._kept import Kept, between
from benchmarks.prior import levels

WORLDS = {"4": 500, "20": 500, "200": 500, "heads": 100, "clusters": 50, "tails": 50}
TASKS = {"4": 4, "20": 20, "200": 200, "heads": 40, "clusters": 200, "tails": 200}
MEAN, SCALE, STEPS, TOSSES = 1.0, 1.5, 2, 8
# The README's table: sigma and y of two rows of each group.
SIGMA = np.array([[0.5, 0.5], [0.5, 0.4], [0.6, 0.5], [0.5, 0.3]])
Y = np.array([[2.1, 1.6], [-0.9, -1.3], [0.4, 0.8], [3.2, 2.9]])
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)

Code = Callable[[np.ndarray], float]


def run(*parts: str) -> pd.DataFrame:
    """Each part, or those that are named; "4:100" has 100 worlds of the part "4"."""
    rows = []
    for part in parts or ("levels", *WORLDS):
        name, _, worlds = part.partition(":")
        found = _levels() if name == "levels" else _worlds(name, between(worlds, WORLDS[name]))
        for row in found:
            print(row, file=sys.stderr, flush=True)
            rows.append(row)
    return pd.DataFrame(rows)


def heads(x, y=None):  # type: ignore[no-untyped-def]
    """Tosses of coins whose log odds vary."""
    mu = numpyro.param("mu", 0.0)
    tau = numpyro.param("tau", 1.0, constraint=dist.constraints.positive)
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(mu, tau))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Bernoulli(logits=z + 0 * x), obs=y)


def normal_code(sigma: np.ndarray, y: np.ndarray) -> Code:
    """Minus the log evidence of `levels` but for a constant, of mu and log tau.

    Args:
        sigma: Known standard errors, `[task, step]`.
        y: Outcomes, `[task, step]`.
    """
    weight = sigma**-2.0
    mean, variance = (weight * y).sum(1) / weight.sum(1), 1 / weight.sum(1)

    def code(free: np.ndarray) -> float:
        spread = np.exp(2 * free[1]) + variance
        return float(0.5 * (np.log(spread) + (mean - free[0]) ** 2 / spread).sum())

    return code


def heads_code(y: np.ndarray) -> Code:
    """The same of `heads`, by quadrature."""
    ones, tosses = y.sum(1)[:, None], y.shape[1]

    def code(free: np.ndarray) -> float:
        odds = free[0] + np.exp(free[1]) * NODES
        log_1, log_0 = -np.logaddexp(0, -odds), -np.logaddexp(0, odds)
        joint = np.exp(ones * log_1 + (tosses - ones) * log_0) @ WEIGHTS
        return float(-np.log(joint).sum())

    return code


def exact(code: Code, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The maximum, and standard errors of mu and tau by its curvature; nan where it has none."""
    starts = [start + np.array([0.0, away]) for away in (0.0, 1.0, -1.0)]
    best = min((minimize(code, at, tol=1e-10) for at in starts), key=lambda found: float(found.fun))
    information = curvature(code, best.x)
    if not (np.linalg.eigvalsh(information) > 0).all():
        return best.x, np.full(2, np.nan)
    errors = np.sqrt(np.diag(np.linalg.inv(information)))
    return best.x, errors * np.array([1.0, np.exp(best.x[1])])


def curvature(code: Code, at: np.ndarray, width: float = 1e-3) -> np.ndarray:
    """Second differences, of the fourth order, `[p, p]`."""
    axes, size = np.eye(len(at)) * width, len(at)
    found = np.zeros((size, size))
    coarse = {1: 4 / 3, 2: -1 / 3}
    for i in range(size):
        for j in range(size):
            for step, weight in coarse.items():
                a, b = step * axes[i], step * axes[j]
                corners = code(at + a + b) - code(at + a - b) - code(at - a + b) + code(at - a - b)
                found[i, j] += weight * corners / (2 * step * width) ** 2
    return found


def _levels() -> list[dict[str, object]]:
    program = bb.lift(levels)
    found = learn(program, _evidence(program.signature, SIGMA, Y), jax.random.key(0))
    top, errors = exact(normal_code(SIGMA, Y), np.zeros(2))
    values = (float(top[0]), float(np.exp(top[1])))
    return [
        {
            "part": "levels",
            "parameter": name,
            "learned": float(found.program.parameters[name]),
            "at the maximum": value,
            "standard error": float(found.errors[name]),
            "exact": error,
        }
        for name, value, error in zip(("mu", "tau"), values, errors, strict=True)
    ]


def _worlds(part: str, worlds: range) -> list[dict[str, object]]:
    tasks, kept = TASKS[part], Kept("standard_errors")
    done = kept.rows()
    lifted = bb.lift(heads, inputs=lambda key, t, s: {"x": jnp.zeros((t, s))})
    program = lifted if part == "heads" else bb.lift(levels)
    for world in worlds:
        if f"{part}:{world}" in done:
            continue
        started, rng = time.monotonic(), np.random.default_rng([tasks, world])
        z = _drawn(part, rng, tasks)
        if part == "heads":
            y = (rng.uniform(size=(tasks, TOSSES)) < 1 / (1 + np.exp(-z))).astype(int)
            evidence = from_arrays(program.signature, {"x": np.zeros(y.shape)}, y, {})
            code = heads_code(y)
        else:
            sigma = rng.uniform(0.3, 0.6, (tasks, STEPS))
            y = z + sigma * rng.normal(size=sigma.shape)
            evidence, code = _evidence(program.signature, sigma, y), normal_code(sigma, y)
        learned = learn(program, evidence, jax.random.key(world), Settings(starts=1))
        row = _beside(learned, *exact(code, np.array([MEAN, np.log(SCALE)])))
        kept.add(f"{part}:{world}", row | {"seconds": time.monotonic() - started})
    done = kept.rows()
    found = [done[f"{part}:{world}"] for world in worlds]
    shared = {
        "doubted": sum(each["doubted"] for each in found),
        "seconds per world": float(np.mean([each["seconds"] for each in found])),
        "commits": " ".join(sorted({each["commit"] for each in found})),
    }
    return [
        {"part": part, "tasks": tasks, "worlds": len(worlds), "parameter": name}
        | _summed(np.array([each[name] for each in found], float), truth, name == "tau")
        | shared
        for name, truth in (("mu", MEAN), ("tau", SCALE))
    ]


def _drawn(part: str, rng: np.random.Generator, tasks: int) -> np.ndarray:
    if part == "clusters":
        return rng.choice([MEAN - SCALE, MEAN + SCALE], (tasks, 1))
    if part == "tails":
        return MEAN + rng.standard_t(3, (tasks, 1)) * SCALE / np.sqrt(3)
    return MEAN + SCALE * rng.normal(size=(tasks, 1))


def _evidence(signature: Signature, sigma: np.ndarray, y: np.ndarray) -> Evidence:
    return from_arrays(signature, {"sigma": sigma}, y, {})


def _beside(learned: Learned, top: np.ndarray, errors: np.ndarray) -> dict[str, Any]:
    """Of mu and of tau: learned, told error, exact error; and whether the program is doubted."""
    doubted = any("does not describe how tasks vary" in each for each in learned.warnings)
    rows = {
        name: [float(learned.program.parameters[name]), float(learned.errors[name]), float(error)]
        for name, error in zip(("mu", "tau"), errors, strict=True)
    }
    return rows | {"doubted": doubted}


def _summed(rows: np.ndarray, truth: float, positive: bool) -> dict[str, object]:
    value, told, exact_one = rows.T
    known = np.isfinite(told)
    off = np.abs(told / exact_one - 1)[known & np.isfinite(exact_one)]
    inside = np.abs(value - truth)[known] <= 2 * told[known]
    share = inside.mean() if known.any() else np.nan
    # Of a scale also the interval of its logarithm, which is told beside.
    logs = np.abs(np.log(value / truth))[known] <= 2 * (told / value)[known] if positive else inside
    return {
        "within 2 standard errors": share,
        "by its logarithm": logs.mean() if known.any() else np.nan,
        "se": np.sqrt(share * (1 - share) / max(known.sum(), 1)),
        "off by, median": np.median(off),
        "95% of worlds": np.quantile(off, 0.95),
        "at most": off.max(),
        "no standard error": int((~known).sum()),
    }
