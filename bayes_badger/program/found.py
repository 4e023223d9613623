"""What a program is found to be made of, by walking through it on some rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree
from numpyro.distributions.transforms import biject_to

from bayes_badger.compilation import jit_by_work
from bayes_badger.errors import BadgerError
from bayes_badger.program.information import outcome_information
from bayes_badger.program.latent import LIFETIME, ROLES, TASK, Derived, Latent
from bayes_badger.program.parts import Outcome
from bayes_badger.program.prior_normal import has_closed_form, normal_shape
from bayes_badger.program.structure import AbstractSite, sites_of, support_name
from bayes_badger.program.walk import UNCONSTRAINED, WHITENED, Data, Site, Walk, family, walk
from bayes_badger.signature import Signature


class Trial(NamedTuple):
    """A program, and the rows on which it is tried.

    Attributes:
        model: The program, its settings bound.
        signature: What it asks for.
        data: The rows.
        outcome: The name of the outcome's site.
        key: For whatever is drawn.
    """

    model: Callable[..., Any]
    signature: Signature
    data: Data
    outcome: str
    key: PRNGKeyArray

    def walk(self, data: Data, key: PRNGKeyArray | None = None) -> Walk:
        """Walks through the program once, on these rows or on others."""
        key = self.key if key is None else key
        return walk(self.model, self.signature, data, key=key, outcome_site=self.outcome)

    def sites(self, data: Data) -> dict[str, AbstractSite]:
        """The sites of a walk that computes nothing: they have shapes, not values."""
        return sites_of(self.model, self.signature, data, self.key, self.outcome)

    def grown(self, more_tasks: int, more_steps: int) -> dict[str, AbstractSite]:
        """The sites with more tasks and more steps: shapes that change with them follow them."""
        tasks = np.arange(self.data.tasks + more_tasks) % self.data.tasks
        steps = np.arange(self.data.steps + more_steps) % self.data.steps
        return self.sites(self.data.task(tasks).step(steps))


def drawn_outcome(trial: Trial) -> Array:
    """An outcome from the program itself, which is sure to be one that it can explain."""
    data = trial.data._replace(outcome=None)

    @jit_by_work
    def draw(data: Data, key: PRNGKeyArray) -> tuple[Array, PyTree]:
        walked = trial.walk(data, key)
        return walked.sites[trial.outcome].value, walked.state

    if not trial.signature.stateful:
        return draw(data, trial.key)[0]
    state, drawn = None, []
    for t in range(data.steps):
        key = jax.random.fold_in(trial.key, t)
        value, state = draw(data.step(slice(t, t + 1), state), key)
        drawn.append(value)
    return jnp.concatenate(drawn, 1)


def initial_parameters(trial: Trial, sites: Mapping[str, AbstractSite]) -> dict[str, PyTree]:
    """The values that the program's own initialisers give its parameters."""
    names = [name for name, site in sites.items() if site.kind == "parameter"]

    def values(data: Data) -> dict[str, PyTree]:
        found = trial.walk(data).sites
        return {name: found[name].value for name in names}

    return jit_by_work(values)(trial.data) if names else {}


def information_is_known(trial: Trial) -> bool:
    """Whether the outcome's family has its Fisher information in closed form."""
    known = []

    def ask(data: Data) -> None:
        fn = trial.walk(data).sites[trial.outcome].fn
        known.append(outcome_information(fn) is not None)

    jax.eval_shape(ask, trial.data)
    return known[0]


def mend_value_per_row(trial: Trial, latent: str) -> str:
    """How to mend a latent with a value per row: the column with one row of which it has not."""
    data = trial.data
    for name, x in data.columns.items():
        one = data._replace(columns={**data.columns, name: x[:, :1]})
        try:
            sites = trial.sites(one)
        except (TypeError, ValueError, IndexError, BadgerError):
            continue  # a column that cannot be shortened is not it
        if (sites[latent].batch or ())[-1:] == (1,):
            return f"make {name} keyword-only"
    return "make the column it depends on keyword-only"


