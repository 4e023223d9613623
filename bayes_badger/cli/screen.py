"""Text on a terminal: answers to stdout, all else to stderr, and nothing that a label can forge."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer
from rich.console import Console, RenderableType
from rich.text import Text


@dataclass
class Session:
    """What a command leaves behind for the one place that ends the process.

    Attributes:
        debug: Whether to show tracebacks, and what libraries warn of.
        kept: What was stored, when Ctrl-C ends the command.
        answered: Whether the answer in JSON was given.
    """

    debug: bool = False
    kept: Path | None = None
    answered: bool = False


# Set where the process starts, read by whichever command runs.
SESSION: ContextVar[Session] = ContextVar("SESSION")


@dataclass(frozen=True)
class Screen:
    """Where a command writes.

    Attributes:
        quiet: Whether nothing but errors is shown.
        as_json: Whether the answer is one JSON object.
    """

    quiet: bool = False
    as_json: bool = False
    out: Console = field(default_factory=lambda: Console(markup=False, highlight=False))
    err: Console = field(
        default_factory=lambda: Console(stderr=True, markup=False, highlight=False)
    )

    def answer(self, *lines: RenderableType) -> None:
        """Shows lines of the answer, unless JSON was asked for."""
        if not (self.quiet or self.as_json):
            for line in lines:
                self.out.print(line)

    def answer_json(self, content: Mapping[str, Any]) -> None:
        """Shows the answer as JSON, if that was asked for."""
        if self.as_json:
            echo_json(content)
            session = SESSION.get(None)
            if session is not None:
                session.answered = True

    def aside(self, text: str) -> None:
        """A remark beside the answer."""
        if not self.quiet:
            self.err.print(told(f"badger: {text}", "yellow"), soft_wrap=True)


def interrupted(session: Session) -> str:
    """What Ctrl-C left, in one sentence."""
    if session.kept is None:
        return "interrupted: nothing was stored"
    return f"interrupted: the run is stored in {short_path(session.kept)}"


def echo_json(content: Mapping[str, Any]) -> None:
    """Writes one JSON object to stdout."""
    typer.echo(json.dumps(finite(content), indent=2, allow_nan=False))


def told(text: object, style: str = "") -> Text:
    """Text as it is, in one style."""
    return Text(plain(text), style=style)


def plain(text: object) -> str:
    r"""Text without what would move the cursor, colour the terminal or turn the direction.

    Example:
        >>> plain("a\x1b[31mb\nc")
        'a\\x1b[31mb\\nc'
    """
    return "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in str(text)
    )


def short_path(path: Path | None) -> str:
    """A path relative to where the user is, if it is below it."""
    if path is None:
        return "nowhere"
    try:
        relative = os.path.relpath(path)
    except (OSError, ValueError):
        return str(path)
    return str(path) if relative.startswith("..") else relative


def finite(value: Any) -> Any:
    """A value as JSON can hold it: what is not finite becomes null.

    Example:
        >>> finite({"a": [1.5, float("nan")]})
        {'a': [1.5, None]}
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | bool | int) else str(value)
