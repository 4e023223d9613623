"""The one exception that means: the user can mend this."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BadgerError(Exception):
    """A mistake in what was given, told in one line that names the culprit and the way to mend it.

    Every room raises it where bad input enters; the command line prints its message alone and
    leaves with exit code 2. Anything else that escapes is a defect of the toolkit.
    """


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns `" (did you mean 'radon'?)"` for the closest known word, or nothing.

    Example:
        >>> did_you_mean("radn", ["radon", "coin"])
        " (did you mean 'radon'?)"
        >>> did_you_mean("zebra", ["radon", "coin"])
        ''
    """
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def listed(words: Iterable[object], limit: int = 5) -> str:
    """Joins words for a message, and counts those beyond the limit.

    Example:
        >>> listed(["a", "b", "c"], limit=2)
        'a, b and 1 more'
        >>> listed([1, 2])
        '1, 2'
    """
    texts = [str(word) for word in words]
    rest = len(texts) - limit
    return ", ".join(texts) if rest <= 0 else f"{', '.join(texts[:limit])} and {rest} more"
