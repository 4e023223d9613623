"""How close experts come to the exact answer: log q(truth | D), paired on the same tasks.

    uv run python -m benchmarks accuracy [PROGRAM[:K[,K...]] ...]

Programs with exact answers in `benchmarks/data/exact/` (see `exact`); `anchors`, 256 waves with
another's answers; `ridge`, a linear regression with 50 latents whose answer is in closed form; and
`coverage`, 4,096 waves of which only the coverage of 90% intervals is looked at. A gap is log q of
the experts minus log q of the exact posterior at the latents that a task was simulated with, in
nats: its mean is minus the KL divergence from posterior to belief. Recipes as they are on the shelf
but for the number of experts; nothing is tuned to these tasks. `wave:64` is the recipe `experts`
alone, with that many experts.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd

from bayes_badger.belief import Mixture
from bayes_badger.evidence import Evidence, from_arrays
from bayes_badger.evidence.compiled import task_columns_of
from bayes_badger.inner_loop import experts
from bayes_badger.inner_loop._society import as_mixture
from bayes_badger.program import Program, lift
from benchmarks import exact
from benchmarks.ceilings import WAVE_REFERENCE, Lifetime, log_normal, simulated

STEPS = (2, 5, 10, 50, 200, 1000)
# Settings beside the number of experts, and which numbers of experts.
KINDS = {
    "plain": {"sweeps": 0, "refits": 0},
    "swept": {"refits": 0},
    "refined": {},
}
EXPERTS = {"plain": (1, 64), "swept": (1, 64), "refined": (1, 16, 64, 256, 1024)}
# Above so many experts, fewer tasks and steps.
MANY, FEWER_TASKS, FEWER_STEPS = 256, 256, (2, 10, 50)
RIDGE, RIDGE_NOISE = 50, 0.5
COVERED = 4096


def run(*parts: str) -> pd.DataFrame:
    """Programs by name; `wave` alone has 2,048 tasks. Each row is told as it is done."""
    rows = []
    for part in parts or (*exact.TASKS, "anchors", "ridge", "coverage:64"):
        name, _, counts = part.partition(":")
        many = {"refined": tuple(map(int, counts.split(",")))} if counts else EXPERTS
        for row in _rows(name, many):
            print(
                f"{name} {row['kind']} K={row['K']} T={row['T']}: gap {row['gap']:.4f}, "
                f"{row['seconds']:.0f} s",
                file=sys.stderr,
                flush=True,
            )
            rows.append(row)
    return pd.DataFrame(rows)


def _rows(name: str, many: Mapping[str, Sequence[int]]) -> Iterator[dict[str, object]]:
    for kind in many:
        base: dict[int, np.ndarray] = {}
        for k in many[kind]:
            for steps in STEPS:
                if k > MANY and steps not in FEWER_STEPS:
                    continue
                tasks = None if kind == "refined" and k <= 64 else FEWER_TASKS
                program, lifetime, reference = tasks_of(name, steps, tasks)
                loop = experts.make(experts.Settings(experts=k, **KINDS[kind]))
                started = time.monotonic()
                found = loop.societies(program, lifetime.evidence, jax.random.key(0))
                seconds = time.monotonic() - started
                mixture = as_mixture(found.society, program.latents)
                gap = log_q(program, *lifetime, mixture) - reference
                inside = covered(program, *lifetime, mixture)
                both = min(len(gap), len(base.get(steps, gap)))
                better = gap[:both] - base.get(steps, gap)[:both]
                base[steps] = gap
                yield {
                    "program": name,
                    "kind": kind,
                    "K": k,
                    "T": steps,
                    "tasks": len(gap),
                    "gap": gap.mean(),
                    "se": _error(gap),
                    "median": np.median(gap),
                    "below -1": (gap < -1).mean(),
                    "below -3": (gap < -3).mean(),
                    "worst": gap.min(),
                    "coverage": inside.mean(),
                    "se of that": _error(inside.mean(1)),
                    "more experts are better by": better.mean(),
                    "se of them": _error(better),
                    "seconds": seconds,
                }


def tasks_of(
    name: str, steps: int, tasks: int | None = None
) -> tuple[Program, Lifetime, np.ndarray]:
    """A program, evidence and true latents of its first tasks, and exact log q of those."""
    if name == "ridge":
        return _ridge(steps)
    if name == "anchors":
        program, (lifetime,) = simulated("wave")
        return program, lifetime.first(steps), pd.read_csv(WAVE_REFERENCE)[f"T{steps}"].to_numpy()
    if name == "coverage":
        program, lifetime = exact.tasks_of("wave", COVERED)
        return program, lifetime.first(steps), np.full(COVERED, np.nan)
    program, lifetime = exact.tasks_of(name, exact.TASKS[name])
    lifetime = lifetime.first(steps, tasks)
    reference = exact.exact(name, steps, lifetime.evidence.n_tasks)
    known = np.flatnonzero(np.isfinite(reference))
    return program, lifetime.of(known), reference[known]


def log_q(
    program: Program, evidence: Evidence, truth: dict[str, np.ndarray], mixture: Mixture
) -> np.ndarray:
    """Log density of the mixture at the truth, in the user's own space, nats, `[task]`."""
    columns = task_columns_of(evidence)
    values = {n: jnp.asarray(x) for n, x in truth.items()}
    _, u, jacobian = program.coordinates_and_log_jacobian(values, columns, evidence.n_tasks)
    density = eqx.filter_jit(eqx.filter_vmap(lambda one, u: one.log_prob(u)))(mixture, u)
    return np.asarray(density + sum(jacobian.values()), float)


