"""Gaussian processes of unknown length and scale, after Nguyen and Grover (2022).

Length U(.1, .6), scale U(.1, 1), noise .02, x U(-2, 2); 3 to 46 points are seen, and 3 or more, 49
in all at most, are predicted, both drawn anew for each task. A world is 16 tasks. `known` is the
true kernel, integrated over 64 x 64 midpoints of length and scale, the best that can be done;
`program` the kernel that the sines of `gp` make, integrated likewise. The inner loop `grid` infers
`gp` too, but takes too long for a benchmark.
"""

from __future__ import annotations

import numpy as np

from bayes_badger.program import Program
from benchmarks.few_shot import scores
from benchmarks.few_shot.programs import lifted

TASKS, NOISE, NODES = 16, 0.02, 64
LEAST, MOST, POINTS = 3, 47, 50
LENGTHS, SCALES = (0.1, 0.6), (0.1, 1.0)


def world(seed: int) -> list[dict[str, object]]:
    """The true kernel and the program's, on the same tasks."""
    rng = np.random.default_rng(seed)
    tasks = [_task(rng) for _ in range(TASKS)]
    program = lifted("gp")
    return [
        {"prior": "known", **scores.mean_of([_exact(*task) for task in tasks])},
        {"prior": "program", **scores.mean_of([_by_program(program, *task) for task in tasks])},
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


def _midpoints() -> tuple[np.ndarray, np.ndarray]:
    """Lengths and scales, all equally likely, `[node]` each."""
    middle = (np.arange(NODES) + 0.5) / NODES
    length, scale = (low + (high - low) * middle for low, high in (LENGTHS, SCALES))
    return np.repeat(length, NODES), np.tile(scale, NODES)


def _exact(x: np.ndarray, y: np.ndarray, seen: int) -> scores.Score:
    """Over midpoints of length and scale, each weighed by its evidence."""
    length, scale = (each[:, None, None] for each in _midpoints())
    kernels = scale**2 * _alike(x, length) + NOISE**2 * np.eye(len(x))
    return predicted(kernels, np.zeros(kernels.shape[:2]), y, seen, weigh=True)


def _by_program(program: Program, x: np.ndarray, y: np.ndarray, seen: int) -> scores.Score:
    """The same, with the kernel that the program's sines make."""
    length, scale = _midpoints()
    drawn = {"length": length, "scale": scale}
    # Padded to one shape, so that it is compiled once.
    means, slopes, noise = scores.lines(program, "weights", drawn, np.resize(x, POINTS))
    means, slopes, noise = (each[:, : len(x)] for each in (means, slopes, noise))
    kernels = slopes @ np.swapaxes(slopes, 1, 2) + noise[..., None] ** 2 * np.eye(len(x))
    return predicted(kernels, means, y, seen, weigh=True)


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
