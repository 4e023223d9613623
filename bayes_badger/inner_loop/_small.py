"""Linear algebra of one small matrix, written out so that it is mapped over many in one loop.

A library's factorisation of a thousand 3 x 3 matrices is a thousand calls; here it is arithmetic
that compiles into vector instructions. Above `UNROLLED` rows the library is called. All matrices
are lower triangular roots or symmetric; what should be positive is kept positive: rounding never
makes a covariance indefinite.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

UNROLLED = 6
# A pivot is at least this share of its diagonal entry: rounding in single precision.
PIVOT = 1e-6


def cholesky(matrix: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """Lower triangular root L, matrix = L Lᵀ, of a matrix that is positive up to rounding."""
    d = matrix.shape[-1]
    if d > UNROLLED:
        return _library_cholesky(matrix)
    rows: list[list[Array]] = []
    for i in range(d):
        row: list[Array] = []
        for j in range(i):
            inner = sum((row[k] * rows[j][k] for k in range(j)), jnp.zeros(()))
            row.append((matrix[i, j] - inner) / rows[j][j])
        left = matrix[i, i] - sum((x * x for x in row), jnp.zeros(()))
        row.append(jnp.sqrt(jnp.maximum(left, PIVOT * jnp.abs(matrix[i, i]) + 1e-30)))
        rows.append(row)
    return _lower(rows)


def _library_cholesky(matrix: Array) -> Array:
    """Tries again with a little more on the diagonal where rounding made it indefinite."""
    scale = jnp.sqrt(jnp.maximum(jnp.diagonal(matrix), 1e-30))
    unit = matrix / (scale[:, None] * scale)
    first = jnp.linalg.cholesky(unit)
    again = jnp.linalg.cholesky(unit + 10 * PIVOT * len(scale) * jnp.eye(len(scale)))
    kept = jnp.where(jnp.isfinite(first).all(), first, again)
    return scale[:, None] * jnp.where(jnp.isfinite(kept).all(), kept, jnp.eye(len(scale)))


def inverse_lower(root: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """The inverse of a lower triangular matrix."""
    d = root.shape[-1]
    if d > UNROLLED:
        return jax.scipy.linalg.solve_triangular(root, jnp.eye(d, dtype=root.dtype), lower=True)
    rows: list[list[Array]] = []
    for i in range(d):
        row: list[Array] = []
        for j in range(i):
            inner = sum((root[i, k] * rows[k][j] for k in range(j, i)), jnp.zeros(()))
            row.append(-inner / root[i, i])
        row.append(1.0 / root[i, i])
        rows.append(row)
    return _lower(rows)


def root_of_inverse(matrix: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """Lower triangular S with S Sᵀ = matrix⁻¹, of a matrix that is positive up to rounding.

    From matrix = U Uᵀ with U upper triangular, S = U⁻ᵀ: no inverse is formed.
    """
    return inverse_lower(cholesky(matrix[::-1, ::-1]))[::-1, ::-1].T


def matvec(matrix: Float[Array, "r c"], vector: Float[Array, " c"]) -> Float[Array, " r"]:
    """A product that stays in one loop when it is mapped."""
    if matrix.shape[-1] > UNROLLED:
        return matrix @ vector
    return total([matrix[:, j] * vector[j] for j in range(len(vector))])


def matmul(left: Float[Array, "r k"], right: Float[Array, "k c"]) -> Float[Array, "r c"]:
    """A product that stays in one loop when it is mapped."""
    if left.shape[-1] > UNROLLED:
        return left @ right
    return total([left[:, k, None] * right[None, k, :] for k in range(len(right))])


def products(left: Float[Array, "r m"], right: Float[Array, "c m"]) -> Float[Array, "r c"]:
    """Left rightᵀ, of few rows with many entries."""
    if len(left) > UNROLLED:
        return left @ right.T
    return (left[:, None] * right[None]).sum(-1)


def square(vector: Float[Array, " d"]) -> Float[Array, ""]:
    """Sum of squares."""
    if len(vector) > UNROLLED:
        return (vector**2).sum()
    return total([vector[i] ** 2 for i in range(len(vector))])


def total(terms: Sequence[Array]) -> Array:
    """A sum of a few arrays, written out: faster than a reduction over a short axis."""
    return functools.reduce(operator.add, terms)


def log_det(root: Float[Array, "d d"]) -> Float[Array, ""]:
    """Log determinant of a lower triangular matrix with a positive diagonal."""
    if len(root) > UNROLLED:
        return jnp.log(jnp.diagonal(root)).sum()
    return total([jnp.log(root[i, i]) for i in range(len(root))])


def _lower(rows: list[list[Array]]) -> Array:
    d = len(rows)
    zero = jnp.zeros_like(rows[0][0])
    return jnp.stack([jnp.stack([*row, *[zero] * (d - len(row))]) for row in rows])
