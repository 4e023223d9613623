"""Evidence from files: CSV, Parquet and netCDF, whole and broken."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayes_badger.errors import BadgerError
from bayes_badger.evidence import read, split_queries
from bayes_badger.signature import Signature

RADON = Signature("radon", ("floor",), "log_radon", ("log_uranium",))
FLAT = Signature("flat", ("x",), "y")

TABLE = """county,floor,log_radon,log_uranium
ANOKA,0,1.1,-0.2
AITKIN,1,0.8,0.4
ANOKA,1,0.3,-0.2
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a file and goes to its folder, so that messages begin with its name."""
    monkeypatch.chdir(tmp_path)

    def write(text, name="radon.csv"):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return name

    return write


def refused(source, signature=FLAT, **options) -> str:
    with pytest.raises(BadgerError) as caught:
        read(signature, source, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_csv(write):
    evidence = read(RADON, write(TABLE), task="county")
    assert evidence.tasks.tolist() == ["ANOKA", "AITKIN"]
    assert evidence.rows.tolist() == [1, 3, 2]
    assert evidence.columns["floor"].dtype == np.int64


@pytest.mark.parametrize(
    "text",
    [
        TABLE.replace("\n", "\r\n"),
        TABLE.replace("\n", "\n\n"),
        "\n" + TABLE + "\n  \n",
        "\ufeff" + TABLE,
        TABLE.replace(",", ", ").replace(", ", ",  "),
        TABLE.rstrip(),
        TABLE.replace("ANOKA", '"ANOKA"').replace("1.1", '"1.1"'),
        TABLE.replace("log_uranium\n", "log_uranium,note\n")
        .replace("-0.2\n", '-0.2,"a, ""b""\nc"\n')
        .replace("0.4\n", "0.4,\n"),
    ],
    ids=["crlf", "blank lines", "blank ends", "mark", "spaces", "no end", "quotes", "note"],
)
def test_csv_in_every_guise(write, text):
    plain = read(RADON, write(TABLE, "plain.csv"), task="county")
    assert read(RADON, write(text), task="county").digest() == plain.digest()


def test_csv_labels_are_kept(write):
    text = "task,x,y\n{},1.5,2\n{},2.5,3\n"
    assert read(FLAT, write(text.format("12", "-3"))).tasks.tolist() == [12, -3]
    assert read(FLAT, write(text.format("012", "3"))).tasks.tolist() == ["012", "3"]
    assert read(FLAT, write(text.format(" a", "a/b"))).tasks.tolist() == [" a", "a/b"]
    namibia = read(FLAT, write(text.format("NA", "ZA")))
    assert namibia.tasks.tolist() == ["NA", "ZA"]
    assert namibia.notes == ("task 'NA' is taken for the label of a task, not for a missing one",)


def test_the_label_may_be_a_column_too(write):
    signature = Signature("m", ("x",), "y", ("year",))
    evidence = read(signature, write("year,x,y\n2001,1,2\n2002,3,4\n"), task="year")
    assert evidence.tasks.tolist() == evidence.task_columns["year"].tolist() == [2001, 2002]


def test_csv_truth_values_and_missing_counts(write):
    evidence = read(FLAT, write("task,x,y\na,True,1\na,,2\nb,False,\n"), missing="drop")
    assert evidence.columns["x"].tolist() == [True]
    assert evidence.notes == (
        "dropped 1 row with no x: row 2",
        "dropped 1 row with no y: row 3",
        "1 task has no rows: 'b'",
    )
    observed, queries = split_queries(FLAT, write("task,x,y\na,1,1\na,2,NA\nb,3,7\n"))
    assert observed.outcome.dtype == np.int64
    assert queries.columns["x"].tolist() == [2]


def test_numbers_are_read_exactly(write):
    x = np.random.default_rng(0).normal(size=500)
    frame = pd.DataFrame({"task": 1, "x": x, "y": x})
    frame.to_csv(write("", "x.csv"), index=False)
    assert read(FLAT, "x.csv").columns["x"].tolist() == x.tolist()


def test_a_row_is_named_with_its_line(write):
    missing = TABLE.replace("\n", "\n\n").replace("0.8", "")
    assert refused(write(missing), RADON, task="county") == (
        "radon.csv, row 2 (line 5): log_radon is missing: fill it in, or drop them with "
        "--missing drop"
    )
    assert "radon.csv, row 3 (line 4): log_radon: '0,3' is not a number" in refused(
        write(TABLE.replace("0.3", '"0,3"')), RADON, task="county"
    )
    varies = refused(write(TABLE.replace("0.3,-0.2", "0.3,0.1")), RADON, task="county")
    assert "task 'ANOKA' (row 1 (line 2): -0.2, row 3 (line 4): 0.1)" in varies


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "radon.csv: is empty"),
        (" \n\n", "radon.csv: is empty"),
        ("task,x,y\n", "radon.csv: has a header but no rows"),
        ("task,x,x,y\n1,2,3,4\n", "radon.csv: 2 columns are called x: rename all but one"),
        ("task,x\n1,2\n", "has no column 'y', which the program flat needs"),
        ("id,x,y\n1,2,3\n", "which column labels the task? say --task COLUMN, one of its columns"),
        ("task,x,y\n1,2,3\n1,2\n", "radon.csv, line 3: has 2 cells where the header has 3"),
        ("task,x,y\n\n1,2,3,4\n", "radon.csv, line 3: has 4 cells where the header has 3"),
        ("task,x,y\n1,2,3,\n1,2,3,\n", "radon.csv, line 2: has 4 cells"),
        ('task,x,y\n1,2,3\n1,"2,3\n1,2,3\n', "radon.csv, line 3: cannot be read as CSV"),
        ("task;x;y\n1;2;3\n", "separates its columns by semicolons (task, x, y): separate them by"),
        ("task\tx\ty\n1\t2\t3\n", "separates its columns by tabs (task, x, y): call it .tsv"),
        ("task|x|y\n1|2|3\n", "separates its columns by vertical bars (task, x, y)"),
        ("task,x,y\n1,2,3\nMünchen,2,3\n".encode("latin-1"), "line 3: byte 0xfc is not UTF-8"),
        ("task,x,y\n1,2,3\n".encode("utf-16"), "is not a text file in UTF-8"),
        (b"PK\x03\x04\x00\x00", "is not a text file"),
        ("task,x,y\n,2,3\n", "row 1 (line 2): the label of the task (task) is missing"),
        ("task,x,y\na,2,inf\n", "row 1 (line 2): y is infinite"),
        ("task,x,y\na,2,1e20\n", "row 1 (line 2): y is 1e+20, too large"),
        ("task,x,y\na,2,99999999999999999999\n", "too large for single precision"),
        ("task,x,y\na,high,3\n", "row 1 (line 2): x: 'high' is not a number"),
        ("task,x,y\na,2020-01-01,3\n", "x is a time ('2020-01-01'), not a number"),
        ("task,x,y\na,1,3\na,,\n", "row 2 (line 3): x is missing"),
    ],
)
def test_bad_csv_is_refused(write, text, message):
    assert message in refused(write(text))


def test_surplus_columns_may_share_a_name(write):
    assert read(FLAT, write("task,x,y,,\n1,2,3,,\n")).n_rows == 1


def test_a_task_without_rows(write):
    text = "task,x,y\na,1,2\nb,,\n"
    evidence = read(FLAT, write(text))
    assert evidence.lengths.tolist() == [1, 0]
    assert evidence.columns["x"].dtype == np.int64


def test_paths_that_lead_nowhere(write, tmp_path):
    write(TABLE)
    assert refused("radn.csv") == (
        "there is no file radn.csv (did you mean 'radon.csv'?): check the path"
    )
    assert "there is no file" in refused("no/such/folder/radon.csv")
    assert "is a folder" in refused(tmp_path)
    assert "is of no known kind ('.xlsx'): save it from the spreadsheet as one of" in refused(
        write(TABLE, "radon.xlsx")
    )


def test_broken_files(write):
    packed = gzip.compress(TABLE.encode())
    assert "not a whole gzip file" in refused(write(packed[:-9], "a.csv.gz"))
    assert "not a whole gzip file" in refused(write(TABLE, "b.csv.gz"))
    assert "a.parquet: is empty" in refused(write("", "a.parquet"))
    for name in ("b.parquet", "c.pq"):
        assert f"{name}: cannot be read as Parquet" in refused(write(TABLE * 9, name))
    assert "a.nc: cannot be read as netCDF" in refused(write(TABLE, "a.nc"))
    pd.DataFrame({"task": [1], "x": [1.0], "y": [2.0]}).to_parquet("d.parquet")
    whole = Path("d.parquet").read_bytes()
    assert "cannot be read as Parquet" in refused(write(whole[:4] + whole[300:], "e.parquet"))


def test_parquet_cells(write):
    frame = pd.DataFrame({"task": ["a", "b"], "x": [1, 2], "y": [True, None]})
    frame.to_parquet("a.parquet")
    assert "a.parquet, row 2: y is missing" in refused("a.parquet")
    evidence = read(FLAT, "a.parquet", missing="drop")
    assert evidence.outcome.tolist() == [True]
    frame.assign(y=[[1, 2], [3]]).to_parquet("b.parquet")
    assert "b.parquet, row 1: y holds [1, 2], more than one number" in refused("b.parquet")
    frame.assign(y=pd.Timestamp("2020-01-01")).to_parquet("c.parquet")
    assert "subtract a start and use days" in refused("c.parquet")
    frame.drop(columns="y").to_parquet("d.parquet")
    assert "d.parquet: has no column 'y'" in refused("d.parquet")
