"""Is what an inner loop says biased, and are its stated errors as large as its errors?

    uv run python -m benchmarks calibration [LOOP ...]

For each inner loop there are a few hundred problems with a known posterior. Of each problem: the
mean of the draws less the true mean, in units of its Monte Carlo standard error (z of the mean);
the log of the ratio of standard deviations, in units of its own standard error (z of the sd); and
the log evidence less the true one, in units of the stated error. Without bias z has mean 0 and
standard deviation 1. A stated error of the log evidence that covers also what is alike in all tasks
is larger than most errors, so that the standard deviation of that z is smaller.

- coins: p ~ Beta(1, 1), 8 tosses of each of 200 coins, `grid` and `experts`; the posterior of each
  is a Beta distribution.
- levels: y ~ N(z, 1), z ~ N(a, 1), a ~ N(0, 1), 200 lifetimes of 6 tasks of 3 rows, `exact`.
- answers: y ~ Bernoulli(logits = z + x), z ~ N(a, 1), a ~ N(0, 1), lifetimes of 8 tasks of 4 rows,
  `experts`: tasks by quadrature given a; the truth is a dense lattice over a and z.
- pairs: the same with a slope of each task's own: two latents of a task.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
from jax import Array
from scipy.special import betaln, logsumexp
from scipy.stats import beta

import bayes_badger as bb
from bayes_badger.belief import Posterior
from bayes_badger.evidence import from_arrays
from bayes_badger.inner_loop import registry

COINS, TOSSES = 200, 8
WORLDS, TASKS, ROWS = 200, 8, 4
SIDE = np.linspace(-7.0, 7.0, 141)


def coins(x: Array, y: Array | None = None) -> None:
    """Coins that share nothing."""
    with numpyro.plate("task", x.shape[0], dim=-2):
        p = numpyro.sample("p", dist.Beta(1.0, 1.0))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Bernoulli(p), obs=y)


def levels(x: Array, y: Array | None = None) -> None:
    """Levels around a shared one."""
    a = numpyro.sample("a", dist.Normal(0.0, 1.0))
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(a, 1.0))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z + 0 * x, 1.0), obs=y)


def answers(x: Array, y: Array | None = None) -> None:
    """A few yes-or-no answers of each task."""
    a = numpyro.sample("a", dist.Normal(0.0, 1.0))
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(a, 1.0))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Bernoulli(logits=z + x), obs=y)


def pairs(x: Array, y: Array | None = None) -> None:
    """The same, with a slope of each task's own."""
    a = numpyro.sample("a", dist.Normal(0.0, 1.0))
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(a, 1.0))
        slope = numpyro.sample("slope", dist.Normal(1.0, 1.0))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Bernoulli(logits=z + slope * x), obs=y)


def _fitted(program: Callable[..., None], recipe: str, x: np.ndarray, y: np.ndarray) -> Callable:
    """A function that infers from outcomes `[task, row]`, with one compiled program."""
    lifted = bb.lift(program)
    module = registry.module(recipe)
    loop = module.make(module.Settings())

    def infer(y: np.ndarray, seed: int) -> Posterior:
        evidence = from_arrays(lifted.signature, {"x": x}, y, {})
        return loop.infer(lifted, evidence, jax.random.key(seed))

    return infer


def _row(name: str, recipe: str, means: list, sds: list, logs: list) -> dict:
    row: dict[str, object] = {"problems": name, "loop": recipe, "n": len(means or logs)}
    for what, z in (("mean", means), ("sd", sds), ("log evidence", logs)):
        if len(z):
            row |= {f"z of {what}": float(np.mean(z)), f"sd of it, {what}": float(np.std(z))}
    print(row, file=sys.stderr, flush=True)
    return row


def _scores(draws: np.ndarray, mean: float, sd: float) -> tuple[float, float]:
    """Z of the mean and of the standard deviation of independent draws of nearly normal shape."""
    n = draws.size
    kurtosis = ((draws - draws.mean()) ** 4).mean() / draws.var() ** 2
    of_sd = np.log(draws.std() / sd) / np.sqrt((kurtosis - 1) / (4 * n))
    return float((draws.mean() - mean) / (sd / np.sqrt(n))), float(of_sd)


