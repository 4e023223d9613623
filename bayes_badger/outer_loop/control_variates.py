"""Posterior means from weighted points with less noise: control variates from Stein's identity.

Under a density p that is smooth and falls off at infinity the functions

    ∂ log p / ∂u_k    and    c_j ∂ log p / ∂u_k + δ_jk,    c = u - mean

have mean zero. What a regression on them explains of a function's spread over the points is noise
of the points, and is taken away (Assaraf & Caffarel 1999, "Zero-variance principle for Monte Carlo
algorithms"; Mira, Solgi & Imparato 2013). Where p is Gaussian and the function quadratic nothing
is left. Gradients of the log evidence need it: given its latents a long task says much of the
parameters, nearly all of which is lost again when they are integrated out.

Where the density has a jump the identity does not hold; `standard_scores` shows that.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# So many effective points or more for each function that is regressed on.
POINTS_PER_FUNCTION = 8
# The sum over tasks of a function whose mean is zero lies no further from it, in standard errors.
FURTHEST = 5.0


def pairs(points: int, size: int) -> np.ndarray:
    """Which second-order functions (j, k) so many points allow in so many dimensions, `[m, 2]`.

    All where they can be told apart, else those with j = k, else none.

    Example:
        >>> pairs(256, 2).tolist(), len(pairs(256, 10)), len(pairs(256, 30))
        ([[0, 0], [0, 1], [1, 1]], 10, 0)
    """
    every = np.stack(np.triu_indices(size), 1)
    for some in (every, np.repeat(np.arange(size)[:, None], 2, 1)):
        if POINTS_PER_FUNCTION * (size + len(some)) <= points:
            return some
    return np.zeros((0, 2), int)


def functions_of_mean_zero(
    places: Float[Array, "n u"], rise: Float[Array, "n u"], weights: Float[Array, " n"]
) -> Float[Array, "n m"]:
    """Control variates at points, in coordinates in which their covariance is the identity.

    Args:
        places: The points.
        rise: Gradient of the log density there.
        weights: Of the points; they add up to one.
    """
    size = places.shape[1]
    centred = places - weights @ places
    covariance = (centred * weights[:, None]).T @ centred
    floor = 1e-6 * jnp.trace(covariance) / size + 1e-12
    root = jnp.linalg.cholesky(covariance + floor * jnp.eye(size))
    centred = jnp.linalg.solve(root, centred.T).T
    rise = rise @ root
    if POINTS_PER_FUNCTION * size > len(places):
        return jnp.zeros((len(places), 0))
    j, k = pairs(len(places), size).T
    second = 0.5 * (centred[:, j] * rise[:, k] + centred[:, k] * rise[:, j]) + (j == k)
    return jnp.concatenate([rise, second], 1)


def mean_without_noise(
    values: Float[Array, "n p"], functions: Float[Array, "n m"], weights: Float[Array, " n"]
) -> Float[Array, " p"]:
    """The mean of values at weighted points, less what functions of mean zero explain of it.

    Args:
        values: Of whom the mean is wanted.
        functions: Whose means are zero.
        weights: Of the points; they add up to one.
    """
    plain, means = weights @ values, weights @ functions
    if not functions.shape[1]:
        return plain
    away = functions - means
    scale = jnp.sqrt(weights @ away**2) + 1e-20
    away = away / scale
    heavy = away * weights[:, None]
    # A ridge as large as the noise of what it stands beside.
    ridge = 2.0 * (weights**2).sum() + 1e-6
    slopes = jnp.linalg.solve(
        heavy.T @ away + ridge * jnp.eye(functions.shape[1]), heavy.T @ (values - plain)
    )
    better = plain - (means / scale) @ slopes
    return jnp.where(jnp.isfinite(better), better, plain)


def means_and_errors(
    functions: Float[Array, "n m"], weights: Float[Array, " n"]
) -> Float[Array, "2 m"]:
    """The means of functions over weighted points, and the standard errors of these."""
    means = weights @ functions
    return jnp.stack([means, jnp.sqrt(weights**2 @ (functions - means) ** 2)])


def standard_scores(found: Float[np.ndarray, "task 2 m"]) -> Float[np.ndarray, " m"]:
    """How many standard errors the sum over all tasks of each function lies from zero, `[m]`.

    Args:
        found: Means and standard errors of each task; tasks in which they are not finite do not
            count.

    Example:
        >>> standard_scores(np.array([[[3.0], [1.0]], [[5.0], [1.0]]])).round(2)
        array([5.66])
    """
    found = found[np.isfinite(found).all((1, 2))]
    error = np.sqrt((found[:, 1] ** 2).sum(0))
    return np.asarray(found[:, 0].sum(0) / np.maximum(error, 1e-12))
