"""What all redrawn artists share: where they stand, their colours, and how one is refused."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.colors import to_rgba

from bayes_badger.errors import BadgerError

PIXELS = 4 / 3  # of a point, on a screen
DATA, SHARE = "", " domain"
INVISIBLE = "rgba(0,0,0,0)"


class Part(NamedTuple):
    """One artist in the terms of plotly.

    Attributes:
        kind: Traces have data and tell them; shapes may span the axes, whatever their range.
        what: As `add_trace`, `add_shape` and `add_annotation` of a figure take it.
    """

    kind: Literal["trace", "shape", "annotation"]
    what: dict[str, Any]


def refused(artist: Any, what: str) -> BadgerError:
    """The error for what cannot be redrawn, by its name."""
    label = str(artist.get_label() or "")
    named = f" '{label}'" if label and not label.startswith("_") else ""
    return BadgerError(
        f"the picture has {what}{named}, which is not redrawn for plotly: use matplotlib's picture"
    )


def check_in_data(artist: Any, transform: Any, axes: Any) -> None:
    """Refuses an artist that does not stand at numbers of both axes.

    Raises:
        BadgerError: By its name.
    """
    if transform is not axes.transData:
        raise refused(artist, f"a {type(artist).__name__} at places that are not the data's")


def stands(artist: Any, transform: Any, axes: Any) -> tuple[str, str]:
    """Whether its x and its y are numbers of the axis, or shares of its length.

    Raises:
        BadgerError: Where they are neither.
    """
    across = axes.get_xaxis_transform(which="grid"), axes.get_yaxis_transform(which="grid")
    for known, where in (
        (axes.transData, (DATA, DATA)),
        (across[0], (DATA, SHARE)),
        (across[1], (SHARE, DATA)),
        (axes.transAxes, (SHARE, SHARE)),
    ):
        if transform is known:
            return where
    raise refused(artist, f"a {type(artist).__name__} at places that are not the axes'")


def rgba(colour: Any, alpha: Any = None) -> str:
    """A colour of matplotlib, in the words of plotly."""
    r, g, b, a = to_rgba(colour, alpha)
    return f"rgba({round(r * 255)},{round(g * 255)},{round(b * 255)},{a:.3g})"


def the_one(values: Any, artist: Any, what: str) -> Any:
    """The colour or the width of all parts of an artist.

    Raises:
        BadgerError: Where they differ.
    """
    if len(np.unique(np.asarray(values, float), axis=0)) > 1:
        raise refused(artist, f"a {type(artist).__name__} of several {what}")
    return values[0]


def joined(pieces: Any) -> np.ndarray:
    """Points of all pieces, `[point, 2]`, with a gap between them."""
    gap = np.full((1, 2), np.nan)
    parts = [part for x in pieces for part in (np.array(x, float), gap)]
    return np.concatenate(parts)[:-1] if parts else np.empty((0, 2))
