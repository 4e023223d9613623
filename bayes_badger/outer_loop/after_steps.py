"""What meta-learning by gradients maximises: how unseen rows are predicted after a few steps.

Of each task some rows, chosen by chance, are learned from by the inner loop `gradient`; the others
are predicted at the point where its steps lead, and what they score is differentiated through the
steps (Finn et al. 2017). Per task that score is scaled to all its rows.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key, PyTree

from bayes_badger.compilation import jit_lightly
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop._chunks import each_task, over_chunks
from bayes_badger.inner_loop._portions import at_one_length
from bayes_badger.inner_loop.gradient import Gradient, adapted
from bayes_badger.inner_loop.protocol import silent
from bayes_badger.program import Data, Program
from bayes_badger.program.parameters import bound


def scores_and_slopes(
    program: Program,
    parameters: dict[str, PyTree],
    evidence: Evidence,
    loop: Gradient,
    key: Key[Array, ""],
    slopes: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Log score of each task, `[task]` in nats, and its gradient, `[task, p]`; in float64.

    Args:
        program: The lifted program.
        parameters: Its p parameters without bounds.
        evidence: The tasks.
        loop: Its steps and their rate.
        key: Chooses the rows that are learned from.
        slopes: Whether gradients are wanted; else none are returned, `[task, 0]`.
    """
    keys = jax.random.split(key, evidence.n_tasks)

    def work(tasks: np.ndarray, data: Data, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        data, seen = at_one_length(data, mask)
        some = keys[jnp.asarray(tasks)]
        found = _of_tasks(program, parameters, loop, data, jnp.asarray(seen), some, slopes)
        values, rows = (np.asarray(x, float) for x in found)
        return values, rows

    found: tuple[np.ndarray, np.ndarray] = over_chunks(evidence, work, silent, "learning")
    return found


def learned_from(key: Key[Array, ""], seen: Array) -> Array:
    """Rows to learn from: at least one and not all, where there are two; how many, by chance."""
    keys = jax.random.split(key)
    rows = seen.sum()
    many = jnp.minimum(jax.random.randint(keys[0], (), 1, jnp.maximum(rows, 2)), rows - 1)
    place = jnp.where(seen, jax.random.uniform(keys[1], seen.shape), jnp.inf)
    return seen & (jnp.argsort(jnp.argsort(place)) < many)


@jit_lightly
def _of_tasks(
    program: Program,
    parameters: dict[str, PyTree],
    loop: Gradient,
    data: Data,
    seen: Array,
    keys: Key[Array, " task"],
    slopes: bool,
) -> tuple[Float[Array, " task"], Float[Array, "task p"]]:
    flat, unflatten = ravel_pytree(parameters)
    steps, rate = loop.settings.steps, loop.settings.rate

    def one(xs: tuple[Data, Array, Key[Array, ""]]) -> tuple[Array, Array]:
        data, seen, key = xs
        data = jax.tree.map(lambda x: x[None], data)
        shown = learned_from(key, seen)
        asked = seen & ~shown

        def value(flat: Array) -> Array:
            now = bound(program, unflatten(flat))
            rows, _ = now.rows_and_factors(adapted(now, data, shown, steps, rate), data)
            total = jnp.where(asked, rows, 0.0).sum()
            return total * seen.sum() / jnp.maximum(asked.sum(), 1)

        if not slopes:
            return value(flat), jnp.zeros(0)
        return jax.value_and_grad(value)(flat)

    return each_task(one, (data, seen, keys))
