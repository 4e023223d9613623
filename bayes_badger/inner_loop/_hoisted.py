"""A function traced once, what does not depend on its argument computed once.

A task's density is asked at hundreds of points, and much of it is the same at all of them: log
gamma functions of outcomes and of what is shared, the lifetime's latents themselves. Left to itself
XLA computes those anew at each point, within one fused loop. Here the traced operations are split
into those that the argument reaches and the others, with a barrier between them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.extend import core
from jaxtyping import Array

# Functions within what is traced, and the name of the parameter that holds their operations.
_WITHIN = {"jit": "jaxpr", "custom_jvp_call": "call_jaxpr"}


def hoisted(
    function: Callable[[Array], Any], at: Array, inline: bool = False
) -> Callable[[Array], Any]:
    """The same function, of arguments of one shape, with what they do not reach computed already.

    Args:
        function: jit-able; it may close over traced values.
        at: An argument; only its shape and type matter.
        inline: Whether to look also into functions within that are compiled by themselves or have
            derivatives of their own; the result then must not be differentiated. The table of a
            numerical quantile, whose parameters the argument does not reach, is then made once.

    Example:
        >>> import jax.numpy as jnp
        >>> def both(x, y):
        ...     of_x = hoisted(lambda u: jnp.exp(y) * u, x)
        ...     return of_x(x) + jax.grad(of_x)(x)
        >>> print(jax.jit(both)(2.0, 0.0))
        3.0
    """
    function = _inlined(function, at) if inline else function
    closed, shape = jax.make_jaxpr(function, return_shape=True)(at)
    jaxpr = closed.jaxpr
    reached = set(jaxpr.invars)
    before, after = [], []
    for equation in jaxpr.eqns:
        touched = any(x in reached for x in equation.invars if not isinstance(x, core.Literal))
        if touched or equation.effects:
            reached.update(equation.outvars)
            after.append(equation)
        else:
            before.append(equation)
    values = dict(zip(jaxpr.constvars, closed.consts, strict=True))
    _evaluate(before, values)
    made = [x for equation in before for x in equation.outvars]
    asked = {x for e in after for x in e.invars if not isinstance(x, core.Literal)}
    asked |= {x for x in jaxpr.outvars if not isinstance(x, core.Literal)}
    kept = [x for x in made if x in asked]
    fixed = jax.lax.optimization_barrier([values[x] for x in kept]) if kept else []
    known = {x: values[x] for x in jaxpr.constvars} | dict(zip(kept, fixed, strict=True))
    tree = jax.tree.structure(shape)

    def of(u: Array) -> Any:
        found = known | dict(zip(jaxpr.invars, [u], strict=True))
        _evaluate(after, found)
        return jax.tree.unflatten(tree, [_read(x, found) for x in jaxpr.outvars])

    return of


def _inlined(function: Callable[[Array], Any], at: Array) -> Callable[[Array], Any]:
    closed, shape = jax.make_jaxpr(function, return_shape=True)(at)
    tree = jax.tree.structure(shape)

    def of(u: Array) -> Any:
        return jax.tree.unflatten(tree, _through(closed.jaxpr, closed.consts, [u]))

    return of


def _through(jaxpr: Any, consts: Any, inputs: list[Any]) -> list[Any]:
    """What traced operations give, those within functions among them."""
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *inputs), strict=True))
    for equation in jaxpr.eqns:
        inner = equation.params.get(_WITHIN.get(equation.primitive.name, ""))
        if inner is None:
            _evaluate([equation], values)
            continue
        found = _through(inner.jaxpr, inner.consts, [_read(x, values) for x in equation.invars])
        values.update(zip(equation.outvars, found, strict=True))
    return [_read(x, values) for x in jaxpr.outvars]


def _read(x: Any, values: dict[Any, Any]) -> Any:
    return x.val if isinstance(x, core.Literal) else values[x]


def _evaluate(equations: list[Any], values: dict[Any, Any]) -> None:
    """Runs traced operations, and adds what they give to the values of variables."""
    for equation in equations:
        parameters = equation.primitive.get_bind_params(equation.params)
        inputs = [_read(x, values) for x in equation.invars]
        with equation.ctx.manager:
            found = equation.primitive.bind(*inputs, **parameters)
        outputs = found if equation.primitive.multiple_results else [found]
        values.update(zip(equation.outvars, outputs, strict=True))
