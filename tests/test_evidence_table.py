"""Evidence from data frames: what is read, what is refused and in which words."""

from __future__ import annotations

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from bayes_badger.errors import BadgerError
from bayes_badger.evidence import from_frame, split_queries
from bayes_badger.signature import Signature

RADON = Signature("radon", ("floor",), "log_radon", ("log_uranium",))
FLAT = Signature("flat", ("x",), "y")


def radon(**changes) -> pd.DataFrame:
    columns = {
        "county": ["ANOKA", "AITKIN", "ANOKA", "AITKIN", "ANOKA"],
        "floor": [0, 1, 1, 0, 0],
        "log_radon": [1.1, 0.8, 0.3, 0.9, 1.4],
        "log_uranium": [-0.2, 0.4, -0.2, 0.4, -0.2],
    }
    return pd.DataFrame(columns | changes)


def flat(**changes) -> pd.DataFrame:
    return pd.DataFrame({"task": [1, 1, 2], "x": [0.1, 0.2, 0.3], "y": [1.5, 0, 1]} | changes)


def refused(frame, signature=FLAT, **options) -> str:
    with pytest.raises(BadgerError) as caught:
        from_frame(signature, frame, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


# What is read.


def test_shuffled_tasks_are_gathered_in_file_order():
    evidence = from_frame(RADON, radon(), task="county")
    assert evidence.tasks.tolist() == ["ANOKA", "AITKIN"]
    assert evidence.task_index.tolist() == [0, 0, 0, 1, 1]
    assert evidence.rows.tolist() == [1, 3, 5, 2, 4]
    assert evidence.outcome.tolist() == [1.1, 0.3, 1.4, 0.8, 0.9]
    assert evidence.columns["floor"].dtype == np.int64
    assert evidence.task_columns["log_uranium"].tolist() == [-0.2, 0.4]
    assert (evidence.task_name, evidence.outcome_name) == ("county", "log_radon")
    assert evidence.notes == ()


@pytest.mark.parametrize(
    "frame",
    [
        radon().rename(columns={"county": "task"}),
        radon().set_index("county"),
        radon().set_index(["county", "floor"]),
        radon().assign(step=range(5)).set_index(["county", "floor"]),
    ],
    ids=["column", "index", "level beside a column", "level"],
)
def test_the_task_is_found(frame):
    assert from_frame(RADON, frame).tasks.tolist() == ["ANOKA", "AITKIN"]


def test_one_task_and_lone_rows():
    assert from_frame(FLAT, flat(task=7)).lengths.tolist() == [3]
    assert from_frame(FLAT, flat(task=[3, 2, 1])).tasks.tolist() == [3, 2, 1]
    assert from_frame(FLAT, flat()[:1]).n_rows == 1


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["<b>x</b>", "a/b", "ß 🦡"], ["<b>x</b>", "a/b", "ß 🦡"]),
        ([" a", "a", "A"], [" a", "a", "A"]),
        (["01", "1", "2"], ["01", "1", "2"]),
        ([2.0, 1.0, 3.0], [2, 1, 3]),
        ([2.5, 1.0, 3.0], ["2.5", "1.0", "3.0"]),
        ([1, "b", "1"], ["1", "b"]),
        (pd.Categorical(["q", "p", "q"], categories=["p", "q", "r"]), ["q", "p"]),
        (pd.array([4, 5, 4], dtype="Int64"), [4, 5]),
        (pd.to_datetime(["2020-01-02", "2020-01-01", "2020-01-01"]), None),
    ],
)
def test_labels_are_kept(labels, expected):
    tasks = from_frame(FLAT, flat(task=labels)).tasks
    if expected is None:
        assert [label[:10] for label in tasks] == ["2020-01-02", "2020-01-01"]
    else:
        assert tasks.tolist() == expected
        assert tasks.dtype == (np.int64 if isinstance(expected[0], int) else object)


def test_mixed_labels_are_noted():
    notes = from_frame(FLAT, flat(task=[1, "b", "1"])).notes
    assert notes == ("task mixes numbers and text, so all its labels are read as text",)


