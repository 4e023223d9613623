"""Around long work: its progress is shown, its prints are kept apart, and Ctrl-C is heard."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from bayes_badger.cli import device
from bayes_badger.cli.interrupt import INTERRUPTED, Attention
from bayes_badger.cli.progress import Meter
from bayes_badger.cli.screen import SESSION, Screen, echo_json, interrupted, told
from bayes_badger.cli.stray import stray_output


@contextlib.contextmanager
def working(screen: Screen) -> Iterator[Attention]:
    """A context for the work of a command; JAX is ready in it.

    Args:
        screen: Where progress is shown.

    Yields:
        What the work reports to, and what knows whether Ctrl-C was pressed.
    """
    meter, session = Meter(screen.err, shown=not screen.quiet), SESSION.get()
    stdout = sys.stdout

    def leave() -> None:
        """Ends the process from another thread, for the main one is in compiled code."""
        meter.stop()
        message = interrupted(session)
        screen.err.print(told("badger: ", "bold").append_text(told(message)), soft_wrap=True)
        if screen.as_json:
            with contextlib.redirect_stdout(stdout):
                echo_json({"error": {"message": message, "kind": "interrupted"}})
        stdout.flush()
        os._exit(INTERRUPTED)

    with meter, stray_output(), Attention(meter, leave, screen.aside) as attention:
        meter("starting JAX", 0, 1)
        device.prepare(session.debug)
        yield attention
