"""Proves of what degree a traced function is in some of its inputs, as a polynomial.

A log density of degree two or less in a set of latents is Gaussian in them, and only then does the
closed form of a Gaussian integrate it. Values at a few points cannot show that: a sigmoid that is
saturated at all of them looks constant. So each operation of the traced function is followed
(`degree_rules`): a constant is of degree 0, a sum has the largest degree of its terms, a product
the sum of degrees, and whatever has no rule and touches the set is of degree `OTHER`. A function
of degree `OTHER` may still be a polynomial; one of degree 0, 1 or 2 certainly is, in exact
arithmetic, with coefficients that may depend on everything outside the set.

Degrees are kept element by element, so that entries of one vector may differ, and for several sets
at once: an array of shape `[*shape]` has degrees `[*shape, set]`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core
from jaxtyping import Int

from bayes_badger.program.degree_rules import OTHER, RULES, Abstract, integers

# Of one array, `[*shape, set]`.
Degrees = Int[np.ndarray, "..."]


def degrees(
    function: Callable[..., Any], args: Sequence[Any], seeds: Sequence[Degrees | None]
) -> list[Degrees]:
    """The degree of every output of a function, element by element, for several sets of inputs.

    Args:
        function: Traced once, with `jax.make_jaxpr`.
        args: Its arguments, each a tree of arrays; only shapes and types matter.
        seeds: For each argument, the degrees of its elements `[*shape, set]`: 1 where an element is
            in the set and 0 where it is not. None for an argument none of whose elements are in any
            set. An argument with degrees must be one array.

    Returns:
        For each output array its degrees `[*shape, set]`, from 0 to `OTHER`.

    Example:
        >>> import jax.numpy as jnp
        >>> def f(x, y):
        ...     return jnp.stack([y, x * y, x**2 - x, jnp.sin(x), x * x * x])
        >>> in_x, in_both = np.array([1, 1]), np.array([0, 1])
        >>> degrees(f, (1.0, 2.0), (in_x, in_both))[0].T
        array([[0, 1, 2, 3, 3],
               [1, 2, 2, 3, 3]])
    """
    closed = jax.make_jaxpr(function)(*args)
    sets = next(x.shape[-1] for x in seeds if x is not None)
    flat: list[Abstract] = []
    for arg, seed in zip(args, seeds, strict=True):
        for leaf in jax.tree.leaves(arg):
            own = _zero(np.shape(leaf), sets) if seed is None else np.asarray(seed, np.int8)
            flat.append(Abstract(own))
    return [x.degrees.astype(int) for x in _Reader(sets).read(closed, flat)]


def _zero(shape: Sequence[int], sets: int) -> np.ndarray:
    return np.zeros((*shape, sets), np.int8)


class _Reader:
    """Follows the equations of a traced function."""

    def __init__(self, sets: int) -> None:
        self.sets = sets

    def read(self, closed: Any, args: Sequence[Abstract]) -> list[Abstract]:
        """The outputs of a closed function, given what is known of its arguments."""
        jaxpr, consts = closed.jaxpr, closed.consts
        known: dict[Any, Abstract] = {}
        for variable, const in zip(jaxpr.constvars, consts, strict=True):
            known[variable] = self._of_constant(const)
        known |= dict(zip(jaxpr.invars, args, strict=True))

        def look_up(atom: Any) -> Abstract:
            return self._of_constant(atom.val) if isinstance(atom, core.Literal) else known[atom]

        for equation in jaxpr.eqns:
            inputs = [look_up(atom) for atom in equation.invars]
            outputs = self._apply(equation, inputs)
            known |= dict(zip(equation.outvars, outputs, strict=True))
        return [look_up(atom) for atom in jaxpr.outvars]

    def _of_constant(self, value: Any) -> Abstract:
        shape = np.shape(value)
        keep = getattr(value, "dtype", np.asarray(0.0).dtype).kind in "biu"  # keys have no kind
        return Abstract(_zero(shape, self.sets), np.asarray(value) if keep else None)

    def _shapes(self, equation: Any) -> list[tuple[int, ...]]:
        return [tuple(out.aval.shape) for out in equation.outvars]

    def _apply(self, equation: Any, inputs: list[Abstract]) -> list[Abstract]:
        name, params = equation.primitive.name, equation.params
        shapes = self._shapes(equation)
        if not any(x.touched.any() for x in inputs):
            value = integers(name, params, inputs, shapes[0]) if len(shapes) == 1 else None
            return [
                Abstract(_zero(shape, self.sets), value if i == 0 else None)
                for i, shape in enumerate(shapes)
            ]
        if name in _CALLS:
            return self.read(_closed(_called(params)), inputs)
        if name == "scan":
            return self._scan(params, inputs)
        if name == "cond":
            return self._cond(params, inputs)
        if name in RULES:
            found = RULES[name](params, [x.degrees for x in inputs], inputs, shapes[0])
            many = found if isinstance(found, list) else [found]
            if [x.shape[:-1] for x in many] == shapes:
                return [Abstract(np.minimum(x, OTHER).astype(np.int8)) for x in many]
        return self._unlisted(inputs, shapes)

    def _unlisted(
        self, inputs: list[Abstract], shapes: Sequence[tuple[int, ...]]
    ) -> list[Abstract]:
        """`OTHER` in every set that an input depends on."""
        touched = np.any([x.touched for x in inputs], axis=0)
        own = np.where(touched, OTHER, 0).astype(np.int8)
        return [Abstract(np.broadcast_to(own, (*shape, self.sets))) for shape in shapes]

    def _cond(self, params: Any, inputs: list[Abstract]) -> list[Abstract]:
        each = [self.read(_closed(branch), inputs[1:]) for branch in params["branches"]]
        chosen = inputs[0].touched
        return [
            Abstract(np.where(chosen, OTHER, np.maximum.reduce([x.degrees for x in outs])))
            for outs in zip(*each, strict=True)
        ]

    def _scan(self, params: Any, inputs: list[Abstract]) -> list[Abstract]:
        """A loop, its carry read again until its degrees no longer rise."""
        consts, carried, _ = map(len, params["ft_in"].unpack())
        body, fixed = _closed(params["jaxpr"]), inputs[:consts]
        carry = [x.degrees for x in inputs[consts : consts + carried]]
        rows = [Abstract(x.degrees.max(0)) for x in inputs[consts + carried :]]
        while True:
            outs = self.read(body, [*fixed, *map(Abstract, carry), *rows])
            risen = [np.maximum(x, y.degrees) for x, y in zip(carry, outs, strict=False)]
            if all(np.array_equal(x, y) for x, y in zip(carry, risen, strict=True)):
                break
            carry = risen
        later = [
            np.broadcast_to(x.degrees, (params["length"], *x.degrees.shape)) for x in outs[carried:]
        ]
        return [Abstract(x) for x in [*carry, *later]]


# Primitives that call a function on their own arguments.
_CALLS = frozenset(
    {"jit", "pjit", "closed_call", "core_call", "remat", "checkpoint", "remat2"}
    | {"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"}
)


def _called(params: Any) -> Any:
    return next(params[name] for name in ("call_jaxpr", "jaxpr", "fun_jaxpr") if name in params)


def _closed(jaxpr: Any) -> Any:
    """A traced function with its constants; it has none where it is stored without."""
    return jaxpr if hasattr(jaxpr, "consts") else core.ClosedJaxpr(jaxpr, ())
