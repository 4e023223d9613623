"""Whether a belief that is wrong is flagged, one that is right is not, and refining mends it.

    uv run python -m benchmarks trust [RECIPE ...]

Waves with exact answers, as in `accuracy`: a task is bad where the belief gives its true latents
more than a nat less density than the exact posterior does. Beliefs by the recipe experts, on 2,048
tasks, and by experts_plain, which is bad far more often, on 256; judged with trust = weigh, which
joins the belief with a second opinion, then with trust = refine. Flags are held against what is
bad after weighing. "missed" is the mean of what the flags rest on: the estimated share of a
posterior in which its belief is too low by more than a nat, which is the chance that the task is
bad. The draws are those of the recipes: 4 x 1,000 of each task.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import jax
import pandas as pd

from bayes_badger.recipe import load_recipe
from bayes_badger.trust import judged
from benchmarks.accuracy import log_q, tasks_of

RECIPES = {"experts": 2048, "experts_plain": 256}
STEPS = (2, 5, 10, 50, 200)
BAD, SEED = -1.0, 0


def run(*recipes: str) -> pd.DataFrame:
    """Of all recipes, or of those named."""
    rows = []
    for recipe in recipes or RECIPES:
        for row in _rows(recipe):
            print(row, file=sys.stderr, flush=True)
            rows.append(row)
    return pd.DataFrame(rows)


def _rows(recipe: str) -> Iterator[dict[str, object]]:
    loop = load_recipe(recipe).make()
    for steps in STEPS:
        program, (evidence, truth), reference = tasks_of("wave", steps, RECIPES[recipe])
        belief = loop.infer(program, evidence, jax.random.key(SEED))
        gap = log_q(program, evidence, truth, belief.mixture) - reference
        key, started = jax.random.key(SEED + 1), time.monotonic()
        joined, weighed = judged(program, evidence, belief, key, "weigh")
        took = time.monotonic() - started
        between = log_q(program, evidence, truth, joined.mixture) - reference
        started = time.monotonic()
        mended, refined = judged(program, evidence, belief, key, "refine")
        took_refining = time.monotonic() - started
        after = log_q(program, evidence, truth, mended.mixture) - reference
        bad, flagged = between < BAD, weighed.flagged
        yield {
            "recipe": recipe,
            "T": steps,
            "tasks": len(gap),
            "bad": (gap < BAD).sum(),
            "bad after weighing": bad.sum(),
            "of these flagged": (bad & flagged).sum(),
            "flagged of the good": (~bad & flagged).sum() / (~bad).sum(),
            "missed": weighed.missed.mean(),
            "bad after refining": (after < BAD).sum(),
            "worst after": after.min(),
            "gap before": gap.mean(),
            "gap weighed": between.mean(),
            "gap after": after.mean(),
            "refined": (refined.done == "refined").sum(),
            "sampled": (refined.done == "sampled").sum(),
            "flagged after": refined.flagged.sum(),
            "seconds weighing": took,
            "seconds refining": took_refining,
        }
