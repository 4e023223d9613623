"""Filled areas, spans, matrices in colours, and texts."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.colors import Normalize, to_hex
from matplotlib.text import Annotation

from bayes_badger.measures.interactive.marks import (
    INVISIBLE,
    PIXELS,
    Part,
    check_in_data,
    joined,
    refused,
    rgba,
    stands,
    the_one,
)
from bayes_badger.measures.interactive.words import escaped, name_of, said, told

SHADES = 32


def area(artist: Any, axes: Any) -> Part:
    """Between two curves."""
    check_in_data(artist, artist.get_transform(), axes)
    edge = artist.get_edgecolor()
    return _filled(
        artist,
        axes,
        [path.vertices for path in artist.get_paths()],
        rgba(the_one(artist.get_facecolor(), artist, "colours")),
        rgba(the_one(edge, artist, "colours")) if len(edge) else INVISIBLE,
        float(np.ravel(artist.get_linewidth())[0]) if len(edge) else 0.0,
    )


def patch(artist: Any, axes: Any) -> Part:
    """A form with an outline."""
    check_in_data(artist, artist.get_data_transform(), axes)
    outline = artist.get_path().transformed(artist.get_patch_transform())
    return _filled(
        artist,
        axes,
        outline.to_polygons(closed_only=False),
        rgba(artist.get_facecolor()),
        rgba(artist.get_edgecolor()),
        artist.get_linewidth(),
    )


def _filled(artist: Any, axes: Any, outlines: Any, face: str, edge: str, width: float) -> Part:
    points = joined(outlines)
    for i, axis in enumerate((axes.xaxis, axes.yaxis)):
        if axis.get_scale() == "log":  # what is not above 0 lies far below
            least = 1e-3 * min(axis.get_view_interval())
            points[:, i] = np.where(points[:, i] <= 0, least, points[:, i])
    trace = {
        "type": "scatter",
        "x": points[:, 0],
        "y": points[:, 1],
        "mode": "lines",
        "fill": "toself",
        "fillcolor": face,
        "line": {"color": edge, "width": width * PIXELS},
        "hoveron": "points",
    }
    return Part("trace", trace | told(artist, axes, points[:, 0], points[:, 1]))


def rectangle(artist: Any, axes: Any) -> Part:
    """A span, or a rectangle of its own: a shape, below all curves."""
    where = stands(artist, artist.get_data_transform(), axes)
    (x, y), width, height = artist.get_xy(), artist.get_width(), artist.get_height()
    edge = {"color": rgba(artist.get_edgecolor()), "width": artist.get_linewidth() * PIXELS}
    shape = {
        "type": "rect",
        "xref": f"x{where[0]}",
        "yref": f"y{where[1]}",
        "x0": float(x),
        "x1": float(x + width),
        "y0": float(y),
        "y1": float(y + height),
        "fillcolor": rgba(artist.get_facecolor()),
        "line": edge,
        "opacity": 1,
        "layer": "below",
        "name": name_of(artist),
    }
    return Part("shape", shape)


def image(artist: Any, axes: Any) -> Part:
    """A matrix in colours, with its colour bar; each cell tells its number."""
    values = artist.get_array()
    if values.ndim != 2 or type(artist.norm) is not Normalize:
        raise refused(artist, "an image that is no matrix on a linear scale of colours")
    check_in_data(artist, artist.get_transform(), axes)
    values = np.ma.filled(np.ma.asarray(values, float), np.nan)
    left, right, bottom, top = artist.get_extent()
    rows, columns = values.shape
    if artist.origin == "upper":
        bottom, top = top, bottom
    x = left + (np.arange(columns) + 0.5) * (right - left) / columns
    y = bottom + (np.arange(rows) + 0.5) * (top - bottom) / rows
    bar = artist.colorbar
    about = "" if bar is None else bar.ax.get_ylabel() or bar.ax.get_xlabel()
    of_x, of_y = (
        [one(v) for v in at] for one, at in ((said(axes.xaxis), x), (said(axes.yaxis), y))
    )
    cells = [
        [escaped(f"{a}\n{b}\n{about or 'value'}: {v:.5g}") for a, v in zip(of_x, row, strict=True)]
        for b, row in zip(of_y, values, strict=True)
    ]
    shades = np.linspace(0, 1, SHADES + 1)
    trace = {
        "type": "heatmap",
        "x": x,
        "y": y,
        "z": values,
        "zmin": artist.norm.vmin,
        "zmax": artist.norm.vmax,
        "colorscale": [[float(s), to_hex(artist.cmap(float(s)))] for s in shades],
        "showscale": bar is not None,
        "colorbar": {"title": {"text": escaped(about), "side": "right"}},
        "hovertext": cells,
        "hoverinfo": "text",
        "name": name_of(artist),
    }
    return Part("trace", trace)


def text(artist: Any, axes: Any) -> Part:
    """A text at its place."""
    place = list(artist.get_position())
    if isinstance(artist, Annotation):
        beside = {artist.xycoords, artist.anncoords} != {"data"} or artist.arrowprops is not None
        if beside:
            raise refused(artist, "a note with an arrow, or apart from its point")
        where = "", ""
    else:
        where = stands(artist, artist.get_transform(), axes)
    for i, axis in enumerate((axes.xaxis, axes.yaxis)):
        if not where[i] and axis.get_scale() == "log":
            place[i] = np.log10(place[i])  # unlike shapes
    upright = {"center": "middle", "center_baseline": "middle", "baseline": "bottom"}
    vertical = artist.get_verticalalignment()
    note = {
        "text": escaped(artist.get_text()),
        "x": float(place[0]),
        "y": float(place[1]),
        "xref": f"x{where[0]}",
        "yref": f"y{where[1]}",
        "xanchor": artist.get_horizontalalignment(),
        "yanchor": upright.get(vertical, vertical),
        "textangle": -artist.get_rotation(),
        "font": {
            "size": artist.get_fontsize() * PIXELS,
            "color": rgba(artist.get_color(), artist.get_alpha()),
        },
        "showarrow": False,
    }
    return Part("annotation", note)
