"""Which loop is short? The fitted surface of losses, against worlds in which that is known.

    uv run python -m benchmarks bottleneck [TRAININGS] [WORLD ...]

Tasks are levels z ~ N(mu, tau²), read with noise 1. M training tasks give mean and scale of the
prior, by moments; held-out tasks are then predicted step by step, in closed form, under the prior
that was learned. Three worlds: the prior is known from the start (inner-limited), tasks of one
observation in training that hardly differ (outer-limited), and one in which both fall short. The
truth is the exact loss in expectation over trainings; what is right is where its slope in log M or
in log t is the steeper, at the longest cell. 60 seeds, each with trainings (16, or as many as are
named), each of these scored on tasks of its own; the longest cell is held out of the fit. What a
training of few tasks happens to learn differs by as much as all that it lacks (a squared normal):
where four were lucky, the loop that is short cannot be told, and is not.
"""

from __future__ import annotations

import sys
import time
from typing import NamedTuple

import jax
import numpy as np
import pandas as pd

from bayes_badger.measures.surface import ADDITIVE, MODELS, WASHED, Losses, fit_many, gains, value

SEEDS, TRAININGS, HELD_OUT, SURE = 60, 16, 20_000, 0.95


class World(NamedTuple):
    """How tasks are, how many are learned from, and how long.

    Attributes:
        tau: Sd of levels.
        rows: Of a training task.
        known: Whether the prior is known from the start.
        outer: Training tasks.
        inner: Observations before the one that is predicted.
    """

    tau: float
    rows: int
    known: bool
    outer: tuple[int, ...]
    inner: tuple[int, ...]


WORLDS = {
    "prior known": World(2.0, 5, True, (8, 16, 32, 64, 128), (8, 16, 32, 64, 128)),
    "one step": World(0.1, 1, False, (4, 8, 16, 32, 64), (1, 2, 4, 8)),
    "mixed": World(0.3, 5, False, (4, 8, 16, 32, 64), (1, 2, 4, 8, 16)),
}


