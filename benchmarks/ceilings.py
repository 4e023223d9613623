"""The ceilings: what exact inference knows of a task after 1 ... 1000 steps, beside references.

`exact` for gaussian, `grid` for the others: log evidence per task, log q(truth | D) in the user's
own space, and how often 90% intervals hold the truth. Standard errors are over lifetimes, or over
tasks where tasks share nothing. The first steps of one evidence are used for all T.

References: a Beta for coin, one Gaussian of all outcomes for gaussian. Those of wave are in
`data/wave_reference.csv`: log q(truth | D), nats, of each task, computed once outside of this
project's code, by dense quadrature up to T = 10 and by importance sampling above.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from scipy.special import gammaln

from bayes_badger.belief import Posterior
from bayes_badger.evidence import Evidence, from_arrays
from bayes_badger.evidence.compiled import data_of, task_columns_of
from bayes_badger.inner_loop import registry
from bayes_badger.program import Program, from_inputs, lift
from bayes_badger.shelves import load_program

CEILINGS = {
    "wave": "grid",
    "gaussian": "exact",
    "coin": "grid",
    "logistic": "grid",
    "counts": "grid",
}
STEPS = (1, 2, 5, 10, 50, 200, 1000)
TASKS, SEED = 256, 0
# Where tasks share something there are several lifetimes, of so many tasks each.
PER_LIFETIME = 16
# The truth is inside a 90% interval where it has 20 ... 379 of 399 draws below it: 360 of 400
# ranks, all equally likely.
DRAWS, LOWEST, HIGHEST = 399, 20, 380
WAVE_REFERENCE = Path(__file__).parent / "data" / "wave_reference.csv"


class Lifetime(NamedTuple):
    """Simulated evidence, and the latents that it was simulated from, by name."""

    evidence: Evidence
    truth: dict[str, np.ndarray]

    def first(self, steps: int, tasks: int | None = None) -> Lifetime:
        """The first steps of each task; of the first tasks."""
        evidence, truth = self if tasks is None else self.of(np.arange(tasks))
        step = np.tile(np.arange(evidence.lengths[0]), evidence.n_tasks)
        return Lifetime(evidence.select_rows(step < steps), truth)

    def of(self, tasks: np.ndarray) -> Lifetime:
        """Some of the tasks."""
        truth = {n: x[tasks] if len(x.shape) else x for n, x in self.truth.items()}
        return Lifetime(self.evidence.select(tasks), truth)


class Found(NamedTuple):
    """What a ceiling says of some lifetimes after some steps.

    Attributes:
        log_evidence: Per task, in nats; by lifetime, or by task where tasks share nothing.
        log_q: Of each task's true latents, in nats, `[lifetime, task]`.
        inside: Whether 90% intervals hold the truth, one for each task and number.
        error: Of the log evidence per task, by its own estimate, in nats; of the worst lifetime.
        warned: Whether any posterior has a warning: an integral that did not reach its tolerance.
        seconds: With compilation, and with draws.
    """

    log_evidence: np.ndarray
    log_q: np.ndarray
    inside: np.ndarray
    error: float
    warned: bool
    seconds: float


def run(*programs: str) -> pd.DataFrame:
    """Some programs, or all; all T. Each row is told as it is done."""
    rows = []
    for name in programs or CEILINGS:
        for row in _rows(name):
            print(f"{name} T={row['T']}: {row['seconds']:.0f} s", file=sys.stderr, flush=True)
            rows.append(row)
    return pd.DataFrame(rows)


def _rows(name: str) -> Iterator[dict[str, object]]:
    """A row for each T; "off" is beside the reference, "most off" its largest of any task."""
    program, lifetimes = simulated(name)
    for steps in STEPS:
        some = [lifetime.first(steps) for lifetime in lifetimes]
        found = ceiling(name, program, some)
        evidence, log_q = references(name, some, steps)
        by_unit = found.log_q.mean(1) if program.lifetime_size else found.log_q.ravel()
        off = np.abs(found.log_q - log_q)
        share = found.inside.mean()
        yield {
            "program": name,
            "T": steps,
            "tasks": found.log_q.size,
            "log evidence": found.log_evidence.mean(),
            "se": _error(found.log_evidence),
            "most off": np.abs(found.log_evidence - evidence).max(),
            "log q": by_unit.mean(),
            "se of q": _error(by_unit),
            "reference": np.mean(log_q),
            "off": found.log_q.mean() - np.mean(log_q),
            "99% within": np.quantile(off, 0.99),
            "q most off": off.max(),
            "coverage": share,
            "se of coverage": np.sqrt(share * (1 - share) / found.inside.size),
            "own error": found.error,
            "warned": found.warned,
            "seconds": found.seconds,
        }


def _error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def simulated(name: str, tasks: int = TASKS) -> tuple[Program, list[Lifetime]]:
    """The program, and lifetimes of 1000 steps from its own prior: 256 tasks in all."""
    loaded = load_program(name)
    groups, inputs = loaded.optional("columns"), loaded.optional("inputs")
    program = lift(loaded.model, inputs=inputs, groups=groups, name=name)
    if name == "wave":
        return program, [_waves(program)]
    per_lifetime = PER_LIFETIME if program.lifetime_size else tasks
    lifetimes = []
    for key in jax.random.split(jax.random.key(SEED), tasks // per_lifetime):
        query_key, key = jax.random.split(key)
        queries = from_inputs(program.signature, inputs, query_key, per_lifetime, STEPS[-1])
        drawn = program.simulate(key, queries)
        columns = {name: np.asarray(x) for name, x in queries.columns.items()}
        evidence = from_arrays(program.signature, columns, np.asarray(drawn.outcome))
        truth = {x.name: np.asarray(drawn.values[x.name]) for x in program.latents}
        lifetimes.append(Lifetime(evidence, truth))
    return program, lifetimes


def _waves(program: Program) -> Lifetime:
    """The tasks of the reference."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(256, 3)) * [0.5, 0.3, 1] + [0, 1, 0]
    x = rng.uniform(-5, 5, (256, 1000))
    y = np.exp(z[:, :1]) * np.sin(z[:, 1:2] * x + z[:, 2:]) + 0.3 * rng.normal(size=(256, 1000))
    truth = dict(zip(("log_amplitude", "frequency", "phase"), z.T, strict=True))
    return Lifetime(from_arrays(program.signature, {"x": x}, y), truth)


