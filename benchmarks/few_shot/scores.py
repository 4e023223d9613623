"""How well the outcomes of one task were predicted, for each way to have a predictive.

Each function returns the mean squared error of the predictive mean, the mean log density of an
outcome by itself (marginal), and of all together per outcome (joint), in nats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from bayes_badger.program import Data, Program

LOG_2_PI = float(np.log(2 * np.pi))


class Score(NamedTuple):
    """Of one task."""

    square: float
    marginal: float
    joint: float


def mean_of(scores: Sequence[Score]) -> dict[str, float]:
    """Of all tasks of a world."""
    square, marginal, joint = np.mean(np.array(scores), 0)
    return {"rmse": float(np.sqrt(square)), "marginal": float(marginal), "joint": float(joint)}


def of_gaussians(
    log_weights: np.ndarray, means: np.ndarray, covariances: np.ndarray, y: np.ndarray
) -> Score:
    """A mixture of Gaussians over all outcomes.

    Args:
        log_weights: Normalised, `[k]`.
        means: `[k, target]`.
        covariances: Noise included, `[k, target, target]`.
        y: `[target]`.
    """
    away, variance = y - means, np.diagonal(covariances, axis1=1, axis2=2)
    each = -0.5 * (away**2 / variance + np.log(variance) + LOG_2_PI)
    root = np.linalg.cholesky(covariances)
    white = np.linalg.solve(root, away[..., None])[..., 0]
    whole = -0.5 * (white**2).sum(1) - np.log(np.diagonal(root, axis1=1, axis2=2)).sum(1)
    whole -= 0.5 * len(y) * LOG_2_PI
    square = ((y - np.exp(log_weights) @ means) ** 2).mean()
    marginal = np.logaddexp.reduce(log_weights[:, None] + each, axis=0).mean()
    return Score(square, marginal, np.logaddexp.reduce(log_weights + whole) / len(y))


def conditioned(
    kernels: np.ndarray, means: np.ndarray, y: np.ndarray, seen: int, *, weigh: bool
) -> Score:
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
    return of_gaussians(log_weights, mean, covariance, y[seen:])


def of_draws(program: Program, values: Mapping[str, np.ndarray], x: object, y: np.ndarray) -> Score:
    """Equally weighted draws of a task's latents, whatever the program.

    Args:
        program: With its parameters.
        values: Of the task, in the user's own space, `[draw, *shape]`.
        x: Of the targets, `[target, ...]`.
        y: `[target]`.
    """
    drawn = {name: jnp.asarray(v)[:, None] for name, v in values.items()}
    found = _rows_and_means(program, drawn, _data(x, y))
    rows, means = (np.asarray(each, float) for each in found)
    many = np.log(len(rows))
    marginal = np.logaddexp.reduce(rows, axis=0).mean() - many
    joint = (np.logaddexp.reduce(rows.sum(1)) - many) / len(y)
    return Score(((y - means.mean(0)) ** 2).mean(), marginal, joint)


@eqx.filter_jit
def _rows_and_means(
    program: Program, values: dict[str, jax.Array], data: Data
) -> tuple[jax.Array, jax.Array]:
    def one(values: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        walked = program.walk_at(values, data)
        return program.rows_of(walked, data)[0], walked.sites[program.outcome.site].fn.mean[0]

    return jax.lax.map(one, values, batch_size=500)


def _data(x: object, y: np.ndarray) -> Data:
    return Data({"x": jnp.asarray(x)[None]}, {}, jnp.asarray(y)[None])


def lines(
    program: Program, weights: str, others: Mapping[str, np.ndarray], x: object
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A program that is linear in one latent given its others: location, slopes and noise, float64.

    Args:
        program: With its parameters.
        weights: The name of the latent.
        others: Draws of one task's other latents, `[draw, *shape]`; where there are none, it is as
            if there were one draw.
        x: `[row, ...]`.

    Returns:
        Where all weights are 0 `[draw, row]`, the slopes `[draw, row, w]`, and the noise as a
        standard deviation `[draw, row]`.
    """
    with jax.enable_x64(True):
        drawn = {name: jnp.asarray(v, float)[:, None] for name, v in others.items()}
        data = _data(np.asarray(x, float), np.zeros(len(np.asarray(x))))
        location, slopes, noise = _lines(program, weights, drawn, data)
        return np.asarray(location), np.asarray(slopes), np.asarray(noise)


@eqx.filter_jit
def _lines(
    program: Program, weights: str, others: dict[str, jax.Array], data: Data
) -> tuple[jax.Array, jax.Array, jax.Array]:
    none = jnp.zeros(program.latent(weights).shape)
    draws = len(next(iter(others.values()))) if others else 1

    def one(xs: tuple[jax.Array, dict[str, jax.Array]]) -> tuple[jax.Array, jax.Array, jax.Array]:
        given = xs[1]

        def normal(w: jax.Array) -> tuple[jax.Array, jax.Array]:
            sites = program.walk_at({**given, weights: w[None]}, data).sites
            fn = sites[program.outcome.site].fn
            return fn.mean[0], jnp.broadcast_to(jnp.sqrt(fn.variance), fn.mean.shape)[0]

        location, noise = normal(none)
        return location, jax.jacfwd(lambda w: normal(w)[0])(none), noise

    return jax.lax.map(one, (jnp.arange(draws), others), batch_size=32)
