"""Where a page goes: told before the work, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from bayes_badger.errors import BadgerError
from bayes_badger.report.text import plain

FILE = "report.html"
SUFFIXES = (".html", ".htm")


def check_target(stored: Path | None, path: str | Path | None) -> Path:
    """Where the page of a run will be written.

    Args:
        stored: The folder of the run; None where it is not stored.
        path: The file that is asked for, if any.

    Raises:
        BadgerError: Where nothing can be written there.
    """
    if path is None and stored is None:
        raise BadgerError("the run is not stored: say where its report goes, a file like run.html")
    target = Path(path).expanduser() if path is not None else Path(stored or "") / FILE
    if "\0" in str(target):
        raise BadgerError(f"{plain(target)} is no name of a file: leave out \\x00")
    if target.is_dir():
        raise BadgerError(f"{plain(target)} is a folder: give the name of a file, like {FILE}")
    if target.suffix.lower() not in SUFFIXES:
        raise BadgerError(f"{plain(target)}: the name of a report should end in {SUFFIXES[0]}")
    return target.absolute()


def write_whole(target: Path, text: str) -> None:
    """Writes a file under another name first: whatever stops it, there is no half a page.

    Raises:
        BadgerError: Where it cannot be written; what was there before is there still.
    """
    temporary: str | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{FILE}.", dir=target.parent)
        with open(descriptor, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except OSError as error:
        _discard(temporary)
        raise BadgerError(
            f"the report could not be written to {plain(target)}: {error.strerror or error}: "
            "choose another file"
        ) from error
    except BaseException:
        _discard(temporary)
        raise


def _discard(path: str | None) -> None:
    if path is not None:
        with contextlib.suppress(OSError):
            os.unlink(path)
