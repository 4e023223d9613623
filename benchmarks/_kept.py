"""Results of long benchmarks, kept one by one, so that parts of them can be run and added up.

Each is a line of JSON in `benchmarks/results/NAME.jsonl`, written as soon as it is known. A
benchmark that is started again leaves out what is there; several processes may append to one file,
each with other keys. Remove the file to begin anew.
"""

from __future__ import annotations

import functools
import json
import subprocess
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"


class Kept:
    """The lines of one benchmark, by a key of each.

    Args:
        name: Of the benchmark; the file is `benchmarks/results/NAME.jsonl`.
        folder: Another folder than `benchmarks/results/`.
    """

    def __init__(self, name: str, folder: Path = FOLDER) -> None:
        self.path = folder / f"{name}.jsonl"

    def rows(self) -> dict[str, dict[str, Any]]:
        """All lines so far; of several with one key the last."""
        if not self.path.exists():
            return {}
        lines = (json.loads(line) for line in self.path.read_text().splitlines() if line)
        return {line["key"]: line for line in lines}

    def add(self, key: str, row: dict[str, Any]) -> None:
        """Appends one line, with the commit at which it was found."""
        self.path.parent.mkdir(exist_ok=True)
        line = {"key": key, "commit": commit(), **row}
        with self.path.open("a") as file:
            file.write(json.dumps(line, default=float) + "\n")


@functools.cache
def commit() -> str:
    """The commit of the working tree, with a plus sign where the library differs from it."""
    root = Path(__file__).parents[1]

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "bayes_badger")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def between(words: str, most: int) -> range:
    """The range that "FROM:TO" names, or "TO" alone, or nothing: all."""
    first, colon, last = words.partition(":")
    if not colon:
        return range(int(first)) if first else range(most)
    return range(int(first or 0), int(last or most))
