"""Whether work on arrays of some shapes was compiled before, as far as can be told beforehand."""

from __future__ import annotations

from inspect import unwrap
from types import FunctionType
from typing import Any

import jax
import numpy as np

# Fingerprints of what has run. A number that is missing costs a little time, and a number too many
# nothing but the order of compilations, so that it is never cleared.
_HAS_RUN: set[int] = set()


def fingerprint(work: Any, *arguments: Any) -> int:
    """A number that tells work apart from work for which JAX compiles something else.

    It depends on the code of a function, on all that the function has closed over, and on the
    arguments: of arrays only on their shapes and types, and of what has no hash only on its type.

    Args:
        work: A function, which calls compiled functions.
        *arguments: Trees of arrays that it is called with.

    Example:
        >>> def times(factor):
        ...     return lambda x: factor * x
        >>> one = fingerprint(times(2.0), np.zeros(3))
        >>> one == fingerprint(times(2.0), np.ones(3)), one == fingerprint(times(2.0), np.zeros(4))
        (True, False)
    """
    return hash((jax.config.jax_enable_x64, *map(_told, (work, *arguments))))


def has_run(number: int) -> bool:
    """Whether work with that fingerprint has run in this process."""
    return number in _HAS_RUN


def note(number: int) -> None:
    """Remembers that work with that fingerprint has run."""
    _HAS_RUN.add(number)


def _told(thing: Any) -> Any:
    # A compiled function is told apart by the function that it compiles.
    thing = unwrap(thing) if callable(thing) else thing
    if isinstance(thing, FunctionType):
        cells = [cell.cell_contents for cell in thing.__closure__ or ()]
        return thing.__code__, *map(_told, (*cells, *(thing.__defaults__ or ())))
    leaves, tree = jax.tree.flatten(thing)
    return _hash_of(tree), *map(_leaf, leaves)


def _leaf(leaf: Any) -> Any:
    if isinstance(leaf, FunctionType):
        return _told(leaf)
    if isinstance(leaf, jax.Array | np.ndarray | np.generic):
        return np.shape(leaf), str(leaf.dtype)
    return type(leaf), _hash_of(leaf)


def _hash_of(thing: Any) -> int:
    try:
        return hash(thing)
    except TypeError:
        return 0