def latents_of(trial: Trial) -> tuple[Latent, ...]:
    """The latents, in the program's order.

    They are looked at in the midst of the walk: a support whose ends are latents themselves is not
    to be asked for its shape after that.
    """
    found: list[Latent] = []

    def ask(data: Data) -> None:
        found.extend(_latents(trial.signature.program, trial.walk(data).sites))

    jax.eval_shape(ask, trial.data)
    return tuple(found)


def _latents(program: str, sites: Mapping[str, Site]) -> list[Latent]:
    latents = []
    for name, site in sites.items():
        if site.kind != "latent":
            continue
        scope = TASK if site.inside(TASK) else LIFETIME
        axis = len(site.fn.batch_shape) - 2 if scope == TASK else None
        squeeze = scope == TASK and not any(plate.dim == -1 for plate in site.plates)
        value_shape = list(jnp.shape(site.value))
        if axis is not None:
            del value_shape[axis : axis + 1 + squeeze]
        shapes = _coordinate_shapes(program, name, site, axis)
        kind = shapes[0][0] if shapes else "none"
        latents.append(
            Latent(
                name=name,
                scope=scope,
                role=site.role or ROLES[scope],
                shape=tuple(value_shape),
                family=type(family(site.fn)).__name__,
                support=support_name(site),
                kind=kind,
                shapes=shapes,
                task_axis=axis,
                squeeze=squeeze,
                closed_form=kind == WHITENED and has_closed_form(site.fn),
                labels=site.labels,
            )
        )
    return latents


def derived_of(trial: Trial, sites: Mapping[str, AbstractSite]) -> tuple[Derived, ...]:
    """The deterministics; which axis of each follows the tasks is found by changing their number.

    One that changes with the number of steps has a value per row, and is left out.
    """
    names = [name for name, site in sites.items() if site.kind == "deterministic"]

    def shapes(more_tasks: int, more_steps: int) -> dict[str, tuple[int, ...]]:
        found = trial.grown(more_tasks, more_steps)
        return {name: found[name].value.shape for name in names}

    if not names:
        return ()
    base, by_task, by_step = shapes(0, 0), shapes(1, 0), shapes(0, 1)
    derived = []
    for name in names:
        if base[name] != by_step[name]:
            continue
        moved = [i for i, size in enumerate(base[name]) if size != by_task[name][i]]
        if len(moved) > 1:
            continue
        axis = moved[0] if moved else None
        shape = list(base[name])
        squeeze = axis is not None and shape[axis + 1 : axis + 2] == [1]
        if axis is not None:
            del shape[axis : axis + 1 + squeeze]
        scope = LIFETIME if axis is None else TASK
        derived.append(Derived(name, scope, tuple(shape), axis, squeeze))
    return tuple(derived)


def outcome_of(trial: Trial, site: AbstractSite) -> Outcome:
    """The observed site."""
    return Outcome(
        site=trial.outcome,
        family=site.family,
        support=site.support,
        discrete=site.discrete,
        shape=tuple(trial.data.answers.shape[2:]),
    )


def _coordinate_shapes(
    program: str, name: str, site: Site, task_axis: int | None
) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """The coordinates a latent can have, best first; the axis of tasks left out."""
    if site.fn.support.is_discrete:
        return ()

    def without_tasks(shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape if task_axis is None else shape[:task_axis] + shape[task_axis + 1 :]

    shapes = []
    whitened = normal_shape(site.fn)
    if whitened is not None:
        shapes.append((WHITENED, without_tasks(tuple(whitened))))
    try:
        free = tuple(biject_to(site.fn.support).inverse_shape(site.fn.shape()))
        shapes.append((UNCONSTRAINED, without_tasks(free)))
    except NotImplementedError:
        if whitened is None:
            raise BadgerError(
                f"{program}: latent '{name}' has the prior {type(family(site.fn)).__name__}, whose "
                f"support ({support_name(site)}) cannot be mapped to the real line: write another "
                f"prior, as numpyro.sample('{name}', dist.Normal(0.0, 1.0))"
            ) from None
    return tuple(shapes)
