"""NUTS for one task at each draw of what tasks share: a chain for each, from where experts were.

Given what is shared a task is a small posterior of its own. All that is asked for is one draw of
it at each lifetime, so that chains are many and short; as each starts from a draw of the experts,
how often each mode is met is what they say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro.infer.hmc import hmc
from numpyro.infer.util import ParamInfo

from bayes_badger.compilation import jit_lightly
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import data_of
from bayes_badger.inner_loop._evidence_of_task import Given
from bayes_badger.inner_loop._offline import log_joint_of
from bayes_badger.inner_loop._portions import at_one_length
from bayes_badger.program import Data, Program

# Of each chain: transitions in which it adapts, and those after them, of which the last is kept.
WARMUP, TRANSITIONS = 150, 50
ACCEPT, DEPTH = 0.9, 6
# Chains that go side by side.
AT_ONCE = 512


def sampled_given(
    program: Program,
    evidence: Evidence,
    lifetimes: Float[np.ndarray, "draw a"],
    discrete: Mapping[str, np.ndarray],
    start: Float[np.ndarray, "draw z"],
    key: PRNGKeyArray,
) -> tuple[Float[np.ndarray, "draw z"], float]:
    """A draw of one task's latents at each lifetime, and the share of transitions that diverged.

    Args:
        program: The lifted program.
        evidence: Of the one task.
        lifetimes: Coordinates of what is shared.
        discrete: Values of discrete latents, those of the task among them, by name, `[draw, ...]`.
        start: Where the chain of each lifetime starts.
        key: For the momenta.
    """
    block = evidence.padded()
    data, seen = at_one_length(data_of(block), block.mask)
    points = jnp.asarray(lifetimes, jnp.float32), jnp.asarray(start, jnp.float32)
    assigned = {name: jnp.asarray(x) for name, x in discrete.items()}
    keys = jax.random.split(key, len(start))
    z, diverged = _chains(program, data, seen[0], *points, assigned, keys)
    return np.asarray(z), float(np.asarray(diverged).mean()) / TRANSITIONS


@jit_lightly
def _chains(
    program: Program,
    data: Data,
    seen: Array,
    lifetimes: Array,
    start: Array,
    discrete: Mapping[str, Array],
    keys: Array,
) -> tuple[Array, Array]:
    def one(xs: Any) -> tuple[Array, Array]:
        lifetime, z, assigned, key = xs
        given = Given(program, lifetime, assigned)
        log_joint, _ = log_joint_of(given, data, seen, z)

        def potential(position: Mapping[str, Array]) -> Array:
            return -log_joint(position["z"][None])[0]

        first = {"z": z}
        begin, move = hmc(potential_fn=potential, algo="NUTS")
        state = begin(
            ParamInfo(first, *jax.value_and_grad(potential)(first)),
            num_warmup=WARMUP,
            target_accept_prob=ACCEPT,
            max_tree_depth=DEPTH,
            rng_key=key,
        )
        state = jax.lax.fori_loop(0, WARMUP, lambda _, state: move(state), state)

        def kept(_: Any, carry: tuple[Any, Array]) -> tuple[Any, Array]:
            state = move(carry[0])
            return state, carry[1] + state.diverging

        state, diverged = jax.lax.fori_loop(0, TRANSITIONS, kept, (state, jnp.zeros((), int)))
        okay = jnp.isfinite(state.z["z"]).all()
        return jnp.where(okay, state.z["z"], z), diverged

    xs = (lifetimes, start, dict(discrete), keys)
    found: tuple[Array, Array] = jax.lax.map(one, xs, batch_size=AT_ONCE)
    return found