def ceiling(name: str, program: Program, lifetimes: list[Lifetime]) -> Found:
    """What the program's ceiling says of these lifetimes."""
    module = registry.module(CEILINGS[name])
    loop = module.make(module.Settings(chains=1, draws=DRAWS))
    log_evidence, log_q, inside, errors, warnings = [], [], [], [], []
    started = time.monotonic()
    for i, (evidence, truth) in enumerate(lifetimes):
        posterior = loop.infer(program, evidence, jax.random.key(i))
        by_task = posterior.log_evidence_by_task
        if by_task is None:
            log_evidence.append([posterior.log_evidence / evidence.n_tasks])
            log_q.append(_by_mixture(program, posterior, truth))
        else:
            log_evidence.append(by_task)
            log_q.append(log_joint(program, evidence, truth) - by_task)
        for latent in program.select("task"):
            draws = posterior.draws.values[latent.name]
            below = (draws < truth[latent.name]).sum((0, 1))
            inside.append(((below >= LOWEST) & (below < HIGHEST)).ravel())
        errors.append(posterior.log_evidence_error / evidence.n_tasks)
        warnings += posterior.warnings
    return Found(
        np.concatenate(log_evidence),
        np.stack(log_q),
        np.concatenate(inside),
        max(errors),
        bool(warnings),
        time.monotonic() - started,
    )


