"""Many parameters, as of a network: Adam on some tasks at a time, and tasks held out.

The rate falls to nothing along half a cosine. Where there are fewer than ten observations for each
entry of the parameters a tenth of the tasks is held out; the best look at those is what is learned.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

SLOWER = 0.3
_ADAM = optax.chain(optax.clip_by_global_norm(10.0), optax.scale_by_adam(b2=0.99))


class Place(NamedTuple):
    """Where it is.

    Attributes:
        point: The parameters without bounds, `[p]`.
        good: The last point that gave finite numbers, `[p]`.
        adam: The optimiser's state.
        slower: Factor on the rate, below 1 after numbers that were not finite.
    """

    point: Array
    good: Array
    adam: Any
    slower: float | np.ndarray


def start(point: np.ndarray) -> Place:
    """Before the first step."""
    first = jnp.asarray(point, jnp.float32)
    return Place(first, first, _ADAM.init(first), 1.0)


def moved(place: Place, slope: np.ndarray, rows: int, rate: float) -> Place:
    """After the gradient of the log evidence of some tasks, `[p]`, with so many rows in all.

    Where it is not finite, back to the last good point, and on more slowly.
    """
    if not np.isfinite(slope).all():
        return Place(place.good, place.good, _ADAM.init(place.good), place.slower * SLOWER)
    updates, adam = _ADAM.update(jnp.asarray(-slope / rows, jnp.float32), place.adam)
    pace = jnp.float32(rate * float(place.slower))
    return Place(place.point - pace * updates, place.point, adam, place.slower)