@pytest.mark.parametrize(
    ("cells", "dtype", "expected"),
    [
        ([True, False, True], bool, [True, False, True]),
        (["3.5", " 4", "1e2"], float, [3.5, 4, 100]),
        (["3", "4", "-5"], int, [3, 4, -5]),
        (pd.array([1, 2, 3], dtype="Int8"), int, [1, 2, 3]),
        (pd.array([1.5, 2, 3], dtype="Float32"), float, [1.5, 2, 3]),
        (pd.array([True, False, True], dtype="boolean"), bool, [True, False, True]),
        (pd.Categorical([3, 1, 2]), int, [3, 1, 2]),
        ([Decimal("1.5"), Decimal(2), Decimal(3)], float, [1.5, 2, 3]),
        (pd.Series([1, 2.5, True], dtype=object), float, [1, 2.5, 1]),
        (np.array([1, 2, 3], np.uint8), int, [1, 2, 3]),
        (np.array([1, 2, 3], np.float16), float, [1, 2, 3]),
        (pd.arrays.SparseArray([0.0, 0.0, 1.5]), float, [0, 0, 1.5]),
        (pd.array([1, 2, 3], dtype="int32[pyarrow]"), int, [1, 2, 3]),
        (pd.Series([1, "2", 3.5], dtype=object), float, [1, 2, 3.5]),
    ],
)
def test_numbers_in_every_guise(cells, dtype, expected):
    values = from_frame(FLAT, flat(x=cells)).columns["x"]
    assert values.tolist() == expected
    assert values.dtype == dtype


def test_features_are_gathered():
    signature = Signature("m", ("X",), "y", groups={"X": ("x1", "x2"), "y": ("y",)})
    evidence = from_frame(signature, flat(x1=[1, 2, 3], x2=[True, False, True]))
    assert evidence.columns["X"].tolist() == [[1, 1], [2, 0], [3, 1]]
    assert evidence.outcome.shape == (3, 1)


def test_extra_columns_are_ignored():
    frame = flat(name=["a", None, "c"], when=pd.Timestamp("2020-01-01"))
    frame = pd.concat([frame, frame[["name"]]], axis=1)
    assert from_frame(FLAT, frame).n_rows == 3


def test_the_table_is_not_shared():
    frame = flat(x=np.array([1.0, 2.0, 3.0]))
    evidence = from_frame(FLAT, frame)
    evidence.columns["x"][0] = 9
    assert frame["x"][0] == 1


# What is missing.


def test_missing_is_refused_or_dropped_and_told():
    frame = radon(log_radon=[1.1, None, 0.3, None, None], floor=[0, 1, None, 0, 0])
    assert refused(frame, RADON, task="county") == (
        "the table, row 3: floor is missing: fill it in, or drop them with --missing drop"
    )
    frame["floor"] = 0
    assert refused(frame, RADON, task="county", source="radon.csv") == (
        "radon.csv, row 2: log_radon is missing (3 such rows): fill it in, or drop them with "
        "--missing drop"
    )
    evidence = from_frame(RADON, frame, task="county", missing="drop")
    assert evidence.rows.tolist() == [1, 3]
    assert evidence.notes == (
        "dropped 3 rows with no log_radon: rows 2, 4, 5",
        "1 task has no rows: 'AITKIN'",
    )
    assert evidence.task_columns["log_uranium"].tolist() == [-0.2, 0.4]


@pytest.mark.parametrize("nothing", [None, np.nan, pd.NA, pd.NaT, "", " ", "NA", "nan", "NULL"])
def test_what_counts_as_missing(nothing):
    frame = flat(y=pd.Series([1, nothing, 3], dtype=object))
    assert "row 2: y is missing" in refused(frame)
    evidence = from_frame(FLAT, frame, missing="drop")
    assert evidence.outcome.tolist() == [1, 3]
    assert evidence.outcome.dtype == np.int64