def _of_coins(recipe: str) -> dict:
    rng = np.random.default_rng(0)
    y = rng.binomial(1, rng.uniform(size=(COINS, 1)), (COINS, TOSSES)).astype(float)
    found = _fitted(coins, recipe, np.zeros(y.shape), y)(y, 0)
    heads = y.sum(1)
    true = beta(1 + heads, 1 + TOSSES - heads)
    p = np.asarray(found.draws.values["p"], float).reshape(-1, COINS)
    z = [_scores(p[:, i], true.mean()[i], true.std()[i]) for i in range(COINS)]
    exact = betaln(1 + heads, 1 + TOSSES - heads)
    off = np.asarray(found.log_evidence_by_task, float) - exact
    row = _row(f"coins, {COINS}", recipe, *(list(x) for x in zip(*z, strict=True)), [])
    return row | {"log evidence of all, off": off.sum(), "stated": found.log_evidence_error}


def _of_levels(recipe: str) -> dict:
    rng, means, sds, logs = np.random.default_rng(1), [], [], []
    x = np.zeros((6, 3))
    infer = _fitted(levels, recipe, x, x)
    for seed in range(WORLDS):
        y = rng.normal() + rng.normal(size=(6, 1)) + rng.normal(size=x.shape)
        found = infer(y, seed)
        # The mean of a task's rows is N(a, 1 + 1/3).
        precision = 1 + 6 / (1 + 1 / 3)
        mean = y.mean(1).sum() / (1 + 1 / 3) / precision
        a = np.asarray(found.draws.values["a"], float).ravel()
        z = _scores(a, mean, precision**-0.5)
        means.append(z[0])
        sds.append(z[1])
    return _row(f"levels, {WORLDS}", recipe, means, sds, logs)


def _of_answers(recipe: str, program: Callable[..., None], dims: int) -> dict:
    rng, means, sds, logs = np.random.default_rng(2), [], [], []
    x = np.random.default_rng(3).normal(size=(TASKS, ROWS))
    infer = _fitted(program, recipe, x, x)
    z, width = SIDE, SIDE[1] - SIDE[0]
    for seed in range(WORLDS):
        a = rng.normal()
        own = a + rng.normal(size=(TASKS, 1))
        slope = 1.0 + (rng.normal(size=(TASKS, 1)) if dims == 2 else 0.0)
        y = (rng.uniform(size=x.shape) < 1 / (1 + np.exp(-(own + slope * x)))).astype(float)
        found = infer(y, seed)
        # Likelihood of each task on a lattice of its own latents, then p(z | a) at each a.
        slopes = 1.0 + SIDE[::2] if dims == 2 else np.ones(1)
        eta = z[:, None, None, None] + slopes[:, None, None] * x
        likely = -np.logaddexp(0, np.where(y > 0, -eta, eta)).sum(-1)
        if dims == 2:
            prior = -0.5 * (slopes - 1) ** 2 - 0.5 * np.log(2 * np.pi)
            likely = logsumexp(likely + prior[:, None], axis=1) + np.log(2 * width)
        else:
            likely = likely[:, 0]
        given = -0.5 * (z[:, None] - SIDE) ** 2 - 0.5 * np.log(2 * np.pi)
        each = logsumexp(likely[:, None] + given[..., None], axis=0) + np.log(width)
        log_joint = each.sum(-1) - 0.5 * SIDE**2 - 0.5 * np.log(2 * np.pi)
        total = logsumexp(log_joint) + np.log(width)
        weights = np.exp(log_joint - logsumexp(log_joint))
        mean = weights @ SIDE
        sd = np.sqrt(weights @ (SIDE - mean) ** 2)
        scores = _scores(np.asarray(found.draws.values["a"], float).ravel(), mean, sd)
        means.append(scores[0])
        sds.append(scores[1])
        logs.append((found.log_evidence - total) / found.log_evidence_error)
    covered = float(np.mean(np.abs(logs) <= 2))
    name = f"{program.__name__}, {WORLDS}"
    return _row(name, recipe, means, sds, logs) | {"within 2 stated errors": covered}


PARTS: dict[str, Callable[[], dict]] = {
    "exact": lambda: _of_levels("exact"),
    "grid": lambda: _of_coins("grid"),
    "experts": lambda: _of_coins("experts"),
    "levels": lambda: _of_levels("experts"),
    "answers": lambda: _of_answers("experts", answers, 1),
    "pairs": lambda: _of_answers("experts", pairs, 2),
}


def run(*parts: str) -> pd.DataFrame:
    """A row for each of the parts that are named, or for all."""
    return pd.DataFrame([PARTS[part]() for part in parts or PARTS])
