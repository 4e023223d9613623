"""What tasks share, by experts and by others, against quadrature or long chains: accuracy and time.

    uv run python -m benchmarks lifetimes [PROGRAM[:WAY] ...]

Of all latents of the lifetime and of its tasks: the largest difference of means in standard
deviations of the reference, and the smallest and largest ratio of standard deviations. The
reference is recipe `grid` with 40,000 draws where it applies, else `nuts` with 20,000.

Ways: recipes `experts`, `nuts`, `laplace` and `grid` (nested quadrature, as INLA does it), all
defaults, and `svi`: NumPyro's AutoMultivariateNormal, 5,000 steps of Adam with 8 draws each.
Seconds are of inference alone, of processor time, so that other work beside it counts for little.
The first run has nothing compiled before it; the second, with another seed, finds what the first
compiled (NUTS and SVI trace their program again each time). What takes longer than six minutes is
stopped, and judged by the draws that it had.
"""

from __future__ import annotations

import sys
import tempfile
import time
from typing import Any

import jax
import numpy as np
import pandas as pd
from jax.experimental.compilation_cache import compilation_cache

from bayes_badger.belief import Posterior
from bayes_badger.errors import BadgerError
from bayes_badger.evidence import Evidence, read
from bayes_badger.fitting import example_of
from bayes_badger.inner_loop import registry
from bayes_badger.program import Program, lift, read_signature
from bayes_badger.shelves import load_program
from benchmarks._svi import MultivariateNormal

REFERENCES = {
    "eight_schools": ("grid", {"draws": 10_000}),
    "radon": ("grid", {"draws": 10_000}),
    "rats": ("grid", {"draws": 10_000}),
    "sleepstudy": ("nuts", {"draws": 5_000}),
}
WAYS = ("experts", "laplace", "grid", "svi", "nuts")
LIMIT = 360.0


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
        found, seconds, _ = _timed(_way(recipe, settings), program, evidence, 2**31, np.inf)
        truth = _values(program, found)
        rows.append({"program": name, "way": f"{recipe}, long", "first run, s": seconds})
        for way in WAYS:
            if only in ("", way):
                row = {"program": name, "way": way, **_row(way, program, evidence, truth)}
                rows.append(row)
                print(row, file=sys.stderr, flush=True)
    return pd.DataFrame(rows)


def _way(name: str, settings: dict[str, Any]) -> Any:
    if name == "svi":
        return MultivariateNormal()
    module = registry.module(name)
    return module.make(module.Settings(**settings))


def _row(
    way: str, program: Program, evidence: Evidence, truth: dict[str, np.ndarray]
) -> dict[str, Any]:
    loop = _way(way, {})
    with tempfile.TemporaryDirectory() as folder:
        _forget_compilations(folder)
        try:
            found, first, done = _timed(loop, program, evidence, 0, LIMIT)
        except BadgerError as refused:
            return {"told": str(refused)}
        row = {"first run, s": first}
        if found is None:
            return {**row, "told": f"stopped before it had a draw: {done}"}
        row |= _off(truth, _values(program, found))
        if done:
            return {**row, "told": f"stopped: {done}"}
        # Nothing that was found out of the evidence is kept.
        again = evidence.select(np.arange(evidence.n_tasks))
        return {**row, "second run, s": _timed(loop, program, again, 1, LIMIT)[1]}


def _forget_compilations(folder: str) -> None:
    """What is compiled from now on is kept in a folder, and nothing else is known."""
    jax.clear_caches()
    compilation_cache.reset_cache()
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _timed(
    loop: Any, program: Program, evidence: Evidence, seed: int, limit: float
) -> tuple[Posterior | None, float, str]:
    """What it found, the seconds it took, and how far it had come if it was stopped."""
    started, stopped = time.process_time(), [""]

    def report(stage: str, done: int, total: int, note: str = "") -> None:
        if time.process_time() - started > limit:
            stopped[0] = f"{stage}, {done} of {total}"
            raise KeyboardInterrupt

    try:
        found = loop.infer(program, evidence, jax.random.key(seed), report)
    except KeyboardInterrupt:
        if not stopped[0]:
            raise
        return None, time.process_time() - started, stopped[0]
    return found, time.process_time() - started, stopped[0]


def _values(program: Program, found: Posterior | None) -> dict[str, np.ndarray]:
    assert found is not None
    values = found.draws.values
    latents = [latent.name for latent in program.latents]
    return {n: values[n].reshape(-1, *values[n].shape[2:]).astype(float) for n in latents}


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
