"""One piece of evidence after another: a filter of many experts, in memory that does not grow.

Each expert is weighed by its own normalised predictive, and then climbs on that row alone, from
itself as its prior. The log score, log Σ w_k q_k(y), is fixed by what was known before y: it is a
proper code.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from bayes_badger.compilation import jit_lightly
from bayes_badger.inner_loop import _small as small
from bayes_badger.inner_loop._climb import climb
from bayes_badger.inner_loop._one_number import assimilate_one_number, from_lanes, to_lanes
from bayes_badger.inner_loop._policy import Policy
from bayes_badger.inner_loop._predictive import LINE, NORMAL, log_predictive
from bayes_badger.inner_loop._society import (
    Society,
    information_gain,
    relative_weights,
    reweighted,
)
from bayes_badger.inner_loop.protocol import StepInfo
from bayes_badger.program import Data, Program

# Moves within a row: one is enough but for rows that are a great surprise.
MOVES = 16


def assimilate(
    program: Program,
    predictive: str,
    policy: Policy,
    society: Society,
    data: Data,
    real: Bool[Array, ""],
) -> tuple[Society, StepInfo]:
    """Takes one row in.

    Args:
        program: The program.
        predictive: How an expert's predictive is integrated.
        policy: Advises damping, tempering and stopping.
        society: Before the row.
        data: The row, of one task: `[1, 1, ...]`.
        real: Whether there is a row at all; where not, nothing changes and the score is 0.
    """
    scores = jax.vmap(lambda m, s: log_predictive(program, predictive, m, s, data))(
        society.mean, society.root
    )
    log_weights, log_score = reweighted(society.log_weights, scores)
    relative = relative_weights(society.log_weights)
    mask = jnp.ones(1, bool)
    climbed = jax.vmap(lambda m, s, h, w: climb(program, policy, (m, s), h, w, data, mask, MOVES))(
        society.mean, society.root, society.hidden, relative
    )
    sound = jnp.isfinite(climbed.mean).all(-1) & jnp.isfinite(climbed.root).all((-1, -2))
    fine = sound & jnp.isfinite(log_score)
    mean = jnp.where(fine[:, None], climbed.mean, society.mean)
    root = jnp.where(fine[:, None, None], climbed.root, society.root)
    moved = jax.vmap(_divergence)(mean, root, society.mean, society.root)
    gain = information_gain(society.log_weights, log_weights, moved)
    after = Society(log_weights, mean, root, climbed.hidden)
    kept = jax.tree.map(lambda new, old: jnp.where(real, new, old), after, society)
    return kept, StepInfo(jnp.where(real, log_score, 0.0), jnp.where(real, gain, 0.0))


def _divergence(mean: Array, root: Array, before: Array, old_root: Array) -> Array:
    """KL of one Gaussian from another."""
    to_noise = small.inverse_lower(old_root)
    ratio = small.matmul(to_noise, root)
    move = small.matvec(to_noise, mean - before)
    half = 0.5 * ((ratio**2).sum() - len(mean) + (move**2).sum())
    return half - small.log_det(ratio)


@jit_lightly
def through(
    program: Program,
    predictive: str,
    policy: Policy,
    society: Society,
    data: Data,
    mask: Bool[Array, "task step"],
) -> tuple[Society, StepInfo]:
    """All rows of some tasks, one after another; what each was worth, `[task, step]`."""
    fast = one_number(predictive)
    carried: Any = jax.vmap(to_lanes)(society) if fast else society

    def one(carried: Any, xs: Any) -> tuple[Any, StepInfo]:
        columns, outcome, real = xs

        def of_task(carried: Any, columns: Any, fixed: Any, y: Array, real: Array) -> Any:
            lead = jax.tree.map(lambda x: x[None, None], columns)
            row = Data(lead, jax.tree.map(lambda x: x[None], fixed), y[None, None])
            if fast:
                after, *info = assimilate_one_number(
                    program, predictive, policy, carried, row, real, MOVES
                )
                return after, StepInfo(*info)
            return assimilate(program, predictive, policy, carried, row, real)

        return jax.vmap(of_task)(carried, columns, data.task_columns, outcome, real)

    columns, outcome, real = jax.tree.map(
        lambda x: jnp.moveaxis(x, 1, 0), (data.columns, data.outcome, mask)
    )
    carried, infos = jax.lax.scan(one, carried, (columns, outcome, real))
    society = jax.vmap(from_lanes)(carried) if fast else carried
    return society, jax.tree.map(lambda x: x.T, infos)


def one_number(predictive: str) -> bool:
    """Whether an outcome depends on u through one number."""
    return predictive in (NORMAL, LINE)
