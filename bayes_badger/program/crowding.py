"""Forgets what was compiled before the operating system ends the process for it.

What XLA compiles is mapped into memory, some thousands of ranges for a fit, and Linux by default
allows a process 65,530 of them (`vm.max_map_count`). One more, and XLA ends the process: a notebook
that has fitted some twenty different programs, say, with all that was in it.
"""

from __future__ import annotations

import gc
from pathlib import Path

import equinox as eqx
import jax

MAPPED, ALLOWED = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")
# The other half is for what is compiled until the next program is lifted.
SHARE = 0.5


def forget_if_crowded(most: int | None = None) -> bool:
    """Forgets all that was compiled, where there is much of it: it is compiled again when needed.

    Args:
        most: Ranges of memory that may be mapped; by default half of what the system allows.

    Returns:
        Whether it was forgotten; never where the system does not count.

    Example:
        >>> forget_if_crowded(most=10**9)
        False
    """
    try:
        allowed = int(SHARE * int(ALLOWED.read_text())) if most is None else most
        mapped = MAPPED.read_bytes().count(b"\n")
    except (OSError, ValueError):
        return False
    if mapped <= allowed:
        return False
    eqx.clear_caches()
    jax.clear_caches()
    gc.collect()
    return True
