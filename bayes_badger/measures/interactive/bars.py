"""Error bars, and bars that stand or lie."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayes_badger.measures.interactive.lines import points_of
from bayes_badger.measures.interactive.marks import PIXELS, Part, check_in_data, refused, rgba
from bayes_badger.measures.interactive.words import told


def errorbar(container: Any, axes: Any) -> Part:
    """Points with their error bars."""
    points = container[0]
    if points is None:
        raise refused(container, "error bars without points")
    check_in_data(points, points.get_transform(), axes)
    trace = points_of(points)
    errors, spans = _errors(container, trace["x"], trace["y"])
    words = told(container, axes, trace["x"], trace["y"], spans)
    return Part("trace", trace | errors | words)


def bars(container: Any, axes: Any) -> Part:
    """Bars, with their error bars."""
    patches = container.patches
    for patch in patches:
        check_in_data(patch, patch.get_data_transform(), axes)
    corner = np.array([x.get_xy() for x in patches], float).reshape(-1, 2)
    extent = np.array([(x.get_width(), x.get_height()) for x in patches], float).reshape(-1, 2)
    along = 0 if container.orientation == "horizontal" else 1
    end, middle = corner[:, along] + extent[:, along], (corner + extent / 2)[:, 1 - along]
    x, y = (end, middle) if along == 0 else (middle, end)
    errors: dict[str, Any] = {}
    spans = [""] * len(patches)
    if container.errorbar is not None:
        errors, spans = _errors(container.errorbar, x, y)
    size = extent[:, along]
    trace: dict[str, Any] = {
        "type": "bar",
        "orientation": "vh"[along == 0],
        "x": size if along == 0 else middle,
        "y": middle if along == 0 else size,
        "width": extent[:, 1 - along],
        "marker": {
            "color": [rgba(x.get_facecolor()) for x in patches],
            "line": {
                "color": [rgba(x.get_edgecolor()) for x in patches],
                "width": [x.get_linewidth() * PIXELS for x in patches],
            },
        },
    }
    # A logarithmic axis has no 0: a bar without a base begins where the axis does.
    if np.any(corner[:, along]):
        trace["base"] = corner[:, along]
    words = told(container, axes, trace["x"], trace["y"], spans)
    return Part("trace", trace | errors | words)


def _errors(container: Any, x: np.ndarray, y: np.ndarray) -> tuple[dict[str, Any], list[str]]:
    """The error bars of points as plotly has them, and of each point what they span."""
    errors: dict[str, Any] = {}
    spans = [""] * len(x)
    for whiskers in container[2]:
        ends = np.array([path.vertices for path in whiskers.get_paths()], float).reshape(-1, 2, 2)
        lie = np.any(ends[:, 0, 0] != ends[:, 1, 0], where=np.isfinite(ends).all((1, 2)))
        low, high = ends[:, :, 0 if lie else 1].T
        at = x if lie else y
        if len(low) != len(at):
            raise refused(container, "error bars at some points and not at others")
        errors["error_x" if lie else "error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": high - at,
            "arrayminus": at - low,
            "color": rgba(whiskers.get_color()[0]),
            "thickness": float(np.ravel(whiskers.get_linewidth())[0]) * PIXELS,
            "width": container[1][0].get_markersize() / 2 * PIXELS if container[1] else 0,
        }
        for i in np.flatnonzero(np.isfinite(low) & np.isfinite(high)):
            spans[i] += f"\nbar: {low[i]:.5g} to {high[i]:.5g}"
    return errors, spans
