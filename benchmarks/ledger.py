"""The ledger of a learner's code length adds up, on programs whose terms are known or not.

    uv run python -m benchmarks ledger [PROGRAM ...]

Five programs, each coded by the recipe that `auto` takes; terms and code length are estimated on
tasks of their own. `apart` is the code length less the sum of the terms, in their joint standard
errors. Exact values of the normal hierarchy and of the coin stand beside.
"""

from __future__ import annotations

import sys
import time

import jax
import numpy as np
import pandas as pd
from scipy.special import betaln

import bayes_badger as bb
from bayes_badger import shelves
from bayes_badger.evidence import from_arrays
from bayes_badger.inner_loop import registry
from bayes_badger.measures.ledger import TERMS, ledger
from bayes_badger.program import from_inputs, read_signature

STEPS = 8
# Program, recipe, lifetimes for terms, lifetimes that the learner codes, tasks of each.
PROGRAMS = {
    "gaussian": ("exact", 2000, 48, 4),
    "coin": ("grid", 2000, 400, 1),
    "counts": ("grid", 2000, 400, 1),
    "wave": ("experts", 2000, 400, 1),
    "logistic": ("grid", 2000, 400, 1),
}


def exact(name: str, steps: int, tasks: int) -> dict[str, float]:
    """Of the two conjugate programs."""
    if name == "gaussian":
        return {
            "noise": 0.5 * steps * np.log(2 * np.pi * np.e),
            "task": 0.5 * np.log(1 + steps),
            "algorithm": 0.5 * np.log(1 + tasks / (1 + 1 / steps)) / tasks,
        }
    if name == "coin":
        heads = np.arange(steps + 1)
        # Each number of heads is equally likely; H(D) = Σ P(h) log(1/p(D)).
        total = -betaln(heads + 1, steps - heads + 1).mean()
        return {"noise": 0.5 * steps, "task": total - 0.5 * steps, "algorithm": 0.0}
    return {}


def queries_of(name: str, many: int, steps: int):  # type: ignore[no-untyped-def]
    """A program of the shelf, and rows for it without outcomes."""
    loaded = shelves.load_program(name)
    inputs, groups = loaded.optional("inputs"), loaded.optional("columns")
    program = bb.lift(loaded.model, inputs=inputs, groups=groups, name=name)
    signature = read_signature(loaded.model, name, groups)
    data = from_inputs(signature, inputs, jax.random.key(5), many, steps)
    return program, from_arrays(signature, {n: np.asarray(x) for n, x in data.columns.items()})


def run(*names: str) -> pd.DataFrame:
    """A row for each program."""
    rows = []
    for name in names or PROGRAMS:
        recipe, lifetimes, coded, tasks = PROGRAMS[name]
        program, queries = queries_of(name, 500, STEPS)
        module = registry.module(recipe)
        started = time.monotonic()
        found = ledger(
            program,
            program,
            queries,
            module.make(module.Settings()),
            jax.random.key(0),
            lifetimes,
            coded,
            tasks,
            same=True,
        )
        known = exact(name, STEPS, tasks)
        row: dict[str, object] = {"program": name, "code": found.code.value}
        for term in TERMS:
            estimate = found.terms[term]
            row[term] = f"{estimate.value:.4f} ± {estimate.error:.4f}"
            if term in known:
                row[f"{term} exact"] = f"{known[term]:.4f}"
        row["apart"] = found.apart.value
        row["apart, se"] = found.apart.value / found.apart.error
        row["seconds"] = time.monotonic() - started
        row["doubts"] = "; ".join(x.doubt for x in found.terms.values() if x.doubt)
        print(row, file=sys.stderr, flush=True)
        rows.append(row)
    return pd.DataFrame(rows)
