"""Does a learner go on learning, far beyond the evidence that it was made for?

Its regret after n rows is KL(p(y | truth), q(y | D_1..n)), in nats per row: of a regular program
with d latents d/(2n) under exact Bayes, a slope of -1 on log-log axes. Its excess is the same KL
from the exact predictive. Both are estimated on fresh rows, with r = q(y)/p(y), by r - 1 - log r:
unbiased, since r has mean 1 under p, never negative, and as small as what it estimates.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
import xarray as xr

from bayes_badger.errors import BadgerError
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.measures.estimate import Estimate
from bayes_badger.measures.labelled import Quantity, labelled
from bayes_badger.measures.lifetimes import (
    divergence,
    inputs_like,
    log_predictive,
    log_truth,
    reference_for,
    simulated,
)
from bayes_badger.measures.picture import BLUE, GREY, ORANGE
from bayes_badger.measures.subject import AnyProgram, Subject, opened
from bayes_badger.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUESTION = "Does it go on learning with more evidence, and where does it stop?"
REFERENCE = (
    "Clarke & Barron (1990), d/2n nats per row; Schulman (2020), Approximating KL divergence"
)
# A learner has stopped where its regret falls more slowly than this power of the rows from there
# on: half of the rate of a regular program.
STOPPED = -0.5
RESAMPLES = 400


class Endured(NamedTuple):
    """How regret falls.

    Attributes:
        regret: After each number of rows, `[length]`.
        slope: Of log regret on log rows.
        stops: After how many rows it stops improving; NaN where it does not.
        doubt: Why that is not to be trusted; empty where it is.
    """

    regret: Estimate
    slope: Estimate
    stops: float
    doubt: str


def endured(regret: np.ndarray, steps: np.ndarray, seed: int = 0) -> Endured:
    """How fast regret falls, and where it stops; errors by the bootstrap over units.

    A learner stops at the first length from which the regret falls more slowly than n^-1/2, to the
    next and to the longest, the latter by two standard errors.

    Args:
        regret: Of independent units, tasks or lifetimes, in nats, `[length, unit]`.
        steps: The lengths, increasing.
        seed: Of the bootstrap.

    Raises:
        BadgerError: Where there are fewer than two lengths or two units.

    Example:
        >>> n, units = np.array([10, 100, 1000]), np.random.default_rng(0).chisquare(1, 500)
        >>> found = endured(units / (2 * n[:, None]), n)
        >>> round(found.slope.value, 6), found.stops
        (-1.0, nan)
        >>> endured(units / (2 * np.minimum(n, 100)[:, None]), n).stops
        100.0
    """
    x, n = np.asarray(regret, float), np.asarray(steps, float)
    if min(x.shape) < 2:
        raise BadgerError(
            f"endurance needs two lengths and two tasks, and has {x.shape[0]} and {x.shape[1]}: "
            "give more, points=5 tasks=64"
        )
    rng, units = np.random.default_rng(seed), x.shape[1]
    share = rng.multinomial(units, np.full(units, 1 / units), RESAMPLES) / units
    value, again = x.mean(1), share @ x.T
    log_n = np.log(n) - np.log(n).mean()
    tiny = np.finfo(float).tiny
    logs, logs_again = np.log(np.maximum(value, tiny)), np.log(np.maximum(again, tiny))
    slope = Estimate(
        float(log_n @ logs / (log_n @ log_n)), float((logs_again @ log_n / (log_n @ log_n)).std())
    )
    run = np.log(n[-1] / n[:-1])
    later, error = (logs[-1] - logs[:-1]) / run, ((logs_again[:, -1:] - logs_again[:, :-1]) / run)
    sure = np.abs(later - STOPPED) > 2 * error.std(0)
    local = np.diff(logs) / np.diff(np.log(n))
    at = np.flatnonzero((local > STOPPED) & (later > STOPPED) & sure)
    spread = x.std(1, ddof=1) / np.sqrt(units)
    doubt = ""
    if not len(at) and not sure[0]:
        doubt = (
            f"whether it stops improving is not known: its slope from {n[0]:g} to {n[-1]:g} rows "
            f"is {later[0]:.2f} ± {error[:, 0].std():.2f}; give more tasks or a longer longest"
        )
    return Endured(Estimate(value, spread), slope, float(n[at[0]]) if len(at) else np.nan, doubt)


def endurance(
    run: Run,
    *,
    program: AnyProgram = None,
    seed: int = 0,
    report: Report = silent,
    shortest: int = 10,
    longest: int = 1000,
    points: int = 5,
    tasks: int = 64,
    lifetimes: int = 8,
    held: int = 32,
) -> xr.Dataset:
    """How the regret of a run's inner loop falls with the rows of a task.

    Args:
        run: Fitted by any inner loop.
        program: The program, where the run was read and its program is not on the shelf.
        seed: Of everything random.
        report: Is told how far the work has come.
        shortest: The fewest rows of a task.
        longest: The most.
        points: How many lengths, evenly apart on a log axis.
        tasks: Simulated tasks in all.
        lifetimes: Into how many they are split, where tasks share latents.
        held: Fresh rows of each task, on which it is tested.

    Returns:
        `regret` and, where the program has an exact inner loop, `excess` and `floor`, what that
        inner loop scores against itself, `[length]`; `slope` of the regret and `stops_at`.

    Raises:
        BadgerError: Where the inner loop cannot infer the simulated tasks.

    Example:
        >>> import bayes_badger as bb
        >>> run = bb.fit("gaussian", settings={"inference.exact.draws": 100})
        >>> found = bb.measures.endurance(run, longest=100, points=2, tasks=8, lifetimes=2)
        >>> bool((found["regret"] > 0).all())
        True
    """
    subject = opened(run, program)
    steps = np.unique(np.geomspace(shortest, longest, points).round().astype(int))
    shared = bool(subject.program.select("lifetime"))
    parts = lifetimes if shared else 1
    each = max(1, tasks // parts)
    regrets, excesses, floors = [], [], []
    for i in range(parts):
        key = jax.random.fold_in(jax.random.key(seed), i)
        found = _one_lifetime(subject, steps, each, held, key, seed + i, (i, parts), report)
        kept = [x.mean(1, keepdims=True) if shared else x for x in found]
        regrets.append(kept[0])
        if len(kept) > 1:
            excesses.append(kept[1])
            floors.append(kept[2])
    told = endured(np.concatenate(regrets, 1), steps, seed)
    extra = tuple(np.concatenate(x, 1) for x in (excesses, floors) if x)
    return _labelled(told, extra, steps, longest)


def _one_lifetime(
    subject: Subject,
    steps: np.ndarray,
    tasks: int,
    held: int,
    key: Any,
    seed: int,
    part: tuple[int, int],
    report: Report,
) -> list[np.ndarray]:
    """Regret, excess and floor, `[length, task]`, means over the fresh rows of each task."""
    program, longest = subject.program, int(steps[-1])
    keys = jax.random.split(key, 4)
    data = inputs_like(subject.evidence, tasks, longest + held, np.random.default_rng(seed))
    life = simulated(program, data, keys[0])
    fresh = life.rows(longest, longest + held)
    truth = log_truth(program, life, fresh)
    reference = reference_for(program, life.rows(0, longest))
    found: list[list[np.ndarray]] = [[], [], []]
    for j, n in enumerate(steps):
        report("lengths", part[0] * len(steps) + j, part[1] * len(steps), f"{n} rows")
        seen = life.rows(0, int(n))
        own = subject.inner_loop.infer(program, seen, keys[1])
        log_q = log_predictive(program, fresh, own.draws.values)
        found[0].append(divergence(log_q, truth))
        if reference is not None:
            both = [
                log_predictive(program, fresh, reference.infer(program, seen, keys[k]).draws.values)
                for k in (2, 3)
            ]
            found[1].append(divergence(log_q, both[0]))
            found[2].append(divergence(both[1], both[0]))
    return [np.stack(x).reshape(len(steps), tasks, held).mean(2) for x in found if x]


def _labelled(
    told: Endured, extra: tuple[np.ndarray, ...], steps: np.ndarray, longest: int
) -> xr.Dataset:
    dims = ("length",)
    quantities = {
        "slope": Quantity("slope of log regret", *told.slope[:2], units="1"),
        "stops_at": Quantity("stops improving after", told.stops, units="rows"),
        "regret": Quantity("regret per row", *told.regret[:2], dims=dims),
    }
    for name, about, x in zip(
        ("excess", "floor"), ("excess over exact", "the same of exact"), extra, strict=False
    ):
        error = x.std(1, ddof=1) / np.sqrt(x.shape[1])
        quantities[name] = Quantity(about, x.mean(1), error, dims=dims)
    notes = [] if extra else ["no inner loop is exact for this program: regret alone is told"]
    if np.isnan(told.stops) and not told.doubt:
        notes.append(f"it goes on improving up to {longest} rows")
    elif not np.isnan(told.stops):
        notes.append(f"it stops improving after {told.stops:g} rows")
    coords: dict[Hashable, Any] = {"length": steps}
    doubts = [told.doubt] if told.doubt else []
    return labelled("endurance", REFERENCE, quantities, coords, notes, doubts)


def plot(found: xr.Dataset, axes: Axes) -> None:
    """Regret, excess and floor over rows, both axes logarithmic."""
    n = found["length"].values
    for name, colour, style in (
        ("regret", BLUE, "o-"),
        ("excess", ORANGE, "s-"),
        ("floor", GREY, ":"),
    ):
        if name in found:
            axes.errorbar(
                n,
                found[name],
                yerr=2 * found[name + "_se"],
                fmt=style,
                color=colour,
                label=found[name].attrs["long_name"],
            )
    axes.plot(n, float(found["regret"][0]) * n[0] / n, "--", color=GREY, label="1/n")
    axes.set(xscale="log", yscale="log", xlabel="rows of a task", ylabel="nats per row")
    axes.legend()
