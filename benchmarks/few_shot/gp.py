"""Gaussian processes of unknown length and scale, after Nguyen and Grover (2022).

Length U(.1, .6), scale U(.1, 1), noise .02, x U(-2, 2); 3 to 46 points are seen, and 3 or more, 49
in all at most, are predicted, both drawn anew for each task. A world is 8 tasks. `grid` infers
length and scale of `gp`, the weights integrated in closed form; its draws of both give a mixture of
Gaussians. `known` is the true kernel, integrated over 64 x 64 midpoints: the best that can be done.
"""

from __future__ import annotations

import jax
import numpy as np

from bayes_badger.evidence import from_arrays
from bayes_badger.inner_loop import grid
from benchmarks.few_shot import scores
from benchmarks.few_shot.programs import lifted

TASKS, NOISE, DRAWS, NODES, TOLERANCE = 8, 0.02, 128, 64, 0.01
LEAST, MOST, POINTS = 3, 47, 50
LENGTHS, SCALES = (0.1, 0.6), (0.1, 1.0)


def world(seed: int) -> list[dict[str, object]]:
    """The program by `grid`, and the exact answer, on the same tasks."""
    rng = np.random.default_rng(seed)
    tasks = [_task(rng) for _ in range(TASKS)]
    exact = [_exact(*task) for task in tasks]
    return [
        {"prior": "known", **scores.mean_of(exact)},
        {"prior": "program", **scores.mean_of(_by_grid(tasks, seed))},
    ]


def _task(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int]:
    """Places, outcomes, and how many of them are seen."""
    seen = int(rng.integers(LEAST, MOST))
    points = seen + int(rng.integers(LEAST, POINTS - seen))
    x = rng.uniform(-2, 2, points)
    length, scale = rng.uniform(*LENGTHS), rng.uniform(*SCALES)
    kernel = scale**2 * _alike(x, length) + NOISE**2 * np.eye(points)
    return x, np.linalg.cholesky(kernel) @ rng.normal(size=points), seen


def _alike(x: np.ndarray, length: np.ndarray | float) -> np.ndarray:
    return np.exp(-0.5 * ((x[:, None] - x) / length) ** 2)


def _exact(x: np.ndarray, y: np.ndarray, seen: int) -> scores.Score:
    """Over midpoints of length and scale, each weighed by its evidence."""
    middle = (np.arange(NODES) + 0.5) / NODES
    low, high = np.array([LENGTHS, SCALES]).T
    length, scale = (low[:, None] + (high - low)[:, None] * middle)[..., None, None]
    kernels = (scale[:, None] ** 2 * _alike(x, length)).reshape(-1, len(x), len(x))
    kernels += NOISE**2 * np.eye(len(x))
    return predicted(kernels, np.zeros((len(kernels), len(x))), y, seen, weigh=True)


def _by_grid(tasks: list[tuple[np.ndarray, np.ndarray, int]], seed: int) -> list[scores.Score]:
    program = lifted("gp")
    lengths = np.array([seen for *_, seen in tasks])
    columns = np.zeros((2, len(tasks), lengths.max()))
    for i, (x, y, seen) in enumerate(tasks):
        columns[:, i, :seen] = x[:seen], y[:seen]
    evidence = from_arrays(program.signature, {"x": columns[0]}, columns[1], {}, lengths=lengths)
    loop = grid.make(grid.Settings(chains=1, draws=DRAWS, tolerance=TOLERANCE))
    found = loop.infer(program, evidence, jax.random.key(seed)).draws.values
    told = []
    for i, (x, y, seen) in enumerate(tasks):
        # Padded to one shape, so that it is compiled once.
        wide = np.resize(x, POINTS)
        drawn = {name: np.asarray(found[name][0, :, i]) for name in ("length", "scale")}
        means, slopes, noise = scores.lines(program, "weights", drawn, wide)
        slopes = slopes[:, : len(x)]
        kernels = slopes @ np.swapaxes(slopes, 1, 2)
        kernels += noise[:, : len(x), None] ** 2 * np.eye(len(x))
        told.append(predicted(kernels, means[:, : len(x)], y, seen, weigh=False))
    return told


def predicted(
    kernels: np.ndarray, means: np.ndarray, y: np.ndarray, seen: int, *, weigh: bool
) -> scores.Score:
    """What a mixture of Gaussians says of the rest, given what is seen.

    Args:
        kernels: Covariances of all outcomes, `[k, point, point]`.
        means: `[k, point]`.
        y: `[point]`.
        seen: So many are seen.
        weigh: Whether the weights are those of the prior, not yet of the posterior.
    """
    inside, across = kernels[:, :seen, :seen], kernels[:, seen:, :seen]
    root = np.linalg.cholesky(inside)
    away = np.linalg.solve(root, (y - means)[:, :seen, None])
    half = np.linalg.solve(root, np.swapaxes(across, 1, 2))
    log_weights = np.zeros(len(kernels))
    if weigh:
        log_weights = -0.5 * (away**2).sum((1, 2))
        log_weights -= np.log(np.diagonal(root, axis1=1, axis2=2)).sum(1)
    log_weights -= np.logaddexp.reduce(log_weights)
    mean = means[:, seen:] + (np.swapaxes(half, 1, 2) @ away)[..., 0]
    covariance = kernels[:, seen:, seen:] - np.swapaxes(half, 1, 2) @ half
    return scores.of_gaussians(log_weights, mean, covariance, y[seen:])
