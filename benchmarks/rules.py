"""Is the posterior over learning algorithms right? Simulated lifetimes of `learning_rules`.

    uv run python -m benchmarks rules [LIFETIMES [POWER]]

Each lifetime has 2 tasks of 8 rows; its rule, rate, decay and noise are drawn from the prior.
Experts over (rate, decay, noise) for each rule, against quadrature: 2^POWER quasi-random points of
the prior of each, and as many of each of two normals around what was found so far, weighed by the
balance heuristic. `agreed` is how often both call the same rule the most probable, `right` how
often that is the one that was at work, `off` the largest difference of a probability, in the mean;
`apart` is the same between the quadrature and its points of the prior alone, which are less exact.

`p` is of a simulation-based calibration (Talts et al. 2018), of the first 1,000 lifetimes and of
all: chi-square of ranks in 20 bins, of the rule's randomised ones; at a false-alarm rate of 1% for
all four none may be below .0025. `learned` is the distance in total variation between how often
each rule was at work and the p(rule) that makes all lifetimes most probable (EM), by the experts'
own evidence and by the reference's; `prior` is that of the frequencies from 1/9. Seconds are the
processor's; the first lifetime, with compilation, does not count.
"""

from __future__ import annotations

import sys
import time
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from scipy.special import softmax
from scipy.stats import chisquare, norm, qmc

from bayes_badger.evidence import Evidence, from_arrays
from bayes_badger.inner_loop import _lifetime, _lifetime_rounds
from bayes_badger.inner_loop.protocol import silent
from bayes_badger.program import Data, Program, from_inputs, lift, read_signature
from bayes_badger.shelves import load_program

TASKS, STEPS, DRAWS, BINS, POWER, AT_ONCE = 2, 8, 400, 20, 11, 50
SIZES = _lifetime_rounds.Sizes(experts=16, points=16)
NAMES, SBC = ("rate", "decay", "noise"), 1000
# The normals of the quadrature: their variances in those found, what is added to them, and how flat
# the weights are by which they are found.
WIDER, FLOOR, POWERS = 2.0, 1e-4, (0.5, 1.0)


class _Told(NamedTuple):
    """Of each lifetime: the rule at work, probabilities of rules, log evidence, ranks."""

    true: list[int]
    ours: list[np.ndarray]
    exact: list[np.ndarray]
    roughly: list[np.ndarray]
    ranks: list[list[int]]


def run(lifetimes: str = "300", power: str = str(POWER)) -> pd.DataFrame:
    """One row for all lifetimes."""
    loaded = load_program("learning_rules")
    signature = read_signature(loaded.model, loaded.name, loaded.optional("columns"))
    groups = loaded.optional("columns")
    program = lift(loaded.model, inputs=loaded.module.inputs, groups=groups, name=loaded.name)
    rules = len(program.latent("rule").labels)
    grid = jnp.asarray(norm.ppf(qmc.Sobol(program.size, rng=0).random_base2(int(power))))
    told, chance = _Told([], [], [], [], []), np.random.default_rng(0)
    spent, reference, count = 0.0, 0.0, int(lifetimes)
    row: dict[str, float] = {}

    @jax.jit
    def simulated(key: jax.Array) -> Any:
        keys = jax.random.split(key, 4)
        data = from_inputs(signature, loaded.module.inputs, keys[0], TASKS, STEPS)
        drawn = program.simulate(keys[1], data)
        values = {name: drawn.values[name] for name in ("rule", *NAMES)}
        return data.columns["x"], drawn.outcome, values, keys[2]

    for first in range(0, count, AT_ONCE):
        seeds = range(first, min(first + AT_ONCE, count))
        drawn = [simulated(jax.random.key(i)) for i in seeds]
        for i, (x, y, values, key) in zip(seeds, drawn, strict=True):
            evidence: Evidence = from_arrays(signature, {"x": np.asarray(x)}, np.asarray(y), {})
            started = time.process_time()
            found = _lifetime.infer_shared(program, evidence, key, DRAWS, SIZES, silent)
            spent += (time.process_time() - started) * (i > 0)
            share = np.zeros(rules)
            for one in found.carried:
                share[int(one.discrete["rule"])] = np.exp(one.log_weight)
            rule = int(values["rule"])
            mine = _values(program, jnp.asarray(found.lifetimes, jnp.float32), found.discrete)
            ranks = [int((np.asarray(mine[n]) < float(values[n])).sum()) for n in NAMES]
            below = share[:rule].sum() + chance.uniform() * share[rule]
            told.true.append(rule)
            told.ours.append(share)
            told.ranks.append([*ranks, int(below * (DRAWS + 1))])
        started = time.process_time()
        xs, ys = (jnp.stack([each[i] for each in drawn]) for i in range(2))
        logs = (np.asarray(x, float) for x in _by_rule(program, xs, ys, grid, rules))
        for x, y in zip((told.exact, told.roughly), logs, strict=True):
            x.extend(y)
        reference += time.process_time() - started
        each = spent / max(len(told.true) - 1, 1), reference / len(told.true)
        row = _row(told, rules) | {"seconds each": each[0], "reference, s": each[1]}
        print(row, file=sys.stderr, flush=True)
    return pd.DataFrame([row])


