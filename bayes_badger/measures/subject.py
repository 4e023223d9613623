"""What measures look at: a run with its program, its evidence and its draws under their names."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop.protocol import InnerLoop
from bayes_badger.program import Program
from bayes_badger.reopening import AnyProgram, check_whole, draws_of, inner_loop_of, program_of
from bayes_badger.runs import Run

__all__ = ["AnyProgram", "Subject", "opened"]


class Subject(NamedTuple):
    """A run, opened.

    Attributes:
        run: As it was fitted or read.
        program: Lifted, with what it learned.
        evidence: What it was fitted to.
        draws: Of its posterior, by the program's own names, `[chain, draw, ...]` or `[chain, draw,
            task, ...]`.
    """

    run: Run
    program: Program
    evidence: Evidence
    draws: dict[str, Array]

    @property
    def inner_loop(self) -> InnerLoop:
        """The inner loop that it was fitted with.

        Raises:
            BadgerError: Where it could not infer the run anew, for the run goes on from another.
        """
        check_whole(self.run)
        return inner_loop_of(self.run)

    @property
    def log_evidence(self) -> tuple[float, float] | None:
        """Log p(D) and its own estimate of the error, in nats; None where it does not know."""
        result = self.run.spec["result"]
        if "log_evidence" not in result:
            return None
        return float(result["log_evidence"]), float(result.get("log_evidence_error", 0.0))


def opened(run: Run, program: AnyProgram = None) -> Subject:
    """A run with all that its measures need.

    Args:
        run: What `fit` returned, or what was read from a folder.
        program: The program, where the run was read and its program is not on the shelf.

    Raises:
        BadgerError: Where its program is not to be had.
    """
    lifted = program_of(run, program)
    evidence = Evidence.from_dataset(run.evidence)
    draws = {name: jnp.asarray(x) for name, x in draws_of(lifted, run).items()}
    return Subject(run, lifted, evidence, draws)
