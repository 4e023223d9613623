"""Multivariate families as maps from a vector of independent standard normals.

Gaussian families are affine. A Dirichlet is broken off a stick by independent Betas, an LKJ
correlation is built from independent partial correlations, each a Beta on (-1, 1): the C-vine of
Lewandowski, Kurowicka and Joe (2009), which NumPyro's `LKJCholesky` also draws from. Both are
exact, so the density identity holds to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array

from bayes_badger.program.numerical_families import (
    log_gamma_quantile,
    log_gamma_score,
    logit_beta_quantile,
    logit_beta_score,
    student_t_quantile,
    student_t_score,
)


class VectorMap(NamedTuple):
    """A multivariate family's map and the event shape of its u.

    `closed` says that no numerical inverse is inside.
    """

    shape: Callable[[Any], tuple[int, ...]]
    forward: Callable[[Any, Array], Array]
    inverse: Callable[[Any, Array], Array]
    closed: bool


def _event_shape(fn: Any) -> tuple[int, ...]:
    return tuple(fn.event_shape)


def _times(matrix: Array, vector: Array) -> Array:
    return jnp.sum(matrix * vector[..., None, :], axis=-1)


def _solve(matrix: Array, vector: Array) -> Array:
    """Solves a lower triangular system, broadcasting both batches."""
    batch = jnp.broadcast_shapes(matrix.shape[:-2], vector.shape[:-1])
    matrix = jnp.broadcast_to(matrix, batch + matrix.shape[-2:])
    vector = jnp.broadcast_to(vector, batch + vector.shape[-1:])
    return solve_triangular(matrix, vector[..., None], lower=True)[..., 0]


def _low_rank_tril(fn: Any) -> Array:
    factor = fn.cov_factor
    covariance = factor @ jnp.swapaxes(factor, -1, -2) + fn.cov_diag[..., None] * jnp.eye(
        fn.cov_diag.shape[-1], dtype=fn.cov_diag.dtype
    )
    return jnp.linalg.cholesky(covariance)


def _matrix_normal(fn: Any, u: Array) -> Array:
    return fn.loc + fn.scale_tril_row @ u @ jnp.swapaxes(fn.scale_tril_column, -1, -2)


def _matrix_normal_inverse(fn: Any, value: Array) -> Array:
    def columns_solved(matrix: Array, right: Array) -> Array:
        solved = _solve(matrix[..., None, :, :], jnp.swapaxes(right, -1, -2))
        return jnp.swapaxes(solved, -1, -2)

    rows = columns_solved(jnp.asarray(fn.scale_tril_row), value - fn.loc)
    both = columns_solved(jnp.asarray(fn.scale_tril_column), jnp.swapaxes(rows, -1, -2))
    return jnp.swapaxes(both, -1, -2)


def _walk(fn: Any, u: Array) -> Array:
    return jnp.cumsum(u, axis=-1) * jnp.asarray(fn.scale)[..., None]


def _walk_inverse(fn: Any, value: Array) -> Array:
    start = jnp.zeros_like(value[..., :1])
    return jnp.diff(value, axis=-1, prepend=start) / jnp.asarray(fn.scale)[..., None]


def _conditional_t(fn: Any, y: Array, i: int) -> tuple[Array, Array]:
    """Degrees of freedom and scale of coordinate i of a spherical t, given those before it."""
    df = jnp.asarray(fn.df)
    return df + i, jnp.sqrt((df + jnp.sum(y[..., :i] ** 2, axis=-1)) / (df + i))


def _multivariate_t(fn: Any, u: Array) -> Array:
    y = u[..., :0]
    for i in range(u.shape[-1]):
        df, scale = _conditional_t(fn, y, i)
        y = jnp.concatenate([y, (scale * student_t_quantile(df, u[..., i]))[..., None]], axis=-1)
    return fn.loc + _times(fn.scale_tril, y)


def _multivariate_t_inverse(fn: Any, value: Array) -> Array:
    y = _solve(fn.scale_tril, value - fn.loc)
    scores = []
    for i in range(y.shape[-1]):
        df, scale = _conditional_t(fn, y, i)
        scores.append(student_t_score(df, y[..., i] / scale))
    return jnp.stack(scores, axis=-1)


def _stick(fn: Any) -> tuple[Array, Array]:
    """Concentrations of the piece broken off and of all that is left after it."""
    concentration = jnp.asarray(fn.concentration)
    left = jnp.flip(jnp.cumsum(jnp.flip(concentration, -1), axis=-1), -1)
    return concentration[..., :-1], left[..., 1:]


def _dirichlet(fn: Any, u: Array) -> Array:
    logit = logit_beta_quantile(*_stick(fn), u)
    # Logs of the stick left before each piece, and after the last.
    left = jnp.cumsum(jax.nn.log_sigmoid(-logit), axis=-1)
    before = jnp.concatenate([jnp.zeros_like(left[..., :1]), left], axis=-1)
    broken = jnp.concatenate([jax.nn.log_sigmoid(logit), jnp.zeros_like(left[..., :1])], axis=-1)
    value = jnp.exp(before + broken)
    return jnp.maximum(value, jnp.finfo(value.dtype).tiny)


def _dirichlet_inverse(fn: Any, value: Array) -> Array:
    # Sums from the far end: 1 - cumsum has no digits left for small last pieces.
    left = jnp.flip(jnp.cumsum(jnp.flip(value, -1), axis=-1), -1)
    logit = jnp.log(value[..., :-1]) - jnp.log(left[..., 1:])
    return logit_beta_score(*_stick(fn), logit)


def _partial_concentrations(fn: Any) -> Array:
    """Both concentrations of each partial correlation on (-1, 1), rows of the lower triangle."""
    columns = np.tril_indices(fn.dimension, -1)[1]
    offset = 0.5 * (fn.dimension - 2 - columns)
    return jnp.asarray(fn.concentration)[..., None] + offset


def _lkj_cholesky(fn: Any, u: Array) -> Array:
    d = fn.dimension
    rows, columns = np.tril_indices(d, -1)
    beta = _partial_concentrations(fn)
    logit = logit_beta_quantile(beta, beta, u)
    # tanh(δ/2) is the partial correlation, and 4 σ(δ) σ(-δ) is one minus its square.
    log_rest = math.log(2.0) + 0.5 * (jax.nn.log_sigmoid(logit) + jax.nn.log_sigmoid(-logit))
    square = (*logit.shape[:-1], d, d)
    correlation = jnp.zeros(square, logit.dtype).at[..., rows, columns].set(jnp.tanh(0.5 * logit))
    rest = jnp.zeros(square, logit.dtype).at[..., rows, columns].set(log_rest)
    before = jnp.cumsum(rest, axis=-1) - rest
    return jnp.tril(jnp.exp(before)) * (correlation + jnp.eye(d, dtype=logit.dtype))


def _lkj_cholesky_inverse(fn: Any, value: Array) -> Array:
    rows, columns = np.tril_indices(fn.dimension, -1)
    # What of the row's unit length is left after each entry, summed from its far end.
    squares = jnp.tril(value) ** 2
    left = jnp.flip(jnp.cumsum(jnp.flip(squares, -1), axis=-1), -1)
    after = jnp.sqrt(left[..., rows, columns + 1])
    logit = 2.0 * jnp.arcsinh(value[..., rows, columns] / after)
    beta = _partial_concentrations(fn)
    return logit_beta_score(beta, beta, logit)


def _wishart_halves(fn: Any) -> Array:
    """Concentrations of half the squared diagonal of Bartlett's factor, each a Gamma of rate 1."""
    return 0.5 * (jnp.asarray(fn.concentration)[..., None] - np.arange(fn.event_shape[-1]))


