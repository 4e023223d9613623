"""How experts find every answer there is before they settle on one.

Each expert first looks around in its own component of the prior. Then scouts set out from wide of
the prior and climb to the posterior's modes; one that comes to a mode which the experts do not
cover takes the place of an expert without weight.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from bayes_badger.inner_loop._climb import Climbed, LogJoint, climb
from bayes_badger.inner_loop._points import cloud, turned
from bayes_badger.inner_loop._policy import Policy
from bayes_badger.inner_loop._society import (
    Society,
    log_densities,
    normalised,
)
from bayes_badger.program import Data, OneTask

# Scouts start at the better of two points, so much wider than the prior (in up to 3 dimensions).
OF, WIDER, IN_DIMENSIONS = 2, 0.5, 3
# A mode is new where the experts have less than half of its density; it matters from this mass on.
UNCOVERED, MASS = np.log(2.0), 1e-5
# Two scouts are at one mode where one's log density at the other is this close to its own peak.
SAME = 3.0
# At most this share of the experts is replaced.
SHARE = 0.25


def look_around(
    log_joint: LogJoint, society: Society, points: int, key: PRNGKeyArray
) -> Float[Array, "k u"]:
    """The best of some points of each expert's own component of the prior."""
    noise = jnp.asarray(cloud(points, society.mean.shape[1]), jnp.float32)
    noise = noise @ turned(key, noise.shape[1])
    around = society.mean[:, None] + jnp.einsum("kij,nj->kni", society.root, noise)
    return _best(log_joint, around)


def send_scouts(
    program: OneTask,
    policy: Policy,
    log_joint: LogJoint,
    society: Society,
    data: Data,
    mask: Bool[Array, " step"],
    sweeps: int,
    key: PRNGKeyArray,
) -> Climbed:
    """As many scouts as experts, each at a mode of the whole posterior; `[k, ...]`."""
    experts, size = society.mean.shape
    wider = 1.0 + WIDER * np.sqrt(IN_DIMENSIONS / max(size, IN_DIMENSIONS))
    wide = jnp.asarray(wider * cloud(OF * experts, size, 2), jnp.float32)
    wide = wide @ turned(key, size)
    start = _best(log_joint, wide.reshape(experts, OF, size))
    prior = jnp.zeros(size), jnp.eye(size)
    return jax.vmap(
        lambda u, h: climb(program, policy, prior, h, jnp.zeros(()), data, mask, sweeps, u, True)
    )(start, jnp.zeros_like(society.hidden))


def with_scouts(
    log_joint: LogJoint, society: Society, scouts: Climbed, total: Float[Array, ""]
) -> Society:
    """The experts, the lightest replaced by scouts at modes that no other covers.

    Args:
        log_joint: Relative to the same reference as `total`.
        society: The experts.
        scouts: Where scouts came to.
        total: Log evidence by the experts' own account.
    """
    experts = len(society.log_weights)
    each = log_densities(scouts.mean, society.mean, society.root)
    covered = jax.scipy.special.logsumexp(each + society.log_weights, axis=1)
    there = log_joint(scouts.mean) - total
    # The height of a mode and its width: Laplace's mass.
    own = log_densities(scouts.mean, scouts.mean, scouts.root)
    mass = there - jnp.diagonal(own)
    new = (there - covered > UNCOVERED) & (mass > np.log(MASS)) & jnp.isfinite(mass)
    order = jnp.argsort(jnp.where(new, -mass, jnp.inf))
    scouts, new, mass, own = jax.tree.map(lambda x: x[order], (scouts, new, mass, own[:, order]))
    peak = jnp.diagonal(own)
    near = peak[:, None] - SAME < own.T
    before = jnp.tril(jnp.ones((experts, experts), bool), -1)
    new = new & ~(near.T & new[None, :] & before).any(1)
    rank = jnp.cumsum(new) - 1
    new = new & (rank < int(SHARE * experts))
    lightest = jnp.argsort(society.log_weights)
    place = jnp.where(new, lightest[jnp.clip(rank, 0, experts - 1)], experts)

    def put(old: Array, fresh: Array) -> Array:
        return old.at[place].set(fresh, mode="drop")

    return Society(
        normalised(put(society.log_weights, mass)),
        put(society.mean, scouts.mean),
        put(society.root, scouts.root),
        put(society.hidden, scouts.hidden),
    )


def _best(log_joint: LogJoint, points: Float[Array, "k n u"]) -> Float[Array, "k u"]:
    """The best of each row of points."""
    height = log_joint(points.reshape(-1, points.shape[-1])).reshape(points.shape[:2])
    best = jnp.argmax(jnp.where(jnp.isfinite(height), height, -jnp.inf), 1)
    return jnp.take_along_axis(points, best[:, None, None], 1)[:, 0]
