"""The Cauchy bumps of PACOH: 20 tasks of 20 points in the plane, then new ones.

The outer loop learns `cauchy` from 20 tasks of 20 points; then each of 200 new tasks is inferred
from 20 points by `exact`, and 200 others of its points are predicted. `known` is the Gaussian
process that the tasks are drawn from, on the same tasks: the best that can be done. The others are
`baselines`.
"""

from __future__ import annotations

import jax
import numpy as np
from scipy.stats import truncnorm

from bayes_badger.evidence import from_arrays
from bayes_badger.inner_loop import exact
from bayes_badger.outer_loop import Settings, learn
from bayes_badger.program import Program
from benchmarks.few_shot import baselines, scores
from benchmarks.few_shot.programs import lifted

TASKS, STEPS, NEW, CONTEXT, TARGETS = 20, 20, 200, 20, 200
SCALE, LENGTH, NOISE = 0.2, 0.5**0.5, 0.05


def world(seed: int) -> list[dict[str, object]]:
    """The true process, the program that is learned and the baselines, on the same tasks."""
    rng = np.random.default_rng(seed)
    x, y = tasks_of(rng, TASKS, STEPS)
    new = tasks_of(rng, NEW, CONTEXT + TARGETS)
    program = lifted("cauchy")
    evidence = from_arrays(program.signature, {"x": x}, y, {})
    learned = learn(program, evidence, jax.random.key(seed), Settings()).program
    known = [_known(*task) for task in zip(*new, strict=True)]
    told: list[dict[str, object]] = [
        {"prior": "known", **scores.mean_of(known)},
        {"prior": "learned", **scores.mean_of(by_exact(learned, *new))},
    ]
    tasks = [(*task, CONTEXT) for task in zip(*new, strict=True)]
    return told + baselines.rows(x, y, tasks, learned, seed)


def tasks_of(rng: np.random.Generator, tasks: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Places `[task, step, 2]` and outcomes `[task, step]` after Rothfuss et al. (2021)."""
    x = truncnorm.rvs(-3, 2, scale=2.5, size=(tasks, steps, 2), random_state=rng)
    root = np.linalg.cholesky(SCALE**2 * _alike(x, x) + 1e-10 * np.eye(steps))
    surface = (root @ rng.normal(size=(tasks, steps, 1)))[..., 0]
    return x, _bumps(x) + surface + NOISE * rng.normal(size=(tasks, steps))


def _bumps(x: np.ndarray) -> np.ndarray:
    return 1 + sum(
        height / (np.pi * (1 + ((x - place) ** 2).sum(-1))) for height, place in ((6, -1), (3, 2))
    )


def _alike(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    apart = ((x[..., :, None, :] - z[..., None, :, :]) ** 2).sum(-1)
    return np.exp(-0.5 * apart / LENGTH**2)


def _known(x: np.ndarray, y: np.ndarray) -> scores.Score:
    seen, new = x[:CONTEXT], x[CONTEXT:]
    inside = SCALE**2 * _alike(seen, seen) + NOISE**2 * np.eye(CONTEXT)
    across = SCALE**2 * _alike(new, seen)
    mean = _bumps(new) + across @ np.linalg.solve(inside, y[:CONTEXT] - _bumps(seen))
    covariance = SCALE**2 * _alike(new, new) + NOISE**2 * np.eye(len(new))
    covariance -= across @ np.linalg.solve(inside, across.T)
    return scores.of_gaussians(np.zeros(1), mean[None], covariance[None], y[CONTEXT:])


def by_exact(program: Program, x: np.ndarray, y: np.ndarray) -> list[scores.Score]:
    """Infers each task from its first points in closed form, and predicts the others.

    Args:
        program: Linear-Gaussian, with one latent; with its parameters.
        x: `[task, point, 2]`.
        y: `[task, point]`.
    """
    seen = from_arrays(program.signature, {"x": x[:, :CONTEXT]}, y[:, :CONTEXT], {})
    loop = exact.make(exact.Settings(chains=1, draws=1))
    belief = loop.infer(program, seen, jax.random.key(0)).mixture
    assert belief is not None
    told = []
    for i in range(len(x)):
        # Prior-normal: a weight that is N(0, 1) is its own coordinate.
        mean, root = (np.asarray(v[i, 0], float) for v in (belief.loc, belief.scale_tril))
        found = scores.lines(program, "weights", {}, x[i, CONTEXT:])
        location, slopes, noise = (each[0] for each in found)
        half = slopes @ root
        covariance = half @ half.T + np.diag(noise**2)
        predicted = location + slopes @ mean
        told.append(
            scores.of_gaussians(np.zeros(1), predicted[None], covariance[None], y[i, CONTEXT:])
        )
    return told
