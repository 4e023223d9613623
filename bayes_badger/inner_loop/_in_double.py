"""What experts over what tasks share are asked for in double precision, and compiled for it.

Log evidence of thousands of tasks is large, and experts are narrow: single precision has not the
digits. JAX's switch is set for the call alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from bayes_badger.compilation import jit_by_work
from bayes_badger.inner_loop import _quadratic as quadratic
from bayes_badger.inner_loop import _rounds
from bayes_badger.inner_loop._refit import Offer
from bayes_badger.inner_loop._rounds import Rounds
from bayes_badger.inner_loop._society import Society, defended, log_densities, with_tails
from bayes_badger.program import Data, Program

# Of the points that draws are taken from, this share is the prior's, and twice the second share
# are for the tails of experts.
PRIOR, TAILS = 0.02, 0.05


def log_density(society: Society, points: np.ndarray) -> np.ndarray:
    """Log density of some points under the experts, `[point]`."""
    with jax.enable_x64(True):
        found = _log_density(double(society), jnp.asarray(points, jnp.float64))
    return np.asarray(found, float)


def density(society: Society, points: Array) -> Array:
    """The same within what is compiled already."""
    each = log_densities(points, society.mean, society.root) + society.log_weights
    return jax.scipy.special.logsumexp(each, axis=1)


_log_density = jit_by_work(density)


def double(tree: Any) -> Any:
    """All arrays in double precision."""
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x), jnp.float64), tree)


def begun(society: Society) -> Rounds:
    """Before the first round of refits."""
    with jax.enable_x64(True):
        return _rounds.begun(double(society))


def proposed(society: Society, key: Key[Array, ""], points: int) -> tuple[Society, Offer]:
    """Experts, those of no weight re-born, and points of as many each, and of the prior some."""
    with jax.enable_x64(True):
        found: tuple[Society, Offer] = _proposed(double(society), key, points)
    return found


_proposed = jit_by_work(_rounds.proposed)


def heard(rounds: Rounds, start: Society, offer: Offer, joint: np.ndarray, last: bool) -> Rounds:
    """After a round, in which these points had that log joint."""
    with jax.enable_x64(True):
        # A type that JAX calls weak would compile it anew in the next round.
        rounds = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), rounds)
        found: Rounds = _heard(rounds, double(start), offer, jnp.asarray(joint), jnp.asarray(last))
    return found


_heard = jit_by_work(_rounds.heard)


def drawn(society: Society, key: Key[Array, ""], n: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws as of `covered`."""
    with jax.enable_x64(True):
        found = _covered(double(society), key, n)
    return np.asarray(found[0]), np.asarray(found[1])


def covered(society: Society, key: Key[Array, ""], n: int) -> tuple[Array, Array]:
    """Draws from experts and their tails, a share from the prior; the log density of all."""
    return defended(with_tails(society, TAILS), key, n, PRIOR)


_covered = jit_by_work(covered)


def log_prior(
    program: Program, lifetimes: np.ndarray, data: Data, discrete: Mapping[str, Array]
) -> np.ndarray:
    """Log prior of some lifetimes, factors included."""
    with jax.enable_x64(True):
        data = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), data)
        found = _prior_density(program, jnp.asarray(lifetimes), data, dict(discrete))
    return np.asarray(found, float)


def prior_density(
    program: Program, lifetimes: Array, data: Data, discrete: Mapping[str, Array]
) -> Array:
    """The same within what is compiled already."""
    return jax.vmap(lambda a: quadratic.lifetime_density(program, a, data, discrete))(lifetimes)


_prior_density = jit_by_work(prior_density)
