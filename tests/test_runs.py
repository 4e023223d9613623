"""Runs: what is written comes back, and nothing but a whole run is ever taken for one."""

import datetime
import json
import math
import os
import shutil
import subprocess
import sys
import tomllib

import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayes_badger.errors import BadgerError
from bayes_badger.runs import (
    Run,
    find_run,
    list_runs,
    manifest,
    netcdf,
    posterior_table,
    read_run,
    store,
    write_run,
)
from bayes_badger.runs.spec_toml import to_toml

LABELS = ["AITKIN", "<b>bold</b>", "Ünïcode \x1b[31m"]
SPEC = {
    "name": "radon",
    "seed": 3,
    "created": "2026-11-22T10:00:00+00:00",
    "program": {
        "name": "radon",
        "path": 'C:\\a "b"\n\x00',
        "settings": {"scale": 2.0, "wide": math.inf, "on": True, "odd key": [1, 2]},
        "latents": [
            {"name": "sigma", "scope": "lifetime", "role": "algorithm", "shape": []},
            {"name": "mu", "scope": "lifetime", "role": "algorithm", "shape": []},
            {"name": "alpha", "scope": "task", "role": "task", "shape": [3]},
        ],
        "outcome": "log_radon",
    },
    "recipe": {"name": "nuts", "inner_loop": {"name": "nuts", "draws": 50}},
    "evidence": {"tasks": 3, "rows": 7, "task_name": "county", "digest": "ab", "notes": []},
    "versions": {"jax": "0.12.0"},
    "device": "cpu",
    "result": {"seconds": 1.5, "warnings": []},
}


def tree(draws=50, tasks=3):
    rng = np.random.default_rng(0)
    labels = LABELS if tasks == 3 else [f"c{i}" for i in range(tasks)]
    rows = {
        "obs_id": np.arange(7),
        "county_of_obs": ("obs_id", np.array(labels)[[0, 0, 1] + [2] * 4]),
    }
    sample = ("chain", "draw")
    where = {"chain": np.arange(4), "draw": np.arange(draws)}
    posterior = xr.Dataset(
        {
            "twice": ((*sample, "county"), rng.normal(size=(4, draws, tasks))),
            "alpha": ((*sample, "county"), rng.normal(size=(4, draws, tasks)).astype(np.float32)),
            "mu": (sample, rng.normal(size=(4, draws))),
            "flag": (sample, np.ones((4, draws), bool)),
            "sigma": (sample, rng.normal(size=(4, draws))),
        },
        coords={**where, "county": np.array(labels, dtype=object)},
        attrs={"good": True, "nothing": None, "numbers": [1, 2], "units": "nats"},
    )
    groups = {
        "posterior": posterior,
        "log_likelihood": xr.Dataset(
            {"log_radon": ((*sample, "obs_id"), rng.normal(size=(4, draws, 7)))},
            coords={**where, **rows},
        ),
        "observed_data": xr.Dataset({"log_radon": ("obs_id", rng.normal(size=7))}, coords=rows),
    }
    return xr.DataTree.from_dict(groups)


def evidence():
    return xr.Dataset(
        {"floor": ("obs_id", [0, 1, 0, 1, 0, 1, 0]), "log_radon": ("obs_id", np.arange(7.0))},
        coords={"obs_id": np.arange(7)},
    )


def parts(**changed):
    given = {
        "spec": SPEC,
        "tree": tree(),
        "evidence": evidence(),
        "parameters": {"net/w[0]": np.arange(6.0).reshape(2, 3).T, "b": np.float32(3)},
        "metrics": [{"step": 1, "loss": math.nan}, {"step": np.int64(2), "loss": 0.5}],
    }
    return {**given, **changed}


@pytest.fixture
def written(tmp_path):
    return write_run(tmp_path, "radon", **parts())


def refused(match: str):
    return pytest.raises(BadgerError, match=match)


