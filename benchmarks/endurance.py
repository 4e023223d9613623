"""Bred for ten steps, run for a hundred thousand: the recipe experts_stream against exact answers.

Waves of 100,000 rows each, 64 experts, 16 tasks at a time, in memory that does not grow. At the
end the posterior is normal to far beyond the digits shown, but has more than one mode: log
amplitude, frequency and phase (a, f, p) give the same rows as (a, f, p + 2πk) and as
(a, -f, π - p + 2πk), whatever the evidence. The mode near the truth is found by Newton's method in
float64; the weights of the others are those of the prior, so that the exact mean is known. Columns,
squared distances in units of the Cramér-Rao bound (the trace of the inverse information at the
truth): of the experts' mean from the exact one, and, within the heaviest exact mode, of the mean of
the experts there from it; how many tasks are above a tenth; how many have most of their weight
further than ten standard deviations from every exact mode; seconds.
"""

from __future__ import annotations

import sys
import time

import jax
import numpy as np
import pandas as pd

from bayes_badger.evidence import from_arrays
from bayes_badger.inner_loop._society import Society
from bayes_badger.recipe import load_recipe
from benchmarks.ceilings import simulated

SEED, AT_ONCE, STEPS = 2, 16, 100_000
ALLOWED, FAR = 0.1, 100.0
LOC, SCALE, NOISE = np.array([0.0, 1.0, 0.0]), np.array([0.5, 0.3, 1.0]), 0.3


def run(
    tasks: str = "1024", steps: str = str(STEPS), recipe: str = "experts_stream"
) -> pd.DataFrame:
    """So many tasks of so many steps."""
    program, _ = simulated("wave")
    loop, length = load_recipe(recipe).make(), int(steps)
    rng, rows = np.random.default_rng(SEED), []
    for i in range(-(-int(tasks) // AT_ONCE)):
        u = rng.normal(size=(AT_ONCE, 3))
        x = rng.uniform(-5, 5, (AT_ONCE, length))
        y = _waves(u, x)[0] + NOISE * rng.normal(size=x.shape)
        evidence = from_arrays(program.signature, {"x": x}, y, {})
        started = time.monotonic()
        after = loop.societies(program, evidence, jax.random.key(i)).society
        jax.block_until_ready(after)
        seconds = time.monotonic() - started
        mode, bound = _exact(u, x, y)
        rows.append(pd.DataFrame(_compared(after, *_modes(mode), bound) | {"seconds": seconds}))
        if i % 8 == 0:
            done = (i + 1) * AT_ONCE
            print(f"{done} tasks: {seconds:.1f} s each {AT_ONCE}", file=sys.stderr, flush=True)
    table = pd.concat(rows)
    took = table["seconds"].to_numpy()
    row: dict[str, object] = {"recipe": recipe, "tasks": len(table), "steps": length}
    for name in ("mean", "mode"):
        ratio = table[name].to_numpy()
        row |= {f"{name}: median": np.median(ratio), f"{name}: 99% below": np.quantile(ratio, 0.99)}
        row |= {f"{name}: above a tenth": (~(ratio <= ALLOWED)).mean()}
    row |= {"astray": (table["astray"] > 0.5).mean(), "not finite": (~table["sane"]).sum()}
    row |= {"median bound": table["bound"].median()}
    row |= {"seconds for 16": np.median(took[AT_ONCE:]) if len(took) > AT_ONCE else took[0]}
    return pd.DataFrame([row])


def _modes(mode: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All modes with the same likelihood, `[task, m, 3]`, and their weights, `[task, m]`."""
    size, frequency, phase = (LOC + SCALE * mode).T
    turns = 2 * np.pi * np.arange(-2, 3)
    same = [np.stack([size, frequency, phase + turn], 1) for turn in turns]
    mirrored = [np.stack([size, -frequency, np.pi - phase + turn], 1) for turn in turns]
    modes = (np.stack(same + mirrored, 1) - LOC) / SCALE
    height = -0.5 * (modes**2).sum(2)
    weights = np.exp(height - height.max(1, keepdims=True))
    return modes, weights / weights.sum(1, keepdims=True)


def _compared(
    after: Society, modes: np.ndarray, weights: np.ndarray, bound: np.ndarray
) -> dict[str, np.ndarray]:
    """Squared distances in units of the bound, and what is astray, `[task]`."""
    own = np.exp(np.asarray(after.log_weights, float))
    places = np.asarray(after.mean, float)
    apart = ((places[:, :, None] - modes[:, None]) ** 2).sum(3) / bound[:, None, None]
    heaviest = weights.argmax(1)
    there = np.where(apart.argmin(2) == heaviest[:, None], own, 0.0)
    inside = (there[..., None] * places).sum(1) / np.maximum(there.sum(1), 1e-300)[:, None]
    best = modes[np.arange(len(modes)), heaviest]
    mean, exact = (own[..., None] * places).sum(1), (weights[..., None] * modes).sum(1)
    return {
        "mean": ((mean - exact) ** 2).sum(1) / bound,
        "mode": ((inside - best) ** 2).sum(1) / bound,
        "astray": (own * (apart.min(2) > FAR)).sum(1),
        "sane": np.isfinite(np.asarray(after.root)).all((1, 2, 3)) & np.isfinite(mean).all(1),
        "bound": bound,
    }


def _waves(u: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values `[task, step]` and their slopes in coordinates `[task, step, 3]`."""
    z = LOC + SCALE * u
    size, angle = np.exp(z[:, :1]), z[:, 1:2] * x + z[:, 2:]
    value, slope = size * np.sin(angle), size * np.cos(angle)
    return value, np.stack([value * SCALE[0], slope * x * SCALE[1], slope * SCALE[2]], -1)


def _exact(u: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The posterior's mode, `[task, 3]`, and the Cramér-Rao bound at the truth, `[task]`."""
    slopes = _waves(u, x)[1]
    information = np.einsum("tsi,tsj->tij", slopes, slopes) / NOISE**2
    bound = np.trace(np.linalg.inv(information), axis1=1, axis2=2)
    mode = u.copy()
    for _ in range(8):
        value, slopes = _waves(mode, x)
        precision = np.eye(3) + np.einsum("tsi,tsj->tij", slopes, slopes) / NOISE**2
        slope = np.einsum("tsi,ts->ti", slopes, y - value) / NOISE**2 - mode
        mode = mode + np.linalg.solve(precision, slope[..., None])[..., 0]
    return mode, bound
