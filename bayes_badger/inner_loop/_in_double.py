"""What experts over what tasks share are asked for in double precision, and compiled for it.

Log evidence of thousands of tasks is large, and experts are narrow: single precision has not the
digits. JAX's switch is set for the call alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from bayes_badger.inner_loop import _quadratic as quadratic
from bayes_badger.inner_loop._reborn import reborn_as_splits
from bayes_badger.inner_loop._refit import Offer, Weighted, offered, relearned, weighed
from bayes_badger.inner_loop._society import Society, defended, log_densities
from bayes_badger.program import Data, Program

# Of the points that draws are taken from, this share is the prior's.
PRIOR = 0.02
# Below this share of an equal weight an expert is re-born as part of a heavy one.
REBORN = 1e-2


def log_density(society: Society, points: np.ndarray) -> np.ndarray:
    """Log density of some points under the experts, `[point]`."""
    with jax.enable_x64(True):
        found = _log_density(_double(society), jnp.asarray(points, jnp.float64))
    return np.asarray(found, float)


@eqx.filter_jit
def _log_density(society: Society, points: Array) -> Array:
    each = log_densities(points, society.mean, society.root) + society.log_weights
    return jax.scipy.special.logsumexp(each, axis=1)


def _double(tree: Any) -> Any:
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x), jnp.float64), tree)


def points(society: Society, key: Key[Array, ""], points: int) -> Offer:
    """Points that experts propose, as many each, and the prior some."""
    with jax.enable_x64(True):
        offer: Offer = _offered(_double(society), key, max(points, 2 * society.mean.shape[1]))
    return offer


@eqx.filter_jit
def _offered(society: Society, key: Key[Array, ""], points: int) -> Offer:
    return offered(society, jnp.ones(len(society.log_weights)), key, points)


def drawn(society: Society, key: Key[Array, ""], n: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws from experts by their weights, a share from the prior; the log density of both."""
    with jax.enable_x64(True):
        found = _defended(_double(society), key, n)
    return np.asarray(found[0]), np.asarray(found[1])


@eqx.filter_jit
def _defended(society: Society, key: Key[Array, ""], n: int) -> tuple[Array, Array]:
    return defended(society, key, n, PRIOR)


def reborn(society: Society, none: Array) -> Society:
    """Experts of no weight, as parts of heavy ones."""
    with jax.enable_x64(True):
        found: Society = _split(_double(society), jnp.asarray(REBORN), _double(none))
    return found


@eqx.filter_jit
def _split(society: Society, threshold: Array, none: Array) -> Society:
    return reborn_as_splits(society, threshold, none)[0]


def refit(society: Society, offer: Offer, joint: np.ndarray) -> tuple[Society, Any]:
    """A step of EM towards points weighed by their log joint; how the experts stood to them."""
    with jax.enable_x64(True):
        found: tuple[Society, Any] = _refitted(_double(society), offer, jnp.asarray(joint))
    return found


@eqx.filter_jit
def _refitted(society: Society, offer: Offer, joint: Array) -> tuple[Society, Any]:
    found: Weighted = weighed(offer, joint)
    return relearned(society, jnp.ones(len(society.log_weights)), found), found.check


def log_prior(
    program: Program, lifetimes: np.ndarray, data: Data, discrete: Mapping[str, Array]
) -> np.ndarray:
    """Log prior of some lifetimes, factors included."""
    with jax.enable_x64(True):
        data = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), data)
        found = _prior_density(program, jnp.asarray(lifetimes), data, dict(discrete))
    return np.asarray(found, float)


@eqx.filter_jit
def _prior_density(
    program: Program, lifetimes: Array, data: Data, discrete: Mapping[str, Array]
) -> Array:
    return jax.vmap(lambda a: quadratic.lifetime_density(program, a, data, discrete))(lifetimes)
