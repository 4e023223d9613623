"""What several sections of one page need is computed once."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from bayes_badger.runs.run import Run

_MEMORY: ContextVar[dict[Any, Any] | None] = ContextVar("_MEMORY", default=None)


@contextlib.contextmanager
def one_page() -> Iterator[None]:
    """Within it, there is one run."""
    token = _MEMORY.set({})
    try:
        yield
    finally:
        _MEMORY.reset(token)


def once[T](function: Callable[[Run], T]) -> Callable[[Run], T]:
    """Keeps what a function made of the page's run; outside of a page it keeps nothing."""

    @functools.wraps(function)
    def remembered(run: Run) -> T:
        memory = _MEMORY.get()
        if memory is None:
            return function(run)
        key = (function, id(run))
        if key not in memory:
            memory[key] = function(run)
        found: T = memory[key]
        return found

    return remembered
