"""How much do experts listen to each other? The belief of each with and without each other's words.

The counterfactual of Jaques et al. (2019) at a refit: the policy counsels all experts but one, who
so is not heard; each receiver's Gaussian with that sender's messages is compared with what it is
without. Experts have no names that tasks share, so they stand by falling weight. That the points of
all are weighed together is no message, and is the same in both.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bayes_badger.errors import BadgerError
from bayes_badger.evidence.compiled import data_of
from bayes_badger.inner_loop._alone import unfit_alone
from bayes_badger.inner_loop._influence import Influence, influences_of_tasks
from bayes_badger.inner_loop._offline import Effort
from bayes_badger.inner_loop._portions import at_one_length
from bayes_badger.inner_loop._taught import load
from bayes_badger.inner_loop.experts import UNIVERSAL, Experts, Settings
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.measures.estimate import mean_of
from bayes_badger.measures.labelled import Quantity, labelled
from bayes_badger.measures.subject import AnyProgram, Subject, opened
from bayes_badger.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUESTION = "How much do experts listen to each other, and to whom?"
REFERENCE = "Jaques et al. (2019), Social Influence as Intrinsic Motivation, as KL of beliefs"
# Who has more than this share of all influence is copied. That the heaviest of a society has most
# of it is no fault: with the shipped policy one of 16 has half on waves.
COPIED = 0.95


def influence(
    run: Run,
    *,
    program: AnyProgram = None,
    seed: int = 0,
    report: Report = silent,
    tasks: int = 8,
    experts: int = 16,
    refits: int = 5,
    policy: str = "run",
) -> xr.Dataset:
    """What the messages of each expert do to the belief of each other, refit by refit.

    Each task is taken by itself, its lifetime's latents with it.

    Args:
        run: Fitted by any inner loop.
        program: The program, where the run was read and its program is not on the shelf.
        seed: Of everything random.
        report: Is told how far the work has come.
        tasks: Of how many of the run's tasks.
        experts: How many experts.
        refits: How many refits.
        policy: "run" for that of the run's recipe, or the shipped one where its inner loop has
            none; else "universal", "none" or a file of one.

    Returns:
        `matrix`, KL in nats, `[refit, sender, receiver]` by rank of weight, means over tasks;
            `by_refit`, what a sender does to all others, weighted by the receivers' weights, on
            average over senders; `loudest`, the share of it that comes from one sender, the one
            that is heard most; `weights`, KL of the experts' weights.

    Raises:
        BadgerError: Where one Gaussian is the posterior, so that nobody says anything, or experts
            cannot hold the latents of a task.

    Example:
        >>> import bayes_badger as bb
        >>> run = bb.fit("eight_schools")
        >>> found = bb.measures.influence(run, tasks=2, experts=4, refits=1, policy="none")
        >>> float(found["matrix"].max())
        0.0
    """
    subject = opened(run, program)
    reason = unfit_alone(subject.program, state=True)
    if reason is not None:
        raise BadgerError(f"{run.name}: influence is of experts, and experts {reason}")
    society = _society(subject, policy, experts)
    found = _found(subject, society, tasks, refits, seed, report)
    return _labelled(found, society)


def _society(subject: Subject, policy: str, experts: int) -> Experts:
    settings: Any = Settings(experts=experts, refits=0, points=30)
    if policy == "run":
        loop = subject.inner_loop
        if hasattr(loop, "pick"):
            loop = loop.pick(subject.program, subject.evidence)[1]
        if isinstance(loop, Experts):
            return Experts(settings, loop.policy)
        policy = "universal"
    if policy == "none":
        return Experts(settings)
    return Experts(settings, load(UNIVERSAL if policy == "universal" else Path(policy)))


def _found(
    subject: Subject, society: Experts, tasks: int, refits: int, seed: int, report: Report
) -> Influence:
    program = subject.program
    known = np.flatnonzero(subject.evidence.lengths)[:tasks]
    evidence = subject.evidence.select(known)
    keys = jax.random.split(jax.random.key(seed))
    plan = society.plan(program, evidence)
    if plan.straight:
        raise BadgerError(
            f"{program.name} is linear-Gaussian: one expert is the posterior, and none is told "
            "anything; there is no influence to measure"
        )
    begun = society.societies(program, evidence, keys[0], report, plan=plan).society
    block = evidence.padded()
    data, seen = at_one_length(data_of(block), block.mask)
    effort = Effort(0, refits, society.settings.points)
    return jax.tree.map(
        lambda x: np.asarray(x, float),
        influences_of_tasks(
            program,
            society.policy,
            begun,
            data,
            jnp.asarray(seen),
            jax.random.split(keys[1], len(known)),
            effort,
        ),
    )


def _labelled(found: Influence, society: Experts) -> xr.Dataset:
    matrix = np.asarray(found.beliefs)
    done_to = (matrix * np.asarray(found.shares)[:, :, None]).sum(-1)
    k, many = matrix.shape[-1], matrix.shape[0] > 1

    def over_tasks(x: np.ndarray) -> tuple[Any, Any]:
        return mean_of(x)[:2] if many else (x[0], np.full(x.shape[1:], np.nan))

    total = over_tasks(done_to.mean((1, 2)))
    quantities = {
        "total": Quantity("of a sender on all others, a refit", *total),
        "by_refit": Quantity("the same by refit", *over_tasks(done_to.mean(2)), dims=("refit",)),
        "by_sender": Quantity("the same by sender", *over_tasks(done_to.mean(1)), dims=("sender",)),
        "weights": Quantity(
            "on weights, by refit", *over_tasks(np.asarray(found.weights).mean(2)), dims=("refit",)
        ),
        "matrix": Quantity(
            "on a receiver's belief", *over_tasks(matrix), dims=("refit", "sender", "receiver")
        ),
    }
    notes = ["half of the experts, every other one, do without the policy and hear nothing"]
    if not matrix.any():
        name = type(society.policy).__name__
        notes = [f"nobody listens: the policy ({name}) gives each expert the same advice without"]
    doubts = [] if many else ["of one task: no standard error"]
    if matrix.any():
        share = loudest(done_to)
        quantities["loudest"] = Quantity("that of the loudest sender", share, units="share")
        if k > 2 and share > COPIED:
            doubts.append(f"experts copy one of them: one in {k} has {share:.0%} of all influence")
    ranks = np.arange(1, k + 1)
    coords: dict[Hashable, Any] = {
        "refit": np.arange(1, matrix.shape[1] + 1),
        "sender": ranks,
        "receiver": ranks,
    }
    return labelled("influence", REFERENCE, quantities, coords, notes, doubts)


def loudest(done_to: np.ndarray) -> float:
    """The share of all influence that one sender has, the mean over tasks and refits.

    Args:
        done_to: What each sender does to the others, in nats, `[task, refit, sender]`.

    Example:
        >>> loudest(np.array([[[3.0, 1.0], [0.0, 0.0]], [[0.0, 2.0], [1.0, 1.0]]]))
        0.75
    """
    total = done_to.sum(-1)
    said = total > 0
    return float((done_to.max(-1)[said] / total[said]).mean())


def plot(found: xr.Dataset, axes: Axes) -> None:
    """The matrix, summed over refits; dark is much."""
    matrix = found["matrix"].sum("refit").values
    k = len(matrix)
    image = axes.imshow(
        matrix, origin="lower", cmap="Blues", extent=(0.5, k + 0.5, 0.5, k + 0.5), aspect="auto"
    )
    axes.set_xlabel("receiver, by rank of weight")
    axes.set_ylabel("sender, by rank of weight")
    figure: Any = axes.figure
    figure.colorbar(image, ax=axes, label="influence (nats)")
