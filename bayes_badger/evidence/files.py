"""Tables in files: CSV, read so that nothing is lost in silence, and Parquet."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd

from bayes_badger.evidence.labels import labels_of_series
from bayes_badger.evidence.numbers import numbers_of_series
from bayes_badger.tables.csv_text import CsvText
from bayes_badger.tables.labels import Labels
from bayes_badger.tables.numbers import MISSING_WORDS, Numbers
from bayes_badger.tables.origin import Origin, table_origin

_WORDS = sorted({*MISSING_WORDS, *(w.upper() for w in MISSING_WORDS), "NaN", "None", "Null"})


@dataclass(frozen=True)
class CsvTable(CsvText):
    """A CSV or TSV file of any size: its columns are read by pandas."""

    def labels(self, name: str) -> Labels:
        """The label of each row, read as text, where "NA" is a name like any other."""
        place = self.names.index(name)
        cells = self._load([place], dtype=str)[place]
        return labels_of_series(cells, name, self.origin, untyped=True)

    def numbers(self, names: Iterable[str]) -> dict[str, Numbers]:
        """Columns of numbers."""
        places = {name: self.names.index(name) for name in names}
        if not places:
            return {}
        frame = self._load(sorted(places.values()), na_values=_WORDS)
        return {
            name: numbers_of_series(frame[place], name, self.origin)
            for name, place in places.items()
        }

    def _load(self, places: list[int], **options: Any) -> pd.DataFrame:
        try:
            return pd.read_csv(
                io.BytesIO(self.data),
                usecols=places,
                sep=self.separator,
                header=0,
                names=list(range(len(self.names))),
                index_col=False,
                keep_default_na=False,
                low_memory=False,
                encoding="utf-8-sig",
                **options,
            )
        except (pd.errors.ParserError, ValueError, OverflowError) as error:
            self.origin.refuse(f"cannot be read as CSV ({error}): save it anew from a spreadsheet")


@dataclass(frozen=True)
class ParquetTable:
    """A Parquet file as a table."""

    path: Path

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

    def labels(self, name: str) -> Labels:
        """The label of each row."""
        return labels_of_series(self._load([name])[name], name, self.origin)

    def numbers(self, names: Iterable[str]) -> dict[str, Numbers]:
        """Columns of numbers."""
        frame = self._load(names)
        return {name: numbers_of_series(frame[name], name, self.origin) for name in names}

    def _load(self, names: Iterable[str]) -> pd.DataFrame:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.ParquetFile(self.path).read(columns=list(names))
            return table.to_pandas(ignore_metadata=True)
        except (pa.ArrowException, OSError) as error:
            _refuse_parquet(self.origin, error)


def _refuse_parquet(origin: Origin, error: Exception) -> NoReturn:
    origin.refuse(
        f"cannot be read as Parquet ({str(error).splitlines()[0][:120]}): write it anew, or as CSV"
    )
