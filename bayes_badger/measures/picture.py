"""What a measure found, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from bayes_badger.measures import registry

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT, DPI = 6.4, 3.6, 130
# Okabe & Ito: told apart by most colour-blind readers.
BLUE, ORANGE, GREEN, GREY, PURPLE = "#0072b2", "#d55e00", "#009e73", "#767676", "#cc79a7"


def plot(found: xr.Dataset, axes: Axes | None = None) -> Axes:
    """Draws what a measure found.

    Args:
        found: What a function of this room returned, or what was read from its file.
        axes: Where to draw; by default on a new figure.
    """
    if axes is None:
        from matplotlib.figure import Figure

        axes = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained").add_subplot()
    draw: Any = registry.module(str(found.attrs["measure"])).plot
    axes.spines[["top", "right"]].set_visible(False)
    draw(found, axes)
    if axes.get_xscale() == "log":
        _plain(axes)
    return axes


def _plain(axes: Axes) -> None:
    """Numbers of rows, tasks and steps as they are, and not as powers of ten."""
    low, high = axes.get_xlim()
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}" if high < 10 * low else "")


def save(found: xr.Dataset, path: Path) -> None:
    """Draws it into a file, PNG, SVG or PDF by the end of its name."""
    figure: Any = plot(found).figure
    figure.savefig(path)
