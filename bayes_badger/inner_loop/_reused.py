"""Tasks that what they share moves only through their own latents: their rows are looked at once.

    log p(D_i | a) = log ∫ p(D_i | z) p(z | a) dz

Where the likelihood is the same at every lifetime, given z, points of z with their likelihoods
serve all lifetimes, re-weighed by p(z | a) alone. They are kept in the user's own space, for their
coordinates move with a. A task's points come from p(z | a) at some reference lifetimes, then from
kernels around those that weigh (population Monte Carlo), a quarter always from p(z | a); the
effective number of points at each lifetime tells whether they carry there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import partial_eval
from jaxtyping import Array, Float, Key

from bayes_badger.compilation import jit_lightly
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop._chunks import over_chunks
from bayes_badger.inner_loop._evidence_of_task import OfTasks
from bayes_badger.inner_loop._portions import at_one_length
from bayes_badger.inner_loop.protocol import silent
from bayes_badger.program import LIFETIME, TASK, Data, Program

# Points of each task, and how often kernels are laid around them.
POINTS, ROUNDS = 2048, 2
# The least rows of the longest task, and the most dimensions and tasks, for which it pays.
ROWS, DIMS, TASKS = 32, 8, 4096
# Reference lifetimes, kernels, and the share of points that come from the prior.
LIFETIMES, KERNELS, PRIOR = 64, 128, 0.25
# The least spread of a kernel, in coordinates, beside that of the points.
LEAST = 0.02
FURTHEST = 8.0
# Densities that are computed at once.
AT_ONCE = 2**17


class Table(NamedTuple):
    """Points of each task, `[task, point, ...]`.

    Attributes:
        values: Its latents in the user's own space, by name.
        states: Which assignment of its discrete latents each has.
        log_likelihood: Of all its rows, in nats.
        log_proposed: Log density that the point came from.
        columns: Columns of the tasks, `[task, 1, ...]`.
    """

    values: Any
    states: Any
    log_likelihood: Any
    log_proposed: Any
    columns: Any


def reusable(program: Program, evidence: Evidence) -> bool:
    """Whether rows depend on what is shared through their task's own latents alone.

    That is read off the traced computation; and no support of a task's latent may move. Nor does it
    pay where tasks have few rows, or need more points than there are.
    """
    size, shared = program.task_size, program.lifetime_size
    long = int(evidence.lengths.max(initial=0)) >= ROWS
    if not (shared and 0 < size <= DIMS and long and evidence.n_tasks <= TASKS):
        return False
    at, data = jnp.zeros(shared), program.example
    drawn = program.simulate(jax.random.key(0), data)
    data = data._replace(outcome=drawn.outcome)
    values = {
        x.name: drawn.values[x.name] for x in program.latents if x.scope == TASK or x.discrete
    }

    def rows(lifetime: Array) -> Array:
        return program.terms_at(values, lifetime, jnp.zeros((1, size)), data).log_likelihood

    traced = jax.make_jaxpr(rows)(at)
    _, used = partial_eval.dce_jaxpr(traced.jaxpr, [True] * len(traced.jaxpr.outvars))
    return not any(used) and not _bounds_move(program)


def _bounds_move(program: Program) -> bool:
    def bounds(key: Array) -> list[Any]:
        shared = {x.name for x in program.select(LIFETIME)}
        drawn = program.simulate(key, program.example).values
        walked = program.walk_at({n: drawn[n] for n in shared}, program.example)
        names = [x.name for x in program.select(TASK)]
        return jax.tree.leaves([walked.sites[name].fn.support for name in names])

    pairs = zip(*map(bounds, jax.random.split(jax.random.key(0))), strict=True)
    return not all(np.array_equal(np.asarray(x), np.asarray(y)) for x, y in pairs)


def table_of(
    program: Program,
    evidence: Evidence,
    references: Float[np.ndarray, "lifetime a"],
    discrete: Mapping[str, Array],
    own: Mapping[str, np.ndarray],
    keys: Key[Array, " task"],
) -> Table:
    """Points of each task, near its posterior wherever a lifetime is like the references.

    Args:
        program: The lifted program, which is `reusable`.
        evidence: Of the tasks.
        references: `LIFETIMES` coordinates of what is shared.
        discrete: Values of discrete latents that are shared.
        own: All assignments of a task's discrete latents, by name `[s, *shape]`.
        keys: One for each task.
    """
    states = {name: jnp.asarray(x) for name, x in own.items()}

    def work(tasks: np.ndarray, data: Data, mask: np.ndarray) -> Table:
        data, seen = at_one_length(data, mask)
        some = keys[jnp.asarray(tasks)]
        return _of_chunk(program, data, seen, some, jnp.asarray(references), dict(discrete), states)

    found = over_chunks(evidence, work, silent, "tasks")
    return Table(*found)


@jit_lightly
def _of_chunk(
    program: Program,
    data: Data,
    seen: Array,
    keys: Array,
    references: Array,
    discrete: dict[str, Array],
    states: dict[str, Array],
) -> Table:
    size, middle = program.task_size, references.mean(0)
    references = references.astype(jnp.float32)
    middle = middle.astype(jnp.float32)
    anywhere = jnp.zeros((1, size))

    def one(xs: tuple[Data, Array, Array]) -> Table:
        data, seen, key = xs
        data = jax.tree.map(lambda x: x[None], data)
        columns = data.task_columns
        shared = program.constrain(middle, anywhere, columns, None, discrete)
        shared = {x.name: shared[x.name] for x in program.select(LIFETIME)}

        def likelihood(values: dict[str, Array]) -> Array:
            terms = program.terms_at({**values, **discrete}, middle, anywhere, data)
            return jnp.where(seen, terms.log_likelihood[0], 0.0).sum()

        def from_prior(key: Array, n: int) -> dict[str, Array]:
            def draw(key: Array, i: Array) -> dict[str, Array]:
                keys = jax.random.split(key)
                z = jax.random.normal(keys[0], (1, size))
                values = program.constrain(references[i % LIFETIMES], z, columns, keys[1], discrete)
                return {x.name: values[x.name] for x in program.select(TASK)}

            return jax.vmap(draw)(jax.random.split(key, n), jnp.arange(n))

        def log_prior(values: dict[str, Array]) -> Array:
            each = _log_priors(program, references, values, columns, discrete)
            return jax.scipy.special.logsumexp(each, axis=0) - np.log(LIFETIMES)

        def places(values: dict[str, Array]) -> tuple[Array, Array]:
            """Coordinates at the middle lifetime, and log |dx/dv| there."""

            def place(values: dict[str, Array]) -> tuple[Array, Array]:
                found = program.coordinates_and_log_jacobian(
                    {**values, **shared, **discrete}, columns, 1
                )
                changes = [found[2][x.name][0] for x in program.select(TASK) if not x.discrete]
                # At the end of a support a coordinate is infinite, and its density no number.
                x = jnp.clip(jnp.nan_to_num(found[1][0]), -FURTHEST, FURTHEST)
                return x, sum(changes, jnp.zeros(()))

            return jax.vmap(place)(values)

        def valued(x: Array, state: Array) -> dict[str, Array]:
            assigned = {name: value[state][None] for name, value in states.items()}
            values = program.constrain(middle, x[None], columns, None, {**discrete, **assigned})
            return {y.name: values[y.name] for y in program.select(TASK)}

        fresh, kept = int(PRIOR * POINTS), POINTS - int(PRIOR * POINTS)

        def again(carry: tuple[Any, Array, Array], key: Array) -> tuple[Any, Any]:
            """The likelihood of some points, and others around those that weigh."""
            values, proposed, target = carry
            logs = jax.vmap(likelihood)(values)
            weights = jax.nn.softmax(_finite(logs + target - proposed))
            which = _assigned(values, states)
            apart = jax.random.split(key, 4)
            centres, state, root = _kernels(places(values)[0], which, weights, apart[0])
            pick = jax.random.randint(apart[1], (kept,), 0, KERNELS)
            noise = jax.random.normal(apart[2], (kept, size))
            moved = jax.vmap(valued)(centres[pick] + noise @ root.T, state[pick])
            drawn = from_prior(apart[3], fresh)
            others = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), moved, drawn)
            x, change = places(others)
            near = _log_kernels(x, _assigned(others, states), centres, state, root) + change
            prior = log_prior(others)
            mixed = jnp.logaddexp(near + np.log(1 - PRIOR), prior + np.log(PRIOR))
            return (others, mixed, prior), (values, which, logs, proposed)

        keys = jax.random.split(key, ROUNDS + 2)
        values = from_prior(keys[0], POINTS)
        prior = log_prior(values)
        _, each = jax.lax.scan(again, (values, prior, prior), keys[1:])
        values, which, logs, proposed = jax.tree.map(lambda x: x[-1], each)
        return Table(values, which, logs, proposed, data.task_columns)

    found: Table = jax.lax.map(one, (data, seen, keys))
    columns = jax.tree.map(lambda x: x[:, 0], found.columns)
    return found._replace(columns=columns)


def _finite(logs: Array) -> Array:
    return jnp.where(jnp.isfinite(logs), logs, -1e30)


def _log_priors(
    program: Program,
    lifetimes: Array,
    values: dict[str, Array],
    columns: Mapping[str, Array],
    discrete: Mapping[str, Array],
) -> Array:
    """Log p(z | a) in the user's own space, of one task's points, `[lifetime, point]`."""
    nothing = program.without_rows(columns, 1)
    anywhere = jnp.zeros((1, program.task_size))

    def at(lifetime: Array) -> Array:
        def of(values: dict[str, Array]) -> Array:
            return program.terms_at({**values, **discrete}, lifetime, anywhere, nothing).task[0]

        return jax.vmap(of)(values)

    count = len(jax.tree.leaves(values)[0])
    return jax.lax.map(at, lifetimes, batch_size=max(1, AT_ONCE // count))


def _assigned(values: dict[str, Array], states: dict[str, Array]) -> Array:
    """Which assignment of the task's discrete latents each point has."""
    count = len(jax.tree.leaves(values)[0])
    if not states:
        return jnp.zeros(count, int)
    alike = jnp.stack(
        [
            (values[name].reshape(count, 1, -1) == x.reshape(1, len(x), -1)).all(-1)
            for name, x in states.items()
        ]
    )
    return jnp.argmax(alike.all(0), axis=1)


