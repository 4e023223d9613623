"""A posterior is inferred, judged, and held against its program."""

from __future__ import annotations

import dataclasses

import jax
from jaxtyping import PRNGKeyArray

from bayes_badger.belief import Posterior
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop.auto import Auto
from bayes_badger.inner_loop.protocol import InnerLoop, Report
from bayes_badger.program import Program
from bayes_badger.trust.given import GivenVerdicts
from bayes_badger.trust.judge import judged
from bayes_badger.trust.missed_modes import missed_modes
from bayes_badger.trust.verdicts import OFF, Verdicts


def inferred(
    loop: InnerLoop,
    program: Program,
    evidence: Evidence,
    key: PRNGKeyArray,
    trust: str,
    report: Report,
) -> tuple[Posterior, Verdicts | GivenVerdicts | None]:
    """A posterior, and the verdicts of its tasks.

    Where a mode was missed, recipe auto goes on to the next inner loop that applies; what is missed
    by the last one is a warning.

    Args:
        loop: The inner loop.
        program: The lifted program.
        evidence: What to infer from.
        key: For the inference and for what judges it.
        trust: What is done about a belief that approximates: "off", "weigh" or "refine".
        report: Is told how far it has come.
    """
    notes: tuple[str, ...] = ()
    while True:
        if isinstance(loop, Auto):
            posterior, loop = loop.arrived(program, evidence, key, report)
        else:
            posterior = loop.infer(program, evidence, key, report)
        judging, looking = (jax.random.fold_in(key, i) for i in (1, 2))
        posterior, verdicts = judged(program, evidence, posterior, judging, trust, report)
        missed = [] if trust == OFF else missed_modes(program, evidence, posterior, looking, report)
        other = loop.after(program, evidence) if missed and isinstance(loop, Auto) else None
        if other is None or not isinstance(loop, Auto):
            break
        name = loop.pick(program, evidence)[0]
        notes, loop = (*notes, f"{name} was tried and not kept: {missed[0]}"), other
    return (
        dataclasses.replace(
            posterior,
            notes=(*posterior.notes, *notes),
            warnings=(*posterior.warnings, *missed),
        ),
        verdicts,
    )
