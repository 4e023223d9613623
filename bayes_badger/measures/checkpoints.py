"""One training, seen at several of its outer steps: nothing is trained anew for each."""

from __future__ import annotations

import numpy as np
from jaxtyping import PRNGKeyArray

from bayes_badger.errors import BadgerError
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop.gradient import Gradient
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.measures.subject import Subject
from bayes_badger.outer_loop import Settings, learn
from bayes_badger.program import Program
from bayes_badger.program.parameters import at_start


def doubled(most: int) -> np.ndarray:
    """1, 2, 4, ... outer steps, none more than `most`.

    Example:
        >>> doubled(10).tolist()
        [1, 2, 4, 8]
    """
    return 2 ** np.arange(int(np.log2(max(most, 1))) + 1)


def checkpoints(
    subject: Subject,
    train: Evidence,
    steps: np.ndarray,
    key: PRNGKeyArray,
    report: Report = silent,
    rate: float = 0.0,
) -> list[Program]:
    """The program after each of some numbers of outer steps of one training.

    Args:
        subject: Of a run with learned parameters; they are learned again from their start.
        train: What is learned from.
        steps: Ascending.
        key: Of the training.
        report: Is told how far it has come.
        rate: Of descent; 0 for that of the run.

    Raises:
        BadgerError: Where the outer loop ends before the last of them.
    """
    kept: dict[int, Program] = {}

    def watch(done: int, program: Program) -> None:
        if done in steps:
            kept[done] = program

    stored = dict(subject.run.spec.get("outer", {}).get("settings", {}))
    # By descent, which goes on as long as it is told to: scoring is at its end in a few steps.
    asked = {**stored, "steps": int(steps[-1]), "scoring": 0, "held_out": 0.0}
    settings = Settings(**(asked | ({"rate": rate} if rate else {})))
    loop = subject.inner_loop
    inner = loop if isinstance(loop, Gradient) else None
    learn(at_start(subject.program), train, key, settings, report, inner=inner, watch=watch)
    missing = [int(m) for m in steps if int(m) not in kept]
    if missing:
        raise BadgerError(
            f"{subject.run.name}: the outer loop ended after {max(kept, default=0)} steps of "
            f"{steps[-1]}: take fewer (outer_steps)"
        )
    return [kept[int(m)] for m in steps]
