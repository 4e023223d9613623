"""Amortized peers on `wave`: BayesFlow and sbi, trained for so many seconds and asked for draws.

    uv run --group peers python -m benchmarks._peers --seconds 60 --tasks 100

Prints one JSON line per peer. The packages are in the dependency group `peers`, which is not
installed by default, and are imported where they are used. Both peers learn from fresh simulations
only, each of a latent from the prior and a set of 1 to 10 points, all sizes equally often. Sets are
padded to 10 points, and the padding is masked in the way that each library offers. Each learning
rate falls with the time used, so a longer budget is another schedule, not more of the same one.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

Draw = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
LogProb = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

LOCATION, SCALE, NOISE, RANGE = np.array([0.0, 1.0, 0.0]), np.array([0.5, 0.3, 1.0]), 0.3, 5.0
LATENTS, LARGEST = 3, 10
# The learning rate rises to its peak in this share of the time, and falls to 0 by a cosine.
WARM_UP = 0.05
BAYESFLOW_RATE, BAYESFLOW_BATCH = 4e-3, 128
SBI_RATE, SBI_BATCH, SBI_WIDTH = 3e-3, 256, 64
# How the evaluation tasks are simulated, and how many points of each are the evidence.
TASKS, STEPS, SEED, EVIDENCE = 256, 1000, 0, 10
# Draws from a posterior, for so many tasks at once, which fit into the cache; timed so often.
DRAWS, AT_ONCE, TIMINGS = 1000, 20, 3


class Sets(NamedTuple):
    """Simulated sets: latents `[n, 3]`, points `[n, 10, 2]`, and which are real `[n, 10]`."""

    z: np.ndarray
    points: np.ndarray
    mask: np.ndarray


class Peer(NamedTuple):
    """A trained amortized posterior over (log amplitude, frequency, phase).

    Attributes:
        name: Of the package.
        version: Of the package.
        trained_s: Wall-clock seconds of training, with compilation.
        simulations: How many sets it was trained on.
        draws: From sets x `[n, T]` and y `[n, T]` and a number to draws `[n, number, 3]`.
        log_prob: From latents `[n, 3]` and sets x `[n, T]` and y `[n, T]` to log q(z | D) `[n]`.
    """

    name: str
    version: str
    trained_s: float
    simulations: int
    draws: Draw
    log_prob: LogProb


def outcomes(rng: np.random.Generator, z: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Noisy values of the waves `z` `[n, 3]` at `x` `[n, T]`."""
    mean = np.exp(z[:, :1]) * np.sin(z[:, 1:2] * x + z[:, 2:])
    return mean + NOISE * rng.normal(size=x.shape)


def simulate(rng: np.random.Generator, n: int) -> Sets:
    """Sets of 1 to 10 points, padded with zeros."""
    z = rng.normal(size=(n, LATENTS)) * SCALE + LOCATION
    x = rng.uniform(-RANGE, RANGE, (n, LARGEST))
    mask = np.arange(LARGEST) < rng.integers(1, LARGEST + 1, (n, 1))
    points = np.stack([x, outcomes(rng, z, x)], axis=-1) * mask[..., None]
    return Sets(z.astype(np.float32), points.astype(np.float32), mask)


