"""Which runs there are, and the one that is meant. Reads manifests and sizes, nothing else."""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass
from pathlib import Path

from bayes_badger.errors import BadgerError, did_you_mean, listed
from bayes_badger.runs.manifest import WRITING, State, condition

LAST = "last"


@dataclass(frozen=True)
class RunEntry:
    """One row of a list of runs.

    Attributes:
        path: Its folder.
        state: `complete`, `unfinished` or `damaged`.
        reason: Why it is not complete; empty where it is.
        created: When it was written; where that is not known, when its folder last changed.
    """

    path: Path
    state: State
    reason: str
    created: datetime.datetime

    @property
    def name(self) -> str:
        """The run's name; of an unfinished one, the name that it would have had."""
        match = WRITING.fullmatch(self.path.name)
        return match["name"] if match else self.path.name


def list_runs(parent: str | Path) -> list[RunEntry]:
    """Lists the runs in a folder, the newest first; other folders are left out.

    Sizes are compared, digests are not: that is left to `read_run`.

    Raises:
        BadgerError: Where the folder cannot be read.

    Example:
        >>> list_runs("/nowhere/at/all")
        []
    """
    parent = Path(parent).expanduser()
    try:
        folders = [path for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []
    except OSError as error:
        raise BadgerError(f"{parent} cannot be read: {error.strerror or error}") from error
    entries = [_entry(path) for path in folders if not _hidden(path)]
    found = [entry for entry in entries if entry.state != "no run"]
    return sorted(found, key=lambda entry: (entry.created, entry.path.name), reverse=True)


def find_run(text: str | Path, parent: str | Path) -> Path:
    """The folder that is meant by a path, a name, the beginning of one name, or `last`.

    Raises:
        BadgerError: Where none or several are meant.
    """
    given = os.fspath(text)
    if isinstance(text, Path) or os.sep in given or "\0" in given:
        path = Path(given.replace("\0", "")).expanduser()
        if path.is_dir():
            return path
        raise BadgerError(f"there is no run at {given!r}: there is no such folder")
    entries = list_runs(parent)
    finished = {entry.name: entry for entry in entries if not WRITING.fullmatch(entry.path.name)}
    if given in finished:
        return finished[given].path
    if given == LAST:
        return _last(entries, Path(parent))
    matches = [name for name in finished if given and name.startswith(given)]
    if len(matches) == 1:
        return finished[matches[0]].path
    if matches:
        raise BadgerError(f"'{given}' may be any of {listed(matches)}: write more of the name")
    if given and condition(Path(given), thorough=False).state != "no run":
        return Path(given)
    if any(given and entry.name.startswith(given) for entry in entries):
        raise BadgerError(f"run '{given}' was not finished: fit again")
    raise BadgerError(
        f"no run in {parent} is called '{given}'{did_you_mean(given, finished)}; there "
        f"{'are' if len(finished) != 1 else 'is'} {listed(finished) or 'none'}"
    )


def _last(entries: list[RunEntry], parent: Path) -> Path:
    for entry in entries:
        if entry.state == "complete":
            return entry.path
    raise BadgerError(f"there is no complete run in {parent} yet: fit one first")


def _hidden(path: Path) -> bool:
    return path.name.startswith(".") and not WRITING.fullmatch(path.name)


def _entry(path: Path) -> RunEntry:
    found = condition(path, thorough=False)
    return RunEntry(path, found.state, found.reason, _created(found.created, path))


def _created(text: str, path: Path) -> datetime.datetime:
    try:
        return datetime.datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        pass
    try:
        seconds = path.stat().st_mtime
    except OSError:  # it was renamed or removed a moment ago
        seconds = 0.0
    return datetime.datetime.fromtimestamp(seconds).astimezone()
