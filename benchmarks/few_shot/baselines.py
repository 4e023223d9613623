"""What others do with few points, trained on the same tasks.

`gradient`: a network of two hidden layers of 40, all of whose weights take five gradient steps
from where they start; starts and step sizes are learned (Finn et al. 2017; Li et al. 2017).
`features`: a network whose last layer is Bayesian, with a learned prior, in closed form (ALPaCA,
Harrison et al. 2018). `set network`: deep sets trained on simulations of a program that is known or
was learned, which then gives each task's posterior at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.distributions.constraints import positive

import bayes_badger as bb
from bayes_badger.evidence import from_arrays
from bayes_badger.inner_loop import gradient, set_network
from bayes_badger.inner_loop.gradient import adapted
from bayes_badger.outer_loop import Settings, learn
from bayes_badger.program import Data, Program
from benchmarks.few_shot import scores

# One task: places `[point, ...]`, outcomes `[point]`, and how many of them are seen.
Task = tuple[np.ndarray, np.ndarray, int]

HIDDEN, FEATURES, STEPS, DRAWS = 40, 24, 2000, 1000
LOOP = gradient.make(gradient.Settings(steps=5, rate=0.1))


def network(x, y=None):  # type: ignore[no-untyped-def]
    """All weights are a task's own; where they start, and how far they step, is learned."""
    x = x[..., None] if x.ndim == 2 else x
    sizes = (x.shape[-1], HIDDEN, HIDDEN, 1)
    start = numpyro.param("start", lambda key: _weights(key, sizes))
    spread = numpyro.param("spread", jnp.full(start.shape, 0.3), constraint=positive)
    noise = numpyro.param("noise", 0.3, constraint=positive)
    with numpyro.plate("task", x.shape[0], dim=-2):
        weights = numpyro.sample("weights", dist.Normal(start, spread).to_event(1))
        curve = _layers(weights[:, 0], x, sizes)[..., 0]
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(curve, noise), obs=y)


def features(x, y=None):  # type: ignore[no-untyped-def]
    """Weights of a task's last layer; their prior, all before it and the noise are learned."""
    x = x[..., None] if x.ndim == 2 else x
    sizes = (x.shape[-1], HIDDEN, HIDDEN, FEATURES)
    layers = numpyro.param("layers", lambda key: _weights(key, sizes))
    mean = numpyro.param("mean", jnp.zeros(FEATURES))
    spread = numpyro.param("spread", jnp.full(FEATURES, 0.5), constraint=positive)
    noise = numpyro.param("noise", 0.3, constraint=positive)
    found = _layers(layers[None], x, sizes)
    # The first is a level.
    found = found.at[..., 0].set(1.0)
    with numpyro.plate("task", x.shape[0], dim=-2):
        weights = numpyro.sample("weights", dist.Normal(0, 1).expand([FEATURES]).to_event(1))
        curve = (found * (mean + spread * weights)).sum(-1)
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(curve, noise), obs=y)


def _weights(key: jax.Array, sizes: Sequence[int]) -> jax.Array:
    """Of all layers in a row, as large as their inputs are many; biases are 0."""
    layers = []
    for one, (n, m) in zip(jax.random.split(key, 3), pairwise(sizes), strict=True):
        layers += [jax.random.normal(one, (n * m,)) / np.sqrt(n), jnp.zeros(m)]
    return jnp.concatenate(layers)


def _layers(weights: jax.Array, x: jax.Array, sizes: Sequence[int]) -> jax.Array:
    """Of each task, `[task or 1, weight]`, on its rows."""
    at = 0
    for i, (n, m) in enumerate(pairwise(sizes)):
        w = weights[:, at : at + n * m].reshape(-1, n, m)
        x = x @ w + weights[:, None, at + n * m : at + n * m + m]
        x = jnp.tanh(x) if i < 2 else x
        at += n * m + m
    return x


