"""Gaussian processes of unknown length and scale, after Nguyen and Grover (2022).

Length U(.1, .6), scale U(.1, 1), noise .02, x U(-2, 2); 3 to 46 points are seen, and 3 or more, 49
in all at most, are predicted, both drawn anew for each task. A world is 16 tasks. `known` is the
true kernel, integrated over 64 x 64 midpoints of length and scale, the best that can be done;
`program` the kernel that the sines of `gp` make, integrated likewise. The inner loop `grid` infers
`gp` too, but takes too long for a benchmark. The others are `baselines`: two learn from 500 tasks
of 50 points, the set network from the program itself.
"""

from __future__ import annotations

import numpy as np

from bayes_badger.program import Program
from benchmarks.few_shot import baselines, scores
from benchmarks.few_shot.programs import lifted

TASKS, LEARNED, NOISE, NODES = 16, 500, 0.02, 64
LEAST, MOST, POINTS = 3, 47, 50
LENGTHS, SCALES = (0.1, 0.6), (0.1, 1.0)


def world(seed: int) -> list[dict[str, object]]:
    """The true kernel, the program's, and the baselines, on the same tasks."""
    rng = np.random.default_rng(seed)
    tasks = [_task(rng) for _ in range(TASKS)]
    program = lifted("gp")
    told: list[dict[str, object]] = [
        {"prior": "known", **scores.mean_of([_exact(*task) for task in tasks])},
        {"prior": "program", **scores.mean_of([_by_program(program, *task) for task in tasks])},
    ]
    whole = [_curve(rng, POINTS) for _ in range(LEARNED)]
    x, y = (np.stack(each) for each in zip(*whole, strict=True))
    return told + baselines.rows(x, y, tasks, program, seed)


def _task(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int]:
    """Places, outcomes, and how many of them are seen."""
    seen = int(rng.integers(LEAST, MOST))
    points = seen + int(rng.integers(LEAST, POINTS - seen))
    return *_curve(rng, points), seen


def _curve(rng: np.random.Generator, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Places and outcomes."""
    x = rng.uniform(-2, 2, points)
    length, scale = rng.uniform(*LENGTHS), rng.uniform(*SCALES)
    kernel = scale**2 * _alike(x, length) + NOISE**2 * np.eye(points)
    return x, np.linalg.cholesky(kernel) @ rng.normal(size=points)


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
    return scores.conditioned(kernels, np.zeros(kernels.shape[:2]), y, seen, weigh=True)


def _by_program(program: Program, x: np.ndarray, y: np.ndarray, seen: int) -> scores.Score:
    """The same, with the kernel that the program's sines make."""
    length, scale = _midpoints()
    drawn = {"length": length, "scale": scale}
    # Padded to one shape, so that it is compiled once.
    means, slopes, noise = scores.lines(program, "weights", drawn, np.resize(x, POINTS))
    means, slopes, noise = (each[:, : len(x)] for each in (means, slopes, noise))
    kernels = slopes @ np.swapaxes(slopes, 1, 2) + noise[..., None] ** 2 * np.eye(len(x))
    return scores.conditioned(kernels, means, y, seen, weigh=True)