def test_what_is_written_comes_back(written):
    run = read_run(written)
    assert run.path == written
    assert run.spec == SPEC
    assert run.tree["posterior"]["alpha"].identical(tree()["posterior"]["alpha"].astype("f4"))
    assert list(run.posterior["county"].values) == LABELS
    assert run.posterior["flag"].dtype == bool
    assert run.posterior.attrs == {
        "good": "true",
        "nothing": "null",
        "numbers": "[1, 2]",
        "units": "nats",
    }
    assert run.log_likelihood.identical(tree()["log_likelihood"].to_dataset())
    assert run.evidence.identical(evidence())
    np.testing.assert_array_equal(run.parameters["net/w[0]"], np.arange(6.0).reshape(2, 3).T)
    assert run.parameters["b"].shape == ()
    assert math.isnan(run.metrics[0]["loss"])
    assert run.metrics[1] == {"step": 2, "loss": 0.5}


def test_files_can_be_read_by_others_and_none_is_a_pickle(written):
    assert sorted(path.name for path in written.iterdir()) == sorted(
        [*manifest.FILES, manifest.MANIFEST]
    )
    for path in written.iterdir():
        assert path.stat().st_mode & 0o777 == 0o644
        assert not path.read_bytes().startswith(b"\x80")
    assert written.stat().st_mode & 0o777 == 0o755


def test_a_name_is_never_taken_twice(tmp_path, monkeypatch):
    noon = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)
    monkeypatch.setattr(store, "_now", lambda: noon)
    found = [write_run(tmp_path / "deep" / "er", "a/b: c", **parts()).name for _ in range(3)]
    base = "a-b-c-20260102-120000"
    assert found == [base, f"{base}-2", f"{base}-3"]
    assert write_run(tmp_path, "../..", **parts()).name == "run-20260102-120000"


def test_reading_needs_no_jax_and_no_arviz(written):
    code = (
        "import sys; from bayes_badger.runs import read_run; read_run(sys.argv[1]);"
        "print([m for m in ('jax', 'arviz', 'pickle5') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(written)]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_listing_needs_no_xarray(written):
    code = (
        "import sys; from bayes_badger.runs import list_runs, find_run;"
        "print(list_runs(sys.argv[1])[0].state, 'xarray' in sys.modules, 'numpy' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(written.parent)]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["complete", "False", "False"]


# ---- what cannot be stored ----------------------------------------------------------------------


def with_posterior(**variables):
    return xr.DataTree.from_dict({"posterior": xr.Dataset(variables)})


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"evidence": xr.Dataset({"a/b": ("x", [1.0])})}, "'a/b' cannot be stored: .* rename"),
        ({"tree": with_posterior(a=("x/y", [1.0]))}, "'x/y' cannot be stored"),
        ({"tree": with_posterior(z=("x", [1j]))}, "'z' cannot be stored: it is complex"),
        (
            {"tree": with_posterior(z=("x", np.array(["a", None], object)))},
            "'z' cannot be stored: it holds nan of type float",
        ),
        ({"tree": with_posterior(z=("x", np.array(["a", 1], object)))}, "it holds 1 of type int"),
        ({"tree": with_posterior(z=("x", np.array(["a\0b"], object)))}, "its label 'a.x00b'"),
        ({"tree": with_posterior(z=("x", np.array(["\udc80"])))}, "its label"),
        ({"parameters": {"w": np.array(["a"])}}, "parameter 'w' of type <U1 cannot be stored"),
        ({"parameters": {"w": np.ones(1, complex)}}, "parameter 'w' of type complex128"),
        ({"parameters": {"__metadata__": np.ones(1)}}, "parameter '__metadata__'"),
        ({"tree": with_posterior(**{"s ": ("x", [1.0])})}, "posterior.nc: .*illegal characters"),
    ],
)
def test_what_cannot_be_stored_is_named_and_nothing_is_left(tmp_path, changed, told):
    with refused(told) as caught:
        write_run(tmp_path, "radon", **parts(**changed))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_what_netcdf_would_refuse_is_mapped(tmp_path):
    frame = pd.DataFrame({"who": ["a", "b"], "n": pd.array([1, 2], dtype="Int64")})
    odd = xr.Dataset(
        {
            "half": ("x", np.ones(2, np.float16)),
            "who": ("x", frame["who"].array),
            "n": ("x", frame["n"].array),
            "when": ("x", np.array(["2026-01-01", "2026-01-02"], dtype="datetime64[s]")),
            "after": ("x", [1.0, 2.0], {"units": "seconds", "table": {"a": 1}}),
            "none": ("y", np.zeros(0)),
            "quiet": ("y", np.array([], dtype=object)),
        },
        coords={"x": pd.Index(["q", "r"])},
    )
    back = read_run(write_run(tmp_path, "odd", **parts(evidence=odd))).evidence
    assert back["half"].dtype == np.float32
    assert back["who"].values.tolist() == ["a", "b"]
    assert back["n"].values.tolist() == [1, 2]
    assert back["x"].values.tolist() == ["q", "r"]
    assert back["when"].dtype.kind == "M"
    assert back["after"].values.tolist() == [1.0, 2.0]
    assert json.loads(back["after"].attrs["table"]) == {"a": 1}
    assert back.sizes["y"] == 0


