"""Faults that are planted in a learner, one at a time: which measures find them, and say so.

    uv run python -m benchmarks faults [LEARNER ...]

Learners of the normal hierarchy, 12 tasks of 8 rows, each asked all measures of a learner with
their own defaults (`transfer` of 400 tasks of 2 rows that hardly differ, so that what they share is
what there is to know); then experts one of whom all copy, and gradient steps that are carried on
from task to task. `should` is what has to find a fault, by name; a sound
learner has to be found by nothing. A fault may be found by others too: a learner that drifts is not
calibrated either.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import jax.numpy as jnp
import numpy as np
import pandas as pd

import bayes_badger as bb
from bayes_badger.inner_loop import experts
from bayes_badger.inner_loop._policy import Survey, Untaught, no_counsel
from bayes_badger.inner_loop._taught import load
from bayes_badger.measures.labelled import doubts_of
from bayes_badger.measures.subject import Subject
from bayes_badger.runs import Run
from benchmarks._faulty import Hierarchy

MEASURES = ("memorisation", "is_it_bayesian", "alone", "endurance", "invariance")
# Sd of levels that are alike.
ALIKE = 0.3
# What is_it_bayesian says of each of its tests.
KINDS = {
    "expects to change its mind": "martingale",
    "heeds the order": "order",
    "not calibrated": "calibration",
    "intervals": "coverage",
}
LEARNERS: dict[str, tuple[Hierarchy, tuple[str, ...]]] = {
    "sound": (Hierarchy(), ()),
    "ignores its evidence": (Hierarchy(heeds=0.0), ("memorisation",)),
    "rows decay by .8": (Hierarchy(decay=0.8), ("order", "invariance")),
    "sd x .6": (Hierarchy(width=0.6), ("calibration", "coverage")),
    "a row moves its task by .1": (Hierarchy(drift=0.1), ("alone",)),
    "forgets a": (Hierarchy(carries=0.0), ("transfer",)),
    "stops at 100 rows": (Hierarchy(stops=100), ("endurance",)),
}


class Copier(Untaught):
    """Experts go as far as the first of them would."""

    def counsel(self, survey: Survey):
        """Whoever stands first is copied."""
        told = no_counsel(survey)
        return told._replace(damping=told.damping + jnp.tanh(survey.place[0])), survey.hidden


@contextmanager
def planted(loop: object) -> Iterator[None]:
    """All runs that are measured have this inner loop."""
    sound = Subject.inner_loop
    Subject.inner_loop = property(lambda _: loop)
    try:
        yield
    finally:
        Subject.inner_loop = sound


def found_by(run: Run, many: Run, loop: Hierarchy) -> dict[str, str]:
    """What each measure has against a learner, by its name or that of the test that failed."""
    told: dict[str, str] = {}
    with planted(dataclasses.replace(loop, tau=ALIKE)):
        doubts = doubts_of(bb.measures.transfer(many))
        told |= {"transfer": doubts[0]} if doubts else {}
    with planted(loop):
        for name in MEASURES:
            found = getattr(bb.measures, name)(run)
            doubts = doubts_of(found)
            if name == "is_it_bayesian":
                for doubt in doubts:
                    told |= {kind: doubt for words, kind in KINDS.items() if words in doubt}
            elif name == "endurance":
                at = float(found["stops_at"])
                told |= {name: f"stops improving after {at:g} rows"} if np.isfinite(at) else {}
            elif doubts:
                told[name] = doubts[0]
        terms = bb.measures.code_length(run)
    inner = (
        terms["terms"].sel(term="inner-loop shortfall"),
        terms["terms_se"].sel(term="inner-loop shortfall"),
    )
    if float(inner[0]) > 4 * float(inner[1]):
        told["code_length"] = f"inner loop {float(inner[0]):.2g} nats a task short"
    return told


def of_experts() -> Iterator[tuple[str, tuple[str, ...], dict[str, str]]]:
    """Experts who copy one of them, and those who do not."""
    run = bb.fit("wave", tasks=8, steps=6, inference="experts")
    for name, policy in (("who copy the first", Copier()), ("with the shipped policy", None)):
        society = experts.Experts(experts.Settings(experts=16), policy or load(experts.UNIVERSAL))
        with planted(society):
            doubts = doubts_of(bb.measures.influence(run))
        told = {"influence": doubts[0]} if doubts else {}
        yield f"experts {name}", ("influence",) if policy else (), told


def of_gradient() -> Iterator[tuple[str, tuple[str, ...], dict[str, str]]]:
    """Does MAML forget? Its steps start anew with each task; carried on, they forget."""
    ten = {"inference.steps": 10}
    run = bb.fit("coin", inference="gradient", settings=ten, tasks=60, steps=20)
    found = bb.measures.transfer(run)
    told = {"transfer": doubts_of(found)[0]} if doubts_of(found) else {}
    yield "gradient, carried on", ("transfer",), told


def run(*names: str) -> pd.DataFrame:
    """A row for each learner."""
    rows = []

    def tell(name: str, should: tuple[str, ...], told: dict[str, str], started: float) -> None:
        right = set(should) <= set(told) if should else not told
        row = {
            "learner": name,
            "should": ", ".join(should) or "nothing",
            "found by": ", ".join(told) or "nothing",
            "as it should": right,
            "s": time.monotonic() - started,
            "says": "; ".join(told[x] for x in should if x in told),
        }
        rows.append(row)
        print(row | {"all": told}, file=sys.stderr, flush=True)

    readings = bb.fit("gaussian", inference="exact", tasks=12, steps=8)
    alike = {"tau": ALIKE}
    many = bb.fit("gaussian", inference="exact", tasks=400, steps=2, settings=alike)
    for name, (loop, should) in LEARNERS.items():
        if not names or name in names:
            started = time.monotonic()
            tell(name, should, found_by(readings, many, loop), started)
    for part in (of_experts, of_gradient):
        started = time.monotonic()
        if not names or part.__name__ in names:
            for name, should, told in part():
                tell(name, should, told, started)
                started = time.monotonic()
    return pd.DataFrame(rows)
