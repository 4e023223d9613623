"""Lines, markers and scattered points."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.markers import MarkerStyle

from bayes_badger.measures.interactive.marks import (
    DATA,
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
from bayes_badger.measures.interactive.words import name_of, told

DASHES = {"-": "solid", "--": "dash", "-.": "dashdot", ":": "dot"}
STEPS = {"default": "linear", "steps": "vh", "steps-pre": "vh", "steps-mid": "hvh"}
STEPS |= {"steps-post": "hv"}
SYMBOLS = {"o": "circle", ".": "circle", "s": "square", "D": "diamond", "d": "diamond-tall"}
SYMBOLS |= {"^": "triangle-up", "v": "triangle-down", "<": "triangle-left", ">": "triangle-right"}
SYMBOLS |= {"*": "star", "p": "pentagon", "h": "hexagon", "8": "octagon", "P": "cross", "X": "x"}
SYMBOLS |= {"|": "line-ns", "_": "line-ew", "+": "cross-thin", "x": "x-thin"}


def points_of(line: Any) -> dict[str, Any]:
    """The trace of a line, of its markers, or of both, without name and words."""
    alpha, marker, style = line.get_alpha(), line.get_marker(), line.get_linestyle()
    marked = str(marker) not in ("None", "none", "", " ")
    trace: dict[str, Any] = {
        "type": "scatter",
        "x": np.asarray(line.get_xdata(orig=False), float),
        "y": np.asarray(line.get_ydata(orig=False), float),
        "mode": "+".join(["lines"] * (style in DASHES) + ["markers"] * marked) or "none",
    }
    if style in DASHES:
        trace["line"] = {
            "color": rgba(line.get_color(), alpha),
            "width": line.get_linewidth() * PIXELS,
            "dash": DASHES[style],
            "shape": STEPS[line.get_drawstyle()],
        }
    if marked:
        if marker not in SYMBOLS:
            raise refused(line, f"the marker {marker!r}")
        trace["marker"] = {
            "symbol": SYMBOLS[marker],
            "size": line.get_markersize() * PIXELS * _smaller(marker),
            "color": rgba(line.get_markerfacecolor(), alpha),
            "line": {
                "color": rgba(line.get_markeredgecolor(), alpha),
                "width": line.get_markeredgewidth() * PIXELS,
            },
        }
    return trace


def line(artist: Any, axes: Any) -> Part:
    """A curve; a line across the axes is a shape, and stays across when one zooms."""
    where, trace = stands(artist, artist.get_transform(), axes), points_of(artist)
    if where == (DATA, DATA):
        return Part("trace", trace | told(artist, axes, trace["x"], trace["y"]))
    if len(trace["x"]) != 2 or trace["mode"] != "lines":
        raise refused(artist, "a line across the axes that has corners or markers")
    ends = {"x0": trace["x"][0], "x1": trace["x"][1], "y0": trace["y"][0], "y1": trace["y"][1]}
    style = {key: trace["line"][key] for key in ("color", "width", "dash")}
    place = {"type": "line", "xref": f"x{where[0]}", "yref": f"y{where[1]}"}
    return Part("shape", place | ends | {"line": style, "opacity": 1, "name": name_of(artist)})


def lines(artist: Any, axes: Any) -> Part:
    """Pieces of lines of one colour, as one trace."""
    check_in_data(artist, artist.get_transform(), axes)
    points = joined(path.vertices for path in artist.get_paths())
    pattern = artist.get_linestyle()[0][1]
    style = {
        "color": rgba(the_one(artist.get_color(), artist, "colours")),
        "width": float(np.ravel(artist.get_linewidth())[0]) * PIXELS,
        "dash": ",".join(f"{x * PIXELS:.3g}px" for x in pattern) if pattern else "solid",
    }
    trace = {"type": "scatter", "x": points[:, 0], "y": points[:, 1], "mode": "lines"}
    return Part("trace", trace | {"line": style} | told(artist, axes, points[:, 0], points[:, 1]))


def scattered(artist: Any, axes: Any) -> Part:
    """Points, each with its own colour and size if they have any."""
    check_in_data(artist, artist.get_offset_transform(), axes)
    artist.update_scalarmappable()
    outline = artist.get_paths()[0].vertices
    markers = [x for x in SYMBOLS if np.array_equal(_outline(x), outline)]
    if not markers:
        raise refused(artist, "scattered points of an unknown marker")
    at = np.ma.filled(np.ma.asarray(artist.get_offsets(), float), np.nan)
    size = np.sqrt(artist.get_sizes()) * PIXELS * _smaller(markers[0])
    marker = {
        "symbol": SYMBOLS[markers[0]],
        "size": size if len(size) > 1 else float(size[0]),
        "color": _each(artist.get_facecolor()),
        "line": {
            "color": _each(artist.get_edgecolor()),
            "width": float(np.ravel(artist.get_linewidth())[0]) * PIXELS,
        },
    }
    trace = {"type": "scatter", "x": at[:, 0], "y": at[:, 1], "mode": "markers", "marker": marker}
    return Part("trace", trace | told(artist, axes, at[:, 0], at[:, 1]))


def _smaller(marker: str) -> float:
    return 0.5 if marker == "." else 1.0


def _each(colours: Any) -> str | list[str]:
    found = [rgba(x) for x in colours]
    return found if len(found) > 1 else (found or [INVISIBLE])[0]


def _outline(marker: str) -> np.ndarray:
    style = MarkerStyle(marker)
    return np.asarray(style.get_path().transformed(style.get_transform()).vertices)
