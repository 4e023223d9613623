"""What all measures have in common: one contract, one way to be asked for, stored and seen."""

import io
import json

import numpy as np
import pytest
import xarray as xr
from rich.console import Console

import bayes_badger as bb
from bayes_badger.cli import main, measured
from bayes_badger.errors import BadgerError
from bayes_badger.measures import picture, registry
from bayes_badger.measures.labelled import EXACT, SE, Quantity, labelled, quantities_of
from bayes_badger.measures.storing import store

# Of each measure, settings with which it is quick.
QUICK: dict[str, dict[str, object]] = {
    "algorithm_by_rows": {},
    "is_it_bayesian": {"simulations": 3, "cases": 2, "samples": 2, "longest": 0},
    "memorisation": {"simulations": 4},
    "posterior_shift": {},
    "sensitivity": {},
    "targeting": {"lifetimes": 4, "designs": 2, "draws": 50, "tasks": 2},
    "invariance": {"held": 2},
    "influence": {"tasks": 2, "experts": 4, "refits": 1},
    "transfer": {"stages": 2},
    "alone": {"dreams": 3},
    "capacity": {"fewest": 4, "most": 8, "tasks": 4, "lifetimes": 2, "held": 2},
    "endurance": {
        "shortest": 4,
        "longest": 8,
        "points": 2,
        "tasks": 4,
        "lifetimes": 2,
        "held": 2,
    },
    "information_gain": {"tasks": 50, "draws": 50, "proposal": "prior"},
    "information_between_tasks": {"lifetimes": 20, "draws": 50, "tasks": 2, "proposal": "prior"},
    "groups_or_observations": {"draws": 10},
    "code_length": {},
    "bottleneck": {"outer_steps": 8, "tasks": 32, "warmup": 60, "draws": 80},
    "prior_or_evidence": {"tasks": 32},
}
# Those that ask for more than one row of a task.
OF_SEVERAL_ROWS = ("is_it_bayesian", "memorisation")
# Those that are of runs with learned parameters.
OF_LEARNED = ("bottleneck", "prior_or_evidence")


def told(found):
    """What a terminal of 100 columns shows."""
    console = Console(width=100, record=True, file=io.StringIO())
    for line in measured.shown(found):
        console.print(line)
    return console.export_text()


def drawn_on(axes):
    """How many artists: a curve with its error bars, or a row of bars with theirs, is one."""
    pieces = {x for one in axes.containers for x in one.get_children()}
    loose = {*axes.lines, *axes.collections, *axes.patches, *axes.images} - pieces
    within = [x for x in axes.containers if getattr(x, "errorbar", None) is not None]
    return len(loose) + len(axes.containers) - len(within)


def test_every_measure_has_a_row_here():
    assert set(QUICK) == set(registry.NAMES)


@pytest.mark.parametrize("name", registry.NAMES)
def test_the_contract(name, request, tmp_path):
    module = registry.module(name)
    assert module.QUESTION.endswith("?")
    assert module.REFERENCE
    assert getattr(bb.measures, name) is registry.function(name)
    of = "readings" if name in OF_SEVERAL_ROWS else "learned" if name in OF_LEARNED else None
    run = request.getfixturevalue(of or "eight_schools")
    found = getattr(bb.measures, name)(run, **QUICK[name])
    assert found.attrs["measure"] == name
    quantities = quantities_of(found)
    assert quantities
    for quantity in quantities:
        assert found[quantity].attrs["units"]
        assert found[quantity].attrs["long_name"]
    axes = bb.measures.plot(found)
    assert axes.get_xlabel()
    figure = bb.measures.plot(found, backend="plotly")
    assert len(figure.data) + len(figure.layout.shapes) == drawn_on(axes)
    assert figure.layout.xaxis.title.text == axes.get_xlabel()
    assert "…" not in told(found)
    files = store(found, tmp_path)
    again = xr.load_dataset(files[0])
    xr.testing.assert_allclose(again, found.astype(again.dtypes))
    assert files[1].read_bytes().startswith(b"\x89PNG")


