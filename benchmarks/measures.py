"""Measures in nats against exact values: closed forms, and estimators that see a program only.

    uv run python -m benchmarks measures [PART ...]

Parts are closed, nested, level, coin, draw, process, pairs, designs and eight; by default all.
Each part is a list of rows. A closed form must come within 1e-6 of its truth, relatively, where the
truth is computed by other means: entropies of all outcomes, sums over all sequences, quadrature. An
estimator must have a standard error below 2% of the truth or .005 nats, and be no further from it
than chance allows: of sound estimators one table in a hundred has any row that is further off
(Bonferroni, over the rows that have a standard error), half of the width between bounds aside. With
experts as proposal bounds must be less than .005 nats apart where `width` says so.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
from jax import Array
from scipy.integrate import quad
from scipy.special import gammaln
from scipy.stats import beta, norm

import bayes_badger as bb
from bayes_badger.evidence import from_arrays
from bayes_badger.measures import exact, nested
from bayes_badger.program import read_signature
from bayes_badger.runs import Run

CLOSED, SHARE, NATS, WIDTH = 1e-6, 0.02, 0.005, 0.005
FALSE_ALARMS = 0.01
GROUPS = {"X": [f"x{i}" for i in range(8)]}


class Row(NamedTuple):
    """One number beside its truth, in nats.

    Attributes:
        of: What it is.
        truth: The exact value.
        estimate: What was found.
        error: Its standard error; None for a closed form.
        width: Between its bounds; None where there are none.
        most: The width must be below this; None for no claim.
        given: The truth as it is published, where it is, and to how much.
    """

    of: str
    truth: float
    estimate: float
    error: float | None = None
    width: float | None = None
    most: float | None = None
    given: tuple[float, float] | None = None


# --- programs


def level(x: Array, y: Array | None = None) -> None:
    """A level of each task, with a known prior."""
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(0, 1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z + 0 * x, 1), obs=y)


def hierarchy(x: Array, y: Array | None = None) -> None:
    """Levels of tasks around one that they share."""
    a = numpyro.sample("a", dist.Normal(0, 1))
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(a, 1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z + 0 * x, 1), obs=y)


def coin(x: Array, y: Array | None = None) -> None:
    """A bias of each task."""
    with numpyro.plate("task", x.shape[0], dim=-2):
        p = numpyro.sample("p", dist.Beta(1, 1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Bernoulli(p + 0 * x), obs=y)


def regression(X: Array, y: Array | None = None) -> None:  # noqa: N803 - the usual name
    """Weights of eight features around one number that tasks share."""
    mu = numpyro.sample("mu", dist.Normal(0, (64 / 3) ** 0.5))
    with numpyro.plate("task", X.shape[0], dim=-2):
        w = numpyro.sample("w", dist.Normal(mu * jnp.ones(8), 1).to_event(1))
        with numpyro.plate("step", X.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal((X * w).sum(-1), 0.5), obs=y)


def _kernel() -> np.ndarray:
    x = np.linspace(0, 1, 10)
    return np.exp(-0.5 * ((x - x[:, None]) / 0.2) ** 2)


def process(x: Array, y: Array | None = None) -> None:
    """A Gaussian process at ten points; `x` is the number of one of them."""
    values, vectors = np.linalg.eigh(_kernel())
    root = jnp.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))
    with numpyro.plate("task", x.shape[0], dim=-2):
        u = numpyro.sample("u", dist.Normal(0, 1).expand([10]).to_event(1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            f = (root[x.astype(int)] * u).sum(-1)
            numpyro.sample("y", dist.Normal(f, 0.1), obs=y)


def _run(model: Callable[..., None], columns: dict[str, np.ndarray], binary: bool = False) -> Run:
    """A fit whose outcomes are zero: measures do not look at them."""
    shape = next(iter(columns.values())).shape[:2]
    signature = read_signature(model, model.__name__, GROUPS if "X" in columns else None)
    evidence = from_arrays(signature, columns, np.zeros(shape, int if binary else float))
    return bb.fit(model, evidence, trust="off")


# --- rows


def closed() -> Iterator[Row]:
    """Closed forms, each against its truth by other means, and as it is published."""

    def entropies(tasks: int, steps: int) -> tuple[float, float]:
        """Of one task's outcomes, and of all, but for a constant."""
        each = np.eye(steps) + 1.0 + 1.0
        same = np.kron(np.eye(tasks), np.ones((steps, steps)))
        return _half(each), _half(1.0 + same + np.eye(tasks * steps))

    for n, given in ((1, 0.058892), (10, 0.128581), (100, 0.142190)):
        one, both = entropies(2, n)
        found = exact.normal_between_tasks(float(n))
        yield Row(f"I(D_i;D_j) n={n}", 2 * one - both, found, given=(given, 5e-7))
    limit = 0.5 * np.log(4 / 3)
    found = exact.normal_between_tasks(np.inf)
    yield Row("I(D_i;D_j) n=inf", limit, found, given=(0.143841, 5e-7))
    for m, given in ((2, 0.128581), (10, 2.077318), (100, 30.070958)):
        one, whole = entropies(m, 10)
        found = exact.normal_total_correlation(float(m), 10.0)
        yield Row(f"total correlation m={m}", m * one - whole, found, given=(given, 5e-7))
        alone = m * _half(np.eye(10) + 1.0)
        yield Row(f"I(a;D_1:{m})", whole - alone, exact.normal_shared(float(m), 10.0))
    for t, given in ((1, 0.346574), (10, 1.198948), (100, 2.307560), (100_000, 5.756468)):
        truth = 0.5 * np.log(1 + t) if t > 100 else _half(np.eye(t) + 1.0)
        yield Row(f"I(z;D_1:{t})", truth, exact.normal_level(float(t)), given=(given, 5e-7))
    coins = {1: 0.193147, 2: 0.329661, 5: 0.595767, 10: 0.853997, 100: 1.900338}
    for n, given in (coins | {1000: 3.037003, 100_000: 5.337553}).items():
        truth = _coin_entropy(n) - 0.5 * n
        yield Row(f"coin n={n}", truth, exact.beta_bernoulli(n), given=(given, 5e-7))
    for k, given in ((2, 0.193147), (3, 0.265279), (5, 0.326105), (10, 0.373617)):
        mean = quad(lambda p, k=k: -p * np.log(p) * beta.pdf(p, 1, k - 1), 0, 1, epsabs=1e-13)[0]
        found = exact.dirichlet_categorical(np.ones(k))
        yield Row(f"one draw of {k}", np.log(k) - k * mean, found, given=(given, 5e-7))
    x = np.random.default_rng(0).normal(size=(20, 8))
    truth = _half(np.eye(20) + x @ x.T / 0.25)
    yield Row("regression 20 x 8", truth, float(exact.linear_regression(x, 1.0, 0.5)))
    truth = 0.5 * np.log1p(np.linalg.eigvalsh(_kernel()) / 0.01).sum()
    found = float(exact.gaussian_process(_kernel(), 0.01))
    yield Row("Gaussian process", truth, found, given=(14.498551, 5e-7))


