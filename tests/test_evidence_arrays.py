"""Evidence from arrays [task, step, ...], from xarray, and from whatever `read` is given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayes_badger.errors import BadgerError
from bayes_badger.evidence import from_arrays, from_frame, from_xarray, read, split_queries
from bayes_badger.signature import Signature

LINE = Signature("line", ("x",), "y", ("size",))
GRID = np.arange(6.0).reshape(2, 3)


def test_arrays_become_long():
    evidence = from_arrays(LINE, {"x": GRID}, GRID > 2, {"size": [1.5, 2.5]}, tasks=["a", "b"])
    assert evidence.columns["x"].tolist() == [0, 1, 2, 3, 4, 5]
    assert evidence.task_index.tolist() == [0, 0, 0, 1, 1, 1]
    assert evidence.outcome.dtype == bool
    np.testing.assert_array_equal(evidence.padded().columns["x"], GRID)


def test_lengths_and_mask_say_which_cells_are_rows():
    y = np.where(GRID == 5, np.nan, GRID)
    size = {"size": np.ones((2, 1))}
    short = from_arrays(LINE, {"x": GRID}, y, size, lengths=[3, 2])
    masked = from_arrays(LINE, {"x": GRID}, y, size, mask=~np.isnan(y))
    assert short.columns["x"].tolist() == masked.columns["x"].tolist() == [0, 1, 2, 3, 4]
    assert short.digest() == masked.digest()
    empty = from_arrays(LINE, {"x": GRID}, y, size, lengths=[3, 0])
    assert empty.lengths.tolist() == [3, 0]
    assert empty.notes == ("1 task has no rows: 1",)


def test_arrays_without_outcome_are_queries():
    evidence = from_arrays(LINE, {"x": GRID}, None, {"size": [1, 2]})
    assert evidence.outcome is None
    assert evidence.n_rows == 6


def test_array_features_stay_or_are_gathered():
    signature = Signature("m", ("X",), "y", ("Z",), groups={"X": ("a", "b"), "Z": ("z",)})
    whole = from_arrays(signature, {"X": np.stack([GRID, -GRID], -1)}, GRID, {"Z": np.ones((2, 1))})
    parts = from_arrays(signature, {"a": GRID, "b": -GRID}, GRID, {"z": np.ones(2)})
    assert whole.columns["X"].shape == (6, 2)
    assert whole.task_columns["Z"].shape == (2, 1)
    assert whole.digest() == parts.digest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": {"z": GRID}}, "the arrays: no 'x', which the program line needs"),
        ({"columns": {"x": GRID[0]}}, "x has shape (3,)"),
        ({"columns": {"x": GRID[:, :2]}}, "y has 2 x 3 values where x has 2 x 2"),
        ({"columns": {"x": GRID[:0]}, "outcome": GRID[:0]}, "holds no task"),
        ({"outcome": np.where(GRID == 5, np.nan, 1)}, "cell [1, 2] (task 1): y is missing"),
        ({"outcome": np.where(GRID > 3, np.inf, 1)}, "cell [1, 1] (task 1): y is infinite"),
        ({"outcome": GRID.astype("datetime64[D]")}, "subtract a start and use days"),
        ({"outcome": GRID + 1j}, "y is complex"),
        ({"outcome": np.full((2, 3), "low")}, "'low' is not a number"),
        ({"task_columns": {"size": [1, 2, 3]}}, "size has shape (3,) for 2 tasks"),
        ({"task_columns": {"size": [1, np.nan]}}, "task 1: size is missing"),
        ({"task_columns": {"size": [1, 1e20]}}, "task 1: size is 1e+20, too large"),
        ({"task_columns": {}}, "no 'size'"),
        ({"tasks": [1, 2, 3]}, "3 labels for 2 tasks"),
        ({"tasks": [1, 1]}, "label 1 stands for 2 tasks"),
        ({"lengths": [4, 0]}, "a length is 4, but a task has 0 to 3 steps"),
        ({"lengths": [1.5, 2]}, "one whole number for each task"),
        ({"mask": np.ones((2, 2), bool)}, "mask is bool of shape (2, 2)"),
        ({"mask": np.ones((2, 3), bool), "lengths": [1, 2]}, "both lengths and mask"),
    ],
)
def test_bad_arrays_are_refused(change, message):
    given = {"columns": {"x": GRID}, "outcome": GRID, "task_columns": {"size": [1, 2]}} | change
    with pytest.raises(BadgerError) as caught:
        from_arrays(LINE, **given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def dataset(**changes) -> xr.Dataset:
    y = np.where(GRID == 5, np.nan, GRID)
    variables = {
        "x": (("school", "pupil"), y + 0.5),
        "y": (("school", "pupil"), y),
        "size": ("school", [3.5, 4.0]),
    }
    return xr.Dataset(variables | changes, {"school": ["A", "B"]})


def test_xarray_leaves_out_cells_that_are_not_there():
    evidence = from_xarray(LINE, dataset(), task="school")
    assert evidence.tasks.tolist() == ["A", "B"]
    assert evidence.lengths.tolist() == [3, 2]
    assert evidence.notes == ("1 cell is not there, since x and y are all NaN",)
    assert evidence.task_name == "school"
    # Counts that became floats through the padding are counts again.
    assert evidence.outcome.tolist() == [0, 1, 2, 3, 4]
    assert evidence.outcome.dtype == np.int64
    assert evidence.columns["x"].dtype == np.float64


def test_xarray_in_any_order_of_dimensions():
    straight = from_xarray(LINE, dataset(), task="school")
    assert from_xarray(LINE, dataset().transpose(), task="school").digest() == straight.digest()


def test_xarray_repeats_what_is_over_steps_alone():
    grid = dataset(x=("pupil", [0.5, 1.5, 2.5]), y=(("school", "pupil"), GRID))
    evidence = from_xarray(LINE, grid, task="school")
    assert evidence.columns["x"].tolist() == [0.5, 1.5, 2.5] * 2
    ragged = dataset(x=("pupil", [0.5, 1.5, 2.5]))
    with pytest.raises(BadgerError, match=r"cell \[1, 2\] \(task 'B'\): y is missing"):
        from_xarray(LINE, ragged, task="school")
    assert from_xarray(LINE, ragged, task="school", missing="drop").n_rows == 5


def test_xarray_features():
    signature = Signature("m", ("X",), "y", ("Z",), groups={"X": ("a", "b"), "Z": ("z",)})
    y = (("task", "step"), GRID)
    both = xr.Dataset({"X": (("task", "f", "step"), np.stack([GRID, -GRID], 1)), "y": y})
    parts = xr.Dataset({"a": y, "b": (("task", "step"), -GRID), "y": y})
    both["Z"] = (("task", "g"), np.ones((2, 1)))
    parts["z"] = ("task", np.ones(2))
    one, other = from_xarray(signature, both), from_xarray(signature, parts)
    assert one.columns["X"].shape == (6, 2)
    assert one.digest() == other.digest()


@pytest.mark.parametrize(
    ("given", "task", "message"),
    [
        (dataset(), None, "the data set: has no dimension 'task': say --task DIMENSION, one of"),
        (dataset(), "scool", "did you mean 'school'?"),
        (dataset().drop_vars("y"), "school", "has no variable 'y'"),
        (dataset(size=(("school", "pupil"), GRID)), "school", "size is over school, pupil"),
        (
            xr.Dataset({name: ("school", [1.0]) for name in ("x", "y", "size")}),
            "school",
            "add a dimension of steps",
        ),
        (
            dataset(
                x=(("school", "pupil"), np.where(GRID > 1, np.inf, 1)),
                y=(("school", "pupil"), GRID),
            ),
            "school",
            "x is infinite",
        ),
    ],
)
def test_bad_data_sets_are_refused(given, task, message):
    with pytest.raises(BadgerError) as caught:
        read(LINE, given, task=task)
    assert message in str(caught.value)


def test_read_takes_every_kind(tmp_path):
    frame = pd.DataFrame(
        {"task": [0, 0, 1, 1], "x": [0.1, 0.2, 0.3, 0.4], "y": [1.5, 2, 3, 4], "size": 2.5}
    )
    evidence = from_frame(LINE, frame)
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.csv.gz", index=False)
    frame.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    frame.to_parquet(tmp_path / "a.parquet")
    frame.set_index("task").to_parquet(tmp_path / "b.pq")
    evidence.to_dataset().to_netcdf(tmp_path / "long.nc")
    grid = {
        "x": frame["x"].to_numpy().reshape(2, 2),
        "y": frame["y"].to_numpy().reshape(2, 2),
        "size": np.full((2, 1), 2.5),
    }
    xr.Dataset(
        {
            name: (("task", "step")[: value.shape[1]], value.squeeze())
            for name, value in grid.items()
        }
    ).to_netcdf(tmp_path / "grid.nc")
    files = ["a.csv", "a.csv.gz", "a.tsv", "a.parquet", "b.pq", "long.nc", "grid.nc"]
    sources = [frame, frame.to_dict("list"), grid, evidence, evidence.to_dataset()]
    sources += [tmp_path / name for name in files] + [str(tmp_path / "a.csv")]
    assert {read(LINE, source).digest() for source in sources} == {evidence.digest()}
    for source in sources:
        observed, queries = split_queries(LINE, source)
        assert observed.digest() == evidence.digest()
        assert (queries.n_rows, queries.outcome) == (0, None)


def test_read_of_a_dict_takes_lengths_and_labels():
    grid = {"x": GRID, "y": GRID, "size": [1, 2], "lengths": [3, 1], "tasks": ["p", "q"]}
    evidence = read(LINE, grid)
    assert evidence.lengths.tolist() == [3, 1]
    assert evidence.tasks.tolist() == ["p", "q"]


def test_read_refuses_what_holds_no_evidence():
    with pytest.raises(BadgerError, match="not int: give one of these"):
        read(LINE, 3)
    with pytest.raises(BadgerError, match="differ in length"):
        read(LINE, {"task": [1], "x": [1, 2], "y": [1, 2], "size": [1, 2]})
    with pytest.raises(BadgerError, match="no 'y', which the program line observes"):
        read(LINE, {"x": GRID, "size": [1, 2]})
    with pytest.raises(BadgerError, match="'refuse' or 'drop', not 'keep'"):
        read(LINE, {"x": GRID, "size": [1, 2]}, missing="keep")


def test_evidence_of_another_program_is_refused():
    evidence = from_arrays(LINE, {"x": GRID}, GRID, {"size": [1, 2]})
    assert list(read(Signature("small", ("x",), "y"), evidence).task_columns) == []
    with pytest.raises(BadgerError, match=r"no 'w', .* it has x, size, y"):
        read(Signature("other", ("w",), "y"), evidence)
    with pytest.raises(BadgerError, match="holds size as another kind"):
        read(Signature("other", ("size",), "y"), evidence)


def test_split_of_arrays():
    y = np.where(GRID > 3, np.nan, GRID)
    observed, queries = split_queries(LINE, {"x": GRID, "y": y, "size": [1, 2]})
    assert (observed.n_rows, queries.n_rows) == (4, 2)
    assert observed.outcome.dtype == np.int64
    nothing, all_queries = split_queries(LINE, {"x": GRID, "size": [1, 2]})
    assert (nothing.n_rows, all_queries.n_rows) == (0, 6)
    assert nothing.outcome.shape == (0,)
