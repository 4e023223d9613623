"""In which latents a program's log density is proved to be quadratic.

Where the log density is a polynomial of degree two or less in a set of latents, they are Gaussian
given all others, and integrals over them have a closed form. The proof follows the traced program
(`degrees`), so that it holds at all values of the latents, of the columns and of the outcome.
(`theta = mu + tau * u` is of degree two in tau and u together, and its square of degree four; given
tau it is linear.)
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from bayes_badger.program.degrees import degrees
from bayes_badger.program.latent import LIFETIME, TASK, Latent
from bayes_badger.program.one_task import OneTask
from bayes_badger.program.program import Program
from bayes_badger.program.walk import Data

# A proof does not depend on how many tasks and steps there are.
TASKS, STEPS, QUADRATIC = 2, 2, 2


def not_quadratic(
    program: Program, data: Data, latents: Sequence[Latent], discrete: Mapping[str, Any]
) -> Bool[np.ndarray, "s s s"]:
    """For every three latents, whether their joint quadratic form could not be proved.

    A polynomial that is of degree two in every three of some latents is so in all of them, for a
    term of a higher degree has three factors; so this table answers for every set.

    Args:
        program: The lifted program.
        data: Evidence of some tasks, with its outcome.
        latents: Which continuous latents are asked about.
        discrete: Values of discrete latents by name, as `Program.terms` takes them of one task.

    Returns:
        Entry [i, j, k] is False where the log density is proved to be quadratic in latents i, j and
        k together.
    """
    some = data.task(slice(0, TASKS)).step(slice(0, STEPS), data.state)
    own = {name: program.latent(name).scope == TASK for name in discrete}
    given = {
        name: jnp.broadcast_to(x, (some.tasks, *jnp.shape(x))) if own[name] else jnp.asarray(x)
        for name, x in discrete.items()
    }
    few = [set(x) for size in (1, 2, 3) for x in itertools.combinations(range(len(latents)), size)]
    lifetime = np.zeros((program.lifetime_size, len(few)), np.int8)
    task = np.zeros((some.tasks, program.task_size, len(few)), np.int8)
    for i, latent in enumerate(latents):
        chosen = np.array([i in one for one in few])
        at = list(positions(program)[latent.name])
        if latent.scope == LIFETIME:
            lifetime[at] = chosen
        else:
            task[:, at] = chosen

    def density(lifetime: Array, task: Array, some: Data, given: Mapping[str, Array]) -> Any:
        return tuple(program.terms(lifetime, task, some, given))

    points = jnp.zeros(program.lifetime_size), jnp.zeros((some.tasks, program.task_size))
    each = degrees(density, (*points, some, given), (lifetime, task, None, None))
    most = np.maximum.reduce([x.reshape(-1, len(few)).max(0, initial=0) for x in each])
    unproved = {frozenset(one): bool(x > QUADRATIC) for one, x in zip(few, most, strict=True)}
    found = np.zeros((len(latents),) * 3, bool)
    for triple in itertools.product(range(len(latents)), repeat=3):
        found[triple] = unproved[frozenset(triple)]
    return found


def positions(program: Program) -> dict[str, range]:
    """Where each latent's coordinates stand within the flat vector of its scope, by name."""
    places, at = {}, {LIFETIME: 0, TASK: 0}
    for latent in program.latents:
        places[latent.name] = range(at[latent.scope], at[latent.scope] + latent.size)
        at[latent.scope] += latent.size
    return places


def support_moves(program: Program) -> bool:
    """Whether what the outcome can be depends on any latent, as of a time after an unknown start.

    Then the likelihood of the latents ends in a step, over which no rule of quadrature converges
    quickly.
    """
    key, data = jax.random.key(0), program.example
    drawn = program.simulate(key, data)
    data = data._replace(outcome=drawn.outcome)
    names = [latent.name for latent in program.latents]
    values = [jnp.asarray(drawn.values[name]) for name in names]

    def inside(*values: Array) -> Array:
        return program.supports(dict(zip(names, values, strict=True)), data)

    seeds = [np.ones((*x.shape, 1), np.int8) for x in values]
    return any(x.any() for x in degrees(inside, values, seeds))


def is_linear_gaussian(program: OneTask, data: Data) -> bool:
    """Whether one Gaussian is proved to be the posterior of one task's flat vector.

    Args:
        program: A program, or a program in which what tasks share is held fixed.
        data: Rows of one task, `[1, row, ...]`, with outcomes.
    """
    some = data.step(slice(0, STEPS), data.state)

    def density(u: Array, some: Data) -> Any:
        return program.rows_and_factors(u, some)

    seed = np.ones((program.size, 1), np.int8)
    each = degrees(density, (jnp.zeros(program.size), some), (seed, None))
    return all(int(x.max(initial=0)) <= QUADRATIC for x in each)
