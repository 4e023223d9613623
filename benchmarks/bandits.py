"""Are learners on a bandit recovered, with how usual each kind is given and inferred?

    uv run python -m benchmarks bandits [SUBJECTS] [CHOICES] [WORLDS]

Worlds of `bandit_learners` with `group=1`: what subjects share is drawn from the prior, then the
subjects. Each world is inferred twice, with what they share inferred (group) and with the fixed
prior (alone). `rule right` is how often the most probable rule is the subject's own, `log p` the
mean log probability of that, `corr` are correlations of posterior means with the truth over all
subjects, `cover` the share of central 90% intervals that hold it.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from bayes_badger.evidence import Evidence, from_arrays
from bayes_badger.inner_loop._integrated import constrained
from bayes_badger.inner_loop._lifetime import infer_shared
from bayes_badger.inner_loop._lifetime_rounds import Sizes
from bayes_badger.inner_loop.protocol import silent
from bayes_badger.program import Program, from_inputs, lift
from bayes_badger.shelves import load_program

NUMBERS, DRAWS = ("rate", "heat", "stick"), 1000


def run(subjects: str = "8", choices: str = "96", worlds: str = "1") -> pd.DataFrame:
    """One row for each way to infer."""
    group, alone = lifted({"group": True}), lifted({})
    found: dict[str, list[dict[str, Any]]] = {"group": [], "alone": []}
    for world in range(int(worlds)):
        keys = jax.random.split(jax.random.key(world), 3)
        inputs = load_program("bandit_learners").module.inputs
        data = from_inputs(group.signature, inputs, keys[0], int(subjects), int(choices))
        drawn = group.simulate(keys[1], data)
        columns = {name: np.asarray(x) for name, x in data.columns.items()}
        evidence = from_arrays(group.signature, columns, np.asarray(drawn.outcome), {})
        truth = {name: np.asarray(x) for name, x in drawn.values.items()}
        for name, program in (("group", group), ("alone", alone)):
            found[name].append(_inferred(program, evidence, truth, keys[2]))
            print(world, name, found[name][-1]["seconds"], file=sys.stderr, flush=True)
    return pd.DataFrame([{"prior": name, **_summed(each)} for name, each in found.items()])


def lifted(settings: dict[str, Any]) -> Program:
    """`bandit_learners`, with or without a group level."""
    loaded = load_program("bandit_learners")
    return lift(
        loaded.model,
        inputs=loaded.module.inputs,
        groups=loaded.optional("columns"),
        name=loaded.name,
        settings=settings,
    )


def _inferred(
    program: Program, evidence: Evidence, truth: dict[str, np.ndarray], key: Any
) -> dict[str, Any]:
    started = time.process_time()
    found = infer_shared(program, evidence, key, DRAWS, Sizes(), silent)
    seconds = time.process_time() - started
    tasks, discrete = jnp.asarray(found.tasks), found.discrete
    drawn = constrained(program, jnp.asarray(found.lifetimes), tasks, {}, discrete)
    rule = np.asarray(drawn["rule"])
    share = np.stack([(rule == r).mean(0) for r in range(5)], 1)
    own = share[np.arange(len(share)), truth["rule"]]
    told: dict[str, Any] = {
        "right": share.argmax(1) == truth["rule"],
        "log p": np.log(np.maximum(own, 0.5 / DRAWS)),
        "seconds": seconds,
        "ess": found.ess,
        "least": found.effective.min(),
    }
    for name in NUMBERS:
        x = np.asarray(drawn[name])
        low, high = np.quantile(x, (0.05, 0.95), axis=0)
        told[name] = truth[name], x.mean(0), (low < truth[name]) & (truth[name] < high)
    return told


def _summed(each: list[dict[str, Any]]) -> dict[str, float]:
    row = {
        "rule right": np.concatenate([x["right"] for x in each]).mean(),
        "log p": np.concatenate([x["log p"] for x in each]).mean(),
    }
    for name in NUMBERS:
        truth, mean, inside = (np.concatenate([x[name][i] for x in each]) for i in range(3))
        row[f"corr {name}"] = np.corrcoef(truth, mean)[0, 1]
        row[f"cover {name}"] = inside.mean()
    for name in ("seconds", "ess", "least"):
        row[name] = float(np.mean([x[name] for x in each]))
    return row
