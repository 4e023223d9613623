"""What a fit learns before it infers: the outer loop, its checkpoints, and how it goes on."""

from __future__ import annotations

import contextlib
import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Key

from bayes_badger.errors import BadgerError, listed
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop.gradient import Gradient
from bayes_badger.inner_loop.protocol import InnerLoop, Report
from bayes_badger.outer_loop import (
    Learned,
    Settings,
    checkpoint,
    learn,
    learn_lifetimes,
    shared,
    why_no_lifetimes,
    why_not,
)
from bayes_badger.outer_loop.standard_errors import interval
from bayes_badger.program import Program
from bayes_badger.program.parameters import as_table
from bayes_badger.recipe import validated

PREFIX, ASKED = "outer.", "asked.json"
# Parameters of up to so many entries in all are told with their values.
TOLD = 8


class Outcome(NamedTuple):
    """What was learned, and where its checkpoints stand if it is not finished."""

    learned: Learned
    folder: Path | None


def settings_of(steps: int | None, given: Mapping[str, Any]) -> Settings:
    """How to learn, from `--outer-steps` and settings without their prefix.

    Raises:
        BadgerError: Where one is unknown or out of its range.
    """
    steps_given = {} if steps is None else {"steps": steps}
    return validated(Settings, PREFIX, {**given, **steps_given}, "the outer loop")


def learned(
    program: Program,
    evidence: Evidence,
    key: Key[Any, ""],
    settings: Settings,
    asked: Mapping[str, Any],
    out: Path | None,
    resume: Path | None,
    report: Report,
    inner: InnerLoop | None = None,
    truth: Program | None = None,
) -> Outcome:
    """Learns, with checkpoints where there is a folder for them.

    Args:
        program: The lifted program.
        evidence: Of all tasks.
        key: Of everything random.
        settings: How to learn.
        asked: What must be the same where it goes on.
        out: Where runs are kept; checkpoints stand beside them.
        resume: A folder of checkpoints to go on from.
        report: Is told how far it has come.
        inner: The inner loop that will infer; `gradient` is learned for as it is.
        truth: What the tasks were simulated from, where they were.

    Raises:
        BadgerError: Where nothing can be learned, or the folder is of another fit.
    """
    steps = inner if isinstance(inner, Gradient) else None
    whole = steps is None and shared(program)
    reason = why_no_lifetimes(program, [evidence]) if whole else why_not(program, evidence, steps)
    if reason is not None:
        raise BadgerError(
            f"{program.name} {reason}; --outer-steps 0 keeps its parameters where they start"
        )
    how = {"outer": settings.model_dump()}
    if steps is not None:
        how["gradient"] = steps.settings.model_dump()
    asked, folder = {**asked, **how}, resume
    if folder is not None:
        check_same(folder, _plain(asked))
    elif out is not None:
        now = datetime.datetime.now(datetime.UTC)
        folder = out.expanduser().absolute() / f"{program.name}-{now:%Y%m%d-%H%M%S}.learning"
        _begin(folder, _plain(asked))
    if whole:
        found = learn_lifetimes(program, [evidence], key, settings, report, folder)
    else:
        found = learn(program, evidence, key, settings, report, folder, inner=steps, truth=truth)
    return Outcome(_told(found, evidence.n_tasks), folder)


def opened(folder: Path | None, asked: Mapping[str, Any]) -> Path | None:
    """A folder of checkpoints: one to go on from where it is there, else one to begin with.

    Raises:
        BadgerError: Where it is of something else, or cannot be written.
    """
    if folder is None:
        return None
    folder, plain = folder.expanduser().absolute(), _plain(asked)
    if (folder / ASKED).exists():
        check_same(folder, plain)
    else:
        _begin(folder, plain)
    return folder


def forget(folder: Path | None) -> None:
    """Removes the checkpoints of a fit that is stored, and their folder where nothing else is."""
    if folder is None:
        return
    checkpoint.remove(folder)
    (folder / ASKED).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _plain(asked: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(asked, default=str))
    return found


def _begin(folder: Path, asked: Mapping[str, Any]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ASKED).write_text(json.dumps(asked, indent=1))
    except OSError as error:
        raise BadgerError(f"no checkpoint in {folder}: {error.strerror or error}") from error


def check_same(folder: Path, asked: Mapping[str, Any]) -> None:
    """That what a folder's checkpoints are of is what is asked now.

    Raises:
        BadgerError: Where it is not, or there are none.
    """
    path = folder / ASKED
    try:
        before = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BadgerError(
            f"{folder} has no checkpoints to go on from: give the folder NAME.learning that an "
            "interrupted fit named"
        ) from error
    other = [name for name in asked if before.get(name) != asked[name]]
    if other:
        raise BadgerError(
            f"{folder} is of another fit: {listed(other)} not the same; repeat what was asked then"
        )


# With fewer tasks two standard errors hold the truth clearly less often than in 95 of 100.
FEW = 10


def _told(found: Learned, tasks: int) -> Learned:
    """With a note of the parameters' values, where there are few."""
    table = as_table(found.program)
    if sum(x.size for x in table.values()) > TOLD:
        return found
    supports = found.program.constraints
    ends = {
        name: interval(table[name], error, supports.get(name))
        for name, error in found.errors.items()
    }
    values = "; ".join(
        f"{name} = {_numbers(x, found.errors.get(name), ends.get(name))}"
        for name, x in table.items()
    )
    known = any(np.isfinite(x).any() for x in found.errors.values())
    what = " (± a standard error)" if known else ""
    if known and any(x is not None for x in ends.values()):
        what = " (± a standard error; of what has bounds also two of them on a scale without)"
    if known and tasks < FEW:
        what += f"; of {tasks} tasks standard errors are too small: infer what can be inferred"
    return found._replace(notes=(*found.notes, f"learned {values}{what}"))


def _numbers(
    values: np.ndarray,
    errors: np.ndarray | None,
    ends: tuple[np.ndarray, np.ndarray] | None = None,
) -> str:
    if errors is None:
        return ", ".join(f"{x:.4g}" for x in np.ravel(values))
    columns = values, errors, *(ends or (np.full(np.shape(values), np.nan),) * 2)
    each = zip(*(np.ravel(x).tolist() for x in columns), strict=True)
    return ", ".join(f"{x:.4g}{_error(e)}{_between(low, high)}" for x, e, low, high in each)


def _between(low: float, high: float) -> str:
    return f", {low:.3g} to {high:.3g}" if np.isfinite(low) and np.isfinite(high) else ""


def _error(error: float) -> str:
    return " (no standard error)" if np.isnan(error) else f" ± {error:.3g}"
