"""Does a policy help where it was not bred? Recipe `experts` against `experts_refined`.

    uv run python -m benchmarks transfer [PROGRAM ...]

Seven programs, none of them among those of `families`: other curves, dimensions and outcomes. 256
tasks of each after 2, 10 and 200 rows, the tasks of `accuracy`. Both recipes as they are on the
shelf; what differs is the policy, and a few points less with it, so that both take the same time.
Divergence is KL from posterior to belief in nats, by 8,192 importance draws from both beliefs and
the prior, the same draws for both: `better by` is paired. Time is the median of five turns, one
recipe after the other.
"""

from __future__ import annotations

import sys
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import Array

from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop._chunks import each_task, over_chunks
from bayes_badger.inner_loop._offline import log_joint_of
from bayes_badger.inner_loop._portions import at_one_length
from bayes_badger.inner_loop._society import Society, log_densities
from bayes_badger.inner_loop.protocol import silent
from bayes_badger.program import Data, Program
from bayes_badger.recipe import load_recipe
from benchmarks import exact
from benchmarks.accuracy import tasks_of

PROGRAMS = (*exact.TASKS, "ridge")
STEPS, TASKS, TURNS, DRAWS, FROM_PRIOR = (2, 10, 200), 256, 5, 8192, 0.05


def run(*programs: str) -> pd.DataFrame:
    """A row for each program and number of rows."""
    rows = []
    for name in programs or PROGRAMS:
        for steps in STEPS:
            rows.append(_row(name, steps))
            print(rows[-1], file=sys.stderr, flush=True)
    return pd.DataFrame(rows)


def _row(name: str, steps: int) -> dict[str, object]:
    program, lifetime, _ = tasks_of(name, steps, TASKS)
    evidence = lifetime.evidence
    loops = {recipe: load_recipe(recipe).make() for recipe in ("experts_refined", "experts")}
    seconds: dict[str, list[float]] = {recipe: [] for recipe in loops}
    found = {}
    for turn in range(TURNS + 1):
        for recipe, loop in loops.items():
            started = time.monotonic()
            found[recipe] = loop.societies(program, evidence, jax.random.key(0)).society
            if turn:
                seconds[recipe].append(time.monotonic() - started)
    without, given = found["experts_refined"], found["experts"]
    plain, taught = divergences(program, evidence, without, given)
    better = plain - taught
    times = {recipe: 1e3 * np.median(x) / evidence.n_tasks for recipe, x in seconds.items()}
    return {
        "program": name,
        "T": steps,
        "divergence without": plain.mean(),
        "with": taught.mean(),
        "better by": better.mean(),
        "se": better.std(ddof=1) / np.sqrt(len(better)),
        "median without": np.median(plain),
        "median with": np.median(taught),
        "ms without": times["experts_refined"],
        "ms with": times["experts"],
    }


def divergences(
    program: Program, evidence: Evidence, first: Society, second: Society
) -> tuple[np.ndarray, np.ndarray]:
    """KL from each task's posterior to either society, `[task]` each, in nats."""
    keys = jax.random.split(jax.random.key(1), evidence.n_tasks)

    def work(tasks: np.ndarray, data: Data, mask: np.ndarray) -> np.ndarray:
        data, seen = at_one_length(data, mask)
        some = jnp.asarray(tasks)
        both = (jax.tree.map(lambda x: x[some], x) for x in (first, second))
        return np.asarray(_divergences(program, *both, data, seen, keys[some]), float)

    one, other = over_chunks(evidence, work, silent, "weighing").T
    return one, other


@eqx.filter_jit
def _divergences(
    program: Program, first: Society, second: Society, data: Data, seen: Array, keys: Array
) -> Array:
    """KL from each task's posterior to either society, `[task, 2]`."""

    def one(xs: tuple[Society, Society, Data, Array, Array]) -> Array:
        first, second, data, seen, key = xs
        data = jax.tree.map(lambda x: x[None], data)
        keys, size = jax.random.split(key, 3), first.mean.shape[1]
        from_prior = int(FROM_PRIOR * DRAWS)
        each = (DRAWS - from_prior) // 2
        points = [_drawn(x, k, each) for x, k in zip((first, second), keys, strict=False)]
        points = jnp.concatenate([*points, jax.random.normal(keys[2], (from_prior, size))])
        beliefs = [
            jax.scipy.special.logsumexp(log_densities(points, x.mean, x.root) + x.log_weights, 1)
            for x in (first, second)
        ]
        prior = -0.5 * (points**2).sum(1) - 0.5 * size * np.log(2 * np.pi)
        shares = np.log([each / DRAWS, each / DRAWS, from_prior / DRAWS])
        stacked = jnp.stack([*beliefs, prior]) + shares[:, None]
        proposed = jax.scipy.special.logsumexp(stacked, 0)
        log_joint = log_joint_of(program, data, seen, first.mean[0])[0](points)
        weights = log_joint - proposed
        log_evidence = jax.scipy.special.logsumexp(weights) - np.log(len(points))
        share = jax.nn.softmax(weights)
        away = [jnp.where(share > 0, log_joint - x, 0.0) for x in beliefs]
        return jnp.stack([(share * x).sum() - log_evidence for x in away])

    return each_task(one, (first, second, data, seen, keys))


def _drawn(society: Society, key: Array, n: int) -> Array:
    """Draws from the experts, as many of each as its weight says."""
    key_of_noise, key_of_ranks = jax.random.split(key)
    ranks = (jnp.arange(n) + jax.random.uniform(key_of_ranks)) / n
    cumulative = jnp.cumsum(jnp.exp(society.log_weights))
    which = jnp.minimum(jnp.searchsorted(cumulative, ranks), len(cumulative) - 1)
    noise = jax.random.normal(key_of_noise, (n, society.mean.shape[1]))
    return society.mean[which] + jnp.einsum("nij,nj->ni", society.root[which], noise)
