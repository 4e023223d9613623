"""All that was drawn on axes of matplotlib, one part of plotly for each artist."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from matplotlib import axis, collections, container, image, legend, lines, patches, spines, text

from bayes_badger.measures.interactive import areas, bars, marks
from bayes_badger.measures.interactive import lines as redrawn

# By the very type: what is made of one of these may draw itself otherwise.
KINDS: dict[type, Callable[[Any, Any], marks.Part]] = {
    lines.Line2D: redrawn.line,
    collections.LineCollection: redrawn.lines,
    collections.PathCollection: redrawn.scattered,
    container.ErrorbarContainer: bars.errorbar,
    container.BarContainer: bars.bars,
    collections.PolyCollection: areas.area,
    collections.FillBetweenPolyCollection: areas.area,
    patches.Rectangle: areas.rectangle,
    patches.Polygon: areas.patch,
    patches.Ellipse: areas.patch,
    patches.StepPatch: areas.patch,
    image.AxesImage: areas.image,
    text.Text: areas.text,
    text.Annotation: areas.text,
}


def redraw(axes: Any) -> list[marks.Part]:
    """A part for each visible artist, from the lowest up.

    Raises:
        BadgerError: For an artist of a type that is not in `KINDS`, by its name.
    """
    parts = []
    for artist in drawn(axes):
        known = KINDS.get(type(artist))
        if known is None:
            raise marks.refused(artist, f"a {type(artist).__name__}")
        parts.append(known(artist, axes))
    return parts


def drawn(axes: Any) -> list[Any]:
    """What is visible, from the lowest up: in place of its pieces, what was drawn at once.

    Labels, axes and the frame are not among them, nor is the legend.
    """
    whole: dict[Any, Any] = {}
    for one in axes.containers:  # error bars of bars come before their bars, which take them over
        if isinstance(one, container.ErrorbarContainer):
            whole |= {x: one for x in (one[0], *one[1], *one[2]) if x is not None}
        elif isinstance(one, container.BarContainer):
            own = [] if one.errorbar is None else [*one.errorbar[1], *one.errorbar[2]]
            whole |= dict.fromkeys((*one.patches, *own), one)
    frame = (spines.Spine, axis.Axis, legend.Legend)
    titles = (axes.title, axes._left_title, axes._right_title)
    artists = [
        x
        for x in sorted(axes.get_children(), key=lambda x: x.get_zorder())
        if x.get_visible() and not isinstance(x, frame) and x not in (axes.patch, *titles)
    ]
    found = {id(x): x for x in (whole.get(x, x) for x in artists)}
    return list(found.values())