def learned(world: World, rng: np.random.Generator, paths: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the prior after each number of training tasks, `[path, M]`."""
    many = world.outer[-1]
    if world.known:
        shape = paths, len(world.outer)
        return np.zeros(shape), np.full(shape, world.tau**2)
    noise = 1 / world.rows
    means = np.sqrt(world.tau**2 + noise) * rng.normal(size=(paths, many))
    mean = np.stack([means[:, :m].mean(1) for m in world.outer], 1)
    # A floor, lest a prior be certain: a tenth of what a task's own noise would give.
    spread = np.stack([means[:, :m].var(1, ddof=1) for m in world.outer], 1) - noise
    if world.rows == 1:  # one observation tells no scale
        return mean, np.full_like(mean, world.tau**2)
    return mean, np.maximum(spread, 0.1 * noise)


def losses_of(
    mean: np.ndarray, spread: np.ndarray, world: World, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Nats per step more than one who knows z, `[path, M, t]`, and the covariance of cells.

    Each path is scored on held-out tasks of its own.
    """
    found = [_losses(*pair, world, rng) for pair in zip(mean, spread, strict=True)]
    return np.stack([x[0] for x in found]), np.stack([x[1] for x in found])


def _losses(
    mean: np.ndarray, spread: np.ndarray, world: World, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    t = np.array(world.inner)
    z = world.tau * rng.normal(size=HELD_OUT)
    noise = rng.normal(size=(HELD_OUT, t[-1] + 1))
    seen = np.cumsum(noise, 1)[:, t - 1] / t + z[:, None]
    answer = z[:, None] + noise[:, t]
    weight = 1 / (1 + t * spread[:, None])
    guess = weight[:, None] * mean[:, None, None] + (1 - weight[:, None]) * seen
    s = 1 + spread[:, None] * weight
    more = 0.5 * (answer - guess) ** 2 / s[:, None] - 0.5 * (answer - z[:, None]) ** 2
    more = np.swapaxes(more + 0.5 * np.log(s)[:, None], 1, 2)
    covariance = np.cov(more.reshape(-1, HELD_OUT)) / HELD_OUT
    return more.mean(-1), covariance.reshape(2 * more.shape[:2])


def expected(mean: np.ndarray, spread: np.ndarray, tau: float, t: np.ndarray) -> np.ndarray:
    """What `losses_of` finds in expectation over held-out tasks, `[path, M, t]`."""
    weight = 1 / (1 + t * spread[..., None])
    s = 1 + spread[..., None] * weight
    square = 1 + weight**2 * (tau**2 + mean[..., None] ** 2) + (1 - weight) ** 2 / t
    return 0.5 * (square / s - 1 + np.log(s))


def right(world: World) -> tuple[bool, float, np.ndarray]:
    """Whether the outer loop is short at the longest cell, its share of the gain, and losses."""
    rng, t = np.random.default_rng(1), np.array(world.inner, float)
    mean, spread = learned(world, rng, 20_000)
    loss = expected(mean, spread, world.tau, t).mean(0)
    nearer = expected(mean, spread, world.tau, np.array([t[-1] * 0.99, t[-1] * 1.01])).mean(0)
    of_inner = (nearer[-1, 0] - nearer[-1, 1]) / np.log(1.01 / 0.99)
    of_outer = (loss[-2, -1] - loss[-1, -1]) / np.log(world.outer[-1] / world.outer[-2])
    of_outer *= 0.72  # the slope at the end of a doubling of 1/M, from its mean: ln 2 / (2 - 1)
    return of_outer > of_inner, of_outer / (of_outer + of_inner), loss


def run(*parts: str) -> pd.DataFrame:
    """A row for each world."""
    rows = []
    trainings = next((int(x) for x in parts if x.isdigit()), TRAININGS)
    for name in [x for x in parts if not x.isdigit()] or WORLDS:
        world = WORLDS[name]
        outer_is_short, share, loss = right(world)
        entropy = 0.5 * np.log(2 * np.pi * np.e)
        sets = []
        for seed in range(SEEDS):
            rng = np.random.default_rng([2, seed])
            sets.append(losses_of(*learned(world, rng, trainings), world, rng))
        measured, covariance = (np.stack(x) for x in zip(*sets, strict=True))
        told = Losses(np.array(world.outer), np.array(world.inner), measured + entropy, covariance)
        floors = np.tile([entropy, 1e-6], (SEEDS, 1))
        started = time.monotonic()
        found = fit_many(told, floors, jax.random.split(jax.random.key(0), SEEDS))
        seconds = time.monotonic() - started
        outcome = []
        for i in range(SEEDS):
            chosen = max(MODELS, key=lambda model, i=i: found[model][i].held_out)
            best = found[chosen][i]
            more = gains(best.draws, world.outer[-1], world.inner[-1])
            p = float((more[0] > more[1]).mean())
            ahead = value(best.draws, world.outer[-1], world.inner[-1])
            truth = loss[-1, -1]
            beta, b = (np.quantile(best.draws[x], (0.05, 0.95)) for x in ("beta", "B"))
            outcome.append(
                {
                    "right": p if outer_is_short else 1 - p,
                    "washed": chosen == WASHED,
                    "loss": abs(ahead.mean() / (truth + entropy) - 1),
                    "excess": abs((ahead.mean() - entropy) / truth - 1),
                    "beta": beta[0] <= 1 <= beta[1],
                    "B": b[0] <= 0.5 <= b[1],
                    "divergences": best.divergences,
                    "r_hat": best.r_hat,
                    "additive": found[ADDITIVE][i].held_out,
                    "alpha": np.median(best.draws["alpha"]),
                    "beta_": np.median(best.draws["beta"]),
                }
            )
        table = pd.DataFrame(outcome)
        row = {
            "world": name,
            "trainings": trainings,
            "truth": "outer" if outer_is_short else "inner",
            "outer's share of the gain": share,
            "right with P > .95, of 60": int((table.right > SURE).sum()),
            "least P of the right verdict": table.right.min(),
            "washed out chosen": int(table.washed.sum()),
            "largest error of the held-out loss": table.loss.max(),
            "median, of its excess": table.excess.median(),
            "largest, of its excess": table.excess.max(),
            "90% of beta has 1": int(table.beta.sum()),
            "90% of B has 1/2": int(table.B.sum()),
            "median alpha": table.alpha.median(),
            "median beta": table.beta_.median(),
            "divergences": int(table.divergences.sum()),
            "largest R-hat": table.r_hat.max(),
            "seconds": seconds,
        }
        print(row, file=sys.stderr, flush=True)
        rows.append(row)
    return pd.DataFrame(rows)
