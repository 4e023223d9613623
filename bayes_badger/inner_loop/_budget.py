"""How long an inner loop may take: work that will not arrive in time stops at a report."""

from __future__ import annotations

import time
from collections.abc import Callable

import equinox as eqx
from jaxtyping import PRNGKeyArray

from bayes_badger.belief import Posterior
from bayes_badger.errors import BadgerError
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop.protocol import InnerLoop, Report, silent
from bayes_badger.program import Program

Clock = Callable[[], float]

# Work is given up before its time is over where so much of that has passed and even a quarter of
# the steps that are left could not be done in the rest: many stages end before their last step.
SOON, PART = 0.2, 0.25
# A sampler keeps what it has once there are so many draws of each chain; to reach them it may take
# so many times its budget, for nothing comes after it.
SAMPLING, LEAST, GRACE = "sampling", 200, 3.0


class OutOfTimeError(BadgerError):
    """Work that takes longer than it may."""


class Limited(eqx.Module):
    """An inner loop that may take so long.

    Attributes:
        loop: The inner loop.
        seconds: How long.
        last: Whether nothing comes after it: a sampler then keeps the draws that it has.
        clock: Gives seconds.
    """

    loop: InnerLoop
    seconds: float
    last: bool = True
    clock: Clock = time.monotonic

    def why_not(self, program: Program, evidence: Evidence) -> str | None:
        """As the inner loop itself says."""
        return self.loop.why_not(program, evidence)

    def infer(
        self, program: Program, evidence: Evidence, key: PRNGKeyArray, report: Report = silent
    ) -> Posterior:
        """Infers as the inner loop does.

        Raises:
            OutOfTimeError: Where it would take longer than it may.
        """
        heard = _Limit(report, self.seconds, self.last, self.clock)
        return self.loop.infer(program, evidence, key, heard)


class _Limit:
    """A report that says when time is over."""

    def __init__(self, report: Report, seconds: float, last: bool, clock: Clock) -> None:
        self.report, self.seconds, self.last, self.clock = report, seconds, last, clock
        self.started, self.stage = clock(), ""
        self.marks: list[tuple[int, float]] = []

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Hears a report, and passes it on."""
        self.report(stage, done, total, note)
        now = self.clock()
        if stage != self.stage or (self.marks and done < self.marks[-1][0]):
            self.stage, self.marks = stage, []
        self.marks.append((done, now))
        spent, where = now - self.started, f"{stage}: {done} of {total}" if total > 1 else stage
        enough = stage == SAMPLING and done >= LEAST
        most = self.seconds * (GRACE if self.last and not enough else 1.0)
        if spent >= most:
            raise OutOfTimeError(f"had not arrived after {clock_time(spent)} ({where})")
        left = self._left(LEAST if self.last and stage == SAMPLING else total)
        if not enough and spent > SOON * self.seconds and spent + PART * left > most:
            raise OutOfTimeError(f"would take some {clock_time(left)} more ({where})")

    def _left(self, total: int) -> float:
        """Seconds that the rest of the stage takes; 0 where that is not known yet.

        The first step is left out: it was compiled.
        """
        (first, since), (done, now) = self.marks[min(1, len(self.marks) - 1)], self.marks[-1]
        return (total - done) * (now - since) / (done - first) if done > first else 0.0


def clock_time(seconds: float | int) -> str:
    """Seconds as people say them.

    Example:
        >>> print(clock_time(8), clock_time(150), clock_time(4000), sep=", ")
        8 s, 2.5 min, 1.1 h
    """
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size or (unit == "h" and seconds >= size):
            return f"{seconds / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{seconds:.0f} s"
