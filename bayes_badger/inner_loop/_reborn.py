"""Experts of no weight are re-born where there is work: a heavy one is cut into several.

Cut across its longest axis, with mass, mean and covariance of the whole kept: the belief changes
in shape only, and a part is free to follow what one Gaussian cannot.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.stats import norm

from bayes_badger.inner_loop import _small as small
from bayes_badger.inner_loop._society import Society


def reborn_as_splits(
    society: Society, threshold: Float[Array, ""], splitting: Float[Array, " k"]
) -> tuple[Society, Int[Array, " k"]]:
    """Experts of no weight become parts of heavy ones, and from which each now comes.

    Mean and covariance of each whole stay.

    A whole of c parts is cut across its longest axis: its parts have the share 1/c of its variance
    along that axis, and their centres, at the quantiles of a normal, the rest.

    Args:
        society: The experts.
        threshold: Below this share of an equal weight an expert is re-born; 0 for none.
        splitting: Added to the log of an expert's share of those that are re-born.
    """
    experts = len(society.log_weights)
    order = jnp.argsort(-society.log_weights)
    society = jax.tree.map(lambda x: x[order], society)
    dead = society.log_weights < jnp.log(threshold / experts)
    dead = dead & (jnp.arange(experts) > 0)
    share = jnp.where(dead, -jnp.inf, 0.5 * society.log_weights + splitting[order])
    living, place = (~dead).sum(), jnp.arange(experts)
    position = (place - living + 0.5) / jnp.maximum(dead.sum(), 1)
    chosen = jnp.searchsorted(jnp.cumsum(jax.nn.softmax(share)), position)
    parent = jnp.where(dead, jnp.minimum(chosen, living - 1), place)
    parts = jnp.zeros(experts, int).at[parent].add(1)[parent]
    by_parent = jnp.argsort(parent, stable=True)
    first = jnp.searchsorted(parent[by_parent], parent[by_parent])
    rank = jnp.zeros(experts, int).at[by_parent].set(place - first)

    old = jax.tree.map(lambda x: x[parent], society)
    quantile = jax.scipy.stats.norm.ppf((rank + 0.5) / parts)
    left = 1.0 / parts
    offset = quantile * jnp.sqrt((1 - left) / jnp.asarray(_square_quantiles(experts))[parts])

    def cut(mean: Array, root: Array, offset: Array, left: Array) -> tuple[Array, Array]:
        axis = _longest_axis(root)
        kept = jnp.eye(len(axis)) - (1 - left) * axis[:, None] * axis
        part = small.matmul(root, small.cholesky(kept))
        return mean + offset * small.matvec(root, axis), part

    mean, root = jax.vmap(cut)(old.mean, old.root, jnp.where(parts > 1, offset, 0.0), left)
    whole = (parts == 1)[:, None]
    reborn = Society(
        old.log_weights - jnp.log(parts),
        jnp.where(whole, old.mean, mean),
        jnp.where(whole[..., None], old.root, root),
        old.hidden,
    )
    return reborn, order[parent]


def _longest_axis(root: Array) -> Array:
    """The unit vector v, in units of the root, for which root v is longest."""
    v = jnp.cos(jnp.arange(1.0, root.shape[-1] + 1))
    for _ in range(12):
        v = small.matvec(root.T, small.matvec(root, v))
        v = v / jnp.sqrt((v**2).sum())
    return v


def _square_quantiles(most: int) -> np.ndarray:
    """Mean square of the c quantiles of a normal, for each c; 1 where there are none to spread."""
    means = [np.mean(norm.ppf((np.arange(c) + 0.5) / c) ** 2) for c in range(2, most + 1)]
    return np.array([1.0, 1.0, *means], np.float32)[: most + 1]
