"""Kinds of files that hold a table, by the end of their names."""

from __future__ import annotations

from pathlib import Path

from bayes_badger.errors import BadgerError, did_you_mean, listed
from bayes_badger.tables.origin import show

CSV = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
PARQUET = (".parquet", ".pq")
NETCDF = (".nc",)
SPREADSHEETS = (".xls", ".xlsx", ".ods", ".numbers")


def check_file(path: Path) -> None:
    """Refuses the path of a table that leads nowhere, or to what is no table.

    Raises:
        BadgerError: With the closest name in its folder, or the kinds of files that are read.
    """
    try:
        if path.is_dir():
            raise BadgerError(f"{path} is a folder: give a file in it")
        if path.exists():
            if not path.name.lower().endswith((*CSV, *PARQUET, *NETCDF)):
                save = "save it from the spreadsheet" if path.suffix in SPREADSHEETS else "save it"
                raise BadgerError(
                    f"{path}: is of no known kind ({show(path.suffix)}): {save} as one of "
                    f"{listed([*CSV, *PARQUET, *NETCDF], 9)}"
                )
            return
        beside = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        beside = []
    raise BadgerError(f"there is no file {path}{did_you_mean(path.name, beside)}: check the path")
