"""What a measure found, on disk: a netCDF file with a picture beside it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import xarray as xr

from bayes_badger.errors import BadgerError
from bayes_badger.measures import picture
from bayes_badger.runs.netcdf import write_netcdf


def store(found: xr.Dataset, folder: str | Path, kind: str = "png") -> tuple[Path, Path]:
    """Writes NAME.nc and NAME.png; what was there of that name is replaced.

    Args:
        found: What a measure returned.
        folder: Where to; made if it does not exist.
        kind: The end of the picture's name: png, svg, pdf, or html for a page to zoom in.

    Returns:
        The two files.

    Raises:
        BadgerError: Where they cannot be written; what was there before is there still.
    """
    place, name = Path(folder).expanduser().absolute(), str(found.attrs["measure"])
    data, image = place / f"{name}.nc", place / f"{name}.{kind}"
    try:
        place.mkdir(parents=True, exist_ok=True)
        _whole(data, lambda path: write_netcdf(path, found))
        _whole(image, lambda path: picture.save(found, path))
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadgerError(
            f"{name} could not be written to {place}: {reason}: choose another folder, --to DIR"
        ) from error
    return data, image


def _whole(target: Path, write: Callable[[Path], None]) -> None:
    """Under another name first: whatever stops it, there is no half a file."""
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as beside:
        temporary = Path(beside) / target.name
        write(temporary)
        os.replace(temporary, target)