def _half(matrix: np.ndarray) -> float:
    return float(0.5 * np.linalg.slogdet(matrix)[1])


def _coin_entropy(tosses: int) -> float:
    """Of all sequences; heads are uniform on 0..n. E h(p) = 1/2 for p uniform."""
    heads = np.arange(tosses + 1.0)
    choices = gammaln(tosses + 1) - gammaln(heads + 1) - gammaln(tosses - heads + 1)
    return float(np.log(tosses + 1) + choices.mean())


def bounds() -> Iterator[Row]:
    """Nested Monte Carlo with the prior as proposal, at 20 readings of a level."""
    known = {1: (0.507, 19.99), 10: (1.251, 2.50), 100: (1.485, 1.585), 1000: (1.517, 1.529)}
    for draws, both in known.items():
        pairs = 100_000 if draws < 1000 else 20_000
        rng = np.random.default_rng(draws)
        z = rng.normal(size=pairs)
        y = z[:, None] + rng.normal(size=(pairs, 20))
        squares, sums = (y**2).sum(1)[:, None], y.sum(1)[:, None]
        own = -0.5 * (squares - 2 * z[:, None] * sums + 20 * z[:, None] ** 2)
        others = rng.normal(size=(pairs, draws))
        weights = -0.5 * (squares - 2 * others * sums + 20 * others**2)
        found = nested.information(own[:, 0], nested.log_evidence(own[:, 0], weights))
        for side, truth, digits in zip(("lower", "upper"), both, (5e-4, 5e-3), strict=True):
            x = getattr(found, side)
            yield Row(f"{side} bound, L={draws}", truth, x.value, x.error, 2 * digits)


def _gain(of: str, run: Run, truth: dict[int, float], most: float | None = WIDTH, **how: int):
    found = bb.measures.information_gain(run, steps=max(truth), **how)
    for t, known in truth.items():
        at = found.sel(rows_seen=t)
        low, high = float(at["lower"]), float(at["upper"])
        error = float(max(at["lower_se"], at["upper_se"]))
        yield Row(f"{of}, t={t}", known, 0.5 * (low + high), error, high - low, most)


