"""How fast outer loops learn, in one run: tasks per second, and what is known after so long.

    uv run python -m benchmarks outer                      # without BayesFlow
    KERAS_BACKEND=jax uv run --with 'bayesflow>=2.1' python -m benchmarks outer     # with it

Waves with ten points each. `prior`: a prior whose means, spreads and noise are learned from 4,096
tasks, by 16 experts each. `policy`: a policy bred on fresh waves, 16 experts each. `both`: what a
task costs that is used for either. `gradient`: the network of `few_shot`, learned through five
gradient steps. `bayesflow`: as in `speed`. Rates are of the whole training, compiling included, and
of its later half. Log q is of the true latents of 256 other waves, in nats: for `prior` by the
recipe `experts` under what was learned. The exact posterior under the true prior has 2.545. Seconds
are of learning, compiling included, until log q was for the first time within 20% of what it was in
the end, and of BayesFlow's; 0 where that was so before anything was learned.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
from numpyro.distributions.constraints import positive

import bayes_badger as bb
from bayes_badger.evidence import Evidence, from_arrays
from bayes_badger.inner_loop import _taught
from bayes_badger.outer_loop import Settings, breeding, learn
from bayes_badger.program import Program
from bayes_badger.recipe import load_recipe
from bayes_badger.shelves import load_program
from benchmarks import _peers
from benchmarks.few_shot import baselines
from benchmarks.few_shot.programs import lifted

TASKS, STEPS, EXPERTS, SECONDS, WITHIN = 4096, 10, 16, 60.0, 0.2
BATCH, BREEDING, GRADIENT = 128, 60, 300


def run() -> pd.DataFrame:
    """A row for each outer loop."""
    prior, known = _prior()
    rows = [prior, _policy()]
    rate = 1 / sum(1 / row["tasks per second"] for row in rows)
    late = 1 / sum(1 / row["in the later half"] for row in rows)
    rows += [{"outer loop": "both", "tasks per second": rate, "in the later half": late}]
    rows += [_gradient(), *(other := _bayesflow())]
    prior["until near its end"] = _until(known, prior["log q"])
    if other:
        prior["until near BayesFlow's"] = _until(known, other[0]["log q"])
    return pd.DataFrame(rows)


def _until(known: Sequence[tuple[float, float]], end: float) -> float:
    """The first of the seconds at which log q was so near to what it is in the end, or beyond."""
    return next(seconds for seconds, log_q in known if log_q >= end - WITHIN * abs(end))


def waves(x, y=None):  # type: ignore[no-untyped-def]
    """The program `wave`, its prior and noise learned."""
    mean = numpyro.param("mean", jnp.array([0.0, 0.8, 0.0]))
    spread = numpyro.param("spread", jnp.ones(3), constraint=positive)
    noise = numpyro.param("noise", 0.5, constraint=positive)
    with numpyro.plate("task", x.shape[0], dim=-2):
        log_amplitude = numpyro.sample("log_amplitude", dist.Normal(mean[0], spread[0]))
        frequency = numpyro.sample("frequency", dist.Normal(mean[1], spread[1]))
        phase = numpyro.sample("phase", dist.Normal(mean[2], spread[2]))
        wave = jnp.exp(log_amplitude) * jnp.sin(frequency * x + phase)
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(wave, noise), obs=y)


class _Clock:
    """A report that keeps when it was told how much was done."""

    def __init__(self) -> None:
        self.started, self.told = time.monotonic(), list[tuple[float, int]]()

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        self.told.append((time.monotonic() - self.started, done))

    def rates(self, tasks_of_a_step: int) -> dict[str, Any]:
        """Tasks per second of all of it, and of its later half."""
        seconds, done = self.told[-1]
        middle, half = next((t, n) for t, n in self.told if n >= done / 2)
        return {
            "tasks per second": tasks_of_a_step * done / seconds,
            "in the later half": tasks_of_a_step * (done - half) / (seconds - middle),
            "seconds": seconds,
        }


def _tasks(seed: int) -> Evidence:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(TASKS, _peers.LATENTS)) * _peers.SCALE + _peers.LOCATION
    x = rng.uniform(-_peers.RANGE, _peers.RANGE, (TASKS, STEPS))
    program = bb.lift(waves)
    return from_arrays(program.signature, {"x": x}, _peers.outcomes(rng, z, x), {})


def _prior() -> tuple[dict[str, Any], list[tuple[float, float]]]:
    """What is told of it; and after how many seconds log q was what, from the start on."""
    clock, evidence, program = _Clock(), _tasks(1), bb.lift(waves)
    shown = [(0.0, program)]

    def watch(done: int, program: Program) -> None:
        shown.append((time.monotonic() - clock.started, program))

    settings = Settings(experts=EXPERTS)
    found = learn(program, evidence, jax.random.key(0), settings, clock, watch=watch)
    told = {"outer loop": "prior", **clock.rates(TASKS), "outer steps": found.steps}
    known = [(seconds, _log_q(one)) for seconds, one in shown]
    print(known, file=sys.stderr, flush=True)
    return _said(told | {"log q": _log_q(found.program)}), known


def _log_q(program: Program) -> float:
    """Mean log density at the truths, in the user's own space."""
    z, x, y = _peers.tasks()
    evidence = from_arrays(program.signature, {"x": x[:, :STEPS]}, y[:, :STEPS], {})
    belief = load_recipe("experts").make().infer(program, evidence, jax.random.key(0)).mixture
    mean, spread = (np.asarray(program.parameters[name], float) for name in ("mean", "spread"))
    u = jnp.asarray((z - mean) / spread, jnp.float32)
    each = eqx.filter_vmap(lambda mixture, u: mixture.log_prob(u))(belief, u)
    return float(np.asarray(each, float).mean() - np.log(spread).sum())


def _policy() -> dict[str, Any]:
    clock = _Clock()
    program = lifted("wave")
    source = breeding.Source(program, load_program("wave").optional("inputs"))
    settings = breeding.Settings(steps=BREEDING, tasks=BATCH, rows=STEPS, experts=EXPERTS)
    policy = _taught.Taught(jax.random.key(0))
    breeding.breed(policy, [source], jax.random.key(1), settings, clock)
    return _said({"outer loop": "policy", **clock.rates(BATCH), "outer steps": BREEDING})


def _gradient() -> dict[str, Any]:
    clock, evidence = _Clock(), _tasks(2)
    x, y = (v.reshape(TASKS, STEPS) for v in (evidence.columns["x"], evidence.outcome))
    program = baselines.lifted(baselines.network, x, y)
    settings = Settings(steps=GRADIENT, tasks=BATCH, rate=0.005)
    learn(program, evidence, jax.random.key(0), settings, clock, inner=baselines.LOOP)
    return _said({"outer loop": "gradient", **clock.rates(BATCH), "outer steps": GRADIENT})


def _bayesflow() -> list[dict[str, Any]]:
    if importlib.util.find_spec("bayesflow") is None:
        print("bayesflow is not installed: uv run --group peers", file=sys.stderr)
        return []
    found = _peers.train_bayesflow(SECONDS, 0)
    z, x, y = _peers.tasks()
    density = np.asarray(found.log_prob(z, x[:, :STEPS], y[:, :STEPS]), float)
    rate = found.simulations / found.trained_s
    told = {"outer loop": "bayesflow", "tasks per second": rate, "seconds": found.trained_s}
    return [_said(told | {"log q": density.mean()})]


def _said(row: dict[str, Any]) -> dict[str, Any]:
    print(row, file=sys.stderr, flush=True)
    return row
