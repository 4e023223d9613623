"""Is what an inner loop or a measure says biased, and are stated errors as large as errors?

    uv run python -m benchmarks calibration [LOOP | MEASURE ...] [PROBLEM ...] [FROM:TO]

For each inner loop there are a few hundred problems with a known posterior. Of each problem: the
mean of the draws less the true mean, in units of its Monte Carlo standard error (z of the mean);
the log of the ratio of standard deviations, in units of its own standard error (z of the sd); and
the log evidence less the true one, in units of the stated error. Without bias z has mean 0 and
standard deviation 1. A stated error of the log evidence that covers also what is alike in all tasks
is larger than most errors, so that the standard deviation of that z is smaller.

- coins: p ~ Beta(1, 1), 8 tosses of each of 200 coins; each posterior is a Beta distribution.
- levels: y ~ N(z, 1), z ~ N(a, 1), a ~ N(0, 1), 200 lifetimes of 6 tasks of 3 rows.
- answers: y ~ Bernoulli(logits = z + x), z ~ N(a, 1), a ~ N(0, 1), lifetimes of 8 tasks of 4 rows;
  the truth is a dense lattice over a and z.
- pairs: the same with a slope of each task's own: two latents of a task.

Measures, whose z is the estimate less the truth over the stated error, with other seeds and data:

- information_gain: of the level of a task with 5 rows, .5 log 6 nats.
- information_between_tasks: of two tasks of `levels` with 3 rows, in closed form.
- posterior_shift: of `levels` by `exact`, in closed form for each lifetime.

Worlds FROM to TO (of coins there is one) can be processes of their own: each is kept as soon as it
is known and is not run again, and the table adds up all that are kept of those asked for.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
from jax import Array
from numpyro.diagnostics import effective_sample_size
from scipy.special import betaln, logsumexp
from scipy.stats import beta

import bayes_badger as bb
from bayes_badger.belief import Posterior
from bayes_badger.evidence import from_arrays
from bayes_badger.measures import exact
from bayes_badger.program import read_signature
from bayes_badger.recipe import load_recipe
from benchmarks._kept import Kept, between

COINS, TOSSES = 200, 8
WORLDS, TASKS, ROWS = 200, 8, 4
LEVELS = (6, 3)
# Answers that are all alike leave the posterior of a task as wide as the prior, far out.
SIDE = np.linspace(-12.0, 12.0, 241)
MEAN, SD, EVIDENCE = "mean", "sd", "log evidence"
# What is found in one world: lists of z.
Scores = dict[str, list[float]]


def coins(x: Array, y: Array | None = None) -> None:
    """Coins that share nothing."""
    with numpyro.plate("task", x.shape[0], dim=-2):
        p = numpyro.sample("p", dist.Beta(1.0, 1.0))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Bernoulli(p), obs=y)


def own(x: Array, y: Array | None = None) -> None:
    """Levels that share nothing."""
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z + 0 * x, 1.0), obs=y)


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


Infer = Callable[[np.ndarray, int], Posterior]


def _fitted(program: Callable[..., None], recipe: str, x: np.ndarray) -> Infer:
    """Infers from outcomes `[task, row]`, with one lifted program for all worlds."""
    lifted = bb.lift(program)
    loop = load_recipe(recipe).make()

    def infer(y: np.ndarray, seed: int) -> Posterior:
        evidence = from_arrays(lifted.signature, {"x": x}, y, {})
        return loop.infer(lifted, evidence, jax.random.key(seed))

    return infer


def _scores(draws: np.ndarray, mean: float, sd: float) -> tuple[float, float]:
    """Z of the mean and of the standard deviation of nearly normal draws, `[chain, draw]`."""
    away = draws - draws.mean()
    n, of_squares = (min(effective_sample_size(x), x.size) for x in (draws, away**2))
    kurtosis = (away**4).mean() / draws.var() ** 2
    of_sd = np.log(draws.std() / sd) / np.sqrt((kurtosis - 1) / (4 * of_squares))
    return float((draws.mean() - mean) / (sd / np.sqrt(n))), float(of_sd)


def _of_coins(infer: Infer, world: int) -> Scores:
    rng = np.random.default_rng([0, world])
    y = rng.binomial(1, rng.uniform(size=(COINS, 1)), (COINS, TOSSES)).astype(float)
    found = infer(y, world)
    heads = y.sum(1)
    true = beta(1 + heads, 1 + TOSSES - heads)
    means, sds = true.mean(), true.std()
    p = np.asarray(found.draws.values["p"], float)
    p = p.reshape(*p.shape[:2], COINS)
    z = [_scores(p[..., i], means[i], sds[i]) for i in range(COINS)]
    scores: Scores = {MEAN: [x[0] for x in z], SD: [x[1] for x in z]}
    right = float(betaln(1 + heads, 1 + TOSSES - heads).sum())
    return scores | _of_evidence(found, right)


def _of_evidence(found: Posterior, right: float) -> Scores:
    """Of the log evidence, where the loop states its error."""
    if found.log_evidence is None or not found.log_evidence_error:
        return {}
    off = float(found.log_evidence) - right
    return {EVIDENCE: [off / float(found.log_evidence_error)], "off": [off]}


def _of_levels(infer: Infer, world: int) -> Scores:
    rng = np.random.default_rng([1, world])
    y = rng.normal() + rng.normal(size=(LEVELS[0], 1)) + rng.normal(size=LEVELS)
    found = infer(y, world)
    # The mean of a task's rows is N(a, 1 + 1/3).
    precision = 1 + LEVELS[0] / (1 + 1 / LEVELS[1])
    mean = y.mean(1).sum() / (1 + 1 / LEVELS[1]) / precision
    of_mean, of_sd = _scores(_drawn(found), mean, precision**-0.5)
    same = np.kron(np.eye(LEVELS[0]), np.ones((LEVELS[1], LEVELS[1])))
    spread = 1.0 + same + np.eye(y.size)
    flat = y.ravel()
    right = -0.5 * (flat @ np.linalg.solve(spread, flat) + np.linalg.slogdet(spread)[1])
    right -= 0.5 * flat.size * np.log(2 * np.pi)
    return {MEAN: [of_mean], SD: [of_sd]} | _of_evidence(found, float(right))


def _drawn(found: Posterior) -> np.ndarray:
    a = np.asarray(found.draws.values["a"], float)
    return a.reshape(a.shape[:2])


def _of_answers(dims: int) -> Callable[[Infer, int], Scores]:
    x, z, width = _queries(), SIDE, SIDE[1] - SIDE[0]

    def of_world(infer: Infer, world: int) -> Scores:
        rng = np.random.default_rng([2, world])
        a = rng.normal()
        own = a + rng.normal(size=(TASKS, 1))
        slope = 1.0 + (rng.normal(size=(TASKS, 1)) if dims == 2 else 0.0)
        y = (rng.uniform(size=x.shape) < 1 / (1 + np.exp(-(own + slope * x)))).astype(float)
        found = infer(y, world)
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
        of_mean, of_sd = _scores(_drawn(found), mean, sd)
        return {MEAN: [of_mean], SD: [of_sd]} | _of_evidence(found, float(total))

    return of_world


def _queries() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(TASKS, ROWS))


# Of each problem: the program, its column, what is found in one world, and how many worlds.
PROBLEMS: dict[str, tuple[Callable[..., None], np.ndarray, Callable[[Infer, int], Scores], int]] = {
    "coins": (coins, np.zeros((COINS, TOSSES)), _of_coins, 1),
    "levels": (levels, np.zeros(LEVELS), _of_levels, WORLDS),
    "answers": (answers, _queries(), _of_answers(1), WORLDS),
    "pairs": (pairs, _queries(), _of_answers(2), WORLDS),
}
# Laplace's Gaussian is the posterior of levels alone.
LOOPS = {
    "exact": ("levels",),
    "grid": ("coins", "levels", "answers"),
    "experts": ("coins", "levels", "answers", "pairs"),
    "nuts": ("levels", "answers"),
    "laplace": ("levels",),
}


def _of_gain() -> Callable[[int], Scores]:
    run = _levels_run(np.zeros((2, 5)), own)
    truth = exact.normal_level(5.0)

    def of_world(seed: int) -> Scores:
        found = bb.measures.information_gain(run, steps=5, tasks=100, seed=seed).sel(rows_seen=5)
        return {"estimate": [float((found["middle"] - truth) / found["middle_se"])]}

    return of_world


def _of_between() -> Callable[[int], Scores]:
    run = _levels_run(np.zeros((2, LEVELS[1])), levels)
    truth = exact.normal_between_tasks(float(LEVELS[1]))

    def of_world(seed: int) -> Scores:
        found = bb.measures.information_between_tasks(run, lifetimes=100, tasks=2, seed=seed)
        return {"estimate": [float((found["between"] - truth) / found["between_se"])]}

    return of_world


def _of_shift() -> Callable[[int], Scores]:
    def of_world(seed: int) -> Scores:
        rng = np.random.default_rng([1, seed])
        y = rng.normal() + rng.normal(size=(LEVELS[0], 1)) + rng.normal(size=LEVELS)
        run = _levels_run(y, levels, seed)
        found = bb.measures.posterior_shift(run, steps=0, seed=seed)
        off = float(found["total"] - found["total_exact"])
        return {"estimate": [off / float(found["total_se"])]}

    return of_world


def _levels_run(y: np.ndarray, program: Callable[..., None], seed: int = 0) -> Any:
    evidence = from_arrays(read_signature(program), {"x": np.zeros(y.shape)}, y, {})
    return bb.fit(program, evidence, trust="off", seed=seed)


MEASURES: dict[str, Callable[[], Callable[[int], Scores]]] = {
    "information_gain": _of_gain,
    "information_between_tasks": _of_between,
    "posterior_shift": _of_shift,
}


def run(*words: str) -> pd.DataFrame:
    """A row for each loop or measure that is named, or for all, on each problem that is named."""
    ranges = [word for word in words if ":" in word]
    loops = [word for word in words if word in LOOPS]
    measured = [word for word in words if word in MEASURES]
    problems = [word for word in words if word in PROBLEMS] or list(PROBLEMS)
    known = {*ranges, *loops, *measured, *problems}
    if wrong := [word for word in words if word not in known]:
        sys.exit(f"{wrong[0]}: choose of {', '.join([*LOOPS, *MEASURES, *PROBLEMS])} and FROM:TO")
    if not loops and not measured:
        loops, measured = list(LOOPS), list(MEASURES)
    rows = []
    for loop in loops:
        for problem in (each for each in LOOPS[loop] if each in problems):
            program, x, scores, most = PROBLEMS[problem]
            worlds = between(ranges[0] if ranges else "", most)
            worlds = range(worlds.start, min(worlds.stop, most))

            def make(
                program: Any = program, x: Any = x, scores: Any = scores, loop: str = loop
            ) -> Callable[[int], Scores]:
                infer = _fitted(program, loop, x)
                return lambda world: scores(infer, world)

            rows.append(_row(loop, problem, worlds, make))
    for name in measured:
        worlds = between(ranges[0] if ranges else "", WORLDS)
        rows.append(_row(name, "seeds", worlds, MEASURES[name]))
    return pd.DataFrame(rows)


def _row(
    what: str, problem: str, worlds: Iterable[int], make: Callable[[], Callable[[int], Scores]]
) -> dict[str, Any]:
    """All worlds of one row, those that are not kept computed anew."""
    kept, of_world = Kept("calibration"), None
    done = kept.rows()
    keys = {world: f"{what}:{problem}:{world}" for world in worlds}
    for world, key in keys.items():
        if key not in done:
            of_world = of_world or make()
            started = time.monotonic()
            found: dict[str, Any] = {"z": of_world(world)}
            kept.add(key, found | {"seconds": time.monotonic() - started})
    done = kept.rows()
    found = [done[key] for key in keys.values()]
    row: dict[str, Any] = {"by": what, "problems": problem, "worlds": len(found)}
    for name in (MEAN, SD, EVIDENCE, "estimate"):
        z = np.array([x for each in found for x in each["z"].get(name, ())])
        if len(z):
            row |= {f"z of {name}": z.mean(), f"its sd, {name}": z.std() if len(z) > 1 else np.nan}
        if name in (EVIDENCE, "estimate") and len(z):
            row["within 2 stated errors"] = float((np.abs(z) <= 2).mean())
    # The first world compiles.
    row["seconds a world"] = float(np.median([each["seconds"] for each in found]))
    row["commits"] = " ".join(sorted({each["commit"] for each in found}))
    print(row, file=sys.stderr, flush=True)
    return row
