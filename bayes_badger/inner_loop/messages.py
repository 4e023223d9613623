"""What each task says of what all tasks share: log p(D_i | a), its own latents integrated out.

Of any program, whichever way its posterior was found: in closed form where a task's latents are
linear-Gaussian given `a`, else by importance weights of experts' points, without bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from bayes_badger.compilation import jit_lightly
from bayes_badger.errors import BadgerError
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import data_of, task_columns_of
from bayes_badger.inner_loop._evidence_of_task import (
    Given,
    OfTasks,
    straight_one,
    weighed_one,
    without_latents,
)
from bayes_badger.inner_loop._given import Asked, chunks_given, plan_given, tasks_at
from bayes_badger.inner_loop._lifetime_rounds import Sizes
from bayes_badger.inner_loop._offline import Effort
from bayes_badger.inner_loop._plan import Plan, prior_society, rows_to_look_at, straight_plan
from bayes_badger.inner_loop._split import assignments
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.program import LIFETIME, TASK, Data, Program


class Messages(NamedTuple):
    """What tasks say at some lifetimes.

    Attributes:
        log_evidence: log p(D_i | a), in nats, `[draw, task]`, float64.
        effective: How many points it rests on, `[draw, task]`; infinite for closed forms.
    """

    log_evidence: np.ndarray
    effective: np.ndarray


def messages(
    program: Program,
    evidence: Evidence,
    values: Mapping[str, Any],
    key: PRNGKeyArray,
    *,
    points: int | None = None,
    report: Report = silent,
) -> Messages:
    """Log evidence of each task at each draw of what tasks share.

    Args:
        program: The lifted program.
        evidence: Of the tasks.
        values: Draws of all latents, in the user's own space: `[draw, *shape]` of the lifetime,
            `[draw, task, *shape]` of the tasks, whose own values do not matter.
        key: Of the points, where there is no closed form.
        points: Of each of a task's eight experts and widths where it has more than two latents; 32
            by default. With one or two it is integrated by quadrature.
        report: Is told how far it has come.

    Raises:
        BadgerError: Where a task's discrete latents are too many to sum over.
    """
    sizes = Sizes()
    effort = sizes.effort if points is None else sizes.effort._replace(points=points)
    found = at_draws(program, evidence, values, key, effort, sizes.of_task, report=report)
    return Messages(np.asarray(found.log_evidence, float), np.asarray(found.effective, float))


def at_draws(
    program: Program,
    evidence: Evidence,
    values: Mapping[str, Any],
    key: PRNGKeyArray,
    effort: Effort,
    experts: int,
    search: bool = False,
    report: Report = silent,
) -> OfTasks:
    """Each task at each draw of what tasks share: its log evidence there, and a draw of its own.

    Args:
        program: The lifted program.
        evidence: Of the tasks.
        values: As of `messages`.
        key: Of the points, where there is no closed form.
        effort: How hard to try.
        experts: Of each task.
        search: Whether experts look around, and scouts go out, before they climb.
        report: Is told how far it has come.

    Returns:
        Arrays `[draw, task, ...]`.

    Raises:
        BadgerError: Where a task's discrete latents are too many to sum over.
    """
    own = assignments(program, TASK)
    if isinstance(own, str):
        raise BadgerError(f"{program.name}: log evidence of tasks {own}")
    columns = task_columns_of(evidence.select(np.arange(1)))
    lifetimes = lifetime_coordinates(program, columns, values)
    keys = jax.random.split(key, 2)
    task_keys = jax.random.split(keys[0], evidence.n_tasks)
    draw_keys = jax.random.split(keys[1], len(lifetimes))
    shared = {x.name: np.asarray(values[x.name]) for x in program.discrete if x.scope == LIFETIME}
    which, kinds = _kinds(shared, len(lifetimes))
    rows, chunks = _rows(evidence), chunks_given(evidence)
    found = []
    for i, kind in enumerate(kinds):
        discrete = {name: jnp.asarray(x) for name, x in kind.items()}
        plan = _plan(program, rows, discrete, own)
        asked = Asked(plan, effort, experts, own, search=search)
        at = np.flatnonzero(which == i)
        keys_of = task_keys, draw_keys[at]
        found.append(tasks_at(program, chunks, lifetimes[at], discrete, asked, keys_of, report))
    back = np.argsort(which, kind="stable").argsort()
    return OfTasks(*(np.concatenate(x)[back] for x in zip(*found, strict=True)))


def messages_of_each(
    program: Program,
    evidence: Evidence,
    lifetimes: Float[np.ndarray, "task draw a"],
    key: PRNGKeyArray,
    *,
    points: int | None = None,
    report: Report = silent,
) -> Messages:
    """Log evidence of each task at lifetimes of its own: `[task, draw]`.

    Args:
        program: The lifted program, which shares no discrete latents.
        evidence: Of the tasks, which need not be of one lifetime.
        lifetimes: Coordinates of what each task shares with others.
        key: Of the points, where there is no closed form.
        points: Of each of a task's eight experts and widths where it has more than two latents; 32
            by default. With one or two it is integrated by quadrature.
        report: Is told how far it has come.

    Raises:
        BadgerError: Where a task's discrete latents are too many to sum over.
    """
    own = assignments(program, TASK)
    if isinstance(own, str):
        raise BadgerError(f"{program.name}: log evidence of tasks {own}")
    sizes = Sizes()
    effort = sizes.effort if points is None else sizes.effort._replace(points=points)
    keys = jax.random.split(key, 2)
    both = (
        jax.random.split(keys[0], evidence.n_tasks),
        jax.random.split(keys[1], lifetimes.shape[1]),
    )
    asked = Asked(_plan(program, _rows(evidence), {}, own), effort, sizes.of_task, own)
    chunks = chunks_given(evidence)
    found = tasks_at(program, chunks, lifetimes, {}, asked, both, report)
    return Messages(np.asarray(found.log_evidence, float).T, np.asarray(found.effective, float).T)


def straight(program: Program, evidence: Evidence) -> bool:
    """Whether tasks are linear-Gaussian given what they share, so that they say it in closed form.

    Args:
        program: The lifted program, without discrete latents.
        evidence: Rows at which that is looked at.
    """
    return _plan(program, _rows(evidence), {}, {}).straight


def under(
    program: Program,
    data: Data,
    seen: Array,
    lifetimes: Array,
    keys: Array,
    draws: int,
    linear: bool = False,
) -> OfTasks:
    """Tasks, each under a lifetime of its own; jit- and vmap-able.

    Args:
        program: The lifted program, without discrete latents.
        data: Of the tasks, with outcomes, `[task, step, ...]`.
        seen: Which rows are real, `[task, step]`.
        lifetimes: Coordinates of what is shared, `[task, a]`.
        keys: One for each task.
        draws: Of each task's latents.
        linear: Whether tasks are `straight`.

    Returns:
        Log evidence and effective points `[task]`, and latents `[task, draw, z]`.
    """
    sizes = Sizes()
    size = program.task_size
    plan = Plan(np.zeros((size, 0)) if linear else np.eye(size)[:, : min(size, 3)], "")
    prior = prior_society(plan, 1 if linear else sizes.of_task, size)

    def one(xs: tuple[Data, Array, Array, Array]) -> OfTasks:
        own, mask, lifetime, key = xs
        own = jax.tree.map(lambda x: x[None], own)
        given = Given(program, lifetime, {})
        if not size:
            return without_latents(given, own, mask, draws)
        if linear:
            return straight_one(given, own, mask, key, draws)
        apart = jax.random.split(key)
        return weighed_one(given, prior, own, mask, apart[0], apart[1], sizes.effort, draws)

    return jax.lax.map(one, (data, seen, lifetimes, keys), batch_size=max(1, 2**14 // data.steps))


def _plan(
    program: Program,
    rows: Data | None,
    discrete: Mapping[str, Array],
    own: Mapping[str, np.ndarray],
) -> Plan:
    """Of the assignment of a task's discrete latents in which it is most bent."""
    if rows is None or not program.task_size:
        return straight_plan(program.task_size, "")
    states = (
        [{}]
        if not own
        else [
            {name: jnp.asarray(x[i]) for name, x in own.items()}
            for i in range(len(next(iter(own.values()))))
        ]
    )
    plans = [plan_given(program, rows, {**discrete, **state}) for state in states]
    return max(plans, key=lambda plan: plan.directions.shape[1])