def _kernels(x: Array, which: Array, weights: Array, key: Array) -> tuple[Array, Array, Array]:
    """Points drawn by weight, their assignments, and the root of a kernel's covariance."""
    chosen = jax.random.choice(key, len(x), (KERNELS,), p=weights)
    # How far points of one assignment are from its own mean.
    same = (which[:, None] == which[None, :]) * weights[None, :]
    means = same @ x / jnp.maximum(same.sum(1, keepdims=True), 1e-30)
    away = x - means
    covariance = (away * weights[:, None]).T @ away
    ess, size = 1.0 / (weights**2).sum(), x.shape[1]
    width = jnp.clip(ess ** (-2.0 / (size + 4)), 0.1, 1.0)
    covariance = width * covariance + LEAST * jnp.eye(size)
    return x[chosen], which[chosen], jnp.linalg.cholesky(covariance)


def _log_kernels(x: Array, which: Array, centres: Array, state: Array, root: Array) -> Array:
    """Log density of the mixture of kernels, in coordinates; of each assignment its own part."""
    away = jax.scipy.linalg.solve_triangular(
        root, (x[:, None] - centres[None]).reshape(-1, x.shape[1]).T, lower=True
    )
    half = -0.5 * (away**2).sum(0).reshape(len(x), len(centres))
    half = jnp.where(which[:, None] == state[None], half, -jnp.inf)
    constant = 0.5 * x.shape[1] * np.log(2 * np.pi) + jnp.log(jnp.diag(root)).sum()
    total = jax.scipy.special.logsumexp(half, axis=1) - np.log(len(centres)) - constant
    return jnp.maximum(total, -1e30)