def test_the_tree_is_left_as_it_was(tmp_path):
    given = tree()
    write_run(tmp_path, "radon", **parts(tree=given))
    assert given.identical(tree())
    assert given["posterior"].attrs["nothing"] is None


def test_an_unwritable_folder_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with refused("no run can be written to .*file"):
        write_run(tmp_path / "file", "radon", **parts())
    with refused("no run can be written to"):
        write_run("/proc/nowhere", "radon", **parts())


FULL = """
import resource, signal, sys
sys.path.insert(0, sys.argv[1])
from test_runs import parts, tree
from bayes_badger.runs import write_run
from bayes_badger.errors import BadgerError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
given = parts(tree=tree(draws=5000))
for limit in (100, 4_000, 200_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write_run(sys.argv[2], "radon", **given)
    except BadgerError as error:
        print(error)
"""


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    # A limit on the size of a file stands for the disk that ends there.
    command = [sys.executable, "-c", FULL, os.path.dirname(__file__), str(tmp_path)]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    told = out.stdout.splitlines()
    assert len(told) == 3
    for line, name in zip(told, ["spec.toml", "evidence.nc", "posterior.nc"], strict=True):
        assert f"the run could not be written to {tmp_path}: {name}: " in line
    assert "is the disk full?" in told[2]
    assert list(tmp_path.iterdir()) == []


# ---- stopped half-way, and damaged --------------------------------------------------------------


@pytest.mark.parametrize("stop", range(6))
def test_a_stop_after_any_file_is_unfinished(tmp_path, monkeypatch, stop):
    left = iter(range(stop + 1))

    def finish(path):
        if next(left) == stop:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        # A kill neither goes on nor tidies up.
        patch.setattr(store, "_finish_file", finish)
        patch.setattr(store, "_discard", lambda folder: None)
        with pytest.raises(KeyboardInterrupt):
            write_run(tmp_path, "radon", **parts())
    (entry,) = list_runs(tmp_path)
    assert entry.state == "unfinished"
    assert entry.name.startswith("radon-")
    assert len(list(entry.path.iterdir())) == stop + 1
    with refused("was not finished: fit again"):
        read_run(entry.path)
    with refused("run 'radon' was not finished: fit again"):
        find_run("radon", tmp_path)
    with refused("no complete run"):
        find_run("last", tmp_path)
    if stop < 5:  # and even if someone gives it a proper name
        (tmp_path / "radon").mkdir()
        renamed = entry.path.rename(tmp_path / "radon")
        with refused("no manifest.json, it was not finished: fit again"):
            read_run(renamed)


def test_an_interrupt_tidies_up(tmp_path, monkeypatch):
    def interrupt(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "_finish_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_run(tmp_path, "radon", **parts())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", manifest.FILES)
