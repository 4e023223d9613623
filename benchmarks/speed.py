"""Time and accuracy side by side, in one run: 1,000 posteriors of waves with ten points each.

    uv run python -m benchmarks speed                       # without the peers
    uv run --group peers python -m benchmarks speed         # with BayesFlow, sbi: 10 minutes each
    uv run --group peers python -m benchmarks speed experts peers:60          # a minute each

Times are per task, of the second call, so that nothing is compiled in them; the first call's is
beside it. NUTS is run task by task, as one does who needs one posterior, on some of the tasks, with
the default recipe; its time is that of its warmup and of as many draws as give each latent 400
effective ones. The peers are timed at 1,000 draws of
each task, after training that is not counted. `gap` is the mean of log q(truth | D) minus the exact
value, in nats, on the same tasks; NUTS has no density, and its draws are exact in the limit.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import arviz as az
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import xarray as xr

from bayes_badger.belief import Mixture
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import data_of
from bayes_badger.inner_loop import registry
from bayes_badger.inner_loop._society import as_mixture
from bayes_badger.program import Program
from benchmarks.accuracy import log_q, tasks_of

TASKS, STEPS, NUTS_TASKS, ESS = 1000, 10, 8, 400
SVI_STEPS, SVI_DRAWS, SVI_RATE = 2000, 4, 0.02
TRAINED, DRAWS, PEERS_TASKS = 600, 1000, 100


def run(*parts: str) -> pd.DataFrame:
    """All contenders, or those that are named."""
    program, (evidence, truth), reference = tasks_of("wave", STEPS, TASKS)
    rows = []
    asked = dict(part.partition(":")[::2] for part in parts or CONTENDERS)
    for name, contender in CONTENDERS.items():
        if name not in asked:
            continue
        more = {"seconds": int(asked[name])} if asked[name] else {}
        for row in contender(program, evidence, truth, **more):
            density = row.pop("log_q", None)
            if density is not None:
                gap = density - reference[: len(density)]
                row |= {"gap": gap.mean(), "se": gap.std() / np.sqrt(len(gap))}
                row |= {"median": np.median(gap)}
            print(row, file=sys.stderr, flush=True)
            rows.append(row)
    table = pd.DataFrame(rows)
    experts = table.loc[table["method"] == "experts", "ms per task"]
    if len(experts):
        table["times slower than experts"] = table["ms per task"] / experts.iloc[0]
    return table


def _twice(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What it returns, and the seconds of the first and of the second call."""
    times = []
    for _ in range(2):
        started = time.monotonic()
        found = work()
        times.append(time.monotonic() - started)
    return found, times[0], times[1]


def _row(method: str, tasks: int, first: float, second: float, **more: Any) -> dict[str, Any]:
    return {"method": method, "ms per task": 1e3 * second / tasks, "first call, s": first, **more}


def _experts(
    program: Program, evidence: Evidence, truth: dict[str, np.ndarray]
) -> Iterator[dict[str, Any]]:
    for name, settings in (("experts", {}), ("experts_plain", {"sweeps": 0, "refits": 0})):
        module = registry.module("experts")
        loop = module.make(module.Settings(**settings))
        found, *times = _twice(
            lambda loop=loop: loop.societies(program, evidence, jax.random.key(0))
        )
        density = log_q(program, evidence, truth, as_mixture(found.society, program.latents))
        yield _row(name, TASKS, *times, log_q=density)


def _nuts(
    program: Program, evidence: Evidence, truth: dict[str, np.ndarray]
) -> Iterator[dict[str, Any]]:
    module = registry.module("nuts")
    loop = module.make(module.Settings())
    posteriors, first, seconds = [], 0.0, []
    for i in range(NUTS_TASKS + 1):
        started = time.monotonic()
        posterior = loop.infer(program, evidence.select([i]), jax.random.key(i))
        took = time.monotonic() - started
        if i:
            seconds.append(took)
            posteriors.append(posterior)
        else:
            first = took
    enough = []
    for took, posterior in zip(seconds, posteriors, strict=True):
        values = {n: (("chain", "draw"), x[..., 0]) for n, x in posterior.draws.values.items()}
        ess = az.ess(xr.Dataset(values))
        least = min(float(ess[name]) for name in values)
        # Warmup, which is half of the work, in full, and as many draws as 400 take.
        enough.append(took * (0.5 + 0.5 * ESS / least))
    mean = float(np.mean(enough))
    yield _row("nuts", 1, first, mean, on=NUTS_TASKS, default=float(np.mean(seconds)) * 1e3)


