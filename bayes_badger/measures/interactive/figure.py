"""A picture of matplotlib as a figure of plotly, to zoom in and to point at.

arviz-plots makes the figure, its labels and its ticks. What its interface to plotly has not, and
measures use, are plotly's own words: logarithmic axes, bars that lie, error bars, images, names in
a legend.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bayes_badger.errors import BadgerError, listed
from bayes_badger.measures.interactive.words import escaped, named_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

# Pixels: of a row of named ticks, of what is around them, and of a window.
PER_TICK, AROUND, LEAST = 18, 200, 600


def interactive(axes: Axes) -> Any:
    """The picture on these axes as a `plotly.graph_objects.Figure`.

    Args:
        axes: As a measure has drawn on them, alone on their figure but for a colour bar.

    Raises:
        BadgerError: Where the picture has what cannot be redrawn.
    """
    import arviz_plots.backend.plotly as interface

    from bayes_badger.measures.interactive.layers import redraw

    _check_alone(axes)
    parts = redraw(axes)
    figure, target = interface.create_plotting_grid(1)
    figure.layout.annotations = ()  # an empty title of the one plot
    add = {
        "trace": figure.add_trace,
        "shape": figure.add_shape,
        "annotation": figure.add_annotation,
    }
    for part in parts:
        add[part.kind](part.what)
    _axis(interface, target, "x", axes.xaxis)
    _axis(interface, target, "y", axes.yaxis)
    _legend(figure, axes)
    titles = [axes.get_title(place) for place in ("left", "center", "right")]
    if any(titles):
        interface.set_figure_title(figure, escaped("   ".join(filter(None, titles))))
    tall = len(figure.layout.yaxis.tickvals or ()) * PER_TICK + AROUND
    figure.update_layout(
        template="simple_white",
        margin={"t": 60, "r": 40},
        barmode="overlay",
        hovermode="closest",
        height=tall if tall > LEAST else None,
    )
    return figure


def write_page(figure: Any, path: Path) -> None:
    """One HTML page that asks for nothing from elsewhere."""
    figure.write_html(
        path,
        include_plotlyjs=True,
        include_mathjax=False,
        default_height="95vh",
        div_id="picture",
        # Its toolbar would have a button that sends the data to a host of Plotly's.
        config={"displaylogo": False, "responsive": True, "showSendToCloud": False},
    )


def _check_alone(axes: Axes) -> None:
    """Refuses what is beside the axes: nothing is left out unsaid."""
    root: Any = axes.figure
    bars = [x.colorbar.ax for x in axes.get_images() if x.colorbar is not None]
    beside = [x for x in root.axes if x is not axes and x not in bars]
    beside += [*root.texts, *root.legends, *root.lines, *root.patches, *root.images]
    if beside:
        raise BadgerError(
            f"the picture has {listed(type(x).__name__ for x in beside)} beside its axes, which is "
            "not redrawn for plotly: use matplotlib's picture"
        )


def _axis(interface: Any, target: Any, name: str, axis: Axis) -> None:
    """Its label, scale, ends and direction; ticks where matplotlib was told them."""
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    update = target.update_xaxes if name == "x" else target.update_yaxes
    label = interface.xlabel if name == "x" else interface.ylabel
    ticks = interface.xticks if name == "x" else interface.yticks
    scale, ends = axis.get_scale(), np.asarray(axis.get_view_interval(), float)
    if scale not in ("linear", "log"):
        raise BadgerError(
            f"the {name} axis has the scale {scale!r}, which is not redrawn for plotly: "
            "use matplotlib's picture"
        )
    label(escaped(axis.get_label_text()), target)
    if _told(axis):
        places = [float(x) for x in axis.get_majorticklocs()]
        names = named_ticks(axis)
        ticks(places, [escaped(names.get(x, f"{x:g}")) for x in places], target)
    formatter = axis.get_major_formatter()
    plain = isinstance(formatter, StrMethodFormatter)
    update(
        type=scale,
        range=(np.log10(ends) if scale == "log" else ends).tolist(),
        exponentformat="none" if plain else "power",
        showticklabels=not isinstance(formatter, NullFormatter),
        automargin=True,
    )


def _told(axis: Axis) -> bool:
    """Whether its ticks were given, and are not to be chosen anew at each zoom."""
    from matplotlib.ticker import AutoLocator, LogLocator

    locator: Any = axis.get_major_locator()
    chosen = isinstance(locator, AutoLocator)
    if isinstance(locator, LogLocator):
        chosen = getattr(axis.get_transform(), "base", 10) == 10
    return not chosen or bool(named_ticks(axis))


def _legend(figure: Any, axes: Axes) -> None:
    """The names that matplotlib shows, in its order, above the picture."""
    legend = axes.get_legend()
    entries = [] if legend is None else [x.get_text() for x in legend.get_texts()]
    names = [escaped(x) for x in entries]
    parts = [*figure.data, *figure.layout.shapes]
    known = {part.name for part in parts}
    missing = [x for x, name in zip(entries, names, strict=True) if name not in known]
    if missing:
        raise BadgerError(
            f"the legend names {listed(missing)}, which nothing in the picture is labelled as: "
            "use matplotlib's picture"
        )
    for part in parts:
        part.showlegend = bool(part.name) and part.name in names
        if part.showlegend:
            part.legendrank = 1000 + names.index(part.name)
    title = "" if legend is None else legend.get_title().get_text()
    figure.update_layout(
        showlegend=bool(names),
        legend={
            "title": {"text": escaped(title)},
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "yanchor": "bottom",
        },
    )