@pytest.mark.parametrize("how", ["truncated", "longer", "edited", "missing", "link"])
def test_damage_to_any_file_is_told(written, name, how):
    path = written / name
    content = path.read_bytes()
    if how == "truncated":
        path.write_bytes(content[:-1])
    elif how == "longer":
        path.write_bytes(content + b"\n")
    elif how == "edited":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif how == "missing":
        path.unlink()
    else:
        path.rename(written.parent / "elsewhere")
        path.symlink_to(written.parent / "elsewhere")
    (entry,) = list_runs(written.parent)
    # An edit that keeps the size is found by reading, not by listing.
    assert entry.state == ("complete" if how == "edited" else "damaged")
    told = {"longer": "changed", "edited": "changed", "link": "missing"}.get(how, how)
    with refused(f"{name} .*{told}") as caught:
        read_run(written)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda content: "{", "manifest.json was damaged"),
        (lambda content: "[" * 50_000, "manifest.json was damaged"),
        (lambda content: " " * 200_000, "manifest.json was damaged"),
        (lambda content: [], "manifest.json was damaged"),
        (lambda content: {**content, "format": "x"}, "manifest.json was damaged"),
        (lambda content: {**content, "version": 2}, "has version '2' .* upgrade"),
        (lambda content: {**content, "files": 3}, "manifest.json was damaged"),
        (lambda content: {**content, "created": 3}, "manifest.json was damaged"),
        (lambda content: {**content, "files": {}}, "manifest.json lacks spec.toml"),
        (
            lambda content: {**content, "files": {"../../etc/passwd": {}}},
            "names '../../etc/passwd', which is no file of a run",
        ),
        (
            lambda content: {**content, "files": {**content["files"], "spec.toml": {"bytes": 1}}},
            "manifest.json was damaged",
        ),
    ],
)
def test_a_changed_manifest_is_refused(written, change, told):
    path = written / manifest.MANIFEST
    changed = change(json.loads(path.read_text()))
    path.write_text(changed if isinstance(changed, str) else json.dumps(changed))
    assert list_runs(written.parent)[0].state == "damaged"
    with refused(told):
        read_run(written)


def forged(folder, name, content):
    """Replaces a file together with its entry in the manifest."""
    if content is not None:
        (folder / name).write_bytes(content)
    (folder / manifest.MANIFEST).write_text(
        manifest.manifest_text(folder, "2026-01-01T00:00:00+00:00")
    )


@pytest.mark.parametrize("name", manifest.FILES)
@pytest.mark.parametrize("content", [b"\xff\xfe{", b'{"a": ' + b"[" * 5000, b"\x89HDF\r\n\x1a\n"])
def test_a_forged_file_is_told_in_one_line(written, name, content):
    forged(written, name, content)
    with refused(f"{name} cannot be read") as caught:
        read_run(written)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("groups", ["", "posterior"])
@pytest.mark.parametrize("as_coordinate", [True, False])
def test_a_file_that_claims_the_world_is_not_loaded(written, groups, as_coordinate):
    name = manifest.POSTERIOR
    with netCDF4.Dataset(written / name, "w") as file:
        group = file.createGroup(groups) if groups else file
        group.createDimension("x", 40_000_000_000)
        group.createVariable("x" if as_coordinate else "y", "f8", ("x",), chunksizes=(1_000_000,))
    forged(written, name, None)
    assert (written / name).stat().st_size < 20_000
    with refused("posterior.nc has .* bytes and claims to hold 320000000000: it is not loaded"):
        read_run(written)


def test_a_large_file_of_zeros_is_no_hostile_one(tmp_path, monkeypatch):
    monkeypatch.setattr(netcdf, "MAX_CLAIM", 1000)
    assert read_run(write_run(tmp_path, "radon", **parts())).posterior.sizes["draw"] == 50


def test_other_folders_are_no_runs(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "file").write_text("")
    assert list_runs(tmp_path) == []
    assert list_runs(tmp_path / "nowhere") == []
    with refused("it is not a run: it has none of a run's files"):
        read_run(tmp_path / "notes")
    with refused("there is no such folder"):
        read_run(tmp_path / "nowhere")
    with refused("there is no such folder"):
        read_run(tmp_path / "file")


# ---- finding ------------------------------------------------------------------------------------


@pytest.fixture
def several(tmp_path, monkeypatch):
    times = iter(datetime.datetime(2026, 1, day, tzinfo=datetime.UTC) for day in (2, 1, 3))
    monkeypatch.setattr(store, "_now", lambda: next(times))
    small = parts(tree=tree(draws=2))
    return [write_run(tmp_path, name, **small) for name in ("radon", "radon", "coin")]


def test_the_newest_run_comes_first(several):
    listing = list_runs(several[0].parent)
    assert [entry.path for entry in listing] == [several[2], several[0], several[1]]
    assert {entry.state for entry in listing} == {"complete"}