def test_counts_are_counts_again_and_measures_stay():
    dropped = from_frame(FLAT, flat(y=[1.0, np.nan, 4.0]), missing="drop")
    assert dropped.outcome.dtype == np.int64
    assert from_frame(FLAT, flat(y=[1.0, 2.0, 4.0])).outcome.dtype == np.float64
    half = from_frame(FLAT, flat(y=[1.5, np.nan, 4.0]), missing="drop")
    assert half.outcome.dtype == np.float64
    truth = from_frame(FLAT, flat(y=[True, None, False]), missing="drop")
    assert truth.outcome.tolist() == [True, False]
    assert truth.outcome.dtype == bool


def test_nothing_left_is_refused():
    assert "no row is left: dropped 3 rows with no y: rows 1, 2, 3" in refused(
        flat(y=np.nan, x=[1, 2, 3]), missing="drop"
    )


def test_a_task_without_rows_is_a_row_of_its_label():
    frame = pd.DataFrame(
        {"task": ["a", "b", "a", "c"], "x": [1, None, 2, None], "y": [3, None, 4, None]}
    )
    evidence = from_frame(FLAT, frame)
    assert evidence.tasks.tolist() == ["a", "b", "c"]
    assert evidence.lengths.tolist() == [2, 0, 0]
    assert evidence.notes == ("2 tasks have no rows: 'b', 'c'",)
    assert evidence.columns["x"].dtype == np.int64
    # Where the task has rows, an empty row is a row that lacks everything.
    frame["task"] = ["a", "a", "a", "c"]
    assert "row 2: x is missing" in refused(frame)


def test_tasks_without_rows_alone_are_evidence_of_nothing():
    evidence = from_frame(RADON, radon(floor=np.nan, log_radon=None), task="county")
    assert (evidence.n_tasks, evidence.n_rows) == (2, 0)
    assert evidence.task_columns["log_uranium"].tolist() == [-0.2, 0.4]


def test_queries_are_told_from_evidence():
    frame = radon(log_radon=[4, None, 5, None, None])
    observed, queries = split_queries(RADON, frame, task="county")
    assert observed.tasks.tolist() == queries.tasks.tolist() == ["ANOKA", "AITKIN"]
    assert (observed.rows.tolist(), queries.rows.tolist()) == ([1, 3], [5, 2, 4])
    assert observed.outcome.tolist() == [4, 5]
    assert observed.outcome.dtype == np.int64
    assert queries.outcome is None
    assert queries.task_columns["log_uranium"].tolist() == [-0.2, 0.4]


def test_a_table_without_outcome_is_all_queries():
    observed, queries = split_queries(RADON, radon().drop(columns="log_radon"), task="county")
    assert (observed.n_rows, observed.outcome.shape, queries.n_rows) == (0, (0,), 5)
    assert observed.padded().mask.sum() == 0


def test_queries_still_need_their_columns():
    frame = radon(log_radon=None, floor=[0, None, 1, 1, 1])
    with pytest.raises(BadgerError, match="row 2: floor is missing"):
        split_queries(RADON, radon(floor=[0, None, 1, 1, 1]), task="county")
    observed, queries = split_queries(RADON, frame, task="county", missing="drop")
    assert (observed.n_rows, queries.n_rows) == (0, 4)


def test_an_outcome_of_several_parts_is_whole_or_absent():
    signature = Signature("m", ("x",), "y", groups={"y": ("y1", "y2")})
    frame = flat(y1=[1, 2, None], y2=[1, None, None])
    with pytest.raises(BadgerError, match="row 2: y2 is missing"):
        split_queries(signature, frame)
    observed, queries = split_queries(signature, frame, missing="drop")
    assert (observed.outcome.tolist(), queries.n_rows) == ([[1, 1]], 1)


# What is refused.


def test_a_missing_column_is_named_with_its_neighbour():
    message = refused(radon().rename(columns={"log_radon": "log_radn"}), RADON, task="county")
    assert message == (
        "the table: has no column 'log_radon', which the program radon needs as its outcome "
        "(did you mean 'log_radn'?): rename or add it; it has county, floor, log_radn, log_uranium"
    )


