"""What is believed of what tasks share, as experts that can be carried on to other tasks.

Belief in `a` is the only thing through which tasks inform each other, so that it is all that has to
be kept of tasks that were seen. It is stored as a `Mixture` over the latents of the lifetime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import logsumexp

from bayes_badger.belief import Mixture
from bayes_badger.inner_loop._society import Society
from bayes_badger.program import Latent

# Steps of EM to draws, experts of at least so many draws, and their least relative spread.
STEPS, DRAWS_EACH, FLOOR = 30, 100, 1e-3


class Carried(NamedTuple):
    """A belief about what tasks share, under one assignment of what is discrete in it.

    Attributes:
        discrete: The assignment.
        log_weight: Log probability of the assignment, in nats.
        society: Experts over the rest.
    """

    discrete: Mapping[str, np.ndarray]
    log_weight: float
    society: Society


def carried_mixture(carried: Sequence[Carried], latents: tuple[Latent, ...]) -> Mixture | None:
    """The same as a belief; None where there is nothing to carry."""
    if not carried:
        return None
    counts = [len(x.society.log_weights) for x in carried]

    def joined(parts: list[np.ndarray]) -> Array:
        return jnp.asarray(np.concatenate(parts), jnp.float32)

    return Mixture(
        joined([np.asarray(x.society.log_weights, float) + x.log_weight for x in carried]),
        joined([np.asarray(x.society.mean) for x in carried]),
        joined([np.asarray(x.society.root) for x in carried]),
        latents,
        {
            name: jnp.asarray(np.repeat([x.discrete[name] for x in carried], counts, 0))
            for name in carried[0].discrete
        },
    )


def carried_from(belief: Mixture) -> tuple[Carried, ...]:
    """The experts of each assignment of a belief about what tasks share."""
    log_weights = np.asarray(belief.log_weights, float)
    log_weights = log_weights - logsumexp(log_weights)
    discrete = {name: np.asarray(x) for name, x in belief.discrete.items()}
    found = []
    for at in _alike(discrete, len(log_weights)):
        own = log_weights[at]
        total = float(logsumexp(own))
        society = _society(
            own - total, np.asarray(belief.loc)[at], np.asarray(belief.scale_tril)[at]
        )
        found.append(Carried({n: x[at[0]] for n, x in discrete.items()}, total, society))
    return tuple(found)


def carried_from_draws(
    points: Float[np.ndarray, "draw a"],
    discrete: Mapping[str, np.ndarray],
    experts: int,
    latents: tuple[Latent, ...],
) -> Mixture | None:
    """Experts that draws of what tasks share make likely, by EM; mean and covariance are theirs.

    Args:
        points: Coordinates of the draws.
        discrete: Of each draw, `[draw, *shape]`, by name.
        experts: At most so many for each assignment.
        latents: Of the lifetime.
    """
    found = [
        Carried(
            {name: x[at[0]] for name, x in discrete.items()},
            float(np.log(len(at) / len(points))),
            _fitted(np.asarray(points, float)[at], experts),
        )
        for at in _alike(discrete, len(points))
    ]
    return carried_mixture(found, latents)


def _alike(discrete: Mapping[str, np.ndarray], count: int) -> list[np.ndarray]:
    """Which of them have the same assignment, one list for each."""
    if not discrete:
        return [np.arange(count)]
    flat = np.concatenate([x.reshape(count, -1) for x in discrete.values()], 1)
    _, which = np.unique(flat, axis=0, return_inverse=True)
    return [np.flatnonzero(which.ravel() == i) for i in range(which.max() + 1)]


def _fitted(points: np.ndarray, experts: int) -> Society:
    draws, size = points.shape
    k = int(np.clip(draws // DRAWS_EACH, 1, experts))
    mean, spread = points.mean(0), points.std(0) + 1e-9
    x = (points - mean) / spread
    # Begun at draws spread along the first principal direction, so that it is the same each time.
    direction = np.linalg.svd(x - x.mean(0), full_matrices=False)[2][0] if size else np.zeros(0)
    order = np.argsort(x @ direction)
    at = order[((np.arange(k) + 0.5) / k * draws).astype(int)]
    loc, weights = x[at], np.full(k, 1.0 / k)
    covariance = np.tile(np.cov(x.T, bias=True).reshape(size, size) / max(k, 1), (k, 1, 1))
    covariance += FLOOR**2 * np.eye(size)
    for _ in range(STEPS):
        root = np.linalg.cholesky(covariance)
        noise = np.linalg.solve(root, np.swapaxes(x[None] - loc[:, None], 1, 2))
        logs = np.log(weights) - np.log(np.diagonal(root, axis1=1, axis2=2)).sum(1)
        logs = logs[:, None] - 0.5 * (noise**2).sum(1)
        share = np.exp(logs - logsumexp(logs, axis=0))
        total = share.sum(1) + 1e-12
        weights, loc = total / total.sum(), share @ x / total[:, None]
        apart = x[None] - loc[:, None]
        covariance = np.einsum("kn,kni,knj->kij", share, apart, apart) / total[:, None, None]
        covariance += FLOOR**2 * np.eye(size)
    root = np.linalg.cholesky(covariance) * spread[:, None]
    return _society(np.log(weights), mean + loc * spread, root)


def _society(log_weights: np.ndarray, mean: np.ndarray, root: np.ndarray) -> Society:
    weights, loc, scale = (jnp.asarray(x, jnp.float32) for x in (log_weights, mean, root))
    return Society(weights, loc, scale, jnp.zeros((*mean.shape, 0)))
