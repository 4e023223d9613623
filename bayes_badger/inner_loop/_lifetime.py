"""What tasks share: experts over it alone, every task's own latents integrated out given it.

    p(a | D) ∝ p(a) Π_i p(D_i | a)

Experts hold Gaussians over `a`, propose lifetimes, hear from each task what its evidence is there,
and are refitted (population Monte Carlo), round by round (`_lifetime_rounds`); then points are
drawn and weighed by the program's density (`_lifetimes_weighed`), and drawn again here. A joint
Gaussian over a and z could not learn a scale: where z is 0 a task says nothing of it. Costs are
linear in the tasks, and memory is that of the draws.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from bayes_badger.belief.importance import resampled, smoothed
from bayes_badger.errors import listed
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop._carried import Carried
from bayes_badger.inner_loop._lifetime_rounds import Sizes
from bayes_badger.inner_loop._lifetimes_weighed import mean_effective, weighed_lifetimes
from bayes_badger.inner_loop._reused import POINTS
from bayes_badger.inner_loop.protocol import Report
from bayes_badger.program import Program


class Shared(NamedTuple):
    """The belief about a lifetime.

    Attributes:
        lifetimes: Draws of what tasks share, `[draw, a]`.
        tasks: Of each task's own, `[draw, task, z]`.
        discrete: Of discrete latents by name, `[draw, ...]`, `[draw, task, ...]` of a task's.
        log_evidence: Of all outcomes, in nats.
        log_evidence_error: Its standard error by the spread of the weights.
        ess: Effective number of the weighed points of which the draws are some.
        points: How many points those are.
        effective: Of each task, the least number of points that count, in the mean over lifetimes.
        log_weights: Of points under the most likely assignment, for Pareto's k.
        by_task: Log evidence of each task where they share nothing, `[task]`; else None.
        messages: Log evidence of each task given what is shared, `[draw, task]`; None likewise.
        carried: What is believed of what tasks share, as experts, to go on from.
        looked_up: Whether points of the tasks served all lifetimes.
        several: How many tasks were asked by more than one Gaussian.
    """

    lifetimes: np.ndarray
    tasks: np.ndarray
    discrete: dict[str, np.ndarray]
    log_evidence: float
    log_evidence_error: float
    ess: float
    points: int
    effective: np.ndarray
    log_weights: np.ndarray
    by_task: np.ndarray | None = None
    messages: np.ndarray | None = None
    carried: tuple[Carried, ...] = ()
    looked_up: bool = False
    several: int = 0


# Fewer weighed points, or fewer of a task's, do not carry what is said.
ENOUGH, ENOUGH_OF_TASK, PARETO_K, EVEN = 400.0, 10.0, 0.7, 0.5


def told(found: Shared, sizes: Sizes) -> str:
    """How it was come by, in one sentence."""
    if found.points == 1:
        return (
            f"{sizes.alone} experts for each task and each joint value of its discrete latents; "
            f"draws were weighed by the true density: {found.effective.min():.0f} or more count"
        )
    if np.isinf(found.effective).all():
        tasks = "each task in closed form given it, which is proved"
    elif found.looked_up:
        tasks = f"each task by {POINTS} points, weighed anew at each lifetime"
    elif found.several == 0:
        tasks = "each task by one Gaussian given it"
    elif found.several == len(found.effective):
        tasks = f"each task by {sizes.of_task} given it"
    else:
        tasks = f"each task by one Gaussian given it, {found.several} of them by {sizes.of_task}"
    return (
        f"{sizes.experts} experts over what tasks share, {tasks}; draws were weighed by the true "
        f"density: of {found.points}, {found.ess:.0f} count"
    )


def doubts(found: Shared, evidence: Evidence) -> tuple[str, ...]:
    """Why its numbers are not to be trusted, one sentence each."""
    doubts = []
    _, k, own = smoothed(found.log_weights)
    # Of weights that are nearly equal k says nothing.
    if found.ess < ENOUGH or (k > PARETO_K and own < EVEN * len(found.log_weights)):
        doubts.append(
            f"the experts missed what tasks share: of {found.points} weighed points only "
            f"{found.ess:.0f} count (Pareto k {k:.2f}); raise inference.shared, or use recipe nuts"
        )
    missed = told_missed(found.effective, evidence)
    return (*doubts, missed) if missed else tuple(doubts)


def told_missed(effective: np.ndarray, evidence: Evidence) -> str:
    """Which tasks' points were too few, in one sentence; empty where none were."""
    few = np.flatnonzero(effective < ENOUGH_OF_TASK)
    if not len(few):
        return ""
    names = listed([f"'{evidence.tasks[i]}'" for i in few], 3)
    return (
        f"{len(few)} of {evidence.n_tasks} tasks were missed by their experts ({names}): fit with "
        "trust = refine, raise inference.given, or use recipe nuts"
    )


def infer_shared(
    program: Program,
    evidence: Evidence,
    key: PRNGKeyArray,
    draws: int,
    sizes: Sizes,
    report: Report,
    begun: tuple[Carried, ...] = (),
    hard: np.ndarray | None = None,
) -> Shared:
    """Draws from the posterior of a whole lifetime.

    Args:
        program: Of prior-normal coordinates, but for discrete latents that can be listed.
        evidence: Of all tasks.
        key: For points and draws.
        draws: How many.
        sizes: How hard to try.
        report: Is told how far it has come.
        begun: What is believed of what tasks share before this evidence, in place of the prior;
            log evidence is then given what that belief rests on.
        hard: Which tasks are known to be hard, `[task]`.

    Raises:
        BadgerError: Where the evidence is impossible at all lifetimes that were tried.
    """
    found = weighed_lifetimes(program, evidence, key, draws, sizes, report, begun, hard)
    weights, count = found.share, found.log_weights.shape[1]
    chance = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    chosen = resampled(weights.ravel(), draws, chance)
    which, at = np.unravel_index(chosen, weights.shape)
    # Where only one point is needed it has all draws of the tasks; else each point has one.
    draw = chance.permutation(draws) if count == 1 else np.zeros(draws, int)
    told = found.tasks.log_evidence[which, at]
    share = weights.sum(1)
    carried = tuple(
        Carried({name: x[i] for name, x in found.states.items()}, float(np.log(share[i])), after)
        for i, after in enumerate(found.after)
        if share[i] > 0
    )
    alone = count == 1 and not found.states
    return Shared(
        found.lifetimes[which, at],
        found.tasks.latents[which, at, :, draw],
        {name: x[which] for name, x in found.states.items()}
        | {name: x[found.tasks.states[which, at, :, draw]] for name, x in found.own.items()},
        found.log_evidence,
        found.log_evidence_error,
        found.ess,
        int(weights.size),
        mean_effective(weights, found.effective),
        found.log_weights[share.argmax()],
        told[0].astype(float) if alone else None,
        None if alone else told,
        () if alone else carried,
        found.looked_up,
        found.several,
    )
