"""Does the outer loop learn how usual each learning rule is, p(a), from simulated lifetimes?

    uv run python -m benchmarks rule_frequencies [LIFETIMES]

Lifetimes of 3 tasks of 12 rows from `learning_rules`, whose rules are drawn with the chances of
`USUAL`; all else from the prior. One row for each rule: how often it was at work, the p(rule) that
is learned and its standard error. `off` of the last row is the total variation between the two.
"""

from __future__ import annotations

import sys

import jax
import numpy as np
import pandas as pd

from bayes_badger.evidence import from_arrays
from bayes_badger.outer_loop import Settings, learn_lifetimes
from bayes_badger.program import from_inputs, lift
from bayes_badger.shelves import load_program

TASKS, STEPS = 3, 12
USUAL = np.array([0.25, 0.02, 0.1, 0.2, 0.03, 0.15, 0.05, 0.05, 0.15])
SETTINGS = Settings(experts=8, points=16)


def run(lifetimes: str = "150") -> pd.DataFrame:
    """One row for each rule, and one for all."""
    loaded = load_program("learning_rules")
    program = lift(
        loaded.model,
        inputs=loaded.module.inputs,
        groups=loaded.optional("columns"),
        name=loaded.name,
        settings={"learned": True},
    )
    chance, evidence = np.random.default_rng(0), []
    rules = chance.choice(len(USUAL), int(lifetimes), p=USUAL)
    for i, rule in enumerate(rules):
        keys = jax.random.split(jax.random.key(i))
        data = from_inputs(program.signature, loaded.module.inputs, keys[0], TASKS, STEPS)
        drawn = program.simulate(keys[1], data, {"rule": np.int32(rule)})
        columns = {name: np.asarray(x) for name, x in data.columns.items()}
        evidence.append(from_arrays(program.signature, columns, np.asarray(drawn.outcome), {}))
    found = learn_lifetimes(program, evidence, jax.random.key(0), SETTINGS, _told)
    print(found.notes, found.warnings, file=sys.stderr)
    learned = np.asarray(found.program.parameters["usual"], float)
    at_work = np.bincount(rules, minlength=len(USUAL)) / len(rules)
    table = pd.DataFrame(
        {
            "rule": program.latent("rule").labels,
            "at work": at_work,
            "learned": learned,
            "se": found.errors["usual"],
            "off": learned - at_work,
        }
    )
    table.loc[len(table)] = ["all", 1.0, learned.sum(), np.nan, 0.5 * abs(table["off"]).sum()]
    return table


def _told(stage: str, done: int, total: int, note: str = "") -> None:
    if done % 10 == 0 or stage == "learning":
        print(stage, done, total, note, file=sys.stderr, flush=True)
