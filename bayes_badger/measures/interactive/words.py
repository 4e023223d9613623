"""What a picture says, as plotly shows it: labels, ticks that have names, what a point tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import LogFormatter, NullFormatter, ScalarFormatter

# What says the number itself, or nothing.
NUMBERS = (LogFormatter, NullFormatter, ScalarFormatter)


def escaped(words: object) -> str:
    """A text that plotly shows as it is: plotly takes tags for HTML, and dollars for mathematics.

    Example:
        >>> escaped("<b> & $x$")
        '&lt;b&gt; &amp; &#36;x&#36;'
    """
    text = str(words).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("$", "&#36;").replace("\n", "<br>")


def named_ticks(axis: Any) -> dict[float, str]:
    """The ticks that were given names, as those of a bar for each task are, by their place."""
    formatter = axis.get_major_formatter()
    if isinstance(formatter, NUMBERS) or getattr(formatter, "fmt", None) == "{x:g}":
        return {}
    places = np.asarray(axis.get_majorticklocs(), float)
    names = formatter.format_ticks(places)
    return {place: str(name) for place, name in zip(places.tolist(), names, strict=True)}


def said(axis: Any) -> Callable[[float], str]:
    """Tells a number of this axis: `nats: 0.31`; beside a tick that has a name, the name."""
    about, ticks = axis.get_label_text(), named_ticks(axis)
    places = np.array(sorted(ticks))
    reach = np.diff(places).min() / 2 if len(places) > 1 else 0.5

    def one(value: float) -> str:
        nearest = places[np.argmin(np.abs(places - value))] if len(places) else np.nan
        shown = ticks[nearest] if abs(nearest - value) < reach else f"{value:.5g}"
        return f"{about}: {shown}" if about else shown

    return one


def told(
    artist: Any, axes: Any, x: np.ndarray, y: np.ndarray, spans: Sequence[str] = ()
) -> dict[str, Any]:
    """A trace's name, and what its points tell when one points at them."""
    of_x, of_y, name = said(axes.xaxis), said(axes.yaxis), name_of(artist)
    points = zip(x.tolist(), y.tolist(), spans or [""] * len(x), strict=True)
    texts = [escaped(f"{of_x(a)}\n{of_y(b)}{span}") for a, b, span in points]
    return {
        "name": name,
        "hovertext": [f"{name}<br>{text}" if name else text for text in texts],
        "hoverinfo": "text",
    }


def name_of(artist: Any) -> str:
    """Its name, or nothing: those that matplotlib gives begin with an underscore."""
    label = str(artist.get_label() or "")
    return "" if label.startswith("_") else escaped(label)
