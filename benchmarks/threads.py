"""Fits in two threads at a time against the same fits in one.

Twenty different fits: five small programs, four tables of each, by closed form, sum, grid and
experts. Each is done in one thread; then all of them again and again, in an order drawn at random,
by two threads between which Python switches every 10 microseconds. With every 40 fits all programs
are new functions, so that both threads trace and lift them anew. Columns: how many fits; how many
have the same posterior, log evidence and warnings bit by bit; how many differ; how many raised;
seconds of all fits of the row, and in the last row of the whole.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd

import bayes_badger as bb

SWITCH, THREADS, TABLES, TASKS, ANEW = 1e-5, 2, 4, 4, 40


class Fit(NamedTuple):
    """One fit: what makes the program, by which recipe, and which table."""

    make: Callable[[], Callable[..., None]]
    recipe: str
    table: int


class Programs:
    """The programs, as functions that are made anew from time to time."""

    def __init__(self) -> None:
        self.made: dict[tuple[Any, int], Callable[..., None]] = {}
        self.lock = threading.Lock()

    def of(self, fit: Fit, generation: int) -> Callable[..., None]:
        """The function of a fit: one for each generation."""
        with self.lock:
            return self.made.setdefault((fit.make, generation), fit.make())


def run(fits: str = "200", recipes: str = "") -> pd.DataFrame:
    """So many fits in two threads, by some recipes or by all."""
    wanted = [x for x in PROGRAMS if not recipes or x[1] in recipes.split("+")]
    different = [Fit(*x, i) for x, i in itertools.product(wanted, range(TABLES))]
    programs, alone = Programs(), {}
    for fit in different:
        begun = time.monotonic()
        alone[fit] = _found(fit, programs.of(fit, -1))
        took = time.monotonic() - begun
        print(f"alone: {fit.recipe} {fit.make.__name__} {took:.1f} s", file=sys.stderr, flush=True)
    chosen = [different[i % len(different)] for i in range(int(fits))]
    order = np.random.default_rng(0).permutation(len(chosen))

    def one(place: int) -> tuple[str, float]:
        fit = chosen[order[place]]
        done = _compared(fit, programs.of(fit, place // ANEW), alone[fit])
        print(f"{place}: {fit.recipe} {done[0]}, {done[1]:.1f} s", file=sys.stderr, flush=True)
        return done

    before, begun = sys.getswitchinterval(), time.monotonic()
    sys.setswitchinterval(SWITCH)
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            ended = list(pool.map(one, range(len(order))))
    finally:
        sys.setswitchinterval(before)
    took = time.monotonic() - begun
    table = pd.DataFrame([(chosen[i].recipe, *x) for i, x in zip(order, ended, strict=True)])
    table.columns = ["recipe", "result", "seconds"]
    rows = [_row(recipe, some) for recipe, some in table.groupby("recipe")]
    return pd.DataFrame([*rows, _row("all", table) | {"seconds": took}])


def _row(recipe: Any, some: pd.DataFrame) -> dict[str, object]:
    count = some["result"].value_counts()
    raised = some["result"][~some["result"].isin(["same", "differs"])]
    for said in raised.unique()[:3]:
        print(f"{recipe}: {said}", file=sys.stderr)
    return {
        "recipe": recipe,
        "fits": len(some),
        "same": int(count.get("same", 0)),
        "differ": int(count.get("differs", 0)),
        "raised": len(raised),
        "seconds": some["seconds"].sum(),
    }


def _compared(fit: Fit, program: Callable[..., None], alone: dict[str, Any]) -> tuple[str, float]:
    """Whether a fit is what it was alone; or what it raised. And its seconds."""
    begun = time.monotonic()
    try:
        found = _found(fit, program)
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:120]}", time.monotonic() - begun
    equal = found.keys() == alone.keys() and all(np.array_equal(found[n], alone[n]) for n in alone)
    return "same" if equal else "differs", time.monotonic() - begun


def _found(fit: Fit, program: Callable[..., None]) -> dict[str, Any]:
    """All that a fit says: its draws, its log evidence, and why it is not to be trusted."""
    done = bb.fit(program, _table(fit), inference=fit.recipe)
    found = {str(name): x.values for name, x in done.posterior.data_vars.items()}
    return found | {"": [done.spec["result"]["log_evidence"]], "warnings": list(done.warnings)}


def _table(fit: Fit) -> pd.DataFrame:
    """A few tasks of four rows each, other rows in each table."""
    chance = np.random.default_rng(fit.table)
    x = chance.normal(size=4 * TASKS).round(2)
    y = x + chance.normal(size=len(x))
    if fit.make is not levels:
        y = (y > 0).astype(int) if fit.make in (coins, experts_coins) else np.exp(0.5 * y).round()
    return pd.DataFrame({"task": np.repeat(np.arange(TASKS), 4), "x": x, "y": y})


def levels() -> Callable[..., None]:
    """The normal hierarchy: linear-Gaussian."""

    def model(x, y=None):  # type: ignore[no-untyped-def]
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
        with numpyro.plate("task", x.shape[0], dim=-2):
            level = numpyro.sample("level", dist.Normal(mean, 1.0))
            with numpyro.plate("step", x.shape[1], dim=-1):
                numpyro.sample("y", dist.Normal(level + x, 1.0), obs=y)

    return model


def coins() -> Callable[..., None]:
    """A logistic regression with a level for each task."""

    def model(x, y=None):  # type: ignore[no-untyped-def]
        with numpyro.plate("task", x.shape[0], dim=-2):
            level = numpyro.sample("level", dist.Normal(0.0, 1.0))
            with numpyro.plate("step", x.shape[1], dim=-1):
                numpyro.sample("y", dist.Bernoulli(logits=level + x), obs=y)

    return model


def experts_coins() -> Callable[..., None]:
    """The same, for experts."""
    return coins()


def rates() -> Callable[..., None]:
    """Counts, with a level that all tasks share and a rate of each task."""

    def model(x, y=None):  # type: ignore[no-untyped-def]
        level = numpyro.sample("level", dist.Normal(0.0, 0.5))
        with numpyro.plate("task", x.shape[0], dim=-2):
            rate = numpyro.sample("rate", dist.LogNormal(level, 0.5))
            with numpyro.plate("step", x.shape[1], dim=-1):
                numpyro.sample("y", dist.Poisson(rate + 0 * x), obs=y)

    return model


def switches() -> Callable[..., None]:
    """Each task is of one of two kinds."""

    def model(x, y=None):  # type: ignore[no-untyped-def]
        with numpyro.plate("task", x.shape[0], dim=-2):
            level = numpyro.sample("level", dist.Bernoulli(0.4))
            with numpyro.plate("step", x.shape[1], dim=-1):
                numpyro.sample("y", dist.Poisson(jnp.exp(level * x)), obs=y)

    return model


PROGRAMS = (
    (levels, "exact"),
    (coins, "grid"),
    (rates, "grid"),
    (switches, "enumerate"),
    (experts_coins, "experts"),
)