def at_lifetimes(
    program: Program,
    table: Table,
    lifetimes: Float[np.ndarray, "lifetime a"],
    discrete: Mapping[str, Array],
    key: Array,
) -> OfTasks:
    """All tasks at some lifetimes, as of `tasks_at`: one draw of each at each."""
    points = jnp.asarray(lifetimes, jnp.float32)
    found = _at(program, table, points, dict(discrete), key)
    return OfTasks(*(np.swapaxes(np.asarray(x), 0, 1) for x in found))


@jit_lightly
def _at(
    program: Program, table: Table, lifetimes: Array, discrete: dict[str, Array], key: Array
) -> OfTasks:
    anywhere = jnp.zeros((1, program.task_size))

    def one(xs: tuple[Table, Array]) -> OfTasks:
        task, key = xs
        columns = jax.tree.map(lambda x: x[None], task.columns)
        prior = _log_priors(program, lifetimes, task.values, columns, discrete)
        logs = _finite(task.log_likelihood + prior - task.log_proposed)
        total = jax.scipy.special.logsumexp(logs, axis=1)
        effective = jnp.exp(2 * total - jax.scipy.special.logsumexp(2 * logs, axis=1))
        which = jax.random.categorical(key, logs, axis=1)

        def place(xs: tuple[Array, Array]) -> Array:
            lifetime, i = xs
            shared = program.constrain(lifetime, anywhere, columns, None, discrete)
            values = {x.name: shared[x.name] for x in program.select(LIFETIME)}
            values |= {name: x[i] for name, x in task.values.items()}
            return program.unconstrain(values, columns, 1)[1]

        latents = jax.lax.map(place, (lifetimes, which), batch_size=1024)
        count = task.log_likelihood.shape[0]
        states, error = task.states[which][:, None], 1.0 / jnp.sqrt(effective)
        return OfTasks(total - np.log(count), latents, states, effective, error)

    keys = jax.random.split(key, len(table.log_likelihood))
    found: OfTasks = jax.lax.map(one, (table, keys))
    return found
