"""How far the work has come: one bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from types import TracebackType

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TimeElapsedColumn
from rich.text import Text

from bayes_badger.cli.screen import told

# What one step of a stage is called; of the others, a step.
UNITS = {"warm-up": "draws", "sampling": "draws"}
# Seconds after which it is said that work goes on, where there is no terminal.
EVERY = 10.0


class Meter:
    """A `Report` that is shown, to be used as a context.

    Args:
        console: Where to show it.
        shown: Whether to show anything.
        every: Seconds after which a line is shown where there is no terminal and no news.
    """

    def __init__(self, console: Console, shown: bool = True, every: float = EVERY) -> None:
        self._display: _Bar | _Lines | None = None
        if shown:
            self._display = _Bar(console) if console.is_terminal else _Lines(console, every)

    def __enter__(self) -> Meter:
        if self._display is not None:
            self._display.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Shows nothing from now on; may be called twice, and from any thread."""
        if self._display is not None:
            self._display.stop()

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Shows a report."""
        if self._display is not None:
            self._display.show(stage, done, total, note)


class Pace:
    """How fast steps are done, and how long the rest will take.

    The first steps of all are left out where there are others: they were compiled.

    Example:
        >>> pace = Pace()
        >>> pace.add(0, now=0.0), pace.add(50, now=10.0), pace.add(100, now=10.5)
        (None, 5.0, 100.0)
    """

    def __init__(self) -> None:
        self.marks: list[tuple[int, float]] = []

    def add(self, done: int, now: float) -> float | None:
        """Steps per second, once there are any."""
        self.marks.append((done, now))
        marks = self.marks[1:] if len(self.marks) > 2 else self.marks
        (first, then), (last, now) = marks[0], marks[-1]
        return (last - first) / (now - then) if last > first and now > then else None


class _Lines:
    """A line for each stage, and one every few seconds with how far it has come."""

    def __init__(self, console: Console, every: float) -> None:
        self.console, self.every = console, every
        self.started = self.told = time.monotonic()
        self.stage, self.pace, self.latest = "", Pace(), ("", 0, 0, "")
        self.left = ""
        self.lock, self.over = threading.Lock(), threading.Event()
        self.thread = threading.Thread(target=self._go_on, daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        self.over.set()

    def show(self, stage: str, done: int, total: int, note: str) -> None:
        with self.lock:
            begins = stage != self.stage
            if begins:
                self.stage, self.pace = stage, Pace()
            now = time.monotonic()
            rate = self.pace.add(done, now) if total > 1 else None
            self.left = f", {_clock((total - done) / rate)} left" if rate else ""
            self.latest = stage, done, total, note
            if begins:
                steps = f" ({total} {_unit(stage)})" if total > 1 else ""
                self._print(f"{stage}{steps}")
            elif now - self.told >= self.every and done < total:
                self._print(self._how_far())

    def _go_on(self) -> None:
        """Says that it lives where nothing is reported: a step may take long."""
        while not self.over.wait(self.every / 4):
            with self.lock:
                if self.stage and time.monotonic() - self.told >= self.every:
                    self._print(self._how_far())

    def _how_far(self) -> str:
        stage, done, total, note = self.latest
        count = f" {done} of {total} {_unit(stage)}{self.left}" if total > 1 else ""
        return f"{stage}:{count or ' at work'}{f'; {note}' if note else ''}"

    def _print(self, text: str) -> None:
        self.told = time.monotonic()
        seconds = f"{self.told - self.started:6.1f} s  "
        self.console.print(told(f"{seconds}{text}"), soft_wrap=True)


class _Bar:
    """One bar, which starts anew at each stage, and a note below it."""

    def __init__(self, console: Console) -> None:
        self.progress = _Display(
            _Field("description", 22),
            BarColumn(bar_width=14),
            _Field("count", 9),
            _Field("rate", 13),
            _Field("left", 9),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self.stage, self.pace = "", Pace()
        self.task = self.progress.add_task("starting", total=None, count="", rate="", left="")

    def start(self) -> None:
        self.progress.start()

    def stop(self) -> None:
        self.progress.stop()

    def show(self, stage: str, done: int, total: int, note: str) -> None:
        if stage != self.stage:
            self.stage, self.pace = stage, Pace()
        counted = total > 1
        rate = self.pace.add(done, time.monotonic()) if counted else None
        # The first steps take long, for they are compiled: the bar then only shows that it lives.
        known = counted and (done > 0 or stage == "sampling")
        self.progress.note = note
        self.progress.update(
            self.task,
            description=stage,
            total=total if known else None,
            completed=done,
            count=f"{done}/{total}" if counted else "",
            rate=f"{_short(rate)} {_unit(stage)}/s" if rate else "",
            left=f"{_clock((total - done) / rate)} left" if rate else "",
        )


class _Field(ProgressColumn):
    """A text of a fixed width, so that the bar does not jump."""

    def __init__(self, name: str, width: int) -> None:
        super().__init__()
        self.name, self.width = name, width

    def render(self, task: Task) -> Text:
        value = task.description if self.name == "description" else task.fields.get(self.name, "")
        text = told(value)
        text.truncate(self.width, overflow="ellipsis", pad=True)
        return text


class _Display(Progress):
    """Rich's progress with a line for the note."""

    note = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        if self.note:
            note = told(f"  {self.note}", "dim")
            note.truncate(self.console.width, overflow="ellipsis")
            yield note


def _unit(stage: str) -> str:
    return UNITS.get(stage, "steps")


def _short(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}"


def _clock(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
