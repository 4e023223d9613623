"""The next command to try."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bayes_badger.cli.options import DEFAULT_OUT
from bayes_badger.cli.summary import part, strings
from bayes_badger.runs.run import Run

# What a warning says, the setting that mends it, and its next value.
MENDS = (
    ("diverge", "target_accept", lambda now: round(1 - (1 - now) / 5, 4)),
    ("max_tree_depth", "max_tree_depth", lambda now: min(now + 2, 20)),
    ("r_hat", "warmup", lambda now: 4 * now),
    ("r_hat", "draws", lambda now: 4 * now),
    ("effective draws", "draws", lambda now: 4 * now),
    ("one chain", "chains", lambda now: 4),
)

# How auto's note begins; then the name and a colon.
PICKED = "auto picked "


def command(*words: object) -> str:
    """A command line that a shell reads as meant.

    Example:
        >>> command("badger", "fit", "my model.py")
        "badger fit 'my model.py'"
    """
    return shlex.join(str(word) for word in words)


def show_command(run: Run, out: Path, tasks: int | None = None) -> str:
    """The command that shows a run."""
    more = [] if tasks is None else ["--tasks", tasks]
    return command("badger", "show", run.name, *_where(out), *more)


def show_all(run: Run, out: Path) -> str:
    """The command that shows all tasks of a run."""
    count = part(run.spec, "evidence").get("tasks")
    return show_command(run, out, count if isinstance(count, int) else None)


def after_fit(run: Run, out: Path, asked: Sequence[str]) -> list[str]:
    """Commands to try after a fit: mend it if that is needed, look again, compare, predict.

    Args:
        run: The run.
        out: The folder that holds it.
        asked: The words of the fit itself, after `badger fit`.
    """
    if any(warning.startswith("interrupted") for warning in run.warnings):
        return [command("badger", "fit", *asked)]
    mended = list(mending(run))
    if mended:
        settings = [word for setting in mended for word in ("--set", setting)]
        return [command("badger", "fit", *_without(asked, mended), *settings)]
    where = _where(out)
    runs = ["--runs", *where[1:]] if where else []
    given = str(part(run.spec, "program").get("path") or "")
    model = ["--model", given] if given else []
    return [
        show_command(run, out),
        f"{command('badger', 'predict', run.name)} --data NEW.csv{_more(*model, *runs)}",
        f"{command('badger', 'compare', run.name)} OTHER_RUN{_more(*where)}",
    ]


def mending(run: Run) -> Iterator[str]:
    """Settings that answer a run's warnings, as `KEY=VALUE`."""
    loop = part(part(run.spec, "recipe"), "inner_loop")
    said = " ".join(run.warnings)
    told = set()
    for words, name, next_value in MENDS:
        for prefix, table in _tables(loop, _picked(run)):
            now = table.get(name)
            number = isinstance(now, int | float) and not isinstance(now, bool)
            if words in said and number and name not in told:
                told.add(name)
                yield f"inference.{prefix}{name}={next_value(now)}"


def _picked(run: Run) -> str | None:
    """The inner loop that auto picked, by its own note."""
    for note in strings(part(run.spec, "result").get("notes")):
        if note.startswith(PICKED):
            return note.removeprefix(PICKED).partition(":")[0]
    return None


def _tables(loop: Mapping[str, Any], picked: str | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The settings of an inner loop, and of the one that it picked, or of all it picks from."""
    yield "", loop
    for name, value in loop.items():
        if isinstance(value, Mapping) and picked in (None, name):
            yield f"{name}.", value


def _without(asked: Sequence[str], settings: Sequence[str]) -> list[str]:
    """The words of a command without the settings that are given anew."""
    keys = {setting.partition("=")[0] for setting in settings}
    words: list[str] = []
    for word in asked:
        if word.partition("=")[0] in keys and words and words[-1] == "--set":
            words.pop()
        else:
            words.append(word)
    return words


def _where(out: Path) -> list[str]:
    return [] if str(out) == DEFAULT_OUT else ["--out", str(out)]


def _more(*words: str) -> str:
    return f" {command(*words)}" if words else ""
