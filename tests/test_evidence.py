"""Evidence itself: long form, blocks, selection, netCDF, digest."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayes_badger.errors import BadgerError
from bayes_badger.evidence import Block, Evidence, from_frame
from bayes_badger.signature import Signature

LINE = Signature("line", ("x",), "y", ("size",))


def ragged(lengths, seed=0, outcome="float", labels=None) -> Evidence:
    rng = np.random.default_rng(seed)
    lengths = np.asarray(lengths)
    rows = int(lengths.sum())
    y = {"float": rng.normal(size=rows), "int": rng.integers(0, 9, rows)}.get(outcome)
    return Evidence(
        columns={"x": rng.normal(size=rows), "X": rng.normal(size=(rows, 3))},
        outcome=rng.random(rows) < 0.5 if outcome == "bool" else y,
        task_columns={"size": np.arange(len(lengths)) * 10},
        task_index=np.repeat(np.arange(len(lengths)), lengths),
        tasks=np.arange(len(lengths)) + 100 if labels is None else np.asarray(labels, object),
        rows=np.arange(rows) + 1,
        task_name="county",
        outcome_name="y",
        notes=("dropped 1 row with no y: row 4",),
    )


def covers(evidence: Evidence, blocks: list[Block]) -> None:
    """Every row is in one real cell, and every cell repeats a row of the right kind."""
    real = np.concatenate([block.rows[block.mask] for block in blocks])
    assert np.array_equal(np.sort(real), np.arange(evidence.n_rows))
    positions = np.concatenate([block.tasks for block in blocks])
    assert np.array_equal(np.sort(positions), np.arange(evidence.n_tasks))
    for block in blocks:
        assert np.array_equal(block.mask.sum(1), evidence.lengths[block.tasks])
        own = evidence.lengths[block.tasks] > 0
        assert (evidence.task_index[block.rows[own]] == block.tasks[own][:, None]).all()


def test_sizes():
    evidence = ragged([3, 0, 2])
    assert (evidence.n_tasks, evidence.n_rows) == (3, 5)
    assert evidence.lengths.tolist() == [3, 0, 2]


def test_what_contradicts_itself_is_a_defect():
    with pytest.raises(ValueError, match="sorted"):
        Evidence({"x": np.zeros(2)}, None, {}, np.array([1, 0]), np.arange(2), np.arange(2))
    with pytest.raises(ValueError, match="x has 3 values for 2 rows"):
        Evidence({"x": np.zeros(3)}, None, {}, np.array([0, 1]), np.arange(2), np.arange(2))


def test_padded_is_one_block_in_order():
    evidence = ragged([3, 1, 2])
    block = evidence.padded()
    assert block.tasks.tolist() == [0, 1, 2]
    assert block.mask.tolist() == [[True] * 3, [True, False, False], [True, True, False]]
    assert block.columns["X"].shape == (3, 3, 3)
    assert block.task_columns["size"].tolist() == [[0], [10], [20]]
    # Padding repeats the last row of the same task.
    assert block.columns["x"][1].tolist() == [np.float32(evidence.columns["x"][3])] * 3
    covers(evidence, [block])


def test_blocks_hold_single_precision():
    block = ragged([2, 1], outcome="int").padded()
    assert block.columns["x"].dtype == np.float32
    assert block.outcome.dtype == np.int32
    assert block.task_columns["size"].dtype == np.int32
    assert ragged([2, 1], outcome="bool").padded().outcome.dtype == bool
    assert ragged([2, 1], outcome="none").padded().outcome is None


def test_a_task_without_rows_borrows_a_row_and_is_masked():
    evidence = ragged([0, 2])
    block = evidence.padded()
    assert not block.mask[0].any()
    assert block.columns["x"][0].tolist() == [np.float32(evidence.columns["x"][0])] * 2


def test_no_row_at_all_is_filled_with_ones():
    evidence = ragged([0, 0])
    (block,) = evidence.blocks()
    assert block.columns["x"].tolist() == [[1.0], [1.0]]
    assert block.columns["X"].shape == (2, 1, 3)
    assert block.outcome.tolist() == [[1.0], [1.0]]
    assert not block.mask.any()
    assert evidence.long([block], [block.outcome]).shape == (0,)


@pytest.mark.parametrize(
    "lengths",
    [
        [1],
        [5, 5, 5],
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 100],
        [500_000, *[7] * 1000],
        [0, 0, 3, 0, 40],
        [0] * 500 + [1],
        np.random.default_rng(1).integers(0, 3000, 400),
        np.random.default_rng(2).lognormal(3, 2, 2000).astype(int),
    ],
    ids=["one", "equal", "spread", "one long", "empty", "mostly empty", "uniform", "lognormal"],
)
@pytest.mark.parametrize("waste", [1.2, 2.0, 4.0])
def test_blocks_are_few_and_waste_little(lengths, waste):
    evidence = ragged(lengths)
    blocks = evidence.blocks(waste)
    covers(evidence, blocks)
    cells = sum(block.mask.size for block in blocks)
    assert cells <= waste * evidence.n_rows + 2 * (evidence.lengths == 0).sum()
    assert len(blocks) <= 1 + np.log(max(lengths)) / np.log(min(waste, 2)) + 1


def test_blocks_of_similar_tasks_are_one():
    assert len(ragged([4, 5, 6, 7, 8]).blocks()) == 1


def test_waste_of_one_is_refused():
    with pytest.raises(ValueError, match="waste"):
        ragged([1, 2]).blocks(1.0)


@pytest.mark.parametrize("axis", [0, 1, -2])
def test_long_undoes_blocks(axis):
    evidence = ragged([3, 0, 9, 1, 70])
    blocks = evidence.blocks()
    assert len(blocks) > 1
    values = [block.columns["x"] for block in blocks]
    if axis:
        values = [np.stack([value, 2 * value]) for value in values]
    long = evidence.long(blocks, values, axis)
    expected = evidence.columns["x"].astype(np.float32)
    np.testing.assert_array_equal(long, np.stack([expected, 2 * expected]) if axis else expected)


def test_long_keeps_trailing_axes():
    evidence = ragged([3, 0, 9, 1, 70])
    blocks = evidence.blocks()
    long = evidence.long(blocks, [block.columns["X"] for block in blocks])
    np.testing.assert_array_equal(long, evidence.columns["X"].astype(np.float32))


def test_by_task_undoes_blocks():
    evidence = ragged([30, 0, 9, 1, 70])
    blocks = evidence.blocks()
    sizes = evidence.by_task(blocks, [block.task_columns["size"][:, 0] for block in blocks])
    assert sizes.tolist() == [0, 10, 20, 30, 40]
    totals = [np.ones((2, 1)) * block.mask.sum(1) for block in blocks]
    assert evidence.by_task(blocks, totals, -1).tolist() == [evidence.lengths.tolist()] * 2


def test_select_keeps_labels_and_order():
    evidence = ragged([3, 0, 2, 4], labels=["a", "b", "c", "d"])
    some = evidence.select([3, 1, 0])
    assert some.tasks.tolist() == ["d", "b", "a"]
    assert some.lengths.tolist() == [4, 0, 3]
    assert some.rows.tolist() == [6, 7, 8, 9, 1, 2, 3]
    assert some.columns["x"].tolist() == [*evidence.columns["x"][5:], *evidence.columns["x"][:3]]
    assert some.task_columns["size"].tolist() == [30, 10, 0]
    assert evidence.select([2, 2]).rows.tolist() == [4, 5, 4, 5]
    assert evidence.select(np.array([False, False, True, False])).rows.tolist() == [4, 5]
    assert evidence.select([]).blocks() == []


def test_select_rows_keeps_every_task():
    evidence = ragged([3, 1, 2])
    some = evidence.select_rows([5, 0, 2])
    assert some.rows.tolist() == [1, 3, 6]
    assert some.lengths.tolist() == [2, 0, 1]
    assert evidence.without_outcome().outcome is None


@pytest.mark.parametrize("outcome", ["float", "int", "bool", "none"])
@pytest.mark.parametrize("labels", [None, ["a/b", "<b>é</b>", ""]], ids=["integers", "text"])
@pytest.mark.parametrize("lengths", [[3, 0, 2], [0, 0, 0]], ids=["rows", "no rows"])
def test_netcdf_loses_nothing(tmp_path, outcome, labels, lengths):
    evidence = ragged(lengths, outcome=outcome, labels=labels)
    evidence.to_dataset().to_netcdf(tmp_path / "e.nc")
    with xr.open_dataset(tmp_path / "e.nc") as dataset:
        again = Evidence.from_dataset(dataset)
    assert again.digest() == evidence.digest()
    assert again.tasks.dtype == evidence.tasks.dtype
    assert again.rows.tolist() == evidence.rows.tolist()
    assert (again.notes, again.task_name) == (evidence.notes, evidence.task_name)
    assert repr(again) == repr(evidence)
    if outcome != "none":
        assert again.outcome.dtype == evidence.outcome.dtype


def test_netcdf_survives_names_that_clash():
    evidence = Evidence(
        columns={"row": np.arange(2.0), "task_index": np.arange(2), "obs_id": np.ones(2, bool)},
        outcome=np.ones((2, 2)),
        task_columns={"county|state": np.arange(2)},
        task_index=np.arange(2),
        tasks=np.array(["p", "q"], object),
        rows=np.arange(1, 3),
        task_name="county/state",
        outcome_name="y",
    )
    dataset = evidence.to_dataset()
    assert not any("/" in str(name) for name in (*dataset.variables, *dataset.dims))
    again = Evidence.from_dataset(dataset)
    assert again.digest() == evidence.digest()
    assert list(again.columns) == ["row", "task_index", "obs_id"]
    assert again.task_name == "county/state"


def test_from_dataset_refuses_any_other():
    with pytest.raises(BadgerError, match="not evidence"):
        Evidence.from_dataset(xr.Dataset())


def test_digest_tells_data_apart():
    frame = pd.DataFrame({"task": [1, 1, 2], "x": [0.1, 0.2, 0.3], "y": [1, 0, 1], "size": 3})
    digest = from_frame(LINE, frame).digest()
    assert digest == from_frame(LINE, frame.assign(extra="z"), source="other").digest()
    assert digest == from_frame(LINE, frame.rename(columns={"task": "c"}), task="c").digest()
    for changed in (
        frame.assign(x=[0.1, 0.2, 0.31]),
        frame.assign(y=[1, 1, 1]),
        frame.assign(y=[1.0, 0.0, 1.0]),
        frame.assign(task=[1, 1, 3]),
        frame.assign(task=["1", "1", "2"]),
        frame.assign(task=[1, 2, 2]),
        frame.assign(size=4),
    ):
        assert digest != from_frame(LINE, changed).digest()


def test_repr_says_what_there_is():
    assert repr(ragged([3, 0, 2], outcome="int")) == (
        "Evidence: 3 tasks by county, 5 rows (0 to 3 a task); columns x, X, task columns size, "
        "outcome y (int64)\n  dropped 1 row with no y: row 4"
    )
    assert "no outcome y" in repr(ragged([1], outcome="none"))
