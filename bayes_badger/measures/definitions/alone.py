"""What becomes of a belief that goes on without a teacher, on outcomes that it draws itself?

Under exact Bayes the expected belief must not move: E over y' ~ q(y' | D) of q(. | D, y') is
q(. | D). So mean and second moment of every latent, averaged over dreams, are what they were, and
so is the predictive of anything else. What moves is the approximation: a gain in the log predictive
of evidence that was held out is a gap of amortisation closed, a loss is a drift.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy.stats import t

from bayes_badger.errors import BadgerError
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.measures.estimate import Estimate
from bayes_badger.measures.labelled import Quantity, labelled
from bayes_badger.measures.lifetimes import (
    joined,
    log_mean_exp,
    log_predictive,
    queries_like,
)
from bayes_badger.measures.picture import BLUE, GREY
from bayes_badger.measures.subject import AnyProgram, Subject, opened
from bayes_badger.pointwise import predict_rows
from bayes_badger.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUESTION = "Does the belief stay where it is when it goes on without a teacher?"
REFERENCE = "Doob (1949); Falck, Wang & Holmes (2024), martingale tests of learners"
# How often something is said to move where nothing does, and the quantile of 80% power.
LEVEL, POWER = 0.01, 0.8416


@runtime_checkable
class Dreamer(Protocol):
    """A learner at the level of arrays: n copies of it at once."""

    def dream(self, state: Any, rng: np.random.Generator) -> Any:
        """An outcome of each copy, from its own predictive."""

    def after(self, state: Any, outcome: Any) -> Any:
        """The state of each copy after an outcome."""

    def moments(self, state: Any) -> np.ndarray:
        """Expectations under each copy's belief, `[copy, moment]`."""


class Drift(NamedTuple):
    """How far an expected belief has moved.

    Attributes:
        moved: Mean over dreams of each expectation, less what it was, `[moment]`.
        detectable: What would have been found with 80% power, `[moment]`.
        astray: Which moved: in one of a hundred sound learners any does, `[moment]`.
    """

    moved: Estimate
    detectable: np.ndarray
    astray: np.ndarray


def drift(before: np.ndarray, after: np.ndarray, noise: np.ndarray | float = 0.0) -> Drift:
    """How far expectations have moved, on average over independent dreams.

    Args:
        before: `[moment]`.
        after: `[dream, moment]`.
        noise: Standard error of `before`, where it is a mean over draws.

    Raises:
        BadgerError: Where there are fewer than two dreams.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> drift(np.zeros(1), rng.normal(0.5, 1, (400, 1))).astray
        array([ True])
        >>> drift(np.zeros(1), rng.normal(0.0, 1, (400, 1))).astray
        array([False])
    """
    x = np.asarray(after, float)
    if len(x) < 2:
        raise BadgerError("alone needs two dreams at least: give dreams=16")
    error = np.hypot(x.std(0, ddof=1) / np.sqrt(len(x)), noise)
    value = x.mean(0) - before
    # Rounding of single precision is no movement.
    least = np.maximum(error, 1e-6 * (1 + np.abs(before)))
    far = _far(len(x), x.shape[1])
    return Drift(Estimate(value, error), (far + POWER) * error, np.abs(value) > far * least)


def _far(dreams: int, tests: int = 1) -> float:
    """Standard errors beyond which any of some tests lies in one of a hundred sound learners."""
    return float(t.isf(LEVEL / (2 * tests), dreams - 1))


def dreamt(learner: Dreamer, state: Any, steps: int, seed: int = 0) -> Drift:
    """How far the expected belief of a learner moves while it learns from its own dreams.

    Args:
        learner: What learns.
        state: Of copies that are all alike; each dreams for itself.
        steps: How many outcomes each dreams.
        seed: Of the dreams.
    """
    rng, before = np.random.default_rng(seed), learner.moments(state)[0]
    for _ in range(steps):
        state = learner.after(state, learner.dream(state, rng))
    return drift(before, learner.moments(state))