def covered(
    program: Program, evidence: Evidence, truth: dict[str, np.ndarray], mixture: Mixture
) -> np.ndarray:
    """Whether central 90% intervals of each coordinate hold the truth, `[task, u]`.

    By the mixture's own distribution function, in coordinates: they rise with the latents.
    """
    values = {n: jnp.asarray(x) for n, x in truth.items()}
    _, u, _ = program.coordinates_and_log_jacobian(
        values, task_columns_of(evidence), evidence.n_tasks
    )
    sd = jnp.sqrt((mixture.scale_tril**2).sum(-1))
    below = jax.scipy.stats.norm.cdf((u[:, None] - mixture.loc) / sd)
    rank = (jax.nn.softmax(mixture.log_weights, -1)[..., None] * below).sum(1)
    return np.asarray((rank > 0.05) & (rank < 0.95))


def _ridge(steps: int) -> tuple[Program, Lifetime, np.ndarray]:
    """50 weights from N(0, 1): log q of the truth in closed form."""

    def model(X, y=None):  # noqa: N803
        with numpyro.plate("task", X.shape[0], dim=-2):
            prior = dist.Normal(0, 1).expand([X.shape[-1]]).to_event(1)
            w = numpyro.sample("w", prior)
            with numpyro.plate("step", X.shape[1], dim=-1):
                numpyro.sample("y", dist.Normal((X * w).sum(-1), RIDGE_NOISE), obs=y)

    rng = np.random.default_rng(exact.SEED)
    tasks = 64
    w = rng.normal(size=(tasks, RIDGE))
    x = rng.normal(size=(tasks, steps, RIDGE))
    y = np.einsum("tsd,td->ts", x, w) + RIDGE_NOISE * rng.normal(size=(tasks, steps))
    program = lift(
        model, inputs=lambda key, n, s: {"X": jax.random.normal(key, (n, s, RIDGE))}, name="ridge"
    )
    precision = np.eye(RIDGE) + np.einsum("tsi,tsj->tij", x, x) / RIDGE_NOISE**2
    covariance = np.linalg.inv(precision)
    mean = np.einsum("tij,tsj,ts->ti", covariance, x, y) / RIDGE_NOISE**2
    lifetime = Lifetime(from_arrays(program.signature, {"X": x}, y), {"w": w})
    return program, lifetime, log_normal(w - mean, covariance)


def _error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))
