"""Prior or evidence: what each loop is worth to predictions, alone and together.

S(θ, t) is the log score of a task's last row, before or after the outer loop learned the program's
parameters θ, with none or with all other rows of the task. Shapley parts of a gain of two causes
are the means over both orders; the interaction is what both together gain beyond their sum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import numpy as np
import xarray as xr

from bayes_badger.errors import BadgerError
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.measures.estimate import mean_of
from bayes_badger.measures.labelled import Quantity, labelled
from bayes_badger.measures.ledger import simulated
from bayes_badger.measures.picture import BLUE, ORANGE
from bayes_badger.measures.prequential import score_spans, step_of
from bayes_badger.measures.subject import AnyProgram, opened
from bayes_badger.measures.worlds import world_of
from bayes_badger.program.parameters import at_start
from bayes_badger.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUESTION = "Do predictions owe more to the learned prior or to a task's own evidence?"
REFERENCE = "Shapley (1953), of two loops: means over both orders"
PRIORS, EVIDENCE = ("at the start", "learned"), ("none", "all")


def shapley(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parts of outer and inner loop in S(after, all) - S(before, none), and the interaction.

    Args:
        scores: S, `[before | after, none | all, ...]`.

    Example:
        >>> import numpy as np
        >>> outer, inner, both = shapley(np.array([[-3.0, -1.0], [-2.0, -0.5]]))
        >>> float(outer), float(inner), float(both)
        (0.75, 1.75, -0.5)
    """
    (none, evidence), (prior, both) = scores
    interaction = both - evidence - prior + none
    outer = 0.5 * ((prior - none) + (both - evidence))
    inner = 0.5 * ((evidence - none) + (both - prior))
    return np.asarray(outer), np.asarray(inner), np.asarray(interaction)


def prior_or_evidence(
    run: Run,
    *,
    program: AnyProgram = None,
    seed: int = 0,
    report: Report = silent,
    tasks: int = 256,
) -> xr.Dataset:
    """What the outer and the inner loop are worth.

    Args:
        run: Of a program with learned parameters.
        program: The program, where the run was read and its program is not on the shelf.
        seed: Of everything random.
        report: Is told how far the work has come.
        tasks: Simulated anew where the world is known; else those of the run, at most so many.

    Returns:
        `score`, the 2 x 2 of log scores of a task's last row, and the parts `outer` and `inner`,
        and `interaction`, in nats per row.

    Raises:
        BadgerError: Where the run learned no parameters, or no task has two rows.

    Example:
        >>> import numpy as np
        >>> import numpyro
        >>> import numpyro.distributions as dist
        >>> import bayes_badger as bb
        >>> def levels(x, y=None):
        ...     mean = numpyro.param("mean", 0.0)
        ...     with numpyro.plate("task", x.shape[0], dim=-2):
        ...         level = numpyro.sample("level", dist.Normal(mean, 1))
        ...         with numpyro.plate("step", x.shape[1], dim=-1):
        ...             numpyro.sample("y", dist.Normal(level, 1), obs=y)
        >>> y = np.random.default_rng(0).normal(2, 1, (20, 3))
        >>> run = bb.fit(levels, {"x": np.zeros((20, 3)), "y": y}, outer_steps=20)
        >>> found = bb.measures.prior_or_evidence(run, tasks=20)
        >>> total = found["score"][1, 1] - found["score"][0, 0]
        >>> bool(abs(found["outer"] + found["inner"] - total) < 1e-9)
        True
    """
    subject = opened(run, program)
    lifted = subject.program
    if not lifted.parameters:
        raise BadgerError(
            f"{run.name} has no learned parameters: prior_or_evidence compares a program before "
            "and after the outer loop (numpyro.param)"
        )
    enough = np.flatnonzero(subject.evidence.lengths >= 2)
    if not len(enough):
        raise BadgerError(f"{run.name}: no task has two rows, one to learn from and one to predict")
    world = world_of(subject, program)
    key, notes = jax.random.key(seed), []
    keys = jax.random.split(key)
    queries = subject.evidence.select(enough)
    if world is None:
        evidence = queries.select(np.arange(min(tasks, len(enough))))
        notes.append("scored on the tasks that it learned from: the prior's part is too large")
    else:
        evidence = simulated(world, queries, tasks, 1, keys[0]).evidence
        notes.append(f"scored on {tasks} tasks that are new")
    longest = int(evidence.lengths.max())
    # The last row of each task is predicted; where tasks are ragged, the longest count.
    evidence = evidence.select(np.flatnonzero(evidence.lengths == longest))
    last = step_of(evidence) == longest - 1
    alone = evidence.select_rows(last)
    scores = np.empty((2, 2, evidence.n_tasks))
    for i, one in enumerate((at_start(lifted), lifted)):
        loop, chance = subject.inner_loop, jax.random.fold_in(keys[1], i)
        scores[i, 0] = score_spans(one, alone, loop, chance, [(0, 1)], report).log_score[0]
        span = [(longest - 1, longest)]
        scores[i, 1] = score_spans(one, evidence, loop, chance, span, report).log_score[0]
    mean = mean_of(scores, 2)
    quantities = {
        "score": Quantity("log score", mean.value, mean.error, dims=("prior", "evidence"))
    }
    about = ("part of the outer loop", "part of the inner loop", "interaction")
    for name, what, each in zip(
        ("outer", "inner", "interaction"), about, shapley(scores), strict=True
    ):
        one_mean = mean_of(each)
        quantities[name] = Quantity(what, one_mean.value, one_mean.error)
    coords = {"prior": list(PRIORS), "evidence": list(EVIDENCE)}
    notes.append(f"after {longest - 1} rows of evidence, or none")
    return labelled("prior_or_evidence", REFERENCE, quantities, coords, notes)


def plot(found: xr.Dataset, axes: Axes) -> None:
    """The log score without and with evidence, before and after the outer loop."""
    for i, colour in enumerate((ORANGE, BLUE)):
        values, errors = found["score"].values[i], found["score_se"].values[i]
        axes.errorbar([0, 1], values, errors, color=colour, marker="o", label=PRIORS[i])
    axes.set_xticks([0, 1], ["no evidence", "all evidence"])
    axes.set_xlabel("evidence of the task")
    axes.set_ylabel("log score of the next row (nats)")
    axes.legend(title="prior", frameon=False)
