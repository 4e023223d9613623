"""Many parameters, as of a network: Adam, its rate falling to nothing along half a cosine."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from bayes_badger.outer_loop.penalty import Penalty

# Steps between two looks: noise of what single steps see is averaged.
EVERY = 25
# Factor on the rate after numbers that were not finite; below the next it is told.
SLOWER, SLOW = 0.3, 0.1
# Still learning: the share of all that was gained, and nats per observation, in the last 3 looks.
STILL, NATS = 0.05, 2e-3
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


def is_known(place: Place) -> bool:
    """Where it goes back to may be no better: it is never sure of a good point."""
    return False


def best(place: Place) -> Array:
    """The last good point, `[p]`."""
    return place.good


def told(place: Place) -> dict[str, float]:
    """How often it went back from numbers that were not finite, if it did."""
    times = round(np.log(float(place.slower)) / np.log(SLOWER))
    return {"went_back": float(times)} if times else {}


def at_rest(place: Place) -> bool:
    """It cannot tell."""
    return False


def doubt(place: Place, losses: np.ndarray, stopped: bool) -> str | None:
    """Why it is not to be trusted; None where it is.

    Args:
        place: Where it is.
        losses: At each look, nats per observation: of held-out tasks where there are any.
        stopped: Whether held-out tasks ended it.
    """
    if float(place.slower) < SLOW:
        return "went back several times from numbers that were not finite"
    if len(losses) < 6 or stopped:
        return None
    fall, all_of_it = losses[-4] - losses[-1], losses[0] - losses.min()
    if fall < max(STILL * all_of_it, NATS):
        return None
    lately = f"{fall:.2g} nats per observation in its last {3 * EVERY} steps"
    return f"was still learning, {lately}: take more (--outer-steps)"


def moved(
    place: Place,
    values: np.ndarray,
    slopes: np.ndarray,
    cost: Penalty,
    rows: int,
    rate: float,
    share: float,
) -> Place:
    """After the log evidence of some tasks and its gradients.

    Where they are not finite, back to the last good point, and on more slowly.

    Args:
        place: Where it was.
        values: `[task]`, nats.
        slopes: `[task, p]`.
        cost: Of the parameters, as far as these tasks bear it.
        rows: Of these tasks.
        rate: Of the first step.
        share: Of all steps that are done.
    """
    slope = slopes.sum(0) + cost.slope
    if not (np.isfinite(values).all() and np.isfinite(slope).all()):
        return Place(place.good, place.good, _ADAM.init(place.good), place.slower * SLOWER)
    updates, adam = _ADAM.update(jnp.asarray(-slope / rows, jnp.float32), place.adam)
    pace = rate * 0.5 * (1 + np.cos(np.pi * share))
    pace = jnp.float32(float(pace) * float(place.slower))
    return Place(place.point - pace * updates, place.point, adam, place.slower)