def levels() -> Iterator[Row]:
    """A level with a known prior."""
    truth = {t: exact.normal_level(float(t)) for t in (1, 10, 20, 100)}
    yield from _gain("level", _run(level, {"x": np.zeros((2, 100))}), truth)


def coins() -> Iterator[Row]:
    """A coin's bias."""
    truth = {n: exact.beta_bernoulli(n) for n in (1, 2, 5, 10, 100)}
    run = _run(coin, {"x": np.zeros((2, 100))}, True)
    yield from _gain("coin", run, truth, tasks=800)


def processes() -> Iterator[Row]:
    """A Gaussian process at ten points."""
    run = _run(process, {"x": np.tile(np.arange(10.0), (2, 1))})
    truth = {10: float(exact.gaussian_process(_kernel(), 0.01))}
    yield from _gain("Gaussian process", run, truth)


def _between(
    of: str, run: Run, truth: dict[str, dict[int, float] | float], **how: int
) -> Iterator[Row]:
    found = bb.measures.information_between_tasks(run, **how)
    for name, known in truth.items():
        for m, value in known.items() if isinstance(known, dict) else [(0, known)]:
            at = found.sel(tasks_seen=m) if m else found
            low, high = (float(at[f"{name}_{side}"]) for side in ("lower", "upper"))
            error = float(max(at[f"{name}_{side}_se"] for side in ("lower", "upper")))
            label = f"{of}, {name}" + (f", m={m}" if m else "")
            yield Row(label, value, 0.5 * (low + high), error, high - low)


def pairs() -> Iterator[Row]:
    """Tasks of the normal hierarchy about each other."""
    for n in (1, 10, 100):
        run = _run(hierarchy, {"x": np.zeros((2, n))})
        truth = {"between": exact.normal_between_tasks(float(n))}
        yield from _between(f"n={n}", run, truth, lifetimes=1000, draws=200)
    for many, lifetimes in ((10, 300), (100, 100)):
        run = _run(hierarchy, {"x": np.zeros((2, 10))})
        truth = {
            "of_algorithm": {many: exact.normal_shared(float(many), 10.0)},
            "total_correlation": {many: exact.normal_total_correlation(float(many), 10.0)},
        }
        yield from _between("n=10", run, truth, tasks=many, lifetimes=lifetimes)


# M rows of a task: I(w;D|mu); I(mu;D_1..K) for K = 1, 5, 20; I(D_1;D_2).
EIGHT = {
    1: (1.687, (1.171, 2.239, 2.990), 0.685),
    5: (7.648, (2.254, 3.090, 3.788), 1.887),
    20: (16.57, (2.56, 3.36, 4.06), 2.22),
    50: (20.85, (2.57, 3.37, 4.07), 2.23),
}


def eight() -> Iterator[Row]:
    """Eight features, weights around a number that tasks share: truth of the very same designs."""
    designs = np.random.default_rng(0).normal(size=(2000, 50, 8))
    run = _run(regression, {"X": designs})
    found = bb.measures.information_gain(run, steps=50)
    for rows, (given, _, _) in EIGHT.items():
        at = found.sel(rows_seen=rows)
        low, high = float(at["given_lower"]), float(at["given_upper"])
        error = float(max(at["given_lower_se"], at["given_upper_se"]))
        truth = float(at["given_lower_exact"])
        within = 0.02 + 4 * _designs_error(rows, 400)
        yield Row(
            f"I(w;D|mu) M={rows}",
            truth,
            0.5 * (low + high),
            error,
            high - low,
            given=(given, within),
        )
    for rows, (_, shared, pair) in EIGHT.items():
        published = {("of_algorithm", k): x for k, x in zip((1, 5, 20), shared, strict=True)}
        published[("between", 0)] = pair
        # Designs of one row differ most in what they tell: one task and two are of more lifetimes.
        few, many = (
            bb.measures.information_between_tasks(
                run, steps=rows, tasks=tasks, lifetimes=lifetimes, draws=200
            )
            for tasks, lifetimes in ((2, 2000), (20, 200))
        )
        for (name, k), given in published.items():
            found = few if k < 2 else many
            at = found.sel(tasks_seen=k) if k else found
            low, high = float(at[f"{name}_lower"]), float(at[f"{name}_upper"])
            error = float(max(at[f"{name}_{side}_se"] for side in ("lower", "upper")))
            label = f"I(mu;D_1..{k})" if k else "I(D_1;D_2)"
            yield Row(
                f"{label} M={rows}",
                float(at[f"{name}_lower_exact"]),
                0.5 * (low + high),
                error,
                high - low,
                given=(given, 0.02 + 4 * 0.3 / np.sqrt(200)),
            )


