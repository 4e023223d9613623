"""Goes step by step: looks, checkpoints, and an end by interruption with what there is."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from bayes_badger.inner_loop.protocol import Report
from bayes_badger.outer_loop import checkpoint


@runtime_checkable
class Work(Protocol):
    """What is done; step t uses nothing but t and the state, so that any state can go on."""

    @property
    def every(self) -> int:
        """Steps between two looks."""

    def start(self) -> Any:
        """The state before the first step: a tree of arrays and numbers."""

    def step(self, state: Any, done: int) -> Any:
        """The state after one more step."""

    def look(self, state: Any, done: int) -> tuple[Any, dict[str, Any]]:
        """Sums up the steps since the last look: a line of the learning curve."""

    def at_rest(self, state: Any) -> bool:
        """Whether there is no more to gain."""

    def tasks_seen(self, state: Any) -> float:
        """Tasks since the last look."""

    def note(self, line: dict[str, Any]) -> str:
        """A line of the curve in words."""


class Driven(NamedTuple):
    """How far it came: `finished` where it was not interrupted."""

    state: Any
    steps: int
    curve: list[dict[str, Any]]
    finished: bool


def drive(
    work: Work,
    steps: int,
    report: Report,
    folder: Path | None = None,
    seconds: float = 30.0,
    watch: Callable[[int, Any], None] | None = None,
) -> Driven:
    """Takes at most so many steps.

    Args:
        work: What is done.
        steps: At most.
        report: Is told how far it has come. A KeyboardInterrupt ends it with what there is.
        folder: Where checkpoints are written, and where it goes on from if there are any.
        seconds: Between checkpoints.
        watch: Is shown each state, after so many steps.
    """
    state, done = work.start(), 0
    curve: list[dict[str, Any]] = []
    if folder is not None and (found := checkpoint.newest(folder, state)) is not None:
        done, state, curve = found
    looked = written = time.monotonic()
    finished, note = True, ""
    try:
        while done < steps and not work.at_rest(state):
            report("learning", done, steps, note)
            state = work.step(state, done)
            done += 1
            if watch is not None:
                watch(done, state)
            if done % work.every == 0 or done == steps or work.at_rest(state):
                rate = work.tasks_seen(state) / (time.monotonic() - looked)
                state, line = work.look(state, done)
                curve.append(line | {"tasks_per_second": round(rate, 1)})
                note, looked = work.note(curve[-1]), time.monotonic()
            if folder is not None and time.monotonic() - written > seconds:
                checkpoint.write(folder, done, state, curve)
                written = time.monotonic()
    except KeyboardInterrupt:
        finished = False
    report("learning", max(done, 1), max(done, 1), note)
    if folder is not None:
        checkpoint.write(folder, done, state, curve)
    return Driven(state, done, curve, finished)