def test_errors_and_truths_stand_beside_what_they_are_of():
    found = labelled(
        "posterior_shift", "none", {"x": Quantity("x", np.zeros(2), 0.1, 0.2, ("task",), "bits")}
    )
    assert quantities_of(found) == ["x"]
    assert found["x" + SE].values.tolist() == [0.1, 0.1]
    assert found["x" + EXACT].attrs["units"] == "bits"


def test_tables_show_quantities_side_by_side_and_leave_out_what_is_too_much():
    long, wide = np.arange(1.0, 101.0), np.arange(6.0).reshape(2, 3)
    long[:5] = np.nan
    quantities = {
        "one": Quantity("one", 1.5, 0.1),
        "long": Quantity("long", long, 0.25, dims=("rows_seen",), units="rows"),
        "wide": Quantity("wide", wide, 0.01, dims=("kind", "latent")),
        "cube": Quantity("cube", np.zeros((4, 4, 4)), dims=("a", "b", "c")),
    }
    coords = {"rows_seen": np.arange(1, 101), "kind": ["x", "y"], "latent": ["u", "v", "w"]}
    lines = told(labelled("posterior_shift", "none", quantities, coords)).splitlines()
    at = {words[0]: words[1:] for words in map(str.split, lines) if words}
    assert at["one"] == ["1.5000", "0.1000", "nats"]
    assert at["6"] == ["6.00", "±", "0.25"]
    assert "1" not in at  # not known
    assert at["..."][-4:] == ["more", "in", "the", "file"]
    assert at["latent"] == ["x", "y"]
    assert at["w"] == ["2.000", "±", "0.010", "5.000", "±", "0.010"]
    assert at["cube:"] == ["4", "a", "x", "4", "b", "x", "4", "c,", "in", "the", "file"]


def test_settings_are_checked(monkeypatch):
    monkeypatch.setattr(registry, "settings", lambda name: {"draws": 10, "cost": 1.0, "all": False})
    given = {"draws": 20, "cost": 2, "all": True}
    assert registry.checked("posterior_shift", given) == {"draws": 20, "cost": 2.0, "all": True}
    for wrong, said in (
        ({"drawss": 3}, "did you mean 'draws'"),
        ({"draws": 2.5}, "is no int"),
        ({"cost": "x"}, "is no float"),
        ({"all": 1}, "is no bool"),
    ):
        with pytest.raises(BadgerError, match=said):
            registry.checked("posterior_shift", wrong)


def test_an_unknown_measure_is_refused_with_the_closest_name(capsys):
    assert main(["measure", "posterior-shft"]) == 2
    assert "did you mean 'posterior_shift'" in " ".join(capsys.readouterr().err.split())


def test_the_command_line_lists_stores_and_tells(eight_schools, tmp_path, capsys):
    assert main(["measures", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["measures"]
    assert [x["name"] for x in listed] == list(registry.NAMES)
    path = eight_schools.save(tmp_path)
    eight_schools.path = None
    assert main(["measure", "posterior_shift", path.name, "--out", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["measures"][0]
    assert told["values"]["total"]["units"] == "nats"
    assert sorted(x.name for x in (path / "measures").iterdir()) == [
        "posterior_shift.nc",
        "posterior_shift.png",
    ]
    page = ["--picture", "html"]
    assert main(["measure", "posterior_shift", path.name, "--out", str(tmp_path), *page]) == 0
    assert (path / "measures" / "posterior_shift.html").read_text().startswith("<!doctype html>")
    assert "what tasks share" in capsys.readouterr().out
    assert bb.load(path).name == path.name


def test_pictures_are_drawn_where_asked(eight_schools):
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    assert picture.plot(bb.measures.posterior_shift(eight_schools), axes) is axes