def designs() -> Iterator[Row]:
    """The same table over many designs, closed forms alone: 20 tasks of 4,000 lifetimes.

    By other means: entropies of all outcomes of a task, or by the sum of what tasks say of mu.
    """
    rng, ones = np.random.default_rng(2), np.ones((8, 1))
    for rows, (of_weights, shared, pair) in EIGHT.items():
        found, truth = [], []
        for _ in range(20):
            x = rng.normal(size=(200, 20, rows, 8))
            own = exact.shared_regressions(x, towards=ones)
            found.append(
                [own.given.mean(-1), *own.of_algorithm[:, [0, 4, 19]].T, own.between[:, 0, 1]]
            )
            noise = 0.25 * np.eye(rows)
            given = x @ np.swapaxes(x, -1, -2) + noise
            total = (x @ ones)[..., 0]
            said = (total * np.linalg.solve(given, total[..., None])[..., 0]).sum(-1) * 64 / 3
            of_mu = [0.5 * np.log1p(said[:, :k].sum(1)) for k in (1, 5, 20)]
            two = 0.5 * np.log1p(said[:, :2]).sum(1) - 0.5 * np.log1p(said[:, :2].sum(1))
            of_w = 0.5 * (np.linalg.slogdet(given)[1] - np.linalg.slogdet(noise)[1]).mean(1)
            truth.append([of_w, *of_mu, two])
        mean, known = (np.concatenate(z, 1).mean(1) for z in (found, truth))
        error = np.concatenate(truth, 1).std(1) / np.sqrt(4000)
        names = "I(w;D|mu)", *(f"I(mu;D_1..{k})" for k in (1, 5, 20)), "I(D_1;D_2)"
        for i, given_value in enumerate((of_weights, *shared, pair)):
            within = (0.001 if rows < 20 else 0.02) + 4 * error[i]
            label = f"{names[i]} M={rows}, many designs"
            yield Row(label, known[i], mean[i], given=(given_value, within))


def _designs_error(rows: int, many: int) -> float:
    """Of the mean over designs, by how much the information of single designs differs."""
    designs = np.random.default_rng(1).normal(size=(200, rows, 8))
    return float(np.std(exact.linear_regression(designs, 1.0, 0.5)) / np.sqrt(many))


PARTS: dict[str, Callable[[], Iterator[Row]]] = {
    "closed": closed,
    "nested": bounds,
    "level": levels,
    "coin": coins,
    "process": processes,
    "pairs": pairs,
    "designs": designs,
    "eight": eight,
}


def run(*parts: str) -> pd.DataFrame:
    """A line for each number; `fails` says what of the above does not hold, or nothing."""
    rows: list[tuple[Row, float]] = []
    for name in parts or PARTS:
        started = time.monotonic()
        found = list(PARTS[name]())
        seconds = (time.monotonic() - started) / len(found)
        print(f"{name}: {len(found)} rows", file=sys.stderr, flush=True)
        rows += zip(found, itertools.repeat(seconds))
    many = sum(row.error is not None for row, _ in rows)
    away = norm.isf(FALSE_ALARMS / (2 * max(many, 1)))
    return pd.DataFrame([_line(row, away) | {"seconds": seconds} for row, seconds in rows])


def _line(row: Row, away: float) -> dict[str, object]:
    off = row.estimate - row.truth
    fails = []
    if row.error is None:
        if abs(off) > CLOSED * abs(row.truth):
            fails.append("closed form")
    else:
        if row.error > max(SHARE * abs(row.truth), NATS):
            fails.append("standard error")
        if abs(off) > away * row.error + 0.5 * (row.width or 0.0):
            fails.append("off")
        if row.most is not None and (row.width is None or row.width > row.most):
            fails.append("width")
    if row.given is not None and abs(row.truth - row.given[0]) > row.given[1]:
        fails.append("published")
    return {
        "of": row.of,
        "published": np.nan if row.given is None else row.given[0],
        "truth": row.truth,
        "estimate": row.estimate,
        "off": off,
        "se": np.nan if row.error is None else row.error,
        "width": np.nan if row.width is None else row.width,
        "fails": ", ".join(fails) or "-",
    }
