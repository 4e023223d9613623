"""The lines and the header of a CSV file, and its columns as text.

A CSV reader forgives: lines that are too short get missing cells, a second column `x` becomes
`x.1`, a surplus column becomes an index. Here the lines are counted first, and what does not fit is
refused by its line.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bayes_badger.errors import listed
from bayes_badger.tables.labels import Labels, labels_of_text
from bayes_badger.tables.numbers import Numbers, numbers_of_text
from bayes_badger.tables.origin import Origin, show, table_origin

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}


@dataclass(frozen=True)
class CsvText:
    """A CSV or TSV file as a table whose cells are text.

    Attributes:
        name: What messages call it.
        data: Its bytes, UTF-8.
        separator: What separates its cells.
        cut: Whether these are only its first lines.
    """

    name: str
    data: bytes
    separator: str
    cut: bool = False

    @classmethod
    def open[T: CsvText](cls: type[T], path: Path, most: int | None = None) -> T:
        """Reads a file, unpacks it, and checks its lines.

        Args:
            path: Where it is.
            most: Of a file with more bytes only so many are read, up to the end of a line.

        Raises:
            BadgerError: If it is empty, not text, or a line does not fit the header.
        """
        name = str(path)
        separator = "\t" if ".tsv" in path.name.lower() else ","
        data = _read_bytes(path, table_origin(name), most)
        cut = most is not None and len(data) > most and b"\n" in data
        table = cls(name, data[: data.rindex(b"\n") + 1] if cut else data, separator, cut)
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
                f"byte {error.object[error.start]:#04x} is not UTF-8: save it as CSV UTF-8", line
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
        self._check_separator(header, origin)
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

    def labels(self, name: str) -> Labels:
        """The label of each row, as text or as whole numbers."""
        return labels_of_text(self._columns[self.names.index(name)], name, self.origin)

    def numbers(self, names: Iterable[str]) -> dict[str, Numbers]:
        """Columns of numbers."""
        places = {name: self.names.index(name) for name in names}
        return {
            name: numbers_of_text(self._columns[place], name, self.origin)
            for name, place in places.items()
        }

    @cached_property
    def _columns(self) -> list[tuple[str, ...]]:
        rows = [cells for _, cells in self._lines()][1:]
        return list(zip(*rows, strict=True)) or [()] * len(self.names)

    def _check_separator(self, header: list[str], origin: Origin) -> None:
        """Refuses a header that is one cell with other separators in it."""
        if len(header) > 1:
            return
        found = {mark: header[0].count(mark) for mark in SEPARATORS if mark != self.separator}
        mark = max(found, key=lambda mark: found[mark])
        if not found[mark]:
            # A lone column may have a space in its name, but then its rows need not.
            lines = self.text.strip().splitlines()[:2]
            widths = {len(line.split()) for line in lines}
            if len(lines) < 2 or len(widths) > 1 or widths == {1}:
                return
            mark = " "
        names = [name.strip() for name in header[0].split(mark) if name.strip()]
        kind, wanted = SEPARATORS.get(mark, "spaces"), SEPARATORS[self.separator]
        if mark in ",\t":
            mend = f"call it {'.tsv' if mark == chr(9) else '.csv'}, or separate them by {wanted}"
        else:
            options = {";": '";", decimal=","', " ": 'r"\\s+"'}.get(mark, f'"{mark}"')
            mend = (
                f"separate them by {wanted}, with decimal points, in a spreadsheet or by "
                f'pandas.read_csv("{Path(self.name).name}", sep={options})'
                '.to_csv("NEW.csv", index=False)'
            )
        origin.refuse(f"separates its columns by {kind} ({listed(names, 6)}): {mend}")

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
            if self.cut and "unexpected end" in str(error):
                return  # a quote that is closed further on
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


def _read_bytes(path: Path, origin: Origin, most: int | None) -> bytes:
    """The bytes of a file, unpacked; where there are more than `most`, one more than that."""
    size = -1 if most is None else most + 1
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            return file.read(size)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        origin.refuse(f"is not a whole gzip file ({error}): pack it anew")
    except OSError as error:
        origin.refuse(f"cannot be read ({error.strerror}): check its permissions")
