"""How many experts does a learner need, and what is its policy worth beside them?

Capacity is of two kinds: numbers that the outer loop learned, those of the policy, and numbers that
the inner loop keeps, experts times latents. The loss is the regret on fresh rows of simulated
tasks, KL(p(y | truth), q(y | D)) in nats per row, of each number of experts and each policy on the
same tasks: so what fewer experts lose is a paired difference.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
import xarray as xr

from bayes_badger.errors import BadgerError
from bayes_badger.inner_loop._alone import as_lifetime
from bayes_badger.inner_loop._policy import Policy, Untaught
from bayes_badger.inner_loop._taught import load
from bayes_badger.inner_loop.experts import UNIVERSAL, Experts, Settings
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.measures.estimate import Estimate, mean_of
from bayes_badger.measures.labelled import Quantity, labelled
from bayes_badger.measures.lifetimes import (
    divergence,
    inputs_like,
    log_predictive,
    log_truth,
    simulated,
)
from bayes_badger.measures.picture import BLUE, ORANGE
from bayes_badger.measures.simulated import usual_steps
from bayes_badger.measures.subject import AnyProgram, Subject, opened
from bayes_badger.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUESTION = "How many experts are enough, and what is the policy worth beside them?"
REFERENCE = "regret as by Clarke & Barron (1990), in pairs; experts x latents against parameters"
# The fewest experts over what tasks share.
SHARED = 4
# Standard errors, and nats per row, by which a loss counts as one.
SURE, MATTERS = 3.0, 0.002


class Enough(NamedTuple):
    """What fewer experts lose.

    Attributes:
        lost: Regret less that of the most experts, in nats per row, `[experts]`.
        enough: Index of the fewest from which on nothing is lost.
    """

    lost: Estimate
    enough: int


def enough(regret: np.ndarray) -> Enough:
    """The fewest experts from which on more of them gain nothing.

    Args:
        regret: Of the same units with more and more experts, `[experts, unit]`, in nats.

    Example:
        >>> noise = np.random.default_rng(0).normal(size=100)
        >>> found = enough(np.array([[0.5], [0.1], [0.0]]) + noise + 1e-3 * noise * [[3], [2], [1]])
        >>> found.enough, np.round(found.lost.value, 2) + 0.0
        (2, array([0.5, 0.1, 0. ]))
    """
    x = np.asarray(regret, float)
    lost = mean_of((x - x[-1]).T)
    short = np.asarray(lost.value) > np.maximum(SURE * np.asarray(lost.error), MATTERS)
    return Enough(lost, int(np.flatnonzero(short).max(initial=-1)) + 1)


def capacity(
    run: Run,
    *,
    program: AnyProgram = None,
    seed: int = 0,
    report: Report = silent,
    fewest: int = 1,
    most: int = 32,
    policy: str = "universal",
    tasks: int = 64,
    lifetimes: int = 8,
    steps: int = 0,
    held: int = 32,
) -> xr.Dataset:
    """What a run's program loses with fewer experts, without and with a policy.

    Where tasks share latents, experts are those over what is shared, four or more, and as many of
    a task given that; no policy acts there.

    Args:
        run: Of a program that experts can hold; its rows give the inputs.
        program: The program, where the run was read and its program is not on the shelf.
        seed: Of everything random.
        report: Is told how far the work has come.
        fewest: Experts to begin with; twice as many follow, and so on.
        most: Experts at the end.
        policy: Beside none: "universal", a file of one, or "none" for no other.
        tasks: Simulated tasks in all.
        lifetimes: Into how many they are split, where tasks share latents.
        steps: Rows of each; 0 for as many as the run's tasks have.
        held: Fresh rows of each task, on which it is tested.

    Returns:
        `regret` and `lost`, regret less that of the most experts, in nats per row, `[policy,
            experts]`; `enough`, the fewest experts that lose nothing, and `parameters`, numbers of
            the policy, `[policy]`; `state`, experts times latents, `[experts]`; `ratio`, of
            parameters to state, `[policy, experts]`.

    Raises:
        BadgerError: Where experts cannot hold the program's latents.

    Example:
        >>> import bayes_badger as bb
        >>> run = bb.fit("coin", tasks=4, steps=5)
        >>> found = bb.measures.capacity(run, most=2, policy="none", tasks=4, held=4)
        >>> found["state"].values.tolist()
        [1.0, 2.0]
    """
    subject = opened(run, program)
    counts = _counts(fewest, most)
    begun = _settings(subject)
    reason = Experts(begun).why_not(subject.program, subject.evidence)
    if reason is not None:
        raise BadgerError(f"{run.name}: capacity is of experts, and experts {reason}")
    apart = as_lifetime(subject.program, subject.evidence)
    policies: dict[str, Policy] = {"none": Untaught()}
    if not apart and policy != "none":
        policies[Path(policy).stem] = load(UNIVERSAL if policy == "universal" else Path(policy))
    if apart:
        counts = np.unique(np.maximum(counts, SHARED))
        if len(counts) < 2:
            raise BadgerError(f"where tasks share latents, most is {2 * SHARED} or more")
    loops = [[_with(begun, int(k), which, apart) for k in counts] for which in policies.values()]
    steps = steps or usual_steps(subject.evidence)
    regret = _regrets(subject, loops, apart, tasks, lifetimes, steps, held, seed, report)
    return _labelled(subject, begun, regret, policies, counts, apart)


def _counts(fewest: int, most: int) -> np.ndarray:
    if not 1 <= fewest < most:
        raise BadgerError(f"fewest={fewest} and most={most}: give 1 <= fewest < most")
    doublings = int(np.ceil(np.log2(most / fewest)))
    return np.unique(np.minimum(fewest * 2 ** np.arange(doublings + 1), most))


def _settings(subject: Subject) -> Settings:
    """Those of the run's experts, or the usual ones."""
    loop: Any = subject.inner_loop
    if hasattr(loop, "pick"):
        loop = loop.pick(subject.program, subject.evidence)[1]
    return loop.settings if isinstance(loop, Experts) else Settings()


