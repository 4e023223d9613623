"""Score and curvature of a log-likelihood that has no gradient, from its values alone.

Stein's identities turn an average over N(m, S Sᵀ) into a derivative of the smoothed function
L(m) = E[ℓ(m + S ξ)], ξ ~ N(0, I):

    ∇L = S⁻ᵀ E[ξ ℓ(m + S ξ)]        ∇²L = S⁻ᵀ E[(ξ ξᵀ - I) ℓ(m + S ξ)] S⁻¹

The averages are taken with the fully symmetric rule of degree 5 (McNamee and Stenger, 1967): the
centre, ±√3 along each axis, and (±√3, ±√3) in each pair of axes. It has 1 + 2d + 2d(d-1) points, so
one call costs of the order of 2 d² values of ℓ: affordable for the few coordinates that one step of
a program touches, not for a whole flat vector.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float


def sigma_points(d: int) -> tuple[Float[Array, "points {d}"], Float[Array, " points"]]:
    """Returns the points and weights of the rule for a standard normal in `d` dimensions.

    It integrates every polynomial of degree 5 or less exactly. The weights sum to 1; for d > 4
    those on the axes are negative.

    Args:
        d: Dimensions, at least 1.

    Returns:
        Points, `[n, d]`, and weights, `[n]`, with n = 1 + 2 d².

    Example:
        >>> points, weights = sigma_points(3)
        >>> points.shape, f"{weights.sum():.3f}"
        ((19, 3), '1.000')
        >>> f"{weights @ points[:, 0] ** 4:.3f}"  # E ξ⁴
        '3.000'
    """
    axes = np.sqrt(3.0) * np.eye(d)
    pairs = [
        first * axes[i] + second * axes[j]
        for i in range(d)
        for j in range(i)
        for first in (1, -1)
        for second in (1, -1)
    ]
    points = np.concatenate([np.zeros((1, d)), axes, -axes, np.reshape(pairs, (-1, d))])
    weights = np.concatenate(
        [
            [1.0 + d * (d - 7) / 18.0],
            np.full(2 * d, (4.0 - d) / 18.0),
            np.full(2 * d * (d - 1), 1.0 / 36.0),
        ]
    )
    return jnp.asarray(points), jnp.asarray(weights)


def stein_score_and_hessian(
    log_likelihood: Callable[[Float[Array, " d"]], Float[Array, ""]],
    mean: Float[Array, " d"],
    scale_tril: Float[Array, "d d"],
) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
    """Returns gradient and Hessian, at `mean`, of a log-likelihood smoothed by N(mean, S Sᵀ).

    Exact for quadratics, whatever the covariance (the Hessian for cubics too); for a step the
    finite slope that a Gaussian of this width sees. The function is called once, under `vmap`.

    Args:
        log_likelihood: Of one point `[d]`, nats; finite, and no derivative of it is taken.
        mean: Where, `[d]`.
        scale_tril: S, lower triangular, `[d, d]`.

    Returns:
        The gradient `[d]` and the symmetric Hessian `[d, d]`, which may be indefinite:
        `nearest_psd` of its negative is a precision.

    Example:
        A threshold has no gradient, and yet a slope:

        >>> step = lambda x: jnp.where(x[0] > 0.0, 0.0, -1.0)
        >>> g, _ = stein_score_and_hessian(step, jnp.zeros(1), jnp.eye(1))
        >>> bool(g[0] > 0)
        True
    """
    points, weights = sigma_points(mean.shape[-1])
    values = jax.vmap(log_likelihood)(mean + points @ scale_tril.T)
    # A constant cancels in the identities, but not in float32.
    values = weights * (values - values[0])
    slope = values @ points
    bend = (points.T * values) @ points - jnp.sum(values) * jnp.eye(len(mean), dtype=mean.dtype)
    half = solve_triangular(scale_tril, bend, lower=True, trans="T")
    hessian = solve_triangular(scale_tril, half.T, lower=True, trans="T")
    return (
        solve_triangular(scale_tril, slope, lower=True, trans="T"),
        0.5 * (hessian + hessian.T),
    )


@jax.custom_jvp
def nearest_psd(matrix: Float[Array, "... d d"]) -> Float[Array, "... d d"]:
    """Returns the nearest positive semi-definite matrix, in the Frobenius norm.

    The symmetric part with its negative eigenvalues set to 0 (Higham, 1988). Its first derivative
    is bounded everywhere, at repeated eigenvalues too, where that of `eigh` is not a number.

    Args:
        matrix: `[..., d, d]`.

    Example:
        >>> print(nearest_psd(jnp.diag(jnp.array([4.0, -1.0]))).round(3))
        [[4. 0.]
         [0. 0.]]
    """
    eigenvalues, vectors = jnp.linalg.eigh(_symmetric(matrix))
    root = vectors * jnp.sqrt(jnp.maximum(eigenvalues, 0.0))[..., None, :]
    return root @ jnp.swapaxes(root, -1, -2)


def _symmetric(matrix: Array) -> Array:
    return 0.5 * (matrix + jnp.swapaxes(matrix, -1, -2))


@nearest_psd.defjvp
def _nearest_psd_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # Daleckii and Krein: divided differences of max(λ, 0), which lie between 0 and 1.
    (matrix,), (change,) = primals, tangents
    eigenvalues, vectors = jnp.linalg.eigh(_symmetric(matrix))
    row, column = eigenvalues[..., :, None], eigenvalues[..., None, :]
    high, low = jnp.maximum(row, column), jnp.minimum(row, column)
    mixed = (high > 0.0) & (low <= 0.0)
    share = jnp.where(mixed, high, 1.0) / jnp.where(mixed, high - low, 1.0)
    share = jnp.where(high <= 0.0, 0.0, share)
    transposed = jnp.swapaxes(vectors, -1, -2)
    turned = transposed @ _symmetric(change) @ vectors
    return nearest_psd(matrix), vectors @ (share * turned) @ transposed
