"""What a user's program prints: never on stdout, which is for the answer alone."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def stray_output() -> Iterator[None]:
    """Sends what is printed meanwhile to stderr."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
