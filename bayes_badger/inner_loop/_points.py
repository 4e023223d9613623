"""Quasi-random points whose moments are exactly those of a standard normal."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from scipy.stats import norm, qmc


@functools.cache
def cloud(n: int, size: int, seed: int = 0) -> np.ndarray:
    """Points `[n, size]` with mean 0 and covariance I, both to rounding; n is even.

    Scrambled Sobol points and their mirror images, turned and stretched so that the covariance is
    exact; with fewer than `size` pairs it cannot be, and is that of the points.

    Example:
        >>> points = cloud(32, 3)
        >>> bool(np.allclose(points.T @ points / 32, np.eye(3)))
        True
    """
    half = sobol(n // 2, size, seed)
    points = np.concatenate([half, -half])
    if n // 2 < size:
        return points
    root = np.linalg.cholesky(points.T @ points / n)
    return np.linalg.solve(root, points.T).T


@functools.cache
def clouds(many: int, n: int, size: int) -> np.ndarray:
    """As many clouds, `[many, n, size]`, each turned another way."""
    turns = np.linalg.qr(np.random.default_rng(0).normal(size=(many, size, size)))[0]
    return np.einsum("kij,nj->kni", turns, cloud(n, size))


@functools.cache
def centres(n: int, size: int, spread: float, seed: int = 0) -> np.ndarray:
    """Points `[n, size]` with mean 0 and covariance spread² I, to rounding; n is more than size."""
    points = sobol(n, size, seed)
    points = points - points.mean(0)
    root = np.linalg.cholesky(points.T @ points / n)
    return spread * np.linalg.solve(root, points.T).T


def turned(key: PRNGKeyArray, size: int) -> Float[Array, "size size"]:
    """A random rotation, or reflection."""
    return jnp.linalg.qr(jax.random.normal(key, (size, size)))[0]


def sobol(n: int, size: int, seed: int) -> np.ndarray:
    """The first n of scrambled Sobol points, as normal numbers."""
    power = int(np.ceil(np.log2(max(n, 2))))
    return norm.ppf(qmc.Sobol(size, rng=seed).random_base2(power)[:n])
