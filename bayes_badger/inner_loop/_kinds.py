"""Which tasks one Gaussian serves, and which need several experts: told by asking them.

At a few lifetimes near the posterior each task is asked by one Gaussian, at the mode that a climb
from the middle of its prior finds, and again from starts that are scattered over its prior. Where
points of the first say that they fit, and every other start leads to the same evidence, one is
enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key

from bayes_badger.inner_loop._chunks import Chunk
from bayes_badger.inner_loop._given import Asked, tasks_at
from bayes_badger.inner_loop._points import cloud
from bayes_badger.program import Program

# The kinds of tasks: one Gaussian is enough; several are needed; known to be hard.
SINGLE_MODE, SEVERAL_MODES, HARD = range(3)
KINDS = 3
# Lifetimes at which tasks are looked at, and scattered starts at each; how wide they scatter.
LOOKS, STARTS, SCATTER = 4, 6, 1.5
# One Gaussian is enough where its stated error, and the difference that another start makes to the
# evidence, are at most so many nats, and so many of its points count.
ERROR, ENOUGH = 0.02, 15.0


def kinds_of(
    program: Program,
    chunks: Sequence[Chunk],
    kind: Int[np.ndarray, " task"],
    lifetimes: Float[np.ndarray, "lifetime a"],
    discrete: Mapping[str, Array],
    asked: Asked,
    keys: tuple[Key[Array, " task"], Key[Array, ""]],
    size: int,
) -> Int[np.ndarray, " task"]:
    """The kind of each task.

    Args:
        program: The lifted program.
        chunks: Of the tasks that are of kind `SINGLE_MODE` so far.
        kind: Of all tasks so far.
        lifetimes: Near the posterior of what is shared.
        discrete: Values of discrete latents that are shared, by name.
        asked: How a task is asked by one Gaussian.
        keys: One for each task, and one for draws.
        size: How many lifetimes are asked at a time, for which that is compiled.
    """
    if not chunks:
        return kind
    starts = np.concatenate([np.zeros((1, program.task_size)), _scattered(program.task_size)])
    at, begun = np.repeat(lifetimes, len(starts), 0), np.tile(starts, (len(lifetimes), 1))
    filled = np.arange(size) % len(at)
    own = jax.random.split(keys[1], size)
    both = keys[0], own
    found = tasks_at(program, chunks, at[filled], discrete, asked, both, starts=begun[filled])
    told = np.asarray(found.log_evidence, float)[: len(at)].reshape(len(lifetimes), len(starts), -1)
    first = np.arange(len(lifetimes)) * len(starts)
    unsure = np.asarray(found.error)[first].max(0) > ERROR
    unsure |= np.asarray(found.effective)[first].min(0) < ENOUGH
    with np.errstate(invalid="ignore"):
        unsure |= ~(np.ptp(told, axis=1).max(0) <= ERROR)
    positions = np.sort(np.concatenate([x.tasks[: x.real] for x in chunks]))
    after = kind.copy()
    after[positions[unsure]] = SEVERAL_MODES
    return after


def _scattered(size: int) -> np.ndarray:
    return SCATTER * cloud(STARTS, size, 1)
