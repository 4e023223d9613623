"""A lifetime that goes on: new tasks, and what was learned of the old ones, without their data."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayes_badger.assembling import Asked, Log, assembled
from bayes_badger.belief import Mixture
from bayes_badger.errors import BadgerError, listed
from bayes_badger.evidence import Evidence, read
from bayes_badger.evidence.compiled import task_columns_of
from bayes_badger.inner_loop import experts
from bayes_badger.inner_loop._carried import carried_from_draws
from bayes_badger.inner_loop.auto import Auto
from bayes_badger.inner_loop.experts import Experts
from bayes_badger.inner_loop.messages import lifetime_coordinates
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.labels import Labels
from bayes_badger.outcomes import check_outcome, typed_outcome
from bayes_badger.preflight.checks import check_new_data, stored_label
from bayes_badger.program import LIFETIME, Program
from bayes_badger.reopening import AnyProgram, draws_of, inner_loop_of, program_of
from bayes_badger.runs import Run
from bayes_badger.trust import judged
from bayes_badger.trust.verdicts import REFINE, WEIGH

GROUP = "belief"


def update(
    run: Run,
    data: Any,
    *,
    program: AnyProgram = None,
    task: str | None = None,
    missing: str = "refuse",
    seed: int = 0,
    out: str | Path | None = None,
    report: Report = silent,
) -> Run:
    """Goes on with new tasks from what a run believes of all tasks, without the old data.

    Belief in what tasks share is carried from task to task, as the mixture of Gaussians that the
    experts of the run hold; where it has none, one is fitted to its draws. The old tasks' own
    latents stay as they are in the old run.

    Args:
        run: Of a program whose tasks share latents.
        data: The new tasks, all with outcomes; what `fit` takes.
        program: The program, where the run was read and its program is not on the shelf.
        task: The column that tells the tasks apart; by default the run's own.
        missing: "refuse" rows where something is missing, or "drop" them.
        seed: Of everything random.
        out: Folder in which the new run is stored; not stored if None.
        report: Is told how far the work has come.

    Returns:
        A run of the new tasks. Its log evidence is log p(new outcomes | old outcomes), and
        `spec["before"]` says what it goes on from and, in nats, how far the new tasks moved the
        belief in what is shared: KL(after, before).

    Raises:
        BadgerError: Where tasks share nothing, a task is in the run already, or data are bad.

    Example:
        >>> import bayes_badger as bb
        >>> few = bb.fit("eight_schools", inference="experts")
        >>> more = bb.update(few, {"school": ["I"], "y": [5.0], "sigma": [10.0]})
        >>> more.spec["before"]["tasks"], bool(more.spec["before"]["moved"] < 0.5)
        (8, True)
    """
    log = Log(report)
    log("lifting the program", 0, 1)
    if run.program is None:
        check_new_data(run.spec, program, data, task=task, missing=missing)
    lifted = program_of(run, program)
    if not lifted.select(LIFETIME):
        raise BadgerError(
            f"{run.name}: tasks of {lifted.name} share nothing, so that old ones say nothing of "
            "new ones: badger predict, or bb.predict, infers new tasks"
        )
    old = Evidence.from_dataset(run.evidence)
    label = task or stored_label(run.spec)
    keys = jax.random.split(jax.random.key(seed), 3)
    new = read(lifted.signature, data, task=label, missing=missing)
    check_outcome(lifted, new, keys[0])
    new = typed_outcome(lifted, new)
    Labels(lifted, new)  # clashes of names are told before the work, not after
    again = sorted(set(map(str, old.tasks)) & set(map(str, new.tasks)))
    if again:
        raise BadgerError(
            f"{old.task_name} {listed(again, 3)} is in the run already, and its rows would count "
            "twice: leave it out, or rename it if it is another"
        )
    loop, recipe = _experts(run)
    reason = loop.why_not(lifted, new)
    if reason is not None:
        raise BadgerError(f"{lifted.name}: experts, who alone can go on from a run, {reason}")
    log("lifting the program", 1, 1)
    belief, how = _belief(run, lifted, old, loop)
    posterior = loop.go_on(lifted, new, keys[1], belief, log)
    before, moved = _before(run, old, posterior.messages, posterior.log_evidence)
    trust, told = _trust(run)
    judging = jax.random.fold_in(keys[1], 1)
    posterior, verdicts = judged(lifted, new, posterior, judging, trust, log)
    posterior = dataclasses.replace(
        posterior,
        notes=(*moved, *how, *told, *posterior.notes),
        warnings=(*_inherited(run), *posterior.warnings),
    )
    asked = Asked(run.spec["program"], recipe, seed, trust, None, before)
    found = assembled(asked, lifted, new, posterior, keys[2], log, verdicts=verdicts)
    if out is not None:
        found.save(out)
    return found


def _trust(run: Run) -> tuple[str, tuple[str, ...]]:
    """How the new tasks are judged, and a note where that is not as the old ones were."""
    before = str(run.spec["trust"])
    if before != REFINE:
        return before, ()
    why = "refining a task would infer what is shared anew, without the old data"
    return WEIGH, (f"tasks were weighed and not refined: {why}",)


def _inherited(run: Run) -> tuple[str, ...]:
    """What is doubtful in the belief that is gone on from is doubtful in what follows from it."""
    if not run.warnings:
        return ()
    more = len(run.warnings) - 1
    rest = "" if not more else f" (and {more} more reason{'s' if more > 1 else ''})"
    return (f"{run.name}, which this goes on from, is not to be trusted: {run.warnings[0]}{rest}",)


def _experts(run: Run) -> tuple[Experts, dict[str, Any]]:
    """Those of the run where it has some, else those of the default recipe; and their recipe."""
    loop, recipe = inner_loop_of(run), dict(run.spec["recipe"])
    if isinstance(loop, Experts):
        return loop, recipe
    others = [each for _, each, _ in loop.candidates] if isinstance(loop, Auto) else []
    found = next((each for each in others if isinstance(each, Experts)), None)
    found = experts.make(experts.Settings()) if found is None else found
    settings = found.settings.model_dump(mode="json", exclude_none=True)
    return found, {
        "name": "experts",
        "about": f"experts, that go on from a run of recipe {recipe.get('name', '?')}",
        "inner_loop": {"name": "experts", **settings},
    }


def _belief(
    run: Run, program: Program, old: Evidence, loop: Experts
) -> tuple[Mixture, tuple[str, ...]]:
    shared = program.select(LIFETIME)
    if GROUP in run.tree.children:
        group = run.tree[GROUP].to_dataset()
        weights, mean, root = (
            jnp.asarray(group[x].values) for x in ("log_weight", "mean", "scale_tril")
        )
        return Mixture(weights, mean, root, shared, Labels(program, old).discrete_of(group)), ()
    draws: dict[str, Any] = {
        n: x.reshape(-1, *x.shape[2:]) for n, x in draws_of(program, run).items()
    }
    points = lifetime_coordinates(program, task_columns_of(old.select(np.arange(1))), draws)
    discrete = {x.name: draws[x.name] for x in shared if x.discrete}
    found = carried_from_draws(points, discrete, loop.settings.shared, shared)
    if found is None:
        raise BadgerError(f"{run.name} has no draws to go on from: fit again")
    return found, (f"goes on from {len(found.log_weights)} Gaussians fitted to the run's draws",)


def _before(
    run: Run, old: Evidence, messages: Any, log_evidence: float | None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What it goes on from, and how far the new tasks moved the belief, in nats."""
    tasks = int(run.spec.get("before", {}).get("tasks", 0)) + old.n_tasks
    before: dict[str, Any] = {"run": run.name, "tasks": tasks}
    told = [f"goes on from {run.name}, after {tasks} tasks whose data it does not see"]
    if messages is not None and log_evidence is not None:
        moved = float(np.asarray(messages, float).sum(-1).mean()) - log_evidence
        before["moved"] = moved
        told.append(f"the new tasks moved the belief in what is shared by {moved:.2f} nats")
    return before, tuple(told)
