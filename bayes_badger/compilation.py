"""Compiled functions, optimised only as far as their work is worth it.

LLVM's optimisation is about half of what compiling a function costs, and makes it three to ten
times as fast. What computes a few thousand numbers once is better compiled without: a table of
eight schools would else wait ten seconds for a millisecond of arithmetic. Which of the two it is
depends on the sizes of what is given and on nothing else, so that a result never depends on what
was computed before it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

# Log densities of a row, or as much work, in all calls. Below, what optimisation costs is more than
# it saves: a second to compile, .3 microseconds for a log density with a log gamma function.
WORTH = 2_000_000
UNOPTIMISED: Any = {"compiler_options": {"xla_backend_optimization_level": 0}}
LIGHTLY: Any = {"compiler_options": {"xla_backend_optimization_level": 1}}


def jit_by_work[**P, R](function: Callable[P, R]) -> Callable[..., R]:
    """Compiles a function as `equinox.filter_jit` does, optimised where its work is worth it.

    The function that is returned takes one argument more, `work`: how many log densities of a row
    are computed in all calls together, roughly. By default it is how many numbers the arguments
    hold, which suits a function that uses each of them a few times, and is called a few times.
    Called from what is compiled itself it is a part of that, and `work` has no effect.

    Args:
        function: Pure; arrays among its arguments are traced, all else is static.

    Example:
        >>> double = jit_by_work(lambda x: 2 * x)
        >>> print(double(jnp.ones(2)), double(jnp.ones(2), work=10**9), jax.jit(double)(1.5))
        [2. 2.] [2. 2.] 3.0
    """
    inlined, optimised = eqx.filter_jit(function), eqx.filter_jit(function, **LIGHTLY)
    unoptimised: Callable[P, R] = eqx.filter_jit(function, **UNOPTIMISED)

    @functools.wraps(function)
    def call(*args: P.args, work: int | float | None = None, **kwargs: P.kwargs) -> R:
        leaves = jax.tree.leaves((args, kwargs))
        if _within_what_is_compiled(leaves):
            return inlined(*args, **kwargs)
        many = sum(math.prod(np.shape(x)) for x in leaves) if work is None else work
        return unoptimised(*args, **kwargs) if many < WORTH else optimised(*args, **kwargs)

    return call


def jit_lightly[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Compiles a function as `equinox.filter_jit` does, optimised lightly, whatever its work.

    A fit of 700 counts by experts then ran as fast, within two hundredths, and one of sleepstudy,
    most of which is compiling, took four fifths of the seconds. Called from what is compiled itself
    it is a part of that.
    """
    inlined: Callable[P, R] = eqx.filter_jit(function)
    optimised: Callable[P, R] = eqx.filter_jit(function, **LIGHTLY)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        within = _within_what_is_compiled(jax.tree.leaves((args, kwargs)))
        return inlined(*args, **kwargs) if within else optimised(*args, **kwargs)

    return call


def _within_what_is_compiled(leaves: list[Any]) -> bool:
    """Whether what is called now becomes a part of something else that is compiled."""
    traced = jax.core.Tracer
    return any(isinstance(x, traced) for x in leaves) or isinstance(jnp.zeros(()), traced)
