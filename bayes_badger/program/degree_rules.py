"""How the degree of a polynomial passes through each operation of a traced function.

One rule for each primitive of JAX that may be part of a polynomial of degree two or less: sums,
products, choices by a condition that does not depend on the set, and all that only moves elements
about. A primitive without a rule gives `OTHER` wherever it depends on the set, so that a rule which
is missing costs a closed form, and never a wrong one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

# "No polynomial of degree two or less": cubes, exponentials, and all that is not listed.
OTHER = 3


class Abstract:
    """What is known of one array: its degrees and, of small integers, the values themselves."""

    def __init__(self, degrees: np.ndarray, value: np.ndarray | None = None) -> None:
        self.degrees, self.value = degrees, value

    @property
    def touched(self) -> np.ndarray:
        """Which sets any element depends on, `[set]`."""
        return self.degrees.reshape(-1, self.degrees.shape[-1]).any(0)


# --- the rules, `rule(params, degrees of the inputs, inputs, shape of the output)`

Rule = Callable[[Any, list[np.ndarray], list[Abstract], tuple[int, ...]], Any]


def _wide(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Scalars are operands of arrays of any shape."""
    return np.broadcast_to(x, (*shape, x.shape[-1]))


def _largest(params: Any, each: list[np.ndarray], inputs: Any, shape: tuple[int, ...]) -> Any:
    return np.maximum.reduce([_wide(x, shape) for x in each])


def _product(params: Any, each: list[np.ndarray], inputs: Any, shape: tuple[int, ...]) -> Any:
    return _wide(each[0], shape) + _wide(each[1], shape)


def _quotient(params: Any, each: list[np.ndarray], inputs: Any, shape: tuple[int, ...]) -> Any:
    return np.where(_wide(each[1], shape) > 0, OTHER, _wide(each[0], shape))


def _power(params: Any, each: list[np.ndarray], inputs: Any, shape: tuple[int, ...]) -> Any:
    y = params["y"]
    if y < 0:
        return np.where(each[0] > 0, OTHER, 0)
    return np.minimum(each[0].astype(int) * y, OTHER)


def _square(params: Any, each: list[np.ndarray], inputs: Any, shape: tuple[int, ...]) -> Any:
    return 2 * each[0]


def _selected(params: Any, each: list[np.ndarray], inputs: Any, shape: tuple[int, ...]) -> Any:
    most = np.maximum.reduce([_wide(x, shape) for x in each[1:]])
    return np.where(_wide(each[0], shape) > 0, OTHER, most)


def _converted(params: Any, each: list[np.ndarray], inputs: Any, shape: tuple[int, ...]) -> Any:
    if np.issubdtype(params["new_dtype"], np.floating):
        return each[0]
    return np.where(each[0] > 0, OTHER, 0)


def _summed(params: Any, each: list[np.ndarray], inputs: Any, shape: tuple[int, ...]) -> Any:
    return each[0].max(tuple(params["axes"]), initial=0)


def _accumulated(params: Any, each: list[np.ndarray], inputs: Any, shape: tuple[int, ...]) -> Any:
    x, axis = each[0], params["axis"]
    if params.get("reverse"):
        return np.flip(np.maximum.accumulate(np.flip(x, axis), axis), axis)
    return np.maximum.accumulate(x, axis)


def _contracted(params: Any, each: list[np.ndarray], inputs: Any, shape: tuple[int, ...]) -> Any:
    """Sums of products: the largest sum of degrees along what is contracted."""
    (left_over, right_over), (left_batch, right_batch) = params["dimension_numbers"]
    left, right = each
    sides = []
    for x, over, batch in ((left, left_over, left_batch), (right, right_over, right_batch)):
        free = [i for i in range(x.ndim - 1) if i not in (*over, *batch)]
        moved = np.transpose(x, [*batch, *free, *over, x.ndim - 1])
        lead = [x.shape[i] for i in batch]
        rows = math.prod(x.shape[i] for i in free)
        sides.append(moved.reshape(math.prod(lead), rows, -1, x.shape[-1]))
    a, b = sides
    total = np.zeros((a.shape[0], a.shape[1], b.shape[1], a.shape[-1]), np.int8)
    for k in range(a.shape[2]):
        total = np.maximum(total, a[:, :, None, k] + b[:, None, :, k])
    return total.reshape(*shape, -1)


