"""How well tasks could be told at best: by the program that they were simulated from."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Key

from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop.experts import Experts
from bayes_badger.outer_loop.objective import log_evidence_and_slopes
from bayes_badger.program import Program
from bayes_badger.program.parameters import free


def ceiling(
    truth: Program, evidence: Evidence, loop: Experts, key: Key[Any, ""]
) -> np.ndarray | None:
    """Log evidence of each task under the truth, `[task]` in nats; None where it cannot be had.

    In expectation nothing does better, but on the very tasks that it learned from a program may.

    Args:
        truth: What the tasks were simulated from.
        evidence: Of the tasks.
        loop: How to come near the posteriors.
        key: For the experts and their points.
    """
    if truth.lifetime_size or truth.discrete or loop.why_not(truth, evidence) is not None:
        return None
    return log_evidence_and_slopes(truth, free(truth), evidence, loop, key, slopes=False)[0]