def learned(model: object, x: np.ndarray, y: np.ndarray, seed: int) -> Program:
    """One of both programs above, learned from tasks `[task, point]` as its inner loop needs."""
    program = lifted(model, x, y)
    evidence = from_arrays(program.signature, {"x": x}, y, {})
    inner = LOOP if model is network else None
    settings = Settings(steps=STEPS, rate=0.005)
    return learn(program, evidence, jax.random.key(seed), settings, inner=inner).program


def lifted(model: object, x: np.ndarray, y: np.ndarray) -> Program:
    """One of both programs above, on places like these, at least 35 of them."""
    some = np.resize(x, (5, 7, *x.shape[2:]))
    return bb.lift(model, example=_data(some, np.resize(y, (5, 7)))._replace(outcome=None))


def by_gradient(program: Program, tasks: Sequence[Task]) -> dict[str, float]:
    """Scores of the points where the steps lead."""
    told = []
    for x, y, seen in tasks:
        weights = np.asarray(_adapted(program, *_padded(tasks, x, y, seen)))
        drawn = {"weights": weights[None]}
        told.append(scores.of_draws(program, drawn, x[seen:], y[seen:]))
    return scores.mean_of(told)


@eqx.filter_jit
def _adapted(program: Program, data: Data, mask: jax.Array) -> jax.Array:
    u = adapted(program, data, mask, LOOP.settings.steps, LOOP.settings.rate)
    return program.constrain(u[:0], u[None], {})["weights"][0]


def by_features(program: Program, tasks: Sequence[Task]) -> dict[str, float]:
    """Scores of the Gaussian predictive in closed form."""
    told = []
    for x, y, seen in tasks:
        data, _ = _padded(tasks, x, y, seen)
        found = scores.lines(program, "weights", {}, np.asarray(data.columns["x"][0]))
        location, slopes, noise = (each[:, : len(y)] for each in found)
        kernel = slopes @ np.swapaxes(slopes, 1, 2) + noise[..., None] ** 2 * np.eye(len(y))
        told.append(scores.conditioned(kernel, location, y, seen, weigh=False))
    return scores.mean_of(told)


def by_set_network(program: Program, tasks: Sequence[Task], seed: int) -> dict[str, float]:
    """Scores of a network's posterior for a program whose prior is known or learned."""
    x, y = (
        np.stack([np.resize(t[i], (_most(tasks), *t[i].shape[1:])) for t in tasks]) for i in (0, 1)
    )
    whole = from_arrays(program.signature, {"x": x}, y, {})
    kept = np.arange(_most(tasks)) < np.array([[seen] for _, _, seen in tasks])
    evidence = whole.select_rows(np.flatnonzero(kept.ravel()))
    loop = set_network.make(set_network.Settings(chains=1, draws=DRAWS))
    found = loop.infer(program, evidence, jax.random.key(seed)).draws.values
    told = []
    for i, (x, y, seen) in enumerate(tasks):
        drawn = {latent.name: found[latent.name][0, :, i] for latent in program.latents}
        told.append(scores.of_draws(program, drawn, x[seen:], y[seen:]))
    return scores.mean_of(told)


def rows(
    x: np.ndarray, y: np.ndarray, new: Sequence[Task], program: Program, seed: int
) -> list[dict[str, object]]:
    """All three, trained on tasks `[task, point]`; the set network for a program."""
    return [
        {"prior": "gradient", **by_gradient(learned(network, x, y, seed), new)},
        {"prior": "features", **by_features(learned(features, x, y, seed), new)},
        {"prior": "set network", **by_set_network(program, new, seed)},
    ]


def _most(tasks: Sequence[Task]) -> int:
    return max(len(y) for _, y, _ in tasks)


def _padded(
    tasks: Sequence[Task], x: np.ndarray, y: np.ndarray, seen: int
) -> tuple[Data, jax.Array]:
    """Of one shape for all tasks, so that it is compiled once; and which rows are seen."""
    most = _most(tasks)
    data = _data(np.resize(x, (1, most, *x.shape[1:])), np.resize(y, (1, most)))
    return data, jnp.arange(most) < seen


def _data(x: np.ndarray, y: np.ndarray) -> Data:
    return Data({"x": jnp.asarray(x, jnp.float32)}, {}, jnp.asarray(y, jnp.float32))
