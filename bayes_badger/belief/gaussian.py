"""One Gaussian over a flat vector, by its mean and the Cholesky factor of its covariance.

Nothing here forms a covariance, subtracts one from another, or inverts one: a marginal and a
conditional are a QR of some rows of the factor, so that they stay positive definite in float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

LOG_2_PI = math.log(2 * math.pi)


def solve(
    scale_tril: Float[Array, "d d"], x: Float[Array, " d *columns"]
) -> Float[Array, " d *columns"]:
    """Solves scale_tril y = x for y."""
    return solve_triangular(scale_tril, x, lower=True)


def times(matrix: Float[Array, "m d"], x: Float[Array, " d"]) -> Float[Array, " m"]:
    """A matrix times a vector in full precision: an accelerator's default keeps three digits."""
    return jnp.matmul(matrix, x, precision="highest")


def log_terms(
    x: Float[Array, " d"], loc: Float[Array, " d"], scale_tril: Float[Array, "d d"]
) -> Float[Array, " d"]:
    """Log density of each entry given those before it, in nats; the sum is that of x."""
    z = solve(scale_tril, x - loc)
    return -0.5 * (z**2 + LOG_2_PI) - jnp.log(jnp.diag(scale_tril))


def log_standard_normal(points: Any) -> Any:
    """Log density of N(0, I), `[..., d]` to `[...]`, in nats: of NumPy's arrays or of JAX's."""
    return -0.5 * (points**2).sum(-1) - 0.5 * points.shape[-1] * LOG_2_PI


def triangular(root: Float[Array, "m d"]) -> Float[Array, "m m"]:
    """The Cholesky factor of A Aᵀ = Rᵀ R, where Aᵀ = Q R: A may have any shape."""
    upper = jnp.linalg.qr(root.T, mode="r")
    signs = jnp.where(jnp.diag(upper) < 0, -1.0, 1.0).astype(upper.dtype)
    return jnp.tril((upper * signs[:, None]).T)


def scale_tril_of_rows(scale_tril: Float[Array, "d d"], rows: Sequence[int]) -> Float[Array, "m m"]:
    """The Cholesky factor of the covariance of some entries, in the order given.

    Example:
        >>> print(scale_tril_of_rows(jnp.array([[1.0, 0.0], [3.0, 4.0]]), [1]))
        [[5.]]
    """
    if list(rows) == list(range(len(rows))):
        return scale_tril[: len(rows), : len(rows)]
    return triangular(scale_tril[np.asarray(rows, int)])


def conditioned(
    loc: Float[Array, " d"],
    scale_tril: Float[Array, "d d"],
    given: Sequence[int],
    rest: Sequence[int],
    at: Float[Array, " m"],
) -> tuple[Float[Array, ""], Float[Array, " n"], Float[Array, "n n"]]:
    """The log density of some entries, and the Gaussian of the rest given them.

    Args:
        loc: The mean.
        scale_tril: The Cholesky factor of the covariance.
        given: Which entries are given.
        rest: All others.
        at: The values of those that are given.

    Returns:
        Log density of `at` in nats; mean and Cholesky factor of the rest.
    """
    size = len(given)
    ordered = scale_tril_of_rows(scale_tril, [*given, *rest])
    own = ordered[:size, :size]
    first, second = np.asarray(given, int), np.asarray(rest, int)
    moved = times(ordered[size:, :size], solve(own, at - loc[first]))
    log_density = log_terms(at, loc[first], own).sum()
    return log_density, loc[second] + moved, ordered[size:, size:]