def _wishart_cholesky(fn: Any, u: Array) -> Array:
    d = fn.event_shape[-1]
    rows, columns = np.tril_indices(d, -1)
    u_diagonal, u_below = u[..., :d], u[..., d:]
    log_half = log_gamma_quantile(_wishart_halves(fn), u_diagonal)
    diagonal = jnp.exp(0.5 * (math.log(2.0) + log_half))
    factor = jnp.zeros((*u.shape[:-1], d, d), diagonal.dtype)
    factor = factor.at[..., rows, columns].set(u_below)
    factor = factor.at[..., np.arange(d), np.arange(d)].set(diagonal)
    return fn.scale_tril @ factor


def _wishart_cholesky_inverse(fn: Any, value: Array) -> Array:
    d = fn.event_shape[-1]
    rows, columns = np.tril_indices(d, -1)
    solved = _solve(fn.scale_tril[..., None, :, :], jnp.swapaxes(value, -1, -2))
    factor = jnp.swapaxes(solved, -1, -2)
    diagonal = jnp.diagonal(factor, axis1=-2, axis2=-1)
    log_half = 2.0 * jnp.log(diagonal) - math.log(2.0)
    u_diagonal = log_gamma_score(_wishart_halves(fn), log_half)
    return jnp.concatenate([u_diagonal, factor[..., rows, columns]], axis=-1)


def _triangle(fn: Any, diagonal: bool = False) -> tuple[int, ...]:
    d = fn.event_shape[-1]
    return (d * (d + 1) // 2,) if diagonal else (d * (d - 1) // 2,)


MULTIVARIATE: dict[type, VectorMap] = {
    dist.MultivariateNormal: VectorMap(
        _event_shape,
        lambda fn, u: fn.loc + _times(fn.scale_tril, u),
        lambda fn, value: _solve(fn.scale_tril, value - fn.loc),
        closed=True,
    ),
    dist.LowRankMultivariateNormal: VectorMap(
        _event_shape,
        lambda fn, u: fn.loc + _times(_low_rank_tril(fn), u),
        lambda fn, value: _solve(_low_rank_tril(fn), value - fn.loc),
        closed=True,
    ),
    dist.MatrixNormal: VectorMap(_event_shape, _matrix_normal, _matrix_normal_inverse, closed=True),
    dist.GaussianRandomWalk: VectorMap(_event_shape, _walk, _walk_inverse, closed=True),
    dist.MultivariateStudentT: VectorMap(
        _event_shape, _multivariate_t, _multivariate_t_inverse, closed=False
    ),
    dist.Dirichlet: VectorMap(
        lambda fn: (fn.event_shape[-1] - 1,), _dirichlet, _dirichlet_inverse, closed=False
    ),
    dist.LKJCholesky: VectorMap(_triangle, _lkj_cholesky, _lkj_cholesky_inverse, closed=False),
    dist.WishartCholesky: VectorMap(
        lambda fn: _triangle(fn, diagonal=True),
        _wishart_cholesky,
        _wishart_cholesky_inverse,
        closed=False,
    ),
}