def tasks() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The 256 tasks to evaluate on: latents `[n, 3]`, x and y `[n, 1000]`."""
    rng = np.random.default_rng(SEED)
    z = rng.normal(size=(TASKS, LATENTS)) * SCALE + LOCATION
    x = rng.uniform(-RANGE, RANGE, (TASKS, STEPS))
    return z, x, outcomes(rng, z, x)


def train_bayesflow(seconds: float, seed: int) -> Peer:
    """BayesFlow on JAX: a small set transformer and a spline coupling flow, trained online.

    Draws are compiled, which the library leaves to its user: those of one task take about a tenth
    of the time that they take otherwise.
    """
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import bayesflow
    import jax
    import keras

    started = time.monotonic()
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    simulations = 0

    def sample(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
        nonlocal simulations
        simulations += shape[0]
        return simulate(rng, shape[0])._asdict()

    class Budget(keras.callbacks.Callback):
        """Sets the learning rate by the time used, every few batches; stops when it is used up."""

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.model.optimizer.learning_rate = BAYESFLOW_RATE * _rate(started, seconds)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.model.stop_training = time.monotonic() - started > seconds

    workflow = bayesflow.BasicWorkflow(
        simulator=bayesflow.make_simulator(sample, is_batched=True),
        adapter=bayesflow.Adapter()
        .rename("z", "inference_variables")
        .rename("points", "summary_variables")
        .rename("mask", "summary_mask"),
        summary_network=bayesflow.networks.SetTransformer(
            embed_dims=(32, 32), num_heads=(2, 2), num_seeds=2, expansion_factor=2.0, dropout=0.0
        ),
        inference_network=bayesflow.networks.CouplingFlow(
            transform="spline",
            depth=3,
            transform_kwargs={"bins": 8},
            subnet_kwargs={"widths": (64, 64), "dropout": 0.0},
        ),
        optimizer=keras.optimizers.Adam(BAYESFLOW_RATE, clipnorm=1.5),
    )
    workflow.fit_online(
        epochs=10**9,
        num_batches_per_epoch=20,
        batch_size=BAYESFLOW_BATCH,
        callbacks=[Budget()],
        verbose=0,
    )
    trained_s = time.monotonic() - started
    estimator = workflow.estimator

    @partial(jax.jit, static_argnames="number")
    def compiled(points: jax.Array, key: jax.Array, number: int) -> jax.Array:
        given = {"points": points}
        return estimator.sample(num_samples=number, conditions=given, seed=key, to_numpy=False)["z"]

    def draws(x: np.ndarray, y: np.ndarray, number: int) -> np.ndarray:
        key = jax.random.PRNGKey(rng.integers(2**31))
        return np.asarray(compiled(_points(x, y), key, number))

    def log_prob(z: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return estimator.log_prob({"z": z.astype(np.float32), "points": _points(x, y)})

    version = bayesflow.__version__
    return Peer("bayesflow", version, trained_s, simulations, partial(_batched, draws), log_prob)


def train_sbi(seconds: float, seed: int) -> Peer:
    """NPE of sbi: its permutation-invariant embedding and a masked autoregressive flow.

    The loop is our own, for fresh simulations in each step: `NPE.train` wants all of them before.
    It runs on one thread, because steps this small get no faster by a second one. Draws are made
    by all threads, which are told not to spin while they wait: cores may be shared.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    import sbi
    import torch
    from sbi.inference.posteriors import DirectPosterior
    from sbi.neural_nets import posterior_nn
    from sbi.neural_nets.embedding_nets import FCEmbedding, PermutationInvariantEmbedding

    started = time.monotonic()
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def sample(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        sets = simulate(rng, n)
        points = np.where(sets.mask[..., None], sets.points, np.float32(np.nan))
        return torch.from_numpy(sets.z), torch.from_numpy(points)

    embedding = PermutationInvariantEmbedding(
        FCEmbedding(2, num_layers=3, num_hiddens=SBI_WIDTH, output_dim=SBI_WIDTH),
        SBI_WIDTH,
        num_hiddens=SBI_WIDTH,
        output_dim=SBI_WIDTH // 2,
    )
    build = posterior_nn(
        "zuko_maf",
        z_score_x="none",
        embedding_net=embedding,
        hidden_features=(SBI_WIDTH, SBI_WIDTH),
        num_transforms=5,
    )
    estimator = build(*sample(10 * SBI_BATCH))
    optimizer = torch.optim.Adam(estimator.parameters(), lr=SBI_RATE)
    steps = 0
    while time.monotonic() - started < seconds:
        optimizer.param_groups[0]["lr"] = SBI_RATE * _rate(started, seconds)
        optimizer.zero_grad()
        estimator.loss(*sample(SBI_BATCH)).mean().backward()
        torch.nn.utils.clip_grad_norm_(estimator.parameters(), 5.0)
        optimizer.step()
        steps += 1
    trained_s = time.monotonic() - started
    torch.set_num_threads(threads)
    estimator.eval()
    location, scale = torch.tensor(LOCATION).float(), torch.tensor(SCALE).float()
    prior = torch.distributions.MultivariateNormal(location, scale_tril=torch.diag(scale))
    posterior = DirectPosterior(estimator, prior)

    def padded(x: np.ndarray, y: np.ndarray) -> torch.Tensor:
        pad = ((0, 0), (0, LARGEST - x.shape[1]), (0, 0))
        return torch.from_numpy(np.pad(_points(x, y), pad, constant_values=np.nan))

    @torch.inference_mode()
    def draws(x: np.ndarray, y: np.ndarray, number: int) -> np.ndarray:
        found = posterior.sample_batched(
            (number,),
            padded(x, y),
            max_sampling_batch_size=1,
            show_progress_bars=False,
            reject_outside_prior=False,
        )
        return found.numpy().swapaxes(0, 1)

    def log_prob(z: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        latents = torch.from_numpy(z.astype(np.float32))[None]
        return posterior.log_prob_batched(latents, padded(x, y), norm_posterior=False)[0].numpy()

    simulations = steps * SBI_BATCH
    draw = partial(_batched, draws)
    return Peer("sbi", sbi.__version__, trained_s, simulations, draw, log_prob)


TRAIN = {"bayesflow": train_bayesflow, "sbi": train_sbi}


def measure(peer: Peer, n_tasks: int) -> dict[str, object]:
    """The milliseconds of 1,000 draws for each of some tasks, and mean log q(z | D) over all 256.

    The time is of a whole call for all tasks, divided by their number: the least of three, after
    one call that is not counted.
    """
    z, x, y = tasks()
    x, y = x[:, :EVIDENCE], y[:, :EVIDENCE]
    seconds = []
    for _ in range(1 + TIMINGS):
        started = time.perf_counter()
        peer.draws(x[:n_tasks], y[:n_tasks], DRAWS)
        seconds.append(time.perf_counter() - started)
    return {
        "peer": peer.name,
        "version": peer.version,
        "trained_s": round(peer.trained_s, 1),
        "simulations": peer.simulations,
        "ms_per_task_1000_draws": round(1e3 * min(seconds[1:]) / min(n_tasks, TASKS), 3),
        "log_q": round(float(peer.log_prob(z, x, y).mean()), 4),
    }


def main() -> None:
    """Trains the peers that are named, or all, and prints what was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks._peers")
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"of {', '.join(TRAIN)}")
    parser.add_argument("--seconds", type=float, default=200, help="to train each peer for")
    parser.add_argument("--tasks", type=int, default=100, help="to draw for, 256 at most")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for name in given.peers or TRAIN:
        peer = TRAIN[name](given.seconds, given.seed)
        print(json.dumps(measure(peer, given.tasks)), flush=True)


def _rate(started: float, seconds: float) -> float:
    """The learning rate over its peak, at this moment of the budget."""
    used = (time.monotonic() - started) / seconds
    if used < WARM_UP:
        return 0.1 + 0.9 * used / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (used - WARM_UP) / (1 - WARM_UP))))


def _points(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The points of sets, `[n, T, 2]`, as a network takes them."""
    if x.shape[1] > LARGEST:
        raise ValueError(f"the peers learn from sets of up to {LARGEST} points, not {x.shape[1]}")
    return np.stack([x, y], axis=-1).astype(np.float32)


def _batched(draws: Draw, x: np.ndarray, y: np.ndarray, number: int) -> np.ndarray:
    """Draws for all tasks, by some at once."""
    starts = range(0, len(x), AT_ONCE)
    return np.concatenate([draws(x[i : i + AT_ONCE], y[i : i + AT_ONCE], number) for i in starts])


if __name__ == "__main__":
    main()
