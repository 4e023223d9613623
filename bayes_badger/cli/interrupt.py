"""Ctrl-C, also where somebody else hears it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

Report = Callable[..., None]

# What shells expect of a process that SIGINT ended.
INTERRUPTED = 130


# The stages that keep what they have when they are interrupted; after learning all goes on.
LEARNING, SAMPLING = "learning", ("warm-up", "sampling")


def listening(report: Report, pressed: threading.Event) -> Report:
    """Raises at the next report where Ctrl-C was lost: a library may swallow it in a callback."""
    before = ""

    def told(stage: str, done: int, total: int, note: str = "") -> None:
        nonlocal before
        if before == LEARNING != stage:
            # It was heard: what was learned is kept, and the posterior is still wanted.
            pressed.clear()
        before = stage
        if pressed.is_set() and (stage in SAMPLING or (stage == LEARNING and done < total)):
            raise KeyboardInterrupt
        report(stage, done, total, note)

    return told


@contextlib.contextmanager
def ctrl_c() -> Iterator[threading.Event]:
    """Notes that Ctrl-C was pressed, for a sampler that hears it keeps its draws and goes on."""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return

    def press(number: int, frame: Any) -> None:
        pressed.set()
        signal.default_int_handler(number, frame)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)
