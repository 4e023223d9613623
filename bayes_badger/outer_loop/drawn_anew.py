"""Tasks drawn from a program in place of those that were observed: the same columns and rows."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
from jaxtyping import Array, Key

from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import blocks_of, data_of
from bayes_badger.program import Program


def drawn_anew(program: Program, evidence: Evidence, key: Key[Array, ""]) -> Evidence:
    """The evidence with other outcomes: latents from the prior, outcomes given them.

    Args:
        program: Whose tasks share no latents.
        evidence: Whose columns and rows are kept.
        key: For latents and outcomes.
    """
    blocks = blocks_of(evidence)
    keys = jax.random.split(key, len(blocks))
    drawn = [
        np.asarray(program.simulate(one, data_of(block)).outcome)
        for one, block in zip(keys, blocks, strict=True)
    ]
    return dataclasses.replace(evidence, outcome=evidence.long(blocks, drawn))
