"""What a policy gives up by being small, alike and silent: each constraint swept by itself.

    uv run python -m benchmarks constraints [STEPS [VARIANT ...]]

Every variant is bred anew on the same tasks of four programs of `families`, STEPS steps in turn,
and looked at on 128 tasks of ten rows of `wave` and of `decay`, which it has not seen. `better by`:
KL from posterior to belief without a policy minus that with it, in nats, paired, by experts and
points of the recipe `experts_refined`. Experts are as many in breeding as the variant says; λ is
the penalty on what the policy says beyond the identity, of all tasks together.
"""

from __future__ import annotations

import sys
from typing import Any

import jax
import numpy as np
import pandas as pd

from bayes_badger.inner_loop import _taught, experts
from bayes_badger.inner_loop.experts import Experts
from bayes_badger.outer_loop.breeding import Settings, breed
from bayes_badger.program.crowding import forget_if_crowded
from benchmarks.accuracy import tasks_of
from benchmarks.families import sources
from benchmarks.transfer import divergences

SEED, TASKS, ROWS, PROGRAMS = 0, 128, 10, ("wave", "decay")
BRED_ON = ("saturating", "growing", "bending", "counted")
# What differs from the shipped policy: of the policy, or of its breeding.
VARIANTS: dict[str, tuple[dict[str, int], dict[str, Any]]] = {
    "as shipped": ({}, {}),
    "no messages": ({"message": 0}, {}),
    "messages of 1": ({"message": 1}, {}),
    "messages of 16": ({"message": 16}, {}),
    "states of 4": ({"state": 4}, {}),
    "states of 32": ({"state": 32}, {}),
    "no memory": ({"width": 0}, {}),
    "four kinds of experts": ({"kinds": 4}, {}),
    "8 experts": ({}, {"experts": 8}),
    "64 experts": ({}, {"experts": 64}),
    "penalty 1": ({}, {"penalty": 1.0}),
    "penalty 100": ({}, {"penalty": 100.0}),
    "penalty 10,000": ({}, {"penalty": 10_000.0}),
}


def run(steps: str = "200", *variants: str) -> pd.DataFrame:
    """A row for each variant."""
    rows, some = [], sources(*BRED_ON)
    for name in variants or VARIANTS:
        sizes, breeding = VARIANTS[name]
        keys = jax.random.split(jax.random.key(SEED))
        start = _taught.Taught(keys[0], **sizes)
        settings = Settings(steps=int(steps), **breeding)
        policy = breed(start, some, keys[1], settings).policy
        numbers = sum(x.size for x in jax.tree.leaves(policy))
        rows.append({"variant": name, "numbers": numbers, **_looked_at(policy)})
        print(rows[-1], file=sys.stderr, flush=True)
        forget_if_crowded()
    return pd.DataFrame(rows)


def _looked_at(policy: _taught.Taught) -> dict[str, float]:
    settings, told = experts.Settings(), {}
    for name in PROGRAMS:
        program, lifetime, _ = tasks_of(name, ROWS, TASKS)
        found = [
            loop.societies(program, lifetime.evidence, jax.random.key(0)).society
            for loop in (Experts(settings), Experts(settings, policy))
        ]
        plain, taught = divergences(program, lifetime.evidence, *found)
        better = plain - taught
        told[f"{name} better by"] = float(better.mean())
        told[f"{name} se"] = float(better.std(ddof=1) / np.sqrt(len(better)))
    return told