def _row(told: _Told, rules: int) -> dict[str, float]:
    truth, rough = (softmax(np.array(x), axis=1) for x in (told.exact, told.roughly))
    mine, which = np.array(told.ours), told.true
    at = np.arange(len(which)), np.array(which)
    realised = np.bincount(which, minlength=rules) / len(which)
    row = {
        "lifetimes": len(which),
        "agreed": (truth.argmax(1) == mine.argmax(1)).mean(),
        "right": (mine.argmax(1) == which).mean(),
        "exact right": (truth.argmax(1) == which).mean(),
        "off": np.abs(truth - mine).max(1).mean(),
        "apart": np.abs(truth - rough).max(1).mean(),
        "log score": np.log(np.maximum(mine[at], 1e-6)).mean(),
        "exact log score": np.log(np.maximum(truth[at], 1e-6)).mean(),
        "learned": _learned(mine, realised),
        "exact learned": _learned(truth, realised),
        "prior": 0.5 * np.abs(realised - 1 / rules).sum(),
    }
    bins = np.minimum(np.array(told.ranks) * BINS // (DRAWS + 1), BINS - 1)
    for i, name in enumerate((*NAMES, "rule")):
        for most in sorted({min(SBC, len(bins)), len(bins)}):
            counts = np.bincount(bins[:most, i], minlength=BINS)
            row[f"p {name}, {most}"] = chisquare(counts).pvalue
    return row


@eqx.filter_jit
def _values(program: Program, lifetimes: jax.Array, discrete: dict[str, Any]) -> Any:
    def one(u: jax.Array, rule: jax.Array) -> Any:
        return program.constrain(u, jnp.zeros((TASKS, 0)), {}, None, {"rule": rule})

    return jax.vmap(one)(lifetimes, jnp.asarray(discrete["rule"]))


@eqx.filter_jit
def _by_rule(
    program: Program, xs: jax.Array, ys: jax.Array, points: jax.Array, rules: int
) -> tuple[jax.Array, jax.Array]:
    """Log evidence of each lifetime under each rule, `[lifetime, rule]`, compiled once for all.

    And the same by the points of the prior alone.
    """

    def of(lifetime: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        data = Data({"x": lifetime[0]}, {}, lifetime[1])

        def under(rule: jax.Array) -> tuple[jax.Array, jax.Array]:
            def one(u: jax.Array) -> jax.Array:
                terms = program.terms(u, jnp.zeros((TASKS, 0)), data, {"rule": rule})
                told = terms.log_likelihood.sum()
                return jnp.where(jnp.isnan(told), -jnp.inf, told)

            def densities(x: jax.Array, mean: jax.Array, root: jax.Array) -> jax.Array:
                noise = jax.scipy.linalg.solve_triangular(root, (x - mean).T, lower=True)
                return -0.5 * (noise**2).sum(0) - jnp.log(jnp.diag(root)).sum()

            size = points.shape[1]
            means, roots = [jnp.zeros(size)], [jnp.eye(size)]
            places, told = points, jax.lax.map(one, points, batch_size=512)
            only = jax.scipy.special.logsumexp(told)
            for power in POWERS:
                each = [densities(places, *x) for x in zip(means, roots, strict=True)]
                logs = told + each[0] - jax.scipy.special.logsumexp(jnp.stack(each), axis=0)
                share = jax.nn.softmax(power * logs)
                apart = places - share @ places
                wide = WIDER * apart.T @ (share[:, None] * apart) + FLOOR * jnp.eye(size)
                means, roots = [*means, share @ places], [*roots, jnp.linalg.cholesky(wide)]
                near = means[-1] + points @ roots[-1].T
                places = jnp.concatenate([places, near])
                told = jnp.concatenate([told, jax.lax.map(one, near, batch_size=512)])
            each = [densities(places, *x) for x in zip(means, roots, strict=True)]
            logs = told + each[0] - jax.scipy.special.logsumexp(jnp.stack(each), axis=0)
            count = jnp.log(len(points))
            return jax.scipy.special.logsumexp(logs) - count, only - count

        return jax.lax.map(under, jnp.arange(rules))

    return jax.lax.map(of, (xs, ys))


def _learned(share: np.ndarray, realised: np.ndarray) -> float:
    """Total variation between the learned p(rule) and how often each rule was at work."""
    p = np.full(share.shape[1], 1 / share.shape[1])
    for _ in range(500):
        heard = p * share
        p = (heard / heard.sum(1, keepdims=True)).mean(0)
    return float(0.5 * np.abs(p - realised).sum())