def log_joint(program: Program, evidence: Evidence, truth: dict[str, np.ndarray]) -> np.ndarray:
    """Log p(true latents, outcomes) of each task, in the user's own space, `[task]`."""
    with jax.enable_x64(True):
        values = {name: jnp.asarray(x, float) for name, x in truth.items()}
        columns = task_columns_of(evidence)
        prior = program.log_prior_by_site(values, columns, evidence.n_tasks)
        rows = program.log_likelihood_of(values, data_of(evidence.padded()))
        return np.asarray(sum(prior.values()) + rows.sum(1))


def _by_mixture(program: Program, posterior: Posterior, truth: dict[str, np.ndarray]) -> np.ndarray:
    """Log q of each task's true latents: one Gaussian, for they are linear in its coordinates."""

    def latents(u: jax.Array) -> jax.Array:
        lifetime, task = u[: program.lifetime_size], u[None, program.lifetime_size :]
        values = program.constrain(lifetime, task, {})
        return jnp.concatenate([values[x.name].ravel() for x in program.select("task")])

    with jax.enable_x64(True):
        loc = jnp.asarray(posterior.mixture.loc[:, 0], float)
        mean = np.asarray(jax.vmap(latents)(loc))
        slope = np.asarray(jax.vmap(jax.jacfwd(latents))(loc))
    root = slope @ np.asarray(posterior.mixture.scale_tril[:, 0], float)
    true = [truth[x.name].reshape(len(mean), -1) for x in program.select("task")]
    return log_normal(np.concatenate(true, 1) - mean, root @ np.swapaxes(root, -1, -2))


def references(
    name: str, lifetimes: list[Lifetime], steps: int
) -> tuple[np.ndarray | float, np.ndarray | float]:
    """Log evidence per task and log q(truth), as `Found` has them; NaN where there is none."""
    if name == "wave" and steps > 1:
        tasks = len(lifetimes[0].truth["phase"])
        return np.nan, pd.read_csv(WAVE_REFERENCE)[f"T{steps}"].to_numpy()[None, :tasks]
    if name in ("coin", "gaussian"):
        exact = {"coin": _coins, "gaussian": _levels}[name]
        pairs = [
            exact(x.evidence.outcome.reshape(-1, steps).astype(float), **x.truth) for x in lifetimes
        ]
        return np.concatenate([pair[0] for pair in pairs]), np.stack([pair[1] for pair in pairs])
    return np.nan, np.nan


def _coins(heads: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log evidence and log density at p of Beta(1 + h, 1 + n - h), by task."""
    n, h, p = heads.shape[1], heads.sum(1), p.astype(float)
    log_evidence = gammaln(1 + h) + gammaln(1 + n - h) - gammaln(2 + n)
    return log_evidence, h * np.log(p) + (n - h) * np.log1p(-p) - log_evidence


def _levels(y: np.ndarray, a: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log evidence per task of a lifetime, and log density at each z, given a ~ N(0, 1), all 1.

    Means of tasks are N(0, 11ᵀ + (1 + 1/n) I); the rest of the evidence is about their noise alone.
    """
    (tasks, n), mean = y.shape, y.mean(1)
    levels = np.ones((tasks, tasks)) + np.eye(tasks)
    means = levels + np.eye(tasks) / n
    noise = -0.5 * ((y - mean[:, None]) ** 2).sum() - 0.5 * tasks * (
        (n - 1) * np.log(2 * np.pi) + np.log(n)
    )
    gain = levels @ np.linalg.inv(means)
    variance = np.diag(levels - gain @ levels)[:, None, None]
    log_evidence = log_normal(mean, means) + noise
    return np.array([log_evidence / tasks]), log_normal((z - gain @ mean)[:, None], variance)


def log_normal(x: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Log density of N(0, covariance), `[..., d]` to `[...]`."""
    white = np.linalg.solve(np.linalg.cholesky(covariance), np.asarray(x)[..., None])
    log_scale = 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]
    return -0.5 * (white**2).sum((-1, -2)) - log_scale