def test_the_task_column_is_asked_for():
    assert refused(radon(), RADON) == (
        "the table: which column labels the task? say --task COLUMN, one of its columns: county"
    )
    assert "has no column 'conty' for the task (did you mean 'county'?)" in refused(
        radon(), RADON, task="conty"
    )
    two = radon(step=range(5)).set_index(["county", "step"])
    assert "one of its columns: county, step" in refused(two, RADON)


def test_a_label_must_be_there():
    for blank in (None, "", "  "):
        assert refused(flat(task=["a", blank, "b"])) == (
            "the table, row 2: the label of the task (task) is missing: fill it in, or remove the "
            "row"
        )
    assert "(2 such rows)" in refused(flat(task=[1, None, None]))


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([1, np.inf, -np.inf], "row 2: x is infinite (2 such rows): correct it, or empty"),
        ([1, 2, 1e20], "row 3: x is 1e+20, too large for single precision; a placeholder for"),
        ([1, -1e15, 2], "row 2: x is -1000000000000000.0, too large"),
        ([1, 10**18, 2], "row 2: x is 1000000000000000000, too large"),
        ([1, 10**30, 2], "row 2: x is 1e+30, too large"),
        (np.array([1, 2**63, 2], np.uint64), "row 2: x is 9.223372036854776e+18"),
        ([1, 3_000_000_000, 2], "row 2: x is 3000000000, too large for single precision (32-bit"),
        (
            [1700000000, 1700000010, 1700000020],
            "x: 1700000000 (row 1) and 1700000010 (row 2) are equal in single precision: "
            "subtract its smallest value first",
        ),
        ([1.7e9, 1.7e9 + 10, 1.7e9 + 900], "x: 1700000000 (row 1) and 1700000010 (row 2) are"),
        ([0.1, 1e-50, 1e-60], None),
        ([2460000.1, 2460000.2, 2460000.3], "x: 2460000.2 (row 2) and 2460000.3 (row 3) are"),
        ([1e-50, 1e-60, 0], "are equal in single precision"),
        (
            ["low", "high", "3"],
            "row 1: x: 'low' is not a number (2 such rows): the other cells",
        ),
        (
            pd.Categorical(["a", "b", "a"]),
            "x: 'a' is not a number (3 such rows): x is text; write 0 where it is 'a' and 1 where",
        ),
        (["a", "b", "c"], "x is text with 3 values ('a', 'b', 'c'); write a column of 0 and 1 for"),
        (["a", "a", "a"], "every row of x says 'a', so leave x out of the program"),
        (["1", "3,5", "2"], "row 2: x: '3,5' is not a number: write a decimal point, as in 3.5"),
        (["1", "3,500.5", "2"], "remove the separators of thousands"),
        (["1", "12%", "2"], "row 2: x: '12%' is not a number: keep the number alone"),
        (["1", "2020-01-31", "2"], "row 2: x is a time ('2020-01-31'), not a number: subtract a"),
        (["inf", "1", "2"], "row 1: x is infinite"),
        ([1, 2 + 1j, 3], "row 1: x is complex"),
        (pd.Series([1, 2 + 1j, "a"], dtype=object), "row 2: x is complex"),
        (pd.date_range("2020", periods=3), "row 1: x is a time ('2020-01-01 00:00:00'), not a"),
        (pd.date_range("2020", periods=3, tz="UTC"), "subtract a start and use days"),
        (pd.timedelta_range("1D", periods=3), "x is a time ('1 days"),
        ([datetime.date(2020, 1, 1), None, None], "row 1: x is a time ('2020-01-01')"),
        ([[1, 2], [3], [4]], "row 1: x holds [1, 2], more than one number in a cell: give each"),
        ([1, 2, {"a": 3}], "row 3: x holds {'a': 3}"),
        (pd.array([[1], [2], [3]], pd.ArrowDtype(pa.list_(pa.int8()))), "row 1: x holds [1]"),
        ([1, 10**400, 2], "row 2: x is 1e+300, too large"),
        (pd.Categorical([1, None, 2]), "row 2: x is missing"),
        (pd.period_range("2020", periods=3, freq="D"), "row 1: x is a time ('2020-01-01')"),
    ],
)
def test_cells_no_program_can_use(cells, message):
    frame = flat(task=[1, 1, 1], x=cells)
    if message is None:
        from_frame(FLAT, frame)
        return
    told = refused(frame)
    assert message in told
    assert told.startswith("the table")
    if "infinite" in told:
        assert "drop" not in told


