"""Which loop is short? The loss of predictions after M outer and t inner steps, as a surface.

One long training gives a program at M = 1, 2, 4, ... outer steps; each is scored on tasks that it
was not trained on, by the log score of one more row after t = 1, 2, 4, ... rows. Two surfaces are
fitted (`measures.surface`) and the longest cell, which neither saw, chooses between them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np
import xarray as xr
from jaxtyping import PRNGKeyArray

from bayes_badger.errors import BadgerError
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop.protocol import InnerLoop, Report, silent
from bayes_badger.measures.checkpoints import checkpoints, doubled
from bayes_badger.measures.labelled import Quantity, labelled
from bayes_badger.measures.ledger import simulated
from bayes_badger.measures.picture import BLUE, GREY
from bayes_badger.measures.prequential import score_spans, step_of
from bayes_badger.measures.subject import AnyProgram, opened
from bayes_badger.measures.surface import (
    DRAWS,
    MODELS,
    NAMES,
    WARMUP,
    Losses,
    Surface,
    fit_surfaces,
    gains,
    value,
)
from bayes_badger.measures.worlds import world_of
from bayes_badger.program import Program
from bayes_badger.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUESTION = "Which loop is short: would more outer steps or more evidence lower the loss more?"
REFERENCE = "Hoffmann et al. (2022), fitted as Besiroglu et al. (2024) say: the loss summed"
TAILS, CONVERGED, SURE = (0.05, 0.95), 1.05, 0.95
UNITS = {"E": "nats", "A": "nats", "B": "nats", "t0": "rows"}
# Budgets of either loop without which there is no surface, one of them held out.
BUDGETS = 4


def bottleneck(
    run: Run,
    *,
    program: AnyProgram = None,
    seed: int = 0,
    report: Report = silent,
    outer_steps: int = 128,
    tasks: int = 512,
    rate: float = 0.0,
    cost_outer: float = 0.0,
    cost_inner: float = 0.0,
    warmup: int = WARMUP,
    draws: int = DRAWS,
) -> xr.Dataset:
    """Which loop is short.

    Args:
        run: Of a program with learned parameters, some of its tasks of 9 rows or more.
        program: The program, where the run was read and its program is not on the shelf.
        seed: Of everything random.
        report: Is told how far the work has come.
        outer_steps: Of the long training, by descent, a power of 2.
        tasks: Simulated anew to score, where the world is known; else a third of the run's.
        rate: Of descent; by default that of the run.
        cost_outer: Of one outer step; by default both budgets cost the same.
        cost_inner: Of one inner step.
        warmup: Steps of each chain before its draws.
        draws: Of each surface's coefficients, by four chains together.

    Returns:
        `outer_limited`, the probability that a unit of cost gains more in the outer loop; what it
        gains in each; all coefficients with 90% intervals; the held-out cell and its prediction.

    Raises:
        BadgerError: Where nothing is learned, or there are too few rows or outer steps.

    Example:
        >>> import bayes_badger as bb
        >>> try:
        ...     bb.measures.bottleneck(bb.fit("eight_schools"))
        ... except bb.BadgerError as error:
        ...     print("no learned parameters" in str(error))
        True
    """
    subject = opened(run, program)
    if not subject.program.parameters:
        raise BadgerError(
            f"{run.name} has no learned parameters: bottleneck compares outer steps (numpyro.param)"
        )
    longest = int(subject.evidence.lengths.max(initial=0))
    budgets = 2 ** np.arange(int(np.log2(max(longest - 1, 1))) + 1)
    if longest < 2 or len(budgets) < BUDGETS:
        raise BadgerError(
            f"{run.name}: its tasks have {longest} rows at most, and bottleneck needs "
            f"{2 ** (BUDGETS - 1) + 1}: {2 ** (BUDGETS - 1)} to learn from and one to predict"
        )
    steps = doubled(outer_steps)
    if len(steps) < BUDGETS:
        raise BadgerError(f"outer_steps = {outer_steps}: take {2 ** (BUDGETS - 1)} or more")
    world = world_of(subject, program)
    keys = jax.random.split(jax.random.key(seed), 4)
    evidence = subject.evidence
    floor = oracle = None
    if world is None:
        order = np.random.default_rng(seed).permutation(evidence.n_tasks)
        count = evidence.n_tasks // 3
        held, train = evidence.select(order[:count]), evidence.select(order[count:])
        told = f"{count} tasks of the run, held out of the training"
    else:
        drawn = simulated(world, evidence, tasks, 1, keys[0])
        held, train, oracle = drawn.evidence, evidence, drawn.rows
        told = f"{tasks} tasks that are new"
    full = held.lengths > budgets[-1]
    if full.sum() < 2:
        raise BadgerError(f"{run.name}: too few tasks have {budgets[-1] + 1} rows to be scored")
    held = held.select(np.flatnonzero(full))
    programs = checkpoints(subject, train, steps, keys[1], report, rate)
    scores = _scores(programs, held, subject.inner_loop, budgets, keys[2], report)
    if oracle is None:
        loss = -scores
    else:
        # Less what one scores who knows the task, whose mean is E: most of the noise is in both.
        known = oracle[full][:, budgets[-1]]
        e = float(-known.mean())
        loss, floor = known - scores + e, (e, 1e-9)
    flat = loss.reshape(-1, loss.shape[-1])
    covariance = np.cov(flat).reshape(*loss.shape[:2], *loss.shape[:2]) / flat.shape[-1]
    losses = Losses(steps, budgets, loss.mean(-1)[None], covariance[None], floor)
    report("surface", 0, 1)
    found = fit_surfaces(losses, keys[3], warmup=warmup, draws=draws)
    report("surface", 1, 1)
    return _labelled(found, losses, (cost_outer, cost_inner), told)


def _scores(
    programs: Sequence[Program],
    held: Evidence,
    loop: InnerLoop,
    budgets: np.ndarray,
    key: PRNGKeyArray,
    report: Report,
) -> np.ndarray:
    """Log score of one and the same row after each number of rows, `[M, t, task]`."""
    held = dataclasses.replace(held, tasks=np.arange(held.n_tasks))
    step, last = step_of(held), int(budgets[-1])
    # What is predicted is the same in all cells, so that its noise is in all.
    some = [(int(t), held.select_rows((step < t) | (step == last))) for t in budgets]
    found = np.empty((len(programs), len(budgets), held.n_tasks))
    for i, program in enumerate(programs):
        report("checkpoints", i, len(programs))
        for j, (t, rows) in enumerate(some):
            scored = score_spans(program, rows, loop, jax.random.fold_in(key, t), [(t, t + 1)])
            found[i, j] = scored.log_score[0]
    report("checkpoints", len(programs), len(programs))
    return found


def _labelled(
    found: dict[str, Surface], losses: Losses, costs: tuple[float, float], told: str
) -> xr.Dataset:
    chosen = max(MODELS, key=lambda name: found[name].held_out)
    surface = found[chosen]
    at = float(losses.outer[-1]), float(losses.inner[-1])
    of_outer, of_inner = gains(surface.draws, *at, *costs)
    p = float((of_outer > of_inner).mean())
    ahead, seen = value(surface.draws, *at), float(losses.loss[:, -1, -1].mean())
    fitted = value(
        {n: x[:, None, None] for n, x in surface.draws.items()},
        losses.outer[:, None].astype(float),
        losses.inner.astype(float),
    ).mean(0)
    dims = ("outer_steps", "inner_steps")
    quantities = {
        "outer_limited": Quantity("P(the outer loop is short)", p, units="probability"),
        "of_outer": Quantity("a unit more of the outer loop", of_outer.mean(), of_outer.std()),
        "of_inner": Quantity("a unit more of the inner loop", of_inner.mean(), of_inner.std()),
        "held_out": Quantity("loss of the longest cell", seen, float(losses.error[0, -1, -1])),
        "predicted": Quantity("the same, predicted", ahead.mean(), ahead.std()),
        "loss": Quantity("loss", losses.loss.mean(0), losses.error[0], dims=dims),
        "surface": Quantity("the same, fitted", fitted, dims=dims),
        "better": Quantity(
            "log predictive density of the longest cell",
            np.array([found[name].held_out for name in MODELS]),
            dims=("model",),
        ),
    }
    for name in NAMES:
        x = surface.draws[name]
        units = UNITS.get(name, "1")
        # Medians: where little is lost for want of outer steps, A has no mean.
        below, middle, above = np.quantile(x, (0.16, 0.5, 0.84))
        quantities[name] = Quantity(name, float(middle), float((above - below) / 2), units=units)
        for side, edge in zip(("low", "high"), np.quantile(x, TAILS), strict=True):
            quantities[f"{name}_{side}"] = Quantity(
                f"{name}, {'5%' if side == 'low' else '95%'}", float(edge), units=units
            )
    doubts = []
    if surface.r_hat > CONVERGED:
        doubts.append(f"the chain of the surface has not converged (R-hat {surface.r_hat:.2f})")
    if surface.divergences > len(of_outer) // 50:
        doubts.append(f"{surface.divergences} trajectories of NUTS diverged")
    off = abs(float(ahead.mean()) - seen)
    if off > 3 * float(np.hypot(ahead.std(), losses.error[0, -1, -1])):
        doubts.append(f"the surface misses the longest cell by {off:.2g} nats: it does not go on")
    short = "the outer loop" if p > 0.5 else "the inner loop"
    sure = max(p, 1 - p)
    word = "is" if sure > SURE else "may be"
    notes = [
        f"{short} {word} short (probability {sure:.2f}), at {at[0]:.0f} outer and {at[1]:.0f} "
        "inner steps",
        f"scored on {told}; the surface is {chosen}, and saw neither the largest M nor the "
        "largest t",
        "null of a regular task of d numbers: beta = 1 and B = d/2; the prior is worth t0 rows",
        "one training: how far trainings differ is told by the prior alone",
    ]
    coords = {"outer_steps": losses.outer, "inner_steps": losses.inner, "model": list(MODELS)}
    return labelled("bottleneck", REFERENCE, quantities, coords, notes, doubts)


def plot(found: xr.Dataset, axes: Axes) -> None:
    """Loss against inner steps, a line for each outer budget; the held-out cell is ringed."""
    t, outer = found["inner_steps"].values, found["outer_steps"].values
    for i, m in enumerate(outer):
        share = (i + 1) / len(outer)
        values, errors = found["loss"].values[i], found["loss_se"].values[i]
        axes.errorbar(t, values, errors, color=BLUE, alpha=share, fmt="o", ms=3, label=f"M = {m}")
        axes.plot(t, found["surface"].values[i], color=BLUE, alpha=share)
    axes.plot(t[-1], float(found["held_out"]), "o", ms=11, mfc="none", color=GREY)
    axes.set_xscale("log")
    axes.set_xlabel("inner steps t (rows of evidence)")
    axes.set_ylabel("loss (nats per step)")
    axes.legend(fontsize=7, frameon=False, ncols=2)
