"""Words and numbers as a reader wants them, whatever a stranger's run holds."""

from __future__ import annotations

import math
from collections.abc import Sequence

# A label in a figure, a name or label in a table or sentence, any other text.
FIGURE_LENGTH, LABEL_LENGTH, TEXT_LENGTH = 20, 60, 1000


def plain(text: object, limit: int = TEXT_LENGTH) -> str:
    r"""Text without what would break a line or turn its direction, cut if it is long.

    Example:
        >>> plain("a\u202eb\nc")
        'a\\u202eb\\nc'
        >>> plain("county of " * 9, limit=12)
        'county of c…'
    """
    # Cut first: what is escaped gets longer, and a text of a gigabyte must not be walked through.
    raw = str(text)
    raw = raw if len(raw) <= limit else f"{raw[: limit - 1]}…"
    return "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in raw
    )


def label(text: object) -> str:
    """A name or label as it stands in a table or a sentence."""
    return plain(text, LABEL_LENGTH)


def short(text: object) -> str:
    """A name or label as it stands in a figure."""
    return plain(label(text), FIGURE_LENGTH)


def many(count: object, unit: str) -> str:
    """A number of things.

    Example:
        >>> many(1, "task"), many(2000, "row"), many("x", "row")
        ('1 task', '2,000 rows', 'x rows')
    """
    number = f"{count:,}" if isinstance(count, int) else plain(count, LABEL_LENGTH)
    return f"{number} {unit}" if count == 1 else f"{number} {unit}s"


def decimals(sd: float) -> int:
    """Decimals that show two digits of a standard deviation."""
    if not math.isfinite(sd) or sd <= 0:
        return 2
    return max(0, 1 - math.floor(math.log10(sd)))


def common_decimals(sds: Sequence[float]) -> int:
    """Decimals for a column of numbers: one that is known far better must not fill it with digits.

    Example:
        >>> common_decimals([3.3, 5.1]), common_decimals([3.3, 0.0001])
        (1, 3)
    """
    wanted = [decimals(sd) for sd in sds]
    return min(max(wanted), min(wanted) + 2) if wanted else 2


def number(x: float, places: int = 2) -> str:
    """A number with so many decimals.

    Example:
        >>> number(1234.567, 1), number(-0.001), number(float("nan")), number(1.5e9)
        ('1,234.6', '0.00', '–', '1.50e+09')
    """
    if not math.isfinite(x):
        return "–" if math.isnan(x) else str(x)
    if abs(x) >= 1e7 or places > 5:
        return f"{x:.2e}"
    text = f"{x:,.{places}f}"
    return text.removeprefix("-") if not text.strip("-0.") else text


def percent(share: float) -> str:
    """A share of a whole, never rounded to all or nothing.

    Example:
        >>> percent(0.5), percent(0.9999), percent(0.0001), percent(1.0)
        ('50%', 'over 99%', 'under 1%', '100%')
    """
    if 0.995 <= share < 1:
        return "over 99%"
    if 0 < share < 0.005:
        return "under 1%"
    return f"{100 * share:.0f}%"


def enough(words: Sequence[object], limit: int = 5) -> str:
    """Names in a sentence, those beyond the limit counted.

    Example:
        >>> enough(["a", "b", "c"]), enough("abc", limit=2)
        ('a, b and c', 'a, b and 1 more')
    """
    texts = [label(word) for word in words]
    if len(texts) > limit:
        return f"{', '.join(texts[:limit])} and {len(texts) - limit} more"
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)
