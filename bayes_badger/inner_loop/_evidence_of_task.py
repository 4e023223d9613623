"""The evidence of one task given what all share, and draws of its latents: one way a function.

    log p(D | a) = log ∫ p(z | a) p(D | z, a) dz

In closed form where one Gaussian is proved to be the posterior of z. By one Gaussian at the mode,
and points that cover the posterior around it, where that is nearly so. By several experts and the
same kind of points where it is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bayes_badger.inner_loop import _small as small
from bayes_badger.inner_loop._climb import expand
from bayes_badger.inner_loop._covering import drawn, integral, proposals
from bayes_badger.inner_loop._held import Held
from bayes_badger.inner_loop._mode import mode_of
from bayes_badger.inner_loop._offline import Effort, climbed_into, log_joint_of
from bayes_badger.inner_loop._policy import Untaught
from bayes_badger.inner_loop._refit import refitted
from bayes_badger.inner_loop._society import Society
from bayes_badger.program import Data, OneTask, Program
from bayes_badger.program.program import SIGMA_POINTS

# Points of one Gaussian, and of its wider copy, where no rule of quadrature serves.
POINTS = 128


class Given(Held):
    """A program in which all that tasks share is held fixed: a task's own flat vector is left."""

    program: Program
    lifetime: Float[Array, " lifetime"]
    discrete: Mapping[str, Array]

    def rows_and_factors(self, z: Float[Array, " z"], data: Data) -> tuple[Array, Array]:
        """Log likelihood of each row of one task, and of its own factors."""
        return self.program.rows_and_factors((self.lifetime, z), data, self.discrete, own=True)

    def outcome_parameters(self, z: Float[Array, " z"], data: Data) -> tuple[Array, Array]:
        """The parameters of each outcome's family, and the information of an outcome on them."""
        return self.program.outcome_parameters((self.lifetime, z), data, self.discrete)


class OfTasks(NamedTuple):
    """What tasks say of some lifetimes, `[lifetime, task, ...]`.

    Attributes:
        log_evidence: log p(D_i | a), in nats.
        latents: Draws of each task's flat vector given a, `[..., draw, z]`.
        states: Which assignment of the task's discrete latents each has, `[..., draw]`.
        effective: Effective number of the points that gave it; infinite for closed forms.
        error: Estimated error of the log evidence, in nats.
    """

    log_evidence: Any
    latents: Any
    states: Any
    effective: Any
    error: Any


def without_latents(given: Given, data: Data, seen: Array, draws: int) -> OfTasks:
    rows, factors = given.rows_and_factors(jnp.zeros(0), data)
    total = jnp.where(seen, rows, 0.0).sum() + factors
    latents, states = jnp.zeros((draws, 0)), jnp.zeros(draws, int)
    return OfTasks(total, latents, states, jnp.array(jnp.inf), jnp.zeros(()))


def straight_one(given: OneTask, data: Data, seen: Array, key: Array, draws: int) -> OfTasks:
    """Of one task, in closed form: at its mode, for in single precision far from it is rough."""
    eye, zero = jnp.eye(given.size), jnp.zeros(given.size)
    at = expand(given, zero, eye, data, seen)
    half = small.root_of_inverse(eye + at.information)
    mode = small.matvec(half, small.matvec(half.T, at.score))
    # The information is the same everywhere: it is not asked for again.
    height, score = _height_and_slope(given, mode, data, seen)
    slope = small.matvec(half.T, score - mode)
    log_evidence = height - 0.5 * small.square(mode) + 0.5 * small.square(slope)
    log_evidence += small.log_det(half)
    mean = mode + small.matvec(half, slope)
    z = mean + jax.random.normal(key, (draws, given.size)) @ half.T
    return OfTasks(
        log_evidence, z, jnp.zeros(draws, int), jnp.array(jnp.inf), jnp.zeros_like(log_evidence)
    )


def _height_and_slope(given: OneTask, z: Array, data: Data, seen: Array) -> tuple[Array, Array]:
    if given.information == SIGMA_POINTS:
        at = expand(given, z, jnp.eye(given.size), data, seen)
        return at.value, at.score

    def value(z: Array) -> Array:
        rows, factors = given.rows_and_factors(z, data)
        return jnp.where(seen, rows, 0.0).sum() + factors

    return jax.value_and_grad(value)(z)


def weighed_one(
    given: Given,
    prior: Society,
    data: Data,
    seen: Array,
    key: Array,
    draw: Array,
    effort: Effort,
    draws: int,
    search: bool = False,
) -> OfTasks:
    """What one task says, by points that cover its posterior around its experts."""
    keys = jax.random.split(key, 4)
    policy = Untaught()
    near = climbed_into(
        given, policy, prior, data, seen, seen, keys[:3], effort, search, False
    ).society
    best = near.mean[jnp.argmax(near.log_weights)]
    log_joint, relative = log_joint_of(given, data, seen, best)
    society = near
    if effort.refits:
        society, _ = refitted(log_joint, near, policy, keys[3], effort.refits, effort.points)
    found = proposals(society, max(effort.points, 2 * given.size))
    whole = integral(found, log_joint(found.points))
    latents = drawn(log_joint, found, whole, draw, draws)
    total = whole.log_evidence + relative
    return OfTasks(total, latents, jnp.zeros(draws, int), whole.effective, whole.error)


def single_one(
    given: Given,
    start: Float[Array, " z"],
    data: Data,
    seen: Array,
    draw: Array,
    effort: Effort,
    draws: int,
) -> OfTasks:
    """What one task says, by points that cover its posterior around one mode.

    Args:
        given: The program with what tasks share held fixed.
        start: Where the climb to the mode begins.
        data: Of one task, `[1, step, ...]`.
        seen: Which rows are real, `[step]`.
        draw: A key for draws.
        effort: How many moves the climb may take.
        draws: How many draws of its latents.
    """
    mean, root = mode_of(given, start, data, seen, effort.sweeps)
    log_joint, relative = log_joint_of(given, data, seen, mean, inline=True)
    alone = Society(jnp.zeros(1), mean[None], root[None], jnp.zeros((1, given.size, 0)))
    found = proposals(alone, POINTS)
    whole = integral(found, log_joint(found.points))
    latents = drawn(log_joint, found, whole, draw, draws)
    total = whole.log_evidence + relative
    return OfTasks(total, latents, jnp.zeros(draws, int), whole.effective, whole.error)