def gain(before: np.ndarray, after: np.ndarray) -> Estimate:
    """Gain in log predictive of what was held out, from averaging over dreams, in nats per row.

    The log of a mean over R dreams is too low by a term in 1/R, which the jackknife takes away.

    Args:
        before: Log predictive of each row, `[row]`.
        after: `[dream, row]`.

    Example:
        >>> float(gain(np.log([0.5, 0.5]), np.log([[0.4, 0.5], [0.6, 0.5]])).value.round(4))
        0.0102
    """
    x = np.asarray(after, float)
    n = len(x)
    whole = log_mean_exp(x).mean()
    without = np.array([log_mean_exp(np.delete(x, i, 0)).mean() for i in range(n)])
    value = n * whole - (n - 1) * without.mean() - before.mean()
    error = np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum())
    return Estimate(np.float64(value), float(error))


def alone(
    run: Run,
    *,
    program: AnyProgram = None,
    seed: int = 0,
    report: Report = silent,
    dreams: int = 16,
    steps: int = 4,
) -> xr.Dataset:
    """How far the belief of a run's inner loop moves on outcomes that it draws itself.

    The last row of each task is held out, where a task has two. Draws of a belief all count alike.

    Args:
        run: Fitted by any inner loop.
        program: The program, where the run was read and its program is not on the shelf.
        seed: Of everything random.
        report: Is told how far the work has come.
        dreams: How many lifetimes it dreams; each is inferred anew.
        steps: Rows that it dreams of each task, at inputs like the task's own.

    Returns:
        `mean` and `square`, how far the mean and the second moment of each entry of each latent
            moved, in standard deviations and variances of the belief, `[entry]`; `spread`, the
            latter of all entries together; `gain` of what was held out, in nats per row.

    Raises:
        BadgerError: Of a program with a state, whose rows have an order.

    Example:
        >>> import bayes_badger as bb
        >>> run = bb.fit("gaussian", tasks=3, steps=3)
        >>> found = bb.measures.alone(run, dreams=4)
        >>> bool((abs(found["mean"]) < 1).all())
        True
    """
    subject = opened(run, program)
    if subject.program.signature.stateful:
        raise BadgerError(f"{run.name}: alone cannot dream the rows of a program with a state")
    taught, held = _held_out(subject.evidence)
    keys = jax.random.split(jax.random.key(seed), dreams + 2)
    now = subject.inner_loop.infer(subject.program, taught, keys[0]).draws.values
    one = next(iter(now.values()))
    count = one.shape[0] * one.shape[1]
    if dreams > count:
        raise BadgerError(f"{dreams} dreams need as many draws, and the recipe has {count}")
    rng = np.random.default_rng(seed)
    queries = queries_like(taught, steps, rng)
    chosen = np.linspace(0, count - 1, dreams).astype(int)
    values = {
        x.name: jnp.asarray(now[x.name].reshape(1, count, *now[x.name].shape[2:])[:, chosen])
        for x in subject.program.latents
    }
    outcomes = predict_rows(subject.program, queries, values, keys[1])[0]
    place, spread, names, size = _standards(subject, now)
    after, scores = [], []
    for i in range(dreams):
        report("dreams", i, dreams)
        more = joined(taught, queries, outcomes[i])
        then = subject.inner_loop.infer(subject.program, more, keys[2 + i]).draws.values
        after.append(_moments(subject, then, place, spread))
        if held is not None:
            scores.append(log_predictive(subject.program, held, then))
    before = _moments(subject, now, place, spread)
    noise = np.concatenate([np.full(size, 1.0), np.full(size, np.sqrt(2))]) / np.sqrt(count)
    found = drift(before, np.stack(after), noise)
    # Of all entries together: what is too sure of itself is so everywhere.
    whole = drift(before[size:].mean(keepdims=True), np.stack(after)[:, size:].mean(1)[:, None])
    gained = None
    if held is not None:
        gained = gain(log_predictive(subject.program, held, now), np.stack(scores))
    return _labelled(found, whole, gained, names, steps, dreams)


