"""Pictures for plotly: what matplotlib drew is there, number by number, and nothing else runs."""

import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle

import bayes_badger as bb
from bayes_badger.errors import BadgerError
from bayes_badger.measures import picture
from bayes_badger.measures.interactive.figure import interactive
from bayes_badger.measures.labelled import Quantity, labelled

HOSTILE = "<img src=x onerror=alert(1)> </script><script>alert(2)</script> $\\href{x}{y}$"
HARMLESS = HOSTILE.replace("<", "&lt;").replace(">", "&gt;").replace("$", "&#36;")
X, Y = np.array([1.0, 2.0, 4.0]), np.array([3.0, 1.0, 2.0])


def drawn(draw):
    """What of a picture became a trace, a shape or a note, and the whole figure."""
    axes = Figure().add_subplot()
    draw(axes)
    figure = interactive(axes)
    return [*figure.data, *figure.layout.shapes, *figure.layout.annotations], figure


def one(draw):
    parts, _ = drawn(draw)
    assert len(parts) == 1
    return parts[0]


def test_a_line_and_its_markers():
    line = one(lambda axes: axes.plot(X, Y, "s--", color="#ff0000", alpha=0.5, lw=3, ms=6))
    np.testing.assert_array_equal([line.x, line.y], [X, Y])
    assert (line.mode, line.line.dash, line.line.color) == (
        "lines+markers",
        "dash",
        "rgba(255,0,0,0.5)",
    )
    assert (line.line.width, line.marker.size, line.marker.symbol) == (4, 8, "square")
    assert one(lambda axes: axes.plot(X, Y, "|")).mode == "markers"
    assert one(lambda axes: axes.step(X, Y, where="post")).line.shape == "hv"


@pytest.mark.parametrize("side", ["x", "y"])
def test_error_bars_of_points(side):
    error = np.array([[0.1, 0.2, np.nan], [0.3, 0.4, 0.5]])
    points = one(lambda axes: axes.errorbar(X, Y, fmt="o", capsize=3, **{f"{side}err": error}))
    np.testing.assert_array_equal([points.x, points.y], [X, Y])
    bars = points[f"error_{side}"]
    np.testing.assert_allclose([bars.arrayminus[:2], bars.array[:2]], error[:, :2])
    assert np.isnan(bars.arrayminus[2])
    assert points[f"error_{'y' if side == 'x' else 'x'}"].array is None
    assert bars.width == 4
    at = X if side == "x" else Y
    assert points.hovertext[1].endswith(f"bar: {at[1] - 0.2:g} to {at[1] + 0.4:g}")


def test_bars_lie_and_stand():
    lying = one(lambda axes: axes.barh([0, 1, 2], Y, 0.5, left=X, xerr=0.1, color=["r", "g", "b"]))
    assert lying.orientation == "h"
    np.testing.assert_allclose([lying.y, lying.x], [[0, 1, 2], Y])
    np.testing.assert_allclose(np.array(lying.base, float), X)
    np.testing.assert_allclose(lying.width, 0.5)
    np.testing.assert_allclose(lying.error_x.array, 0.1)
    assert lying.marker.color[0] == "rgba(255,0,0,1)"
    standing = one(lambda axes: axes.bar([0, 1, 2], Y, 0.4, yerr=0.2))
    assert (standing.orientation, standing.base) == ("v", None)
    np.testing.assert_allclose([standing.x, standing.y], [[0, 1, 2], Y])
    np.testing.assert_allclose(standing.error_y.arrayminus, 0.2)


def test_areas_and_forms():
    area = one(lambda axes: axes.fill_between(X, Y - 1, Y + 1, color="b", alpha=0.2))
    assert {(x, y) for x, y in zip(area.x, area.y, strict=True)} >= {
        *zip(X, Y - 1, strict=True),
        *zip(X, Y + 1, strict=True),
    }
    assert (area.fill, area.fillcolor) == ("toself", "rgba(0,0,255,0.2)")
    form = one(lambda axes: axes.add_patch(Polygon([(0, 0), (1, 0), (1, 2)])))
    assert set(zip(form.x, form.y, strict=True)) == {(0, 0), (1, 0), (1, 2)}

    def below_zero(axes):
        axes.set(yscale="log", ylim=(0.1, 10))
        axes.fill_between(X, -1, 1)

    assert np.nanmin(one(below_zero).y) == pytest.approx(1e-4)