def _solved(params: Any, each: list[np.ndarray], inputs: Any, shape: tuple[int, ...]) -> Any:
    """A triangular system is linear in its right-hand side."""
    right, axis = each[1], -3 if params["left_side"] else -2
    most = np.broadcast_to(right.max(axis, keepdims=True), right.shape)
    return np.where(inputs[0].touched, OTHER, most)


def _same(params: Any, each: list[np.ndarray], inputs: Any, shape: tuple[int, ...]) -> Any:
    return list(each)


def _unchanged(params: Any, each: list[np.ndarray], inputs: Any, shape: tuple[int, ...]) -> Any:
    return each[0]


# --- what only moves elements about: degrees, which have an axis of sets at the end, and integers

_Move = Callable[[Any, list[np.ndarray], tuple[int, ...]], np.ndarray]


def _spread(params: Any, arrays: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    x, lead = arrays[0], [1] * len(shape)
    for i, dim in enumerate(params["broadcast_dimensions"]):
        lead[dim] = x.shape[i]
    tail = x.shape[x.ndim - params["free"] :]
    return np.broadcast_to(x.reshape(*lead, *tail), (*shape, *tail))


def _sliced(params: Any, arrays: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    strides = params["strides"] or (1,) * len(shape)
    ends = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
    return arrays[0][tuple(slice(*end) for end in ends)]


def _reshaped(params: Any, arrays: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    x, free = arrays[0], params["free"]
    return x.reshape(*shape, *x.shape[x.ndim - free :])


def _transposed(params: Any, arrays: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    order = list(params["permutation"])
    return np.transpose(arrays[0], order + list(range(len(order), arrays[0].ndim)))


def _joined(params: Any, arrays: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    return np.concatenate(arrays, params["dimension"])


def _stacked(params: Any, arrays: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    return np.stack(arrays, params["axis"])


def _reversed(params: Any, arrays: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    return np.flip(arrays[0], tuple(params["dimensions"]))


_MOVES: dict[str, _Move] = {
    "broadcast_in_dim": _spread,
    "slice": _sliced,
    "reshape": _reshaped,
    "squeeze": _reshaped,
    "expand_dims": _reshaped,
    "transpose": _transposed,
    "concatenate": _joined,
    "stack": _stacked,
    "rev": _reversed,
    "copy": lambda params, arrays, shape: arrays[0],
}


def _moved(move: _Move) -> Rule:
    return lambda params, each, inputs, shape: move(dict(params) | {"free": 1}, each, shape)


def _padded(params: Any, each: list[np.ndarray], inputs: Any, shape: tuple[int, ...]) -> Any:
    x, fill = each
    found = np.broadcast_to(fill, (*shape, x.shape[-1])).copy()
    if any(low < 0 or high < 0 for low, high, _ in params["padding_config"]):
        return np.broadcast_to(_everywhere(each), found.shape)
    at = tuple(
        slice(low, low + (n - 1) * (gap + 1) + 1 if n else low, gap + 1)
        for n, (low, _, gap) in zip(x.shape[:-1], params["padding_config"], strict=True)
    )
    found[at] = x
    return found


def _everywhere(each: list[np.ndarray]) -> np.ndarray:
    """The largest degree of any element: where it is not followed which one goes where."""
    return np.maximum.reduce([x.reshape(-1, x.shape[-1]).max(0, initial=0) for x in each])


def _window(params: Any, each: list[np.ndarray], inputs: Any, shape: tuple[int, ...]) -> Any:
    """A slice that starts where other values say."""
    start = _starts(inputs[1:], inputs[0].degrees.shape[:-1], shape)
    if start is not None:
        return each[0][tuple(slice(i, i + n) for i, n in zip(start, shape, strict=True))]
    chosen = np.any([x.touched for x in inputs[1:]], axis=0)
    return _wide(np.where(chosen, OTHER, _everywhere(each[:1])), shape)


def _written(params: Any, each: list[np.ndarray], inputs: Any, shape: tuple[int, ...]) -> Any:
    """A slice that is overwritten."""
    base, new = each[:2]
    start = _starts(inputs[2:], shape, new.shape[:-1])
    if start is not None:
        found = base.copy()
        found[tuple(slice(i, i + n) for i, n in zip(start, new.shape[:-1], strict=True))] = new
        return found
    chosen = np.any([x.touched for x in inputs[2:]], axis=0)
    return np.where(chosen, OTHER, np.maximum(base, _everywhere([new])))


def _starts(
    indices: Sequence[Abstract], of: tuple[int, ...], size: tuple[int, ...]
) -> list[int] | None:
    """Where a window starts, if that is known, kept inside as JAX does."""
    values = [x.value for x in indices]
    if any(x is None for x in values):
        return None
    each = zip((int(x) for x in values if x is not None), of, size, strict=True)
    return [min(max(i, 0), n - m) for i, n, m in each]


def _taken(params: Any, each: list[np.ndarray], inputs: Any, shape: tuple[int, ...]) -> Any:
    """Elements at positions: followed where these are known, else any element may be meant."""
    x = each[0]
    if inputs[1].value is None:
        return _wide(np.where(inputs[1].touched, OTHER, _everywhere([x])), shape)
    numbers = np.arange(1, 1 + math.prod(x.shape[:-1]), dtype=np.int32).reshape(x.shape[:-1])
    fill = dict(params) | {"fill_value": 0}
    at = np.asarray(jax.lax.gather_p.bind(numbers, inputs[1].value, **fill))
    flat = x.reshape(-1, x.shape[-1])
    return np.where((at > 0)[..., None], flat[np.maximum(at, 1) - 1], 0)


def _scattered(params: Any, each: list[np.ndarray], inputs: Any, shape: tuple[int, ...]) -> Any:
    """Elements put, or added, at positions that are not followed."""
    base, _, new = each
    return np.where(inputs[1].touched, OTHER, np.maximum(base, _everywhere([new])))


RULES: dict[str, Rule] = {
    **dict.fromkeys(("add", "sub", "add_any"), _largest),
    **dict.fromkeys(("neg", "stop_gradient", "reduce_precision"), _unchanged),
    "optimization_barrier": _same,
    "mul": _product,
    "div": _quotient,
    "integer_pow": _power,
    "square": _square,
    "select_n": _selected,
    "convert_element_type": _converted,
    "reduce_sum": _summed,
    "cumsum": _accumulated,
    "dot_general": _contracted,
    "triangular_solve": _solved,
    "pad": _padded,
    "dynamic_slice": _window,
    "dynamic_update_slice": _written,
    "gather": _taken,
    "scatter": _scattered,
    "scatter-add": _scattered,
    "scatter_add": _scattered,
    **{name: _moved(move) for name, move in _MOVES.items()},
}


# --- integers that are known, for they say which elements are meant

_BINARY: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
}
# Larger tables of integers are data, not positions.
_MOST = 10_000


def integers(
    name: str, params: Any, inputs: list[Abstract], shape: tuple[int, ...]
) -> np.ndarray | None:
    """The integers that an operation gives, where they can be told without compiling anything."""
    if math.prod(shape) > _MOST:
        return None
    if name == "iota":
        axis = params["dimension"]
        lead = [1] * len(shape)
        lead[axis] = shape[axis]
        return np.broadcast_to(np.arange(shape[axis]).reshape(lead), shape)
    values = [x.value for x in inputs]
    if any(x is None for x in values) or not values:
        return None
    known = [np.asarray(x) for x in values]
    if name in _BINARY:
        return np.asarray(_BINARY[name](*known))
    if name == "convert_element_type":
        whole = np.dtype(params["new_dtype"]).kind in "biu"
        return known[0].astype(params["new_dtype"]) if whole else None
    if name == "select_n" and len(known) == 3:
        return np.where(known[0].astype(bool), known[2], known[1])
    if name in _MOVES:
        return np.asarray(_MOVES[name](dict(params) | {"free": 0}, known, shape))
    return None