def _held_out(evidence: Evidence) -> tuple[Evidence, Evidence | None]:
    """All rows but the last of each task with two or more, and those; None where there are none."""
    last = np.zeros(evidence.n_rows, bool)
    last[np.cumsum(evidence.lengths)[evidence.lengths > 1] - 1] = True
    if not last.any():
        return evidence, None
    return evidence.select_rows(~last), evidence.select_rows(last)


def _flat(subject: Subject, values: dict[str, np.ndarray]) -> np.ndarray:
    each = [np.asarray(values[x.name], float) for x in subject.program.latents]
    return np.concatenate([x.reshape(x.shape[0] * x.shape[1], -1) for x in each], 1)


def _standards(subject: Subject, values: Any) -> tuple[np.ndarray, np.ndarray, list[str], int]:
    """Median and robust spread of each entry, and its name: tails have no part in either."""
    flat = _flat(subject, values)
    low, place, high = np.quantile(flat, (0.16, 0.5, 0.84), axis=0)
    names = [
        f"{x.name}{list(at) if at else ''}"
        for x in subject.program.latents
        for at in np.ndindex(np.asarray(values[x.name]).shape[2:])
    ]
    return place, np.maximum(0.5 * (high - low), 1e-30), names, len(names)


def _moments(subject: Subject, values: Any, place: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Mean and second moment of each entry, `[2 entry]`; bounded, so that heavy tails have both."""
    u = np.tanh((_flat(subject, values) - place) / (3 * spread)) * 3
    return np.concatenate([u.mean(0), (u**2).mean(0)])


def _labelled(
    found: Drift,
    whole: Drift,
    gained: Estimate | None,
    names: list[str],
    steps: int,
    dreams: int,
) -> xr.Dataset:
    k = len(names)
    quantities = {}
    if gained is not None:
        quantities["gain"] = Quantity("gain on held-out rows, per row", *gained[:2], exact=0.0)
    quantities["spread"] = Quantity(
        "second moment of all moved",
        float(np.asarray(whole.moved.value)[0]),
        float(np.asarray(whole.moved.error)[0]),
        0.0,
        units="variances",
    )
    for name, about, at, units in (
        ("mean", "mean moved", slice(0, k), "sd"),
        ("square", "second moment moved", slice(k, 2 * k), "variances"),
    ):
        value, error = np.asarray(found.moved.value)[at], np.asarray(found.moved.error)[at]
        quantities[name] = Quantity(about, value, error, np.zeros(k), ("entry",), units)
    worst = float(np.max(found.detectable))
    quantities["detectable"] = Quantity("would be found with 80% power", worst, units="sd")
    doubts = []
    astray = sorted({names[i % k] for i in np.flatnonzero(found.astray)}, key=names.index)
    if astray:
        doubts.append(f"the belief moves when it is alone: {', '.join(astray[:8])}")
    if whole.astray[0]:
        word = "wider" if quantities["spread"].value > 0 else "narrower"
        doubts.append(f"the belief as a whole becomes {word} when it is alone")
    if gained is not None and abs(float(gained.value)) > _far(dreams) * max(
        float(gained.error), 1e-6
    ):
        word = "gains" if float(gained.value) > 0 else "loses"
        doubts.append(f"it {word} {abs(float(gained.value)):.3g} nats a row on what was held out")
    notes = [f"{steps} rows of each task dreamt; entries of latents bounded at three sd"]
    if gained is None:
        notes.append("no task has two rows, so that none is held out")
    coords: dict[Hashable, Any] = {"entry": names}
    return labelled("alone", REFERENCE, quantities, coords, notes, doubts)


def plot(found: xr.Dataset, axes: Axes) -> None:
    """How far each entry moved, with two standard errors."""
    height = np.arange(found.sizes["entry"])
    for name, colour, off in (("mean", BLUE, -0.15), ("square", GREY, 0.15)):
        axes.errorbar(
            found[name],
            height + off,
            xerr=2 * found[name + "_se"],
            fmt="o",
            color=colour,
            label=found[name].attrs["long_name"],
        )
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(height, [str(x) for x in found["entry"].values])
    axes.set_xlabel("moved (standard deviations; variances)")
    axes.legend()