def test_lines_and_spans_across_the_axes():
    line = one(lambda axes: axes.axvline(2, color="k", ls=":", label="here"))
    assert (line.x0, line.x1, line.y0, line.y1) == (2, 2, 0, 1)
    assert (line.xref, line.yref, line.line.dash, line.name) == ("x", "y domain", "dot", "here")
    line = one(lambda axes: axes.axhline(3))
    assert (line.xref, line.yref, line.y0, line.y1) == ("x domain", "y", 3, 3)
    span = one(lambda axes: axes.axvspan(1, 4, color="r", alpha=0.2))
    assert (span.type, span.x0, span.x1, span.xref, span.yref) == ("rect", 1, 4, "x", "y domain")
    assert span.fillcolor == "rgba(255,0,0,0.2)"
    assert one(lambda axes: axes.axhspan(1, 4)).xref == "x domain"
    box = one(lambda axes: axes.add_patch(Rectangle((1, 2), 3, 4)))
    assert (box.x0, box.x1, box.y0, box.y1, box.yref) == (1, 4, 2, 6, "y")


def test_pieces_of_lines_and_scattered_points():
    pieces = one(lambda axes: axes.vlines(X, 0, Y))
    np.testing.assert_array_equal(pieces.x, [1, 1, np.nan, 2, 2, np.nan, 4, 4])
    np.testing.assert_array_equal(pieces.y, [0, 3, np.nan, 0, 1, np.nan, 0, 2])
    points = one(lambda axes: axes.scatter(X, Y, s=[9, 36, 81], c=["r", "g", "b"], marker="s"))
    np.testing.assert_array_equal([points.x, points.y], [X, Y])
    np.testing.assert_allclose(points.marker.size, [4, 8, 12])
    assert points.marker.color[2] == "rgba(0,0,255,1)"
    assert points.marker.symbol == "square"


@pytest.mark.parametrize("origin", ["lower", "upper"])
def test_an_image_with_its_colour_bar(origin):
    matrix = np.arange(6.0).reshape(2, 3)

    def draw(axes):
        image = axes.imshow(matrix, origin=origin, cmap="Blues", vmin=-1, vmax=7)
        axes.figure.colorbar(image, label="influence (nats)")

    image = one(draw)
    np.testing.assert_array_equal(image.z, matrix)
    np.testing.assert_allclose(image.x, [0, 1, 2])
    np.testing.assert_allclose(image.y, [0, 1])
    assert (image.zmin, image.zmax) == (-1, 7)
    assert image.colorbar.title.text == "influence (nats)"
    assert image.hovertext[1][0] == "0<br>1<br>influence (nats): 3"
    _, figure = drawn(draw)
    low, high = figure.layout.yaxis.range
    assert (low < high) == (origin == "lower")


def test_texts_stand_where_they_stood():
    def draw(axes):
        axes.set_xscale("log")
        axes.text(100, 2, "in data", ha="right", va="center", rotation=90)
        axes.text(0.5, 1, "of the axes", transform=axes.transAxes)
        axes.annotate("beside", (10, 3))

    notes, _ = drawn(draw)
    assert [(x.text, x.x, x.y) for x in notes] == [
        ("in data", 2, 2),
        ("of the axes", 0.5, 1),
        ("beside", 1, 3),
    ]
    assert (notes[0].xanchor, notes[0].yanchor, notes[0].textangle) == ("right", "middle", -90)
    assert notes[1].xref == "x domain"


def test_labels_scales_ends_and_ticks_survive():
    def draw(axes):
        axes.barh(["a", "b"], [10, 100], label="bars")
        axes.axvline(20, label="line")
        axes.plot([10, 100], [0.2, 1.2], label="not shown")
        axes.set(xscale="log", xlabel="deviation (nats)", ylabel="change", xlim=(5, 500))
        axes.set_title("what it is")
        axes.invert_yaxis()
        axes.legend(axes.containers + axes.lines[:1], ["bars", "line"], title="kinds")

    parts, figure = drawn(draw)
    x, y = figure.layout.xaxis, figure.layout.yaxis
    assert (x.title.text, x.type, y.title.text, y.type) == (
        "deviation (nats)",
        "log",
        "change",
        "linear",
    )
    np.testing.assert_allclose(x.range, np.log10([5, 500]))
    assert y.range[0] > y.range[1]
    assert (y.tickvals, y.ticktext, x.tickvals) == ((0, 1), ("a", "b"), None)
    assert figure.layout.title.text == "what it is"
    assert figure.layout.legend.title.text == "kinds"
    named = sorted((x for x in parts if x.showlegend), key=lambda x: x.legendrank)
    assert [x.name for x in named] == ["bars", "line"]
    assert parts[0].hovertext[1] == "bars<br>deviation (nats): 100<br>change: b"


