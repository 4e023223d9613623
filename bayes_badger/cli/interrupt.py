"""Ctrl-C: heard at once, also while compiled code runs, and where a library swallows it."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

Report = Callable[..., None]

# What shells expect of a process that SIGINT ended.
INTERRUPTED = 130

# The stages that keep what they have when they are interrupted; after learning all goes on.
LEARNING, SAMPLING = "learning", ("warm-up", "sampling")

# How long the interpreter may be busy with compiled code before the process is left, in seconds.
PATIENCE = 4.0


class Attention:
    """Hears Ctrl-C while work goes on, to be used as a context around the work.

    Python hears a signal only between two of its own instructions, which may be minutes away where
    something is compiled. So a thread is told of it by the system: what keeps nothing is left after
    some seconds, what keeps its draws is waited for, and a second Ctrl-C leaves at once.

    Attributes:
        pressed: Whether Ctrl-C was pressed, and what was running kept what it had.

    Args:
        report: Is told how far the work has come.
        leave: Ends the process at once.
        say: Shows a sentence.
        patience: For how many seconds what keeps nothing is waited for.
    """

    def __init__(
        self,
        report: Report,
        leave: Callable[[], object],
        say: Callable[[str], object],
        patience: float = PATIENCE,
    ) -> None:
        self.pressed = threading.Event()
        self._report, self._leave, self._say, self._patience = report, leave, say, patience
        self._stage, self._handled = "", 0
        self._watcher: threading.Thread | None = None

    def report(self, stage: str, done: int, total: int, note: str = "") -> None:
        """A report, which stops the work where Ctrl-C was lost in somebody else's callback."""
        if self._stage == LEARNING != stage:
            # It was heard: what was learned is kept, and the posterior is still wanted.
            self.pressed.clear()
        self._stage = stage
        if self.pressed.is_set() and (stage in SAMPLING or (stage == LEARNING and done < total)):
            raise KeyboardInterrupt
        self._report(stage, done, total, note)

    def __enter__(self) -> Attention:
        if threading.current_thread() is not threading.main_thread():
            return self
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._handler = signal.signal(signal.SIGINT, self._press)
        self._wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._watcher is None:
            return
        signal.set_wakeup_fd(self._wakeup)
        signal.signal(signal.SIGINT, self._handler)
        self._writer.close()
        self._watcher.join()
        self._reader.close()

    def _press(self, number: int, frame: Any) -> None:
        self.pressed.set()
        self._handled += 1
        signal.default_int_handler(number, frame)

    def _watch(self) -> None:
        presses, since = 0, None
        while True:
            left = None if since is None else max(self._patience + since - time.monotonic(), 0.01)
            self._reader.settimeout(left)
            try:
                signals = self._reader.recv(1)
            except TimeoutError:
                since = None
                if self._handled >= presses:
                    continue
                if self._stage not in (LEARNING, *SAMPLING):
                    self._leave()
                    return
                self._say("what there is will be kept after this step; Ctrl-C again stops at once")
                continue
            if not signals:
                return
            if signals[0] == signal.SIGINT:
                if self._handled < presses:
                    self._leave()
                    return
                presses, since = presses + 1, time.monotonic()
