"""Tasks that come in portions, without the old data: time, memory, and how far it is off.

    uv run python -m benchmarks streams [TASKS ...]

The hierarchy of `scales`, ten rows a task, in portions of 1,000 tasks (of a tenth, where there are
fewer than 10,000): what is carried from one to the next is a mixture of Gaussians over mu and tau.
Means of mu and of log tau are compared with quadrature on the sums of all tasks, in standard
deviations, as are those of the same tasks in another order; seconds, the processor's seconds of the
last ten portions beside those of the ten after the first, and the peak of memory so far. Up to
10,000 tasks are also taken all at once ("offline"), and shuffled.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterable, Iterator

import jax
import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import logsumexp

import bayes_badger as bb
from bayes_badger.evidence import Evidence, from_arrays
from bayes_badger.inner_loop import experts
from bayes_badger.program import Program
from benchmarks.scales import TAU, hierarchy

TASKS, ROWS, PORTION, DRAWS, LATTICE = (1000, 10_000, 100_000), 10, 1000, 200_000, 401
# Up to so many tasks are also shuffled; portions whose time is compared.
SHUFFLED, FEW = 10_000, 10


def run(*tasks: str) -> pd.DataFrame:
    """A row for each number of tasks, streamed, and one where all are taken at once."""
    rows = []
    for many in map(int, tasks or TASKS):
        means = np.concatenate([y.mean(1) for y in _portions(many)])
        exact = _quadrature(means)
        for offline in (False, True)[: 2 if many <= SHUFFLED else 1]:
            row: dict[str, object] = {"tasks": many, "how": "offline" if offline else "streamed"}
            seconds: list[tuple[float, float]] = []
            if offline:
                whole = np.concatenate(list(_portions(many)))
                found = _streamed([whole], seconds)
                shuffled = whole[np.random.default_rng(0).permutation(many)]
                other = _streamed([shuffled], [])
            else:
                found = _streamed(_portions(many), seconds)
                if many <= SHUFFLED:
                    other = _streamed(list(_portions(many))[::-1], [])
            for i, name in enumerate(("mu", "log tau")):
                mean, sd = exact[i]
                row[f"{name} off, sd"] = (found[i].mean() - mean) / sd
                row[f"{name} sd ratio"] = found[i].std() / sd
            if many <= SHUFFLED:
                moved = [
                    (x.mean() - y.mean()) / e[1]
                    for x, y, e in zip(found, other, exact, strict=True)
                ]
                row["moved by order, sd"] = max(map(abs, moved))
            wall, busy = np.array(seconds).T
            few = min(FEW, len(busy) // 2)
            row |= {"seconds": wall.sum(), "of the processor": busy.sum()}
            row["last in first"] = busy[-few:].sum() / busy[1 : few + 1].sum() if few else np.nan
            row["MiB at peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
    return pd.DataFrame(rows)


def _portions(many: int) -> Iterator[np.ndarray]:
    """Outcomes of each portion, made when they are asked for."""
    size = min(PORTION, many // 10)
    for i in range(many // size):
        rng = np.random.default_rng([many, i])
        z = 1 + TAU * rng.normal(size=(size, 1))
        yield z + rng.normal(size=(size, ROWS))


def _streamed(
    portions: Iterable[np.ndarray], seconds: list[tuple[float, float]]
) -> list[np.ndarray]:
    """Mu and log tau by the belief after the last portion."""
    program = bb.lift(hierarchy)
    loop = experts.make(experts.Settings(chains=1, draws=1000))
    belief = None
    for i, y in enumerate(portions):
        started, busy, key = time.monotonic(), time.process_time(), jax.random.key(i)
        evidence = _evidence(program, y)
        if belief is None:
            found = loop.infer(program, evidence, key)
        else:
            found = loop.go_on(program, evidence, key, belief)
        belief = found.lifetime
        seconds.append((time.monotonic() - started, time.process_time() - busy))
        if i % 100 == 99:
            print(i + 1, *map(sum, zip(*seconds, strict=True)), file=sys.stderr, flush=True)
    assert belief is not None
    # Of the mixture that is carried, not of the run's draws: of these there are fewer.
    u, _ = belief.sample(jax.random.key(0), (DRAWS,))
    coordinates = np.asarray(u, float)
    return [3 * coordinates[:, 0], np.log(stats.halfnorm.isf(stats.norm.sf(coordinates[:, 1])))]


def _evidence(program: Program, y: np.ndarray) -> Evidence:
    return from_arrays(program.signature, {"x": np.zeros_like(y)}, y, {})


def _quadrature(means: np.ndarray) -> list[tuple[float, float]]:
    """Mean and sd of mu and of log tau: a task's rows say what their mean says."""
    n, centre, spread = len(means), means.mean(), means.var()
    at = max(spread - 1 / ROWS, 0.01)
    wide = 8 * np.sqrt(2 / n) * spread / at
    tau = np.exp(0.5 * np.log(at) + np.linspace(-wide, wide, LATTICE) / 2)
    mu = centre + 8 * np.sqrt(spread / n) * np.linspace(-1, 1, LATTICE)
    variance = tau**2 + 1 / ROWS
    height = -0.5 * n * (np.log(variance) + (spread + (mu[:, None] - centre) ** 2) / variance)
    height = height + stats.norm.logpdf(mu, 0, 3)[:, None]
    height = height + stats.halfnorm.logpdf(tau) + np.log(tau)
    weight = np.exp(height - logsumexp(height))
    told = []
    for x, w in ((mu, weight.sum(1)), (np.log(tau), weight.sum(0))):
        mean = w @ x
        told.append((float(mean), float(np.sqrt(w @ (x - mean) ** 2))))
    return told