def _laplace(
    program: Program, evidence: Evidence, truth: dict[str, np.ndarray]
) -> Iterator[dict[str, Any]]:
    module = registry.module("laplace")
    loop = module.make(module.Settings(chains=1, draws=1))
    found, *times = _twice(lambda: loop.infer(program, evidence, jax.random.key(0)))
    density = log_q(program, evidence, truth, found.mixture)
    yield _row("laplace", TASKS, *times, log_q=density)


def _svi(
    program: Program, evidence: Evidence, truth: dict[str, np.ndarray]
) -> Iterator[dict[str, Any]]:
    """A Gaussian with full covariance for each task, by the reparametrised ELBO and Adam."""
    data, size = data_of(evidence.padded()), program.size

    def loss(parameters: tuple[jax.Array, jax.Array], key: jax.Array, data: Any) -> jax.Array:
        mean, raw = parameters
        root = jnp.tril(raw, -1) + jnp.diag(jnp.exp(jnp.diagonal(raw)))
        noise = jax.random.normal(key, (SVI_DRAWS, size))

        def height(e: jax.Array) -> jax.Array:
            u = mean + root @ e
            return program.rows_and_factors(u, data)[0].sum() - 0.5 * (u**2).sum()

        return -jax.vmap(height)(noise).mean() - jnp.diagonal(raw).sum()

    optimiser = optax.adam(SVI_RATE)

    @eqx.filter_jit
    def fitted(data: Any, keys: jax.Array) -> Mixture:
        def one(data: Any, key: jax.Array) -> tuple[jax.Array, jax.Array]:
            data = jax.tree.map(lambda x: x[None], data)
            begun = jnp.zeros(size), jnp.zeros((size, size))

            def step(carry: Any, key: jax.Array) -> tuple[Any, None]:
                parameters, state = carry
                updates, state = optimiser.update(jax.grad(loss)(parameters, key, data), state)
                return (optax.apply_updates(parameters, updates), state), None

            carry = begun, optimiser.init(begun)
            (mean, raw), _ = jax.lax.scan(step, carry, jax.random.split(key, SVI_STEPS))[0]
            return mean, jnp.tril(raw, -1) + jnp.diag(jnp.exp(jnp.diagonal(raw)))

        mean, root = jax.vmap(one)(data, keys)
        return Mixture(jnp.zeros((len(keys), 1)), mean[:, None], root[:, None], program.latents)

    keys = jax.random.split(jax.random.key(0), TASKS)
    found, *times = _twice(lambda: jax.block_until_ready(fitted(data, keys)))
    yield _row("svi", TASKS, *times, log_q=log_q(program, evidence, truth, found))


def _peers(
    program: Program, evidence: Evidence, truth: dict[str, np.ndarray], seconds: int = TRAINED
) -> Iterator[dict[str, Any]]:
    """BayesFlow and sbi, where they are installed: `uv run --group peers`."""
    from benchmarks import _peers

    rows = (evidence.columns["x"], evidence.outcome)
    x, y = (z.reshape(TASKS, STEPS)[:PEERS_TASKS] for z in rows)
    names = ("log_amplitude", "frequency", "phase")
    z = np.stack([truth[name][:PEERS_TASKS] for name in names], 1)
    for name in ("bayesflow", "sbi"):
        if importlib.util.find_spec(name) is None:
            print(f"{name} is not installed: uv run --group peers", file=sys.stderr)
            continue
        trained = getattr(_peers, f"train_{name}")(seconds, 0)
        _, *times = _twice(lambda trained=trained: trained.draws(x, y, DRAWS))
        density = np.asarray(trained.log_prob(z, x, y))
        yield _row(name, len(x), *times, log_q=density, on=len(x), trained=seconds)


CONTENDERS = {
    "experts": _experts,
    "laplace": _laplace,
    "svi": _svi,
    "nuts": _nuts,
    "peers": _peers,
}