def _with(settings: Settings, experts: int, policy: Policy, apart: bool) -> Experts:
    sizes = {"shared": experts, "given": experts} if apart else {"experts": experts}
    return Experts(settings.model_copy(update=sizes), policy)


def _regrets(
    subject: Subject,
    loops: list[list[Experts]],
    apart: bool,
    tasks: int,
    lifetimes: int,
    steps: int,
    held: int,
    seed: int,
    report: Report,
) -> np.ndarray:
    """Regret per row of independent units, tasks or lifetimes: `[policy, experts, unit]`."""
    parts = lifetimes if apart else 1
    each, found = max(1, tasks // parts), []
    total, done = parts * len(loops) * len(loops[0]), 0
    for part in range(parts):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), part))
        chance = np.random.default_rng((seed, part))
        data = inputs_like(subject.evidence, each, steps + held, chance)
        life = simulated(subject.program, data, keys[0])
        seen, fresh = life.rows(0, steps), life.rows(steps, steps + held)
        truth = log_truth(subject.program, life, fresh)
        here = []
        for loop in (x for row in loops for x in row):
            report("capacity", done, total, f"{loop.settings.experts} experts")
            draws = loop.infer(subject.program, seen, keys[1]).draws.values
            regret = divergence(log_predictive(subject.program, fresh, draws), truth)
            here.append(regret.reshape(each, held).mean(1))
            done += 1
        units = np.reshape(here, (len(loops), len(loops[0]), each))
        found.append(units.mean(-1, keepdims=True) if apart else units)
    return np.concatenate(found, -1)


def _labelled(
    subject: Subject,
    begun: Settings,
    regret: np.ndarray,
    policies: dict[str, Policy],
    counts: np.ndarray,
    apart: bool,
) -> xr.Dataset:
    told = [enough(x) for x in regret]
    value, error = mean_of(regret, -1)[:2]
    parameters = np.array([_numbers(x) for x in policies.values()])
    state = counts * sum(x.size for x in subject.program.latents)
    dims = ("policy", "experts")
    quantities = {
        "enough": Quantity(
            "experts that are enough",
            np.array([counts[min(x.enough, len(counts) - 1)] for x in told]),
            dims=("policy",),
            units="experts",
        ),
        "regret": Quantity("regret per row", value, error, dims=dims),
        "lost": Quantity(
            f"lost against {counts[-1]} experts",
            np.stack([x.lost.value for x in told]),
            np.stack([x.lost.error for x in told]),
            dims=dims,
        ),
        "parameters": Quantity("policy parameters", parameters, dims=("policy",), units="1"),
        "state": Quantity("experts x latents", state, dims=("experts",), units="1"),
        "ratio": Quantity("of these", parameters[:, None] / state, dims=dims, units="1"),
    }
    if len(policies) == 2:
        gained = mean_of((regret[0] - regret[1]).T)
        quantities["worth"] = Quantity(
            "the policy gains", gained.value, gained.error, dims=("experts",)
        )
    own = begun.given if apart else begun.experts
    notes, doubts = [], []
    if apart:
        notes.append("tasks share latents: no policy acts, and both kinds of experts are as many")
    if regret.shape[-1] < 2:
        doubts.append("of one unit: no standard error")
    # As the run had it: the number at or below its own.
    at = int(np.searchsorted(counts, own, "right")) - 1
    if 0 <= at < told[0].enough:
        lost, error = (np.asarray(x)[at] for x in told[0].lost[:2])
        doubts.append(
            f"{own} experts lose {lost:.3g} ± {error:.2g} nats "
            f"per row against {counts[-1]}: give the recipe more"
        )
    coords: dict[Hashable, Any] = {"policy": list(policies), "experts": counts}
    return labelled("capacity", REFERENCE, quantities, coords, notes, doubts)


def _numbers(policy: Policy) -> int:
    return sum(int(np.size(x)) for x in jax.tree.leaves(eqx.filter(policy, eqx.is_inexact_array)))


def plot(found: xr.Dataset, axes: Axes) -> None:
    """Regret over the numbers that the inner loop keeps, one line for each policy."""
    state = found["state"].values
    for i, colour in zip(range(found.sizes["policy"]), (BLUE, ORANGE), strict=False):
        name, size = str(found["policy"].values[i]), int(found["parameters"][i])
        axes.errorbar(
            state,
            found["regret"][i],
            yerr=2 * found["regret_se"][i],
            fmt="o-",
            color=colour,
            capsize=2,
            label=f"policy: {name} ({size:,} parameters)",
        )
    axes.set_xscale("log", base=2)
    axes.set(xlabel="state of the inner loop (experts x latents)", ylabel="regret (nats per row)")
    axes.set_ylim(bottom=0)
    axes.legend()
