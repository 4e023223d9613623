"""The manifest of a run: which files it has, how long they are, and their digests.

It is written last, so a folder without one was not finished. It guards against accidents
(truncation, edits, lost files), not against someone who rewrites it along with the files; what
such a one could gain is limited by reading only files of fixed plain names.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

State = Literal["complete", "unfinished", "damaged", "no run"]

MANIFEST = "manifest.json"
SPEC = "spec.toml"
EVIDENCE = "evidence.nc"
POSTERIOR = "posterior.nc"
PARAMETERS = "parameters.safetensors"
METRICS = "metrics.jsonl"
FILES = (SPEC, EVIDENCE, POSTERIOR, PARAMETERS, METRICS)

FORMAT = "bayes-badger run"
VERSION = 1
MAX_BYTES = 100_000
WRITING = re.compile(r"\.(?P<name>.+)\.writing-[^.]+")


@dataclass(frozen=True)
class Condition:
    """What a folder is.

    Attributes:
        state: Whether it holds a whole run.
        reason: Why it does not; empty where it does.
        created: When it was written, in ISO 8601; empty where it is not known.
    """

    state: State
    reason: str = ""
    created: str = ""


def manifest_text(folder: Path, created: str) -> str:
    """The manifest of the files that stand in a folder."""
    files = {
        name: {"sha256": digest(folder / name), "bytes": (folder / name).stat().st_size}
        for name in FILES
    }
    content = {"format": FORMAT, "version": VERSION, "created": created, "files": files}
    return json.dumps(content, indent=2) + "\n"


def digest(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def condition(folder: Path, *, thorough: bool) -> Condition:
    """Says whether a folder holds a whole run.

    Args:
        folder: The folder; need not exist.
        thorough: Whether to compare digests, not just sizes.
    """
    try:
        return _condition(folder, thorough)
    except OSError as error:
        return Condition("damaged", f"it cannot be read: {error.strerror or error}")


def _condition(folder: Path, thorough: bool) -> Condition:
    if not folder.is_dir():
        return Condition("no run", "there is no such folder")
    if WRITING.fullmatch(folder.name):
        return Condition("unfinished", "it was not finished: fit again")
    if not _is_plain_file(folder / MANIFEST):
        if any((folder / name).exists() for name in FILES):
            return Condition("unfinished", f"it has no {MANIFEST}, it was not finished: fit again")
        return Condition("no run", "it is not a run: it has none of a run's files")
    content = _parsed(folder / MANIFEST)
    if isinstance(content, str):
        return Condition("damaged", content)
    created = content["created"]
    for name, entry in content["files"].items():
        damage = _damage(folder / name, entry, thorough)
        if damage:
            return Condition("damaged", damage, created)
    return Condition("complete", created=created)


def _damage(path: Path, entry: Mapping[str, Any], thorough: bool) -> str:
    if not _is_plain_file(path):
        return f"{path.name} is missing: copy the run again, or fit again"
    size = path.stat().st_size
    if size != entry["bytes"]:
        how = "truncated" if size < entry["bytes"] else "changed"
        return (
            f"{path.name} was {how}: it has {size} bytes, and had {entry['bytes']} when it was "
            "written: copy the run again, or fit again"
        )
    if thorough and digest(path) != entry["sha256"]:
        return f"{path.name} was changed since it was written: copy the run again, or fit again"
    return ""


def _is_plain_file(path: Path) -> bool:
    # A link could lead anywhere, and opening a pipe would wait for ever.
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _parsed(path: Path) -> dict[str, Any] | str:
    """The manifest's content, or what is wrong with it."""
    broken = f"{MANIFEST} was damaged: copy the run again, or fit again"
    if path.stat().st_size > MAX_BYTES:
        return broken
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return broken
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return broken
    if content.get("version") != VERSION:
        return (
            f"{MANIFEST} has version {str(content.get('version'))[:20]!r} and this release of "
            f"bayes-badger reads version {VERSION}: upgrade it"
        )
    files = content.get("files")
    if not isinstance(files, dict) or not isinstance(content.get("created"), str):
        return broken
    for name, entry in files.items():
        if name not in FILES:
            return f"{MANIFEST} names {name[:60]!r}, which is no file of a run: it was changed"
        if not (
            isinstance(entry, dict)
            and isinstance(entry.get("sha256"), str)
            and type(entry.get("bytes")) is int
        ):
            return broken
    missing = [name for name in FILES if name not in files]
    return f"{MANIFEST} lacks {missing[0]}: it was changed" if missing else content
