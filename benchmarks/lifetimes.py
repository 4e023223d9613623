"""What tasks share, by experts, against quadrature or long chains, on the shelf's own tables.

    uv run python -m benchmarks lifetimes [PROGRAM[:RECIPE] ...]

Of all latents of the lifetime and of its tasks: the largest difference of means in standard
deviations of the reference, and the smallest and largest ratio of standard deviations. The
reference is recipe `grid` where it applies, else `nuts` with 20,000 draws. Seconds are of inference
alone, in a process that compiled nothing before, compilation included.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import jax
import numpy as np
import pandas as pd

from bayes_badger.evidence import read
from bayes_badger.fitting import example_of
from bayes_badger.inner_loop import registry
from bayes_badger.program import lift, read_signature
from bayes_badger.shelves import load_program

REFERENCES = {
    "eight_schools": ("grid", {"draws": 10_000}),
    "radon": ("grid", {"draws": 10_000}),
    "rats": ("grid", {"draws": 10_000}),
    "sleepstudy": ("nuts", {"draws": 5_000}),
}
RECIPES: dict[str, dict[str, Any]] = {"experts": {}, "laplace": {}, "nuts": {}}


def run(*programs: str) -> pd.DataFrame:
    """A row for each program and way to infer."""
    rows = []
    for asked in programs or tuple(REFERENCES):
        name, _, only = asked.partition(":")
        loaded = load_program(name)
        signature = read_signature(loaded.model, name, None)
        evidence = read(signature, loaded.module.evidence())
        program = lift(loaded.model, example=example_of(evidence), name=name)
        recipe, settings = REFERENCES[name]
        truth, seconds = _inferred(program, evidence, recipe, settings)
        rows.append({"program": name, "recipe": f"{recipe}, long", "seconds": seconds})
        for recipe, settings in RECIPES.items():
            if only not in ("", recipe):
                continue
            found, seconds = _inferred(program, evidence, recipe, settings)
            row = {"program": name, "recipe": recipe, "seconds": seconds, **_off(truth, found)}
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
    return pd.DataFrame(rows)


def _inferred(
    program: Any, evidence: Any, recipe: str, settings: dict[str, Any]
) -> tuple[dict[str, np.ndarray], float]:
    module = registry.module(recipe)
    loop = module.make(module.Settings(**settings))
    started = time.monotonic()
    found = loop.infer(program, evidence, jax.random.key(0))
    seconds = time.monotonic() - started
    values = found.draws.values
    latents = [latent.name for latent in program.latents]
    return {n: values[n].reshape(-1, *values[n].shape[2:]).astype(float) for n in latents}, seconds


def _off(truth: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> dict[str, float]:
    means, ratios = [], []
    for name, x in truth.items():
        sd = x.std(0).ravel()
        moves = sd > 1e-6
        away = np.abs(x.mean(0) - found[name].mean(0)).ravel()
        means.append((away[moves] / sd[moves]).max())
        ratios.append(found[name].std(0).ravel()[moves] / sd[moves])
    ratio = np.concatenate(ratios)
    return {"mean off, sd": max(means), "sd ratio from": ratio.min(), "to": ratio.max()}
