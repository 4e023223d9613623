"""What is settled once for a program and its evidence, before any outcome is looked at.

Along which few directions of u the program is far from linear-Gaussian: there, and only there, the
experts split the prior among themselves. And how an expert's predictive is to be integrated.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from bayes_badger.compilation import jit_by_work
from bayes_badger.inner_loop._climb import expand
from bayes_badger.inner_loop._points import centres, cloud
from bayes_badger.inner_loop._predictive import CLOUD, LINE, NORMAL, SCALED_NORMAL
from bayes_badger.inner_loop._society import Society
from bayes_badger.program import Data, OneTask, Program
from bayes_badger.program.program import EXPECTED
from bayes_badger.program.quadratic import is_linear_gaussian

# At most so many directions are split; those of less than a share of the most bent one are not.
MOST, SHARE = 3, 0.05
# Information that changes by less than this, relatively, over half a standard deviation stays.
STRAIGHT = 1e-4
# Points of the prior and rows of evidence at which that is looked at, and how far apart.
POINTS, ROWS, APART = 8, 64, 0.5


class Plan(NamedTuple):
    """How experts start, and how they predict.

    Attributes:
        directions: Orthonormal, most nonlinear first, `[u, r]`, along which the prior is split.
        predictive: How to integrate a predictive.
        straight: Whether one Gaussian is proved to be the posterior, so that one expert is as good
            as many.
    """

    directions: np.ndarray
    predictive: str
    straight: bool = False


def make_plan(program: OneTask, data: Data) -> Plan:
    """Looks at some rows as if they were of one task.

    Args:
        program: The program.
        data: Rows, `[1, row, ...]`, with outcomes, which matter only where a family's information
            has no closed form.
    """
    if is_linear_gaussian(program, data):
        return straight_plan(program.size, _predictive(program, False))
    return bent_plan(program, data)


def bent_plan(program: OneTask, data: Data) -> Plan:
    """The plan of a program that is not proved to be linear-Gaussian; as `make_plan`."""
    base = jnp.asarray(cloud(POINTS, program.size), jnp.float32)
    found = _bends(program, base, data)
    bends, size, sloped = np.asarray(found[0], float), float(found[1]), bool(found[2])
    # Information that is the same wherever it was looked at proves nothing: of |z| it is, too.
    directions = np.eye(program.size)[:, :MOST]
    if size > 0 and np.isfinite(bends).all():
        values, vectors = np.linalg.eigh(bends)
        relative = np.sqrt(np.maximum(values, 0.0) / size)[::-1]
        kept = (relative > STRAIGHT) & (relative > SHARE * relative[0])
        if kept.any():
            directions = vectors[:, ::-1][:, :MOST][:, kept[:MOST]]
    return Plan(directions, _predictive(program, sloped))


def straight_plan(size: int, predictive: str) -> Plan:
    """Where one Gaussian is the posterior: the prior is not split."""
    return Plan(np.zeros((size, 0)), predictive, straight=True)


def plan_of_example(program: Program, key: PRNGKeyArray) -> Plan:
    """Of a program alone: its example, with simulated outcomes where it has none."""
    example = program.example
    if example.outcome is None:
        example = example._replace(outcome=program.simulate(key, example).outcome)
    return make_plan(program, example)


def _predictive(program: OneTask, sloped: bool) -> str:
    if program.information != EXPECTED:
        return CLOUD
    if program.outcome.family == "Normal" and program.outcome.shape == ():
        return SCALED_NORMAL if sloped else NORMAL
    return LINE if _parameters(program) == 1 else CLOUD


def _parameters(program: OneTask) -> int:
    """Of one outcome's family."""
    example = program.example.task(slice(0, 1)).step(slice(0, 1))
    u = jnp.zeros(program.size)
    return jax.eval_shape(lambda u: program.outcome_parameters(u, example)[0], u).shape[-1]


@jit_by_work
def _bends(program: OneTask, base: Array, data: Data) -> tuple[Array, Array, Array]:
    """How the information changes along each pair of directions, its size, and a scale's slope."""
    size = program.size
    root, mask = APART * jnp.eye(size), jnp.ones(data.steps, bool)

    def information(u: Array) -> Array:
        found = expand(program, u, root, data, mask).information
        return jnp.where(jnp.isfinite(found), found, 0.0)

    def one(u: Array) -> tuple[Array, Array]:
        moves = APART * jnp.concatenate([jnp.eye(size), -jnp.eye(size)])
        moved = jax.lax.map(lambda move: information(u + move), moves, batch_size=16)
        change = (moved[:size] - moved[size:]).reshape(size, -1)
        return change @ change.T, (moved**2).sum((1, 2)).mean()

    change, total = jax.lax.map(one, base)
    sloped = jnp.zeros((), bool)
    if program.information == EXPECTED:
        slopes = jax.jacfwd(lambda u: program.outcome_parameters(u, data)[0][:, -1])
        sloped = jax.lax.map(lambda u: (slopes(u) != 0).any(), base).any()
    return change.sum(0) / len(base), total.mean(), sloped


def prior_society(plan: Plan, experts: int, size: int, width: int = 0, turn: int = 0) -> Society:
    """The prior, split among experts so that mean and covariance are exactly those of N(0, I).

    Along each of r directions all have the share K^(-1/r) of the prior's variance, and their
    centres the rest; across them all are the prior.

    Args:
        plan: Along which directions.
        experts: How many.
        size: Length of the flat vector.
        width: Numbers that a policy remembers per coordinate.
        turn: Another number, other centres.
    """
    split = plan.directions.shape[1]
    mean, covariance = np.zeros((experts, size)), np.eye(size)
    if split and experts > split:
        variance = experts ** (-1.0 / split)
        points = centres(experts, split, float(np.sqrt(1 - variance)), turn)
        if turn:
            chance = np.random.default_rng(turn)
            points = points @ np.linalg.qr(chance.normal(size=(split, split)))[0]
        mean = points @ plan.directions.T
        covariance = covariance - (1 - variance) * plan.directions @ plan.directions.T
    root = np.broadcast_to(np.linalg.cholesky(covariance), (experts, size, size))
    return Society(
        jnp.full(experts, -np.log(experts), jnp.float32),
        jnp.asarray(mean, jnp.float32),
        jnp.asarray(root, jnp.float32),
        jnp.zeros((experts, size, width)),
    )


def rows_to_look_at(data: Data, mask: np.ndarray) -> Data:
    """Some rows of all tasks, as if they were of one; columns of tasks those of the first."""
    real = np.flatnonzero(mask)
    some = real[np.linspace(0, len(real) - 1, min(ROWS, len(real))).astype(int)]

    def chosen(x: Array) -> Array:
        return x.reshape(-1, *x.shape[2:])[some][None]

    return Data(
        {name: chosen(x) for name, x in data.columns.items()},
        {name: x[:1] for name, x in data.task_columns.items()},
        None if data.outcome is None else chosen(data.outcome),
    )