def test_collapse_is_seen_within_tasks():
    start = 1.6e9 + np.repeat(np.arange(50), 20) * 1e6
    time = start + np.tile(np.arange(20), 50) * 3.3
    frame = pd.DataFrame({"task": np.repeat(np.arange(50), 20), "x": time, "y": 0.5})
    assert "equal in single precision" in refused(frame)
    # The same values tell tasks apart well enough where each task has one.
    from_frame(FLAT, frame.drop_duplicates("task"))


def test_many_measured_numbers_may_have_equal_neighbours():
    rng = np.random.default_rng(0)
    measured = rng.normal(100, 1, 200_000)
    assert len(np.unique(measured.astype(np.float32))) < 200_000
    frame = pd.DataFrame({"task": np.arange(200_000) % 100, "x": measured, "y": 0.5})
    assert from_frame(FLAT, frame).n_rows == 200_000


def test_rounding_of_a_mean_is_not_information():
    frame = flat(task=[1, 1, 1], x=[0.3, 0.1 + 0.2, 0.3])
    assert from_frame(FLAT, frame).n_rows == 3


def test_a_task_column_must_be_constant():
    frame = radon(log_uranium=[1.2, 0.4, 1.4, 0.4, 1.2])
    assert refused(frame, RADON, task="county") == (
        "the table: log_uranium varies within task 'ANOKA' (row 1: 1.2, row 3: 1.4): "
        "mend the table, or, if its rows may differ, make it a positional column of the program"
    )


def test_a_task_column_must_be_there():
    nowhere = radon(log_uranium=[-0.2, None, -0.2, None, -0.2])
    assert "row 2: log_uranium is missing for the whole task 'AITKIN'" in refused(
        nowhere, RADON, task="county", missing="drop"
    )
    once = radon(log_uranium=[-0.2, None, -0.2, 0.4, -0.2])
    assert "row 2: log_uranium is missing: fill it in" in refused(once, RADON, task="county")
    evidence = from_frame(RADON, once, task="county", missing="drop")
    assert evidence.notes == ("dropped 1 row with no log_uranium: row 2",)


def test_task_columns_are_checked_like_all():
    frame = radon(log_uranium=[1e20, 0.4, 1e20, 0.4, 1e20])
    assert "row 1: log_uranium is 1e+20, too large" in refused(frame, RADON, task="county")


def test_columns_that_share_a_name():
    frame = pd.concat([flat(), flat()[["x"]]], axis=1)
    assert refused(frame) == "the table: 2 columns are called x: rename all but one"


def test_no_rows_and_no_such_option():
    assert "has a header but no rows" in refused(flat()[:0])
    assert "missing is 'refuse' or 'drop', not 'no'" in refused(flat(), missing="no")
    assert "holds lists, not labels" in refused(flat(task=[[1], [2], [3]]))


@pytest.mark.slow
def test_a_million_rows_and_100_000_tasks():
    rng = np.random.default_rng(0)
    rows = 1_000_000
    task = rng.integers(0, 100_000, rows)
    frame = pd.DataFrame(
        {"task": task, "x": rng.normal(size=rows), "y": rng.normal(size=rows), "size": task % 7}
    )
    evidence = from_frame(Signature("line", ("x",), "y", ("size",)), frame)
    blocks = evidence.blocks()
    assert evidence.n_rows == rows
    assert evidence.n_tasks == len(np.unique(task))
    assert sum(block.mask.sum() for block in blocks) == rows
    assert sum(block.mask.size for block in blocks) <= 2 * rows
    assert len(blocks) <= 6
