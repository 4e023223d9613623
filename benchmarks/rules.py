"""Is the posterior over learning algorithms right? Simulated lifetimes of `learning_rules`.

    uv run python -m benchmarks rules [LIFETIMES]

Each lifetime has 2 tasks of 8 rows; its rule, rate, decay and noise are drawn from the prior.
Experts over (rate, decay, noise) for each rule, against 2^15 quasi-random draws from the prior of
each: `agreed` is how often both call the same rule the most probable, `right` how often that is the
one that was at work, `off` the largest difference of a probability, in the mean. `p` is of a
simulation-based calibration (Talts et al. 2018) of each hyperparameter: chi-square of ranks in 20
bins. `learned` is the distance in total variation between the realised frequencies of rules and the
p(rule) that makes all lifetimes most probable (EM).
"""

from __future__ import annotations

import sys
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from scipy.stats import chisquare, norm, qmc

from bayes_badger.evidence import Evidence, from_arrays
from bayes_badger.inner_loop import _lifetime
from bayes_badger.inner_loop.protocol import silent
from bayes_badger.program import Data, Program, from_inputs, lift, read_signature
from bayes_badger.shelves import load_program

TASKS, STEPS, DRAWS, BINS, POWER = 2, 8, 400, 20, 15
SIZES = _lifetime.Sizes(experts=16, points=16)
NAMES = ("rate", "decay", "noise")


def run(lifetimes: str = "300") -> pd.DataFrame:
    """One row for all lifetimes."""
    loaded = load_program("learning_rules")
    signature = read_signature(loaded.model, loaded.name, loaded.optional("columns"))
    groups = loaded.optional("columns")
    program = lift(loaded.model, inputs=loaded.module.inputs, groups=groups, name=loaded.name)
    rules = len(program.latent("rule").labels)
    grid = norm.ppf(qmc.Sobol(program.size, rng=0).random_base2(POWER))
    true, ours, exact, ranks, seconds = [], [], [], [], 0.0
    for i in range(int(lifetimes)):
        keys = jax.random.split(jax.random.key(i), 4)
        data = from_inputs(signature, loaded.module.inputs, keys[0], TASKS, STEPS)
        drawn = program.simulate(keys[1], data)
        columns = {name: np.asarray(x) for name, x in data.columns.items()}
        evidence: Evidence = from_arrays(signature, columns, np.asarray(drawn.outcome), {})
        started = time.monotonic()
        found = _lifetime.infer_shared(program, evidence, keys[2], DRAWS, SIZES, silent)
        seconds += (time.monotonic() - started) * (i > 0)
        values = jax.vmap(
            lambda u, rule: program.constrain(u, jnp.zeros((TASKS, 0)), {}, None, {"rule": rule})
        )(jnp.asarray(found.lifetimes, jnp.float32), jnp.asarray(found.discrete["rule"]))
        ranks.append([int((values[n] < drawn.values[n]).sum()) for n in NAMES])
        true.append(int(drawn.values["rule"]))
        ours.append(np.bincount(found.discrete["rule"], minlength=rules) / DRAWS)
        logs = _by_rule(program, data._replace(outcome=drawn.outcome), jnp.asarray(grid), rules)
        exact.append(np.asarray(logs))
        if i % 25 == 0:
            print(i, file=sys.stderr, flush=True)
    logs = np.array(exact, float)
    share = np.exp(logs - logs.max(1, keepdims=True))
    truth, mine, which = share / share.sum(1, keepdims=True), np.array(ours), np.array(true)
    bins = np.array(ranks) * BINS // (DRAWS + 1)
    row = {
        "lifetimes": len(which),
        "agreed": (truth.argmax(1) == mine.argmax(1)).mean(),
        "right": (mine.argmax(1) == which).mean(),
        "exact right": (truth.argmax(1) == which).mean(),
        "off": np.abs(truth - mine).max(1).mean(),
        "log score": np.log(np.maximum(mine[np.arange(len(which)), which], 0.5 / DRAWS)).mean(),
        "exact log score": np.log(truth[np.arange(len(which)), which]).mean(),
        "learned": _learned(share, np.bincount(which, minlength=rules) / len(which)),
        "seconds each": seconds / max(len(which) - 1, 1),
    }
    for i, name in enumerate(NAMES):
        row[f"p {name}"] = chisquare(np.bincount(bins[:, i], minlength=BINS)).pvalue
    return pd.DataFrame([row])


@eqx.filter_jit
def _log_joint(program: Program, data: Data, points: jax.Array, rule: jax.Array) -> jax.Array:
    def one(u: jax.Array) -> jax.Array:
        terms = program.terms(u, jnp.zeros((TASKS, 0)), data, {"rule": rule})
        return terms.log_likelihood.sum()

    logs = jax.lax.map(one, points, batch_size=1024)
    return jax.scipy.special.logsumexp(logs) - jnp.log(len(points))


def _by_rule(program: Program, data: Data, points: jax.Array, rules: int) -> np.ndarray:
    return np.array([_log_joint(program, data, points, jnp.asarray(r)) for r in range(rules)])


def _learned(share: np.ndarray, realised: np.ndarray) -> float:
    """Total variation between the learned p(rule) and how often each rule was at work."""
    p = np.full(share.shape[1], 1 / share.shape[1])
    for _ in range(500):
        heard = p * share
        p = (heard / heard.sum(1, keepdims=True)).mean(0)
    return float(0.5 * np.abs(p - realised).sum())
