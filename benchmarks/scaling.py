"""What experts cost: against their number, latents, steps and tasks, and over several devices.

Milliseconds per task, of the second call. Waves; for latents, logistic regressions with as many
weights. Devices are those of the machine; a CPU counts as four, which share its cores, with
`XLA_FLAGS=--xla_force_host_platform_device_count=4`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd

from bayes_badger.evidence import Evidence, from_arrays
from bayes_badger.inner_loop import experts
from bayes_badger.inner_loop._plan import prior_society
from bayes_badger.inner_loop._stream import through
from bayes_badger.program import Data, Program, lift
from benchmarks.ceilings import simulated

AXES = {
    "experts": (1, 4, 16, 64, 256),
    "steps": (1, 10, 100, 1000),
    "tasks": (1, 16, 256),
    "latents": (1, 2, 4, 8, 16, 32),
}
DEFAULT = {"experts": 64, "steps": 10, "tasks": 64}


def run(*parts: str) -> pd.DataFrame:
    """Each axis by itself, and the filter over devices."""
    rows = []
    for axis in parts or (*AXES, "devices"):
        for row in _devices() if axis == "devices" else _along(axis):
            print(row, file=sys.stderr, flush=True)
            rows.append(row)
    return pd.DataFrame(rows)


def _along(axis: str) -> Iterator[dict[str, object]]:
    program, (lifetime,) = simulated("wave")
    for value in AXES[axis]:
        size = DEFAULT | ({axis: value} if axis in DEFAULT else {})
        evidence = lifetime.first(size["steps"], size["tasks"]).evidence
        if axis == "latents":
            program, evidence = _logistic(value, size["tasks"], size["steps"])
        loop = experts.make(experts.Settings(experts=size["experts"]))
        times = []
        for _ in range(2):
            started = time.monotonic()
            loop.societies(program, evidence, jax.random.key(0))
            times.append(time.monotonic() - started)
        per_task = 1e3 * times[1] / size["tasks"]
        yield {"along": axis, "value": value, "ms per task": per_task, "first call, s": times[0]}


def _logistic(latents: int, tasks: int, steps: int) -> tuple[Program, Evidence]:
    def model(X, y=None):  # noqa: N803
        with numpyro.plate("task", X.shape[0], dim=-2):
            prior = dist.Normal(0, 1).expand([X.shape[-1]]).to_event(1)
            w = numpyro.sample("w", prior)
            with numpyro.plate("step", X.shape[1], dim=-1):
                numpyro.sample("y", dist.Bernoulli(logits=(X * w).sum(-1)), obs=y)

    rng = np.random.default_rng(0)
    x = rng.normal(size=(tasks, steps, latents))
    w = rng.normal(size=(tasks, 1, latents))
    y = rng.uniform(size=(tasks, steps)) < 1 / (1 + np.exp(-(x * w).sum(-1)))
    program = lift(
        model, inputs=lambda key, n, s: {"X": jax.random.normal(key, (n, s, latents))}, name="logit"
    )
    return program, from_arrays(program.signature, {"X": x}, y.astype(int))


def _devices() -> Iterator[dict[str, object]]:
    """The filter on 64 tasks of 1,000 rows, its tasks shared out over 1, 2, ... devices."""
    program, (lifetime,) = simulated("wave")
    tasks, steps = 64, 1000
    evidence = lifetime.first(steps, tasks).evidence
    loop = experts.make(experts.Settings())
    plan = loop.plan(program, evidence)
    start = prior_society(plan, 64, program.size)
    x, y = (z.reshape(tasks, steps) for z in (evidence.columns["x"], evidence.outcome))
    count = 1
    while count <= len(jax.devices()):
        mesh = jax.make_mesh((count,), ("task",), axis_types=(jax.sharding.AxisType.Auto,))
        shared = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("task"))
        society = jax.tree.map(lambda x: jnp.broadcast_to(x, (tasks, *x.shape)), start)
        data = Data({"x": jnp.asarray(x, jnp.float32)}, {}, jnp.asarray(y, jnp.float32))
        args = jax.device_put((society, data, jnp.ones((tasks, steps), bool)), shared)
        times = []
        for _ in range(2):
            started = time.monotonic()
            jax.block_until_ready(through(program, plan.predictive, loop.policy, *args))
            times.append(time.monotonic() - started)
        yield {
            "along": "devices",
            "value": count,
            "ms per task": 1e3 * times[1] / tasks,
            "first call, s": times[0],
        }
        count *= 2