def test_names_that_are_numbers_are_names():
    def draw(axes):
        axes.barh([0, 1], [10, 100])
        axes.set_yticks([0, 1], ["17", "23"])
        axes.set_xticks([0, 50])

    parts, figure = drawn(draw)
    assert figure.layout.yaxis.ticktext == ("17", "23")
    assert figure.layout.xaxis.ticktext == ("0", "50")
    assert parts[0].hovertext == ("10<br>17", "100<br>23")


def test_binary_logarithms_keep_their_ticks():
    def draw(axes):
        axes.plot([4, 8, 16], Y)
        axes.set_xscale("log", base=2)

    _, figure = drawn(draw)
    assert {"4", "8", "16"} <= set(figure.layout.xaxis.ticktext)


def test_many_names_make_a_tall_picture():
    _, figure = drawn(lambda axes: axes.barh([f"county {i}" for i in range(100)], 1))
    assert figure.layout.height > 1500


def other_axes(axes):
    axes.plot(X, Y)
    axes.twinx()


def a_legend_of_its_own(axes):
    axes.plot(X, Y)
    axes.legend(["only here"])


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda axes: axes.quiver(X, Y, X, Y, label="flow"), "a Quiver 'flow'"),
        (lambda axes: axes.pcolormesh(np.eye(2)), "a QuadMesh"),
        (lambda axes: axes.axline((0, 0), slope=1), "an? AxLine"),
        (lambda axes: axes.plot(X, Y, marker="$a$"), "the marker '\\$a\\$'"),
        (lambda axes: axes.annotate("x", (1, 1), (2, 2), arrowprops={}), "a note with an arrow"),
        (lambda axes: axes.imshow(np.ones((2, 2, 3))), "an image that is no matrix"),
        (lambda axes: axes.errorbar(X, Y, Y, errorevery=2), "error bars at some points"),
        (lambda axes: axes.errorbar(X, Y, Y, fmt="none"), "error bars without points"),
        (lambda axes: axes.set_yscale("symlog"), "the y axis has the scale 'symlog'"),
        (lambda axes: axes.figure.suptitle("x"), "Text beside its axes"),
        (other_axes, "Axes beside its axes"),
        (a_legend_of_its_own, "the legend names only here"),
    ],
)
def test_what_cannot_be_redrawn_is_named(draw, said):
    with pytest.raises(BadgerError, match=f"{said}.*use matplotlib's picture"):
        drawn(draw)


def shift(tasks):
    quantity = Quantity("shift", np.array([0.5, 1.5]), 0.1, dims=("task",))
    return labelled("posterior_shift", "none", {"per_task": quantity}, {"task": tasks})


def test_a_measure_is_drawn_by_either(tmp_path):
    found = shift(["a", HOSTILE])
    assert bb.measures.plot(found).get_xlabel().endswith("(nats)")
    figure = bb.measures.plot(found, backend="plotly")
    assert figure.layout.xaxis.title.text.endswith("(nats)")
    assert list(figure.data[0].x) == [0.5, 1.5]
    assert figure.layout.yaxis.ticktext == ("a", HARMLESS)
    picture.save(found, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<img src" not in page
    assert "alert(2)</script>" not in page
    assert page.count("<script src") == page.count("<link") == 0
    assert '"showSendToCloud": false' in page


def test_a_label_is_a_text_wherever_it_stands():
    def draw(axes):
        axes.plot(X, Y, label=HOSTILE)
        axes.axvline(1, label=HOSTILE)
        axes.text(1, 1, HOSTILE.replace("$", ""))
        axes.legend(title=HOSTILE)
        axes.set(xlabel=HOSTILE, ylabel=HOSTILE, title=HOSTILE)
        axes.set_xticks([1, 2], [HOSTILE, "b"])

    _, figure = drawn(draw)
    assert "<img" not in str(figure.to_dict())
    assert "<script" not in str(figure.to_dict())
    assert figure.data[0].name == HARMLESS


def test_without_plotly_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", None)
    for ask in (
        lambda: bb.measures.plot(shift(["a", "b"]), backend="plotly"),
        lambda: picture.check("html"),
    ):
        with pytest.raises(BadgerError, match=r"pip install 'bayes-badger\[plotly\]'$"):
            ask()
    picture.check("png")


def test_a_backend_that_is_none_is_refused_with_those_that_are():
    with pytest.raises(BadgerError, match=r"'plotli' \(did you mean 'plotly'\?\): .* matplotlib, "):
        bb.measures.plot(shift(["a", "b"]), backend="plotli")
    with pytest.raises(BadgerError, match="axes are of matplotlib"):
        bb.measures.plot(shift(["a", "b"]), Figure().add_subplot(), backend="plotly")