def _rows(evidence: Evidence) -> Data | None:
    some = evidence.select(np.flatnonzero(evidence.lengths > 0)[:64])
    if not some.n_rows:
        return None
    block = some.padded()
    return rows_to_look_at(data_of(block), block.mask)


def _kinds(
    shared: Mapping[str, np.ndarray], draws: int
) -> tuple[np.ndarray, list[dict[str, np.ndarray]]]:
    """Which joint value of the lifetime's discrete latents each draw has, and those values."""
    if not shared:
        return np.zeros(draws, int), [{}]
    flat = np.concatenate([x.reshape(draws, -1) for x in shared.values()], 1)
    _, first, which = np.unique(flat, axis=0, return_index=True, return_inverse=True)
    return which.ravel(), [{name: np.asarray(x[i]) for name, x in shared.items()} for i in first]


def lifetime_coordinates(
    program: Program, columns: Mapping[str, Array], values: Mapping[str, Any]
) -> Float[np.ndarray, "draw a"]:
    """Coordinates of what tasks share, of draws in the user's own space.

    Args:
        program: The lifted program.
        columns: Columns of one task, `[1, 1, ...]`.
        values: Draws of all latents, `[draw, *shape]`, `[draw, task, *shape]` of the tasks'.
    """
    # A task's latents do not move the coordinates of what is shared: one task is enough.
    latents = {
        x.name: jnp.asarray(values[x.name])[:, :1] if x.scope == TASK else values[x.name]
        for x in program.latents
    }
    return np.asarray(_lifetimes(program, {n: jnp.asarray(x) for n, x in latents.items()}, columns))


@jit_lightly
def _lifetimes(
    program: Program, values: Mapping[str, Array], columns: Mapping[str, Array]
) -> Array:
    def one(draw: Mapping[str, Array]) -> Array:
        return program.unconstrain(draw, columns, 1)[0]

    return jax.vmap(one)(dict(values))
