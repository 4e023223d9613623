"""What a measure found, as a picture."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import xarray as xr

from bayes_badger.errors import BadgerError, did_you_mean, listed
from bayes_badger.measures import registry
from bayes_badger.whole_process import WHOLE_PROCESS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT, DPI = 6.4, 3.6, 130
# Okabe & Ito: told apart by most colour-blind readers.
BLUE, ORANGE, GREEN, GREY, PURPLE = "#0072b2", "#d55e00", "#009e73", "#767676", "#cc79a7"
BACKENDS = ("matplotlib", "plotly")
PAGE = "html"
MISSING = (
    "pictures to zoom in need plotly, which is not installed: pip install 'bayes-badger[plotly]'"
)


@overload
def plot(
    found: xr.Dataset, axes: Axes | None = None, backend: Literal["matplotlib"] = "matplotlib"
) -> Axes: ...
@overload
def plot(found: xr.Dataset, axes: None = None, *, backend: str) -> Any: ...
def plot(found: xr.Dataset, axes: Axes | None = None, backend: str = "matplotlib") -> Any:
    """Draws what a measure found.

    A measure draws with matplotlib. For plotly that picture is redrawn, artist by artist.

    Args:
        found: What a function of this room returned, or what was read from its file.
        axes: Where to draw; by default on a new figure. Of matplotlib alone.
        backend: `"matplotlib"`, or `"plotly"` for a figure to zoom in and to point at.

    Returns:
        The axes of matplotlib; of plotly a `plotly.graph_objects.Figure`.

    Raises:
        BadgerError: Where there is no such backend, plotly is not installed, or the picture has
            what cannot be redrawn.
    """
    if backend not in BACKENDS:
        raise BadgerError(
            f"there is no backend {backend!r}{did_you_mean(backend, BACKENDS)}: "
            f"choose one of {listed(BACKENDS)}"
        )
    if backend == "plotly":
        if axes is not None:
            raise BadgerError("axes are of matplotlib: leave them out, or the backend 'plotly'")
        check(PAGE)
        from bayes_badger.measures.interactive import figure

        return figure.interactive(_draw(found))
    return _draw(found, axes)


def _draw(found: xr.Dataset, axes: Axes | None = None) -> Axes:
    if axes is None:
        from matplotlib.figure import Figure

        axes = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained").add_subplot()
    draw: Any = registry.module(str(found.attrs["measure"])).plot
    # A report of another thread may change the settings of matplotlib for a while.
    with WHOLE_PROCESS:
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


def check(kind: str) -> None:
    """Refuses a kind of file for which something is not installed, before hours of work.

    Raises:
        BadgerError: With what to install.
    """
    # Looked for, and not entered: arviz-plots enters jax.
    if kind == PAGE and not all(map(find_spec, ("arviz_plots", "plotly", "webcolors"))):
        raise BadgerError(MISSING)


def save(found: xr.Dataset, path: Path) -> None:
    """Draws it into a file, by the end of its name PNG, SVG, PDF, or HTML: a page to zoom in.

    Raises:
        BadgerError: For a page, where plotly is not installed.
    """
    if path.suffix == f".{PAGE}":
        from bayes_badger.measures.interactive import figure

        figure.write_page(plot(found, backend="plotly"), path)
        return
    with WHOLE_PROCESS:
        drawn: Any = plot(found).figure
        drawn.savefig(path)