def test_a_run_is_found_by_what_is_left_clear(several, monkeypatch):
    parent = several[0].parent
    assert find_run(several[0].name, parent) == several[0]
    assert find_run(str(several[0]), "elsewhere") == several[0]
    assert find_run(several[0], "elsewhere") == several[0]
    assert find_run("co", parent) == several[2]
    assert find_run("radon-20260101", parent) == several[1]
    assert find_run("last", parent) == several[2]
    (several[2] / manifest.SPEC).unlink()
    assert find_run("last", parent) == several[0]
    monkeypatch.chdir(parent)
    assert find_run(several[1].name, "elsewhere").resolve() == several[1].resolve()
    with refused("'radon' may be any of radon-20260102-000000, radon-20260101-000000: write more"):
        find_run("radon", parent)
    with refused(r"no run in .* is called 'radonn-20260102-000000' \(did you mean 'radon-2026010"):
        find_run("radonn-20260102-000000", parent)
    with refused("there are none"):
        find_run("radon", "elsewhere")
    with refused("no such folder"):
        find_run("no/where", parent)
    for odd in ("", "a\0b"):
        with refused("no run"):
            find_run(odd, parent)


# ---- in memory ----------------------------------------------------------------------------------


def memory(**spec):
    return Run(spec={**SPEC, **spec}, tree=tree(), evidence=evidence())


def test_groups_are_attributes():
    run = memory()
    assert run.posterior.equals(run.tree["posterior"].to_dataset())
    assert "log_likelihood" in dir(run)
    with pytest.raises(AttributeError, match=r"no 'posteror' \(did you mean 'posterior'\?\)"):
        run.posteror  # noqa: B018
    import copy

    assert copy.copy(run).name == run.name == "radon"


def test_warnings_are_handed_on():
    seen = {"doubts": []}
    assert memory(result=seen).warnings == []
    for given in (["r_hat of mu is 1.2"], "r_hat of mu is 1.2"):
        assert memory(result={"warnings": given, **seen}).warnings == ["r_hat of mu is 1.2"]


@pytest.mark.parametrize("result", [{}, 3, {"warnings": "one"}, {"doubts": "none"}])
def test_a_run_that_nobody_looked_at_is_looked_at(result):
    """It has 200 draws, which are too few."""
    told = memory(result=result).warnings
    assert any("effective draws, fewer than 400" in x for x in told)
    assert ("one" in told) == (result == {"warnings": "one"})


def test_a_stored_doubt_may_be_anything():
    doubts = [3, {"about": "nothing", "sentence": "a"}, {"about": "fit", "sentence": "b"}]
    run = memory(result={"doubts": doubts, "not_looked_at": 5})
    assert run.warnings == ["3", "a"]
    assert [x.text for x in run.doubts] == ["3", "a", "b"]


def test_saving_makes_it_found(tmp_path):
    run = memory()
    assert run.path is None
    assert "not stored" in repr(run)
    assert run.save(tmp_path) == run.path == find_run("last", tmp_path)
    assert str(run.path) in repr(run)
    assert read_run(run.path).summary().equals(run.summary())


def test_the_table_has_lifetime_latents_first():
    table = memory().summary()
    assert list(table.index[:3]) == ["sigma", "mu", "flag"]
    assert list(table.index[3:6]) == [f"alpha[{label}]" for label in LABELS]
    assert list(table.index[6:]) == [f"twice[{label}]" for label in LABELS]
    assert {"mean", "sd", "eti89_lb", "eti89_ub", "ess_bulk", "r_hat"} <= set(table.columns)
    mu = tree()["posterior"]["mu"].values
    np.testing.assert_allclose(table.loc["mu", "mean"], mu.mean())
    np.testing.assert_allclose(table.loc["mu", "eti89_lb"], np.quantile(mu, 0.055), rtol=0.02)
    assert table.attrs == {"tasks_left_out": 0, "variables_left_out": []}


