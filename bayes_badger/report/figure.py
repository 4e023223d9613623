"""Matplotlib figures as SVG within the page: colours follow the page, ids do not clash."""

from __future__ import annotations

import hashlib
import html
import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from bayes_badger.whole_process import quiet

# Stand for the colours of the style sheet, which differ by light and dark.
INK, POSTERIOR, PRIOR, OBSERVED, FAINT = "#010101", "#020202", "#030303", "#040404", "#050505"
COLOURS = {
    INK: "var(--ink)",
    POSTERIOR: "var(--posterior)",
    PRIOR: "var(--prior)",
    OBSERVED: "var(--observed)",
    FAINT: "var(--faint)",
}
# Readable on light and on dark, also for most colour-blind readers (Okabe & Ito).
CHAINS = ("#3b7fb8", "#c9603a", "#2f9574", "#b0791f", "#a4669b", "#6f7f8f")
WIDTH = 4.6  # inches, as text in it then has the size of the page's
DPI = 130  # of what is drawn as pixels
# Beyond this a curve or a cloud of points is drawn as pixels.
VECTOR_POINTS = 2_500

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "bayes-badger",
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "axes.formatter.use_mathtext": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": PRIOR,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": PRIOR,
    "ytick.color": PRIOR,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "figure.constrained_layout.use": True,
}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def picture(
    draw: Callable[[Axes], None], told: str, width: float = WIDTH, height: float = 2.4
) -> Markup:
    """An SVG element with one set of axes.

    Args:
        draw: Draws on the axes.
        told: What the picture shows, for those who do not see it.
        width: In inches.
        height: In inches.
    """
    # A glyph that matplotlib's font lacks is drawn by the browser's.
    with quiet(), matplotlib.rc_context():
        # What a user has set for figures of their own must not reach this one.
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        figure = Figure(figsize=(width, height), dpi=DPI)
        canvas = FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        file = io.StringIO()
        canvas.print_svg(file, metadata=dict(_NO_METADATA))
    return _embedded(file.getvalue(), told)


def bins(values: np.ndarray, low: float, high: float, whole: bool) -> np.ndarray:
    """Edges for a histogram; those of whole numbers have each number in their middle."""
    if whole and high - low < 40:
        return np.arange(np.floor(low) - 0.5, np.ceil(high) + 1)
    count = int(np.clip(2.2 * len(values) ** (1 / 3), 12, 40))
    return np.linspace(low, high if high > low else low + 1, count + 1)


def density(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The height of each bin, so that the area of all values is one, also of those outside."""
    return np.asarray(np.histogram(values, edges)[0] / (max(len(values), 1) * np.diff(edges)))


def _embedded(svg: str, told: str) -> Markup:
    """The SVG element alone, with the page's colours and with ids of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    # The same figure twice in a page has the same ids twice, and that is no clash.
    digest = hashlib.sha256((told + svg).encode(errors="replace")).hexdigest()[:10]
    body = re.sub(r"<[^>]+>", lambda tag: _tag(tag[0], f"f{digest}-"), svg)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', body)
    width = float(size[1]) if size else 330.0
    head = (
        f'<svg viewBox="0 0 {width:g} {float(size[2]) if size else 170.0:g}" role="img" '
        f'aria-label="{html.escape(told)}" style="max-width:{width * 4 / 3:.0f}px">'
    )
    return Markup(head + body[body.index(">") + 1 :].strip())  # noqa: S704 - made here, escaped


def _tag(tag: str, prefix: str) -> str:
    """One tag; in text and in attributes `<` and `>` are escaped, so this sees no label."""
    if " " not in tag:
        return tag
    tag = re.sub(r'\bid="', f'id="{prefix}', tag)
    tag = re.sub(r'href="#', f'href="#{prefix}', tag)
    tag = tag.replace("url(#", f"url(#{prefix}").replace("xlink:href", "href")
    for stand_in, colour in COLOURS.items():
        tag = tag.replace(stand_in, colour)
    if "base64" in tag:
        return tag
    return re.sub(r"\d+\.\d{3,}", lambda x: f"{float(x[0]):.2f}", tag)
