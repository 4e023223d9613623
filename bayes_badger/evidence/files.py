"""Tables in files: CSV, read so that nothing is lost in silence, and Parquet.

A CSV reader forgives: lines that are too short get missing cells, a second column `x` becomes
`x.1`, a surplus column becomes an index. Here the lines are counted first, and what does not fit is
refused by its line.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayes_badger.errors import listed
from bayes_badger.evidence.numbers import MISSING_WORDS
from bayes_badger.evidence.origin import Origin, show, table_origin

_WORDS = sorted({*MISSING_WORDS, *(w.upper() for w in MISSING_WORDS), "NaN", "None", "Null"})


@dataclass(frozen=True)
class CsvTable:
    """A CSV or TSV file as a table.

    Attributes:
        name: What messages call it.
        data: Its bytes, UTF-8.
        separator: What separates its cells.
    """

    name: str
    data: bytes
    separator: str
    untyped: bool = True

    @classmethod
    def open(cls, path: Path) -> CsvTable:
        """Reads a file, unpacks it, and checks its lines.

        Raises:
            BadgerError: If it is empty, not text, or a line does not fit the header.
        """
        name = str(path)
        separator = "\t" if ".tsv" in path.name.lower() else ","
        table = cls(name, _read_bytes(path, table_origin(name)), separator)
        table.check()
        return table

    @cached_property
    def text(self) -> str:
        """The file's text, without a byte order mark."""
        try:
            return self.data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = self.data[: error.start].count(b"\n") + 1
            return self._refuse(
                f"byte {error.object[error.start]:#04x} is not UTF-8: save it as UTF-8", line
            )

    @property
    def origin(self) -> Origin:
        """What messages call it, its rows and their lines."""
        return Origin(self.name, lambda row: str(row + 1), detail=self._line)

    @cached_property
    def names(self) -> list[str]:
        """The header."""
        return [name.strip() for name in next(self._lines())[1]]

    @property
    def index_names(self) -> list[str]:
        """None: the columns of CSV are all alike."""
        return []

    def check(self) -> None:
        """Refuses a file whose lines do not fit its header.

        Raises:
            BadgerError: With the line.
        """
        origin = table_origin(self.name)
        if b"\0" in self.data:
            origin.refuse("is not a text file in UTF-8: save it as CSV with the encoding UTF-8")
        if not self.text.strip():
            origin.refuse("is empty: it needs a header and a row for each step of a task")
        header = self.names
        others = {";", "\t", ","} - {self.separator}
        if len(header) == 1 and (other := next((o for o in others if o in header[0]), None)):
            kind = {"\t": "tabs", ";": "semicolons", ",": "commas"}
            mend = "call it .tsv" if other == "\t" else "separate them by commas"
            if self.separator == "\t":
                mend = "call it .csv" if other == "," else "separate them by tabs"
            origin.refuse(f"separates its columns by {kind[other]}: {mend}")
        if self._plainly_even(len(header)):
            return
        for line, cells in self._lines():
            if len(cells) != len(header):
                self._refuse(
                    f"has {len(cells)} cells where the header has {len(header)} "
                    f"({listed([show(cell) for cell in cells])}): "
                    "complete it, or put quotes around text that holds the separator",
                    line,
                )

    def load(self, names: Iterable[str], label: str) -> Mapping[str, pd.Series]:
        """Reads some columns; the labels as text, where "NA" is a name like any other."""
        header = self.names
        position = {name: header.index(name) for name in names}
        labels = header.index(label)
        options: dict[str, Any] = {
            "sep": self.separator,
            "header": 0,
            "names": list(range(len(header))),
            "index_col": False,
            "keep_default_na": False,
            "low_memory": False,
            "encoding": "utf-8-sig",
        }
        try:
            frame = pd.read_csv(
                io.BytesIO(self.data),
                usecols=sorted({*position.values()} - {labels}) or [labels],
                na_values=_WORDS,
                **options,
            )
            tasks = pd.read_csv(io.BytesIO(self.data), usecols=[labels], dtype=str, **options)
        except (pd.errors.ParserError, ValueError, OverflowError) as error:
            self.origin.refuse(f"cannot be read as CSV ({error}): save it anew from a spreadsheet")
        return {
            "": tasks[labels],
            **{name: tasks[p] if p == labels else frame[p] for name, p in position.items()},
        }

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        """First line and cells of each row that is not blank, the header first."""
        reader = csv.reader(
            io.StringIO(self.text, newline=""), delimiter=self.separator, strict=True
        )
        line = 1
        try:
            for cells in reader:
                if len(cells) > 1 or (cells and cells[0].strip()):
                    yield line, cells
                line = reader.line_num + 1
        except csv.Error as error:
            mend = "close the quote" if "unexpected end" in str(error) else "mend its quotes"
            self._refuse(f"cannot be read as CSV ({error}): {mend}", line)

    def _plainly_even(self, width: int) -> bool:
        """Whether every line has `width` cells, seen at once where nothing is quoted or blank."""
        if b'"' in self.data or self.data.count(b"\r") != self.data.count(b"\r\n"):
            return False
        data = np.frombuffer(self.data.rstrip() + b"\n", dtype=np.uint8)
        ends = np.flatnonzero(data == ord("\n"))
        separators = np.flatnonzero(data == ord(self.separator))
        counts = np.diff(np.searchsorted(separators, ends), prepend=0)
        return width > 1 and bool((counts == width - 1).all())

    def _line(self, row: int) -> str:
        """The line on which a row begins, as a detail of its place."""
        for number, (line, _) in enumerate(self._lines()):
            if number == row + 1:
                return f" (line {line})"
        return ""

    def _refuse(self, message: str, line: int) -> Any:
        Origin(self.name, str, "line").refuse(message, line)


@dataclass(frozen=True)
class ParquetTable:
    """A Parquet file as a table."""

    path: Path
    untyped: bool = False

    @property
    def origin(self) -> Origin:
        """What messages call it and its rows."""
        return table_origin(str(self.path))

    @cached_property
    def _schema(self) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.read_schema(self.path)
        except (pa.ArrowException, OSError) as error:
            _refuse_parquet(self.origin, error)

    @property
    def names(self) -> list[str]:
        """Its columns, those of an index included."""
        return [str(name) for name in self._schema.names]

    @property
    def index_names(self) -> list[str]:
        """Columns that were the named index of a data frame."""
        index = (self._schema.pandas_metadata or {}).get("index_columns", [])
        return [name for name in index if isinstance(name, str) and name in self.names]

    def load(self, names: Iterable[str], label: str) -> Mapping[str, pd.Series]:
        """Reads some columns."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        names = list(names)
        try:
            table = pq.ParquetFile(self.path).read(columns=list(dict.fromkeys([*names, label])))
            frame = table.to_pandas(ignore_metadata=True)
        except (pa.ArrowException, OSError) as error:
            _refuse_parquet(self.origin, error)
        return {"": frame[label], **{name: frame[name] for name in names}}


def _refuse_parquet(origin: Origin, error: Exception) -> Any:
    origin.refuse(
        f"cannot be read as Parquet ({str(error).splitlines()[0][:120]}): write it anew, or as CSV"
    )


def _read_bytes(path: Path, origin: Origin) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix.lower() == ".gz" else data
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        origin.refuse(f"is not a whole gzip file ({error}): pack it anew")
    except OSError as error:
        origin.refuse(f"cannot be read ({error.strerror}): check its permissions")
