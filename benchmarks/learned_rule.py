"""A learning rule that is on no shelf, learned by the outer loop: is it then known again?

    uv run python -m benchmarks learned_rule [TRAINED] [STEPS] [TESTED]

The learner of `signs` moves its weights by the sign of its error; no rule of `learning_rules` does.
Lifetimes of 3 tasks of 12 rows of it train the network of the rule "learned" (36 weights), which is
then one more rule beside the nine listed. On new lifetimes of `signs`, and of each listed rule, the
posterior over the ten, before the network was trained and after: how often "learned" is the most
probable, its mean probability, and log evidence of a lifetime, less that of the nine alone.
"""

from __future__ import annotations

import sys
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from bayes_badger.evidence import Evidence, from_arrays
from bayes_badger.inner_loop._lifetime_rounds import Sizes
from bayes_badger.inner_loop._lifetimes_weighed import weighed_lifetimes
from bayes_badger.inner_loop.protocol import silent
from bayes_badger.outer_loop import Settings, learn_lifetimes
from bayes_badger.program import Program, from_inputs, lift
from bayes_badger.shelves import load_program

TASKS, STEPS, DRAWS = 3, 12, 400
SIZES = Sizes(experts=8, points=16)


def run(trained: str = "60", steps: str = "60", tested: str = "27") -> pd.DataFrame:
    """One row for each kind of lifetime, before and after."""
    alone, both, listed = (lifted(rules) for rules in ("learned", "both", "listed"))
    settings = Settings(
        steps=int(steps), scoring=0, tasks=16 * TASKS, experts=8, points=16, rate=0.02
    )
    lifetimes = [signs(alone, i) for i in range(int(trained))]
    found = learn_lifetimes(alone, lifetimes, jax.random.key(0), settings, _told)
    print([round(line["loss"], 3) for line in found.curve], found.warnings, file=sys.stderr)
    taught = with_network(both, found.program.parameters["network"])
    rules = len(listed.latent("rule").labels)
    new = {
        "signs": [signs(alone, 10_000 + i) for i in range(int(tested))],
        "listed": [listed_one(listed, 20_000 + i, i % rules) for i in range(int(tested))],
    }
    table = []
    for kind, some in new.items():
        without = np.array([posterior(listed, x)[1] for x in some])
        for when, program in (("before", both), ("after", taught)):
            each = [posterior(program, x) for x in some]
            share = np.array([x[0] for x in each])
            table.append(
                {
                    "lifetimes": kind,
                    "training": when,
                    "learned is most probable": (share.argmax(1) == rules).mean(),
                    "its probability": share[:, rules].mean(),
                    "gain": (np.array([x[1] for x in each]) - without).mean(),
                }
            )
    return pd.DataFrame(table)


def lifted(rules: str) -> Program:
    """`learning_rules` with some of its rules."""
    loaded = load_program("learning_rules")
    return lift(
        loaded.model,
        inputs=loaded.module.inputs,
        groups=loaded.optional("columns"),
        name=loaded.name,
        settings={"rules": rules},
    )


def with_network(program: Program, network: Any) -> Program:
    """With a network that was trained elsewhere."""
    return eqx.tree_at(lambda x: x.parameters["network"], program, network)


def signs(program: Program, seed: int) -> Evidence:
    """A lifetime of the learner that is on no shelf."""
    rng = np.random.default_rng(seed)
    rate, noise = np.exp(-1.5 + 0.7 * rng.normal()), np.exp(-1.5 + 0.5 * rng.normal())
    x = rng.normal(size=(TASKS, STEPS, 2))
    inputs, answer = np.concatenate([x, np.ones((TASKS, STEPS, 1))], -1), np.zeros((TASKS, STEPS))
    for i in range(TASKS):
        weights = np.zeros(3)
        for j in range(STEPS):
            expected = weights @ inputs[i, j]
            answer[i, j] = expected + noise * rng.normal()
            weights = weights + rate * np.sign(answer[i, j] - expected) * inputs[i, j]
    return from_arrays(program.signature, {"x": x}, answer, {})


def listed_one(program: Program, seed: int, rule: int) -> Evidence:
    """A lifetime of a listed rule."""
    loaded, keys = load_program("learning_rules"), jax.random.split(jax.random.key(seed))
    data = from_inputs(program.signature, loaded.module.inputs, keys[0], TASKS, STEPS)
    drawn = program.simulate(keys[1], data, {"rule": jnp.int32(rule)})
    columns = {name: np.asarray(x) for name, x in data.columns.items()}
    return from_arrays(program.signature, columns, np.asarray(drawn.outcome), {})


def posterior(program: Program, evidence: Evidence) -> tuple[np.ndarray, float]:
    """Probability of each rule, and log evidence."""
    found = weighed_lifetimes(program, evidence, jax.random.key(0), DRAWS, SIZES, silent)
    share = np.zeros(len(program.latent("rule").labels))
    share[found.states["rule"]] = found.share.sum(1)
    return share, found.log_evidence


def _told(stage: str, done: int, total: int, note: str = "") -> None:
    if stage == "learning":
        print(done, total, note, file=sys.stderr, flush=True)