def test_the_table_is_capped_and_says_so():
    many = tree(draws=20, tasks=20)
    table = posterior_table(many, "county", tasks=5)
    assert table.attrs["tasks_left_out"] == 15
    assert len(table) == 3 + 2 * 5
    weights = xr.DataArray(np.zeros((4, 20, 100)), dims=("chain", "draw", "w"))
    many["posterior"] = many["posterior"].to_dataset().assign(net=weights)
    table = posterior_table(many, "county", tasks=5)
    assert table.attrs["variables_left_out"] == ["net"]
    text = repr(Run(spec=SPEC, tree=many, evidence=evidence()))
    assert "16 more of county: run.summary(tasks=...)" in text
    assert "too long to show: net" in text


def test_the_interval_does_not_follow_arviz_settings():
    import arviz as az

    with az.rc_context({"stats.ci_prob": 0.5, "stats.ci_kind": "hdi"}):
        assert "eti89_lb" in memory().summary().columns


def test_it_shows_itself():
    text = repr(memory(result={"warnings": ["r_hat of mu is 1.2"], "doubts": []}))
    for part in (
        "Run radon",
        "nuts",
        "3 tasks (county), 7 rows",
        "4 chains of 50 draws",
        "sigma",
        "alpha[AITKIN]",
        "89% equal-tailed",
        "Not to be trusted:\n  - r_hat of mu is 1.2",
    ):
        assert part in text
    assert "\x1b" not in text
    assert "\\x1b[31m" in text


def test_hostile_text_is_escaped_in_html():
    evil = "<script>alert(1)</script>"
    run = Run(
        spec={
            **SPEC,
            "name": evil,
            "program": {"name": evil},
            "recipe": {"name": evil},
            "evidence": {"tasks": evil, "rows": evil, "task_name": "county"},
            "result": {"warnings": [evil], "doubts": []},
        },
        tree=tree(),
        evidence=evidence(),
    )
    shown = run._repr_html_()
    assert "<script" not in shown
    assert "<b>bold" not in shown
    assert shown.count("&lt;script") == 6


@pytest.mark.parametrize(
    "given",
    [
        {"spec": {}},
        {"spec": {"program": 3, "result": {"warnings": 3}, "evidence": {"tasks": []}}},
        {"tree": xr.DataTree()},
        {"tree": with_posterior()},
        {"tree": with_posterior(mu=("x", [1.0]))},
    ],
)
def test_showing_never_fails(given):
    run = Run(**{"spec": SPEC, "tree": tree(), "evidence": evidence(), **given})
    assert repr(run).startswith("Run ")
    assert run._repr_html_().startswith("<div>")


# ---- the spec as TOML ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        SPEC,
        {},
        {"a": {}},
        {"": 1, "a.b": 2, 'q"': 3, "ü\n": {"x y": {"z": []}}},
        {"s": "".join(map(chr, range(0x180))) + "\u2028\U0001f9a1'''\"\"\""},
        {"i": -(2**70), "f": [1e16, 1e-300, -0.0, 1.5], "b": [True, False], "inf": [-math.inf]},
        {"l": [[], [[1], ["a"]], {"a": [{"b": {}}]}], "after": {"t": 1}, "last": 3},
    ],
)
def test_toml_comes_back(value):
    assert tomllib.loads(to_toml(value)) == value


def test_toml_of_what_is_not_plain():
    given = {
        "array": np.arange(3),
        "scalar": np.float32(0.5),
        "tuple": (1, 2),
        "none": None,
        "function": len,
        "nan": math.nan,
        "half": "\ud800",
        "deep": {"none": None, "list": [None, 1]},
        1: "key",
    }
    back = tomllib.loads(to_toml(given))
    assert math.isnan(back.pop("nan"))
    assert back == {
        "array": [0, 1, 2],
        "scalar": 0.5,
        "tuple": [1, 2],
        "function": "<built-in function len>",
        "half": "\ufffd",
        "deep": {"list": [1]},
        "1": "key",
    }


def test_what_was_read_can_be_written_again(written, tmp_path):
    run = read_run(written)
    again = read_run(run.save(tmp_path / "again"))
    assert again.tree.identical(run.tree)
    assert again.evidence.identical(run.evidence)
    assert again.spec == run.spec


def test_a_run_may_be_moved(written, tmp_path):
    moved = shutil.copytree(written, tmp_path / "elsewhere" / "mine")
    assert read_run(moved).spec == SPEC
