"""What a whole process has only one of, used by one thread at a time.

The filters that decide which warnings are shown, and the settings of matplotlib, belong to the
process and not to a thread. `warnings.catch_warnings` restores the filters that it found when its
block began. Where the blocks of two threads overlap, one thread may therefore leave the filters of
the other behind for good, or record the other's warnings.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator
from typing import Any

# Code that holds it must not wait for another thread, nor run a user's program.
WHOLE_PROCESS = threading.RLock()


@contextlib.contextmanager
def quiet(category: type[Warning] = Warning) -> Iterator[None]:
    """Shows no warnings of a category, and lets no other thread change that meanwhile.

    Example:
        >>> with quiet():
        ...     warnings.warn("not shown")
    """
    with WHOLE_PROCESS, warnings.catch_warnings():
        warnings.simplefilter("ignore", category)
        yield


@contextlib.contextmanager
def recorded() -> Iterator[list[str]]:
    """A list that fills with the messages of this thread's warnings, which are not shown.

    Example:
        >>> with recorded() as told:
        ...     warnings.warn("two chains disagree")
        >>> told
        ['two chains disagree']
    """
    found: list[str] = []
    mine = threading.get_ident()
    with WHOLE_PROCESS, warnings.catch_warnings():
        warnings.simplefilter("always")
        before = warnings.showwarning

        def show(message: Warning | str, *where: Any, **more: Any) -> None:
            if threading.get_ident() == mine:
                found.append(str(message))
            else:
                before(message, *where, **more)

        warnings.showwarning = show
        yield found
