"""One task whose discrete latents are too many to sum: experts with one assignment each.

    p_β(c) ∝ p(c) ∫ p(z) p(D | z, c)^β dz

Populations of experts start from the prior of c, and the evidence is let in by raising β from 0 to
1, each time as far as half of them count. Between they are drawn again by their weights and moved:
each entry in turn is drawn given all others, and values of two entries with the same support are
exchanged, which an entry at a time could not do where one answer excludes another. In the end they
move on for a few rounds, and all that they were counts. What is continuous is integrated given c,
in closed form where it is linear-Gaussian, else by Laplace's approximation, which weights of points
put right in the end.

Del Moral, Doucet & Jasra (2006), "Sequential Monte Carlo samplers"; Neal (2001), "Annealed
importance sampling". The mean of the weights estimates the evidence without bias; populations that
know nothing of each other say how well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from bayes_badger.compilation import jit_lightly
from bayes_badger.inner_loop._chunks import each_task
from bayes_badger.inner_loop._climb import Climbed, climb
from bayes_badger.inner_loop._evidence_of_task import Given, straight_one, weighed_one
from bayes_badger.inner_loop._held import Held
from bayes_badger.inner_loop._offline import Effort
from bayes_badger.inner_loop._policy import Untaught
from bayes_badger.inner_loop._sites import Sites
from bayes_badger.inner_loop._society import Society
from bayes_badger.program import Data, Program

POPULATIONS = 8
# Draws from the prior, of which those that its factors allow start a population, for each expert.
TRIED = 128
# β rises as far as this share of a population counts, found in so many halvings of log Δβ.
ENOUGH, HALVINGS, LEAST = 0.5, 7, 1e-5
MOST_STEPS = 200
# Assignments that are looked at at once, times rows.
AT_ONCE = 2**15
# Moves of a climb; how hard experts try who integrate what is bent in the end.
MOVES, LAST = 8, Effort(8, 0, 16)
# With all evidence in, experts are moved so many times, and all that they were is kept.
ROUNDS = 8
# Draws of what is continuous, of each expert in each round.
DRAWS = 4


class Annealed(NamedTuple):
    """The experts of some tasks, `[task, ...]`.

    Attributes:
        positions: Of each expert's assignments, `[population, expert, round, entry]`.
        log_weights: Of each, unnormalised, `[population, expert, round]`: their mean exponential is
            the population's estimate of the evidence.
        mean: Of what is continuous, given the last assignment, `[population, expert, z]`.
        root: Of its covariance, `[population, expert, z, z]`.
        latents: Draws of it, `[population, expert, round, draw, z]`.
        rises: How often β rose.
    """

    positions: Any
    log_weights: Any
    mean: Any
    root: Any
    latents: Any
    rises: Any


class Tempered(Held):
    """A program given an assignment, its factors and likelihood to a power: a `OneTask`."""

    program: Program
    assignment: Mapping[str, Array]
    power: Float[Array, ""]

    def rows_and_factors(self, z: Float[Array, " z"], data: Data) -> tuple[Array, Array]:
        """As the program's, to the power."""
        rows, factors = self.program.rows_and_factors(z, data, self.assignment)
        return self.power * rows, self.power * factors

    def outcome_parameters(self, z: Float[Array, " z"], data: Data) -> tuple[Array, Array]:
        """As the program's, their information to the power."""
        theta, information = self.program.outcome_parameters(z, data, self.assignment)
        return theta, self.power * information


class _State(NamedTuple):
    """Populations on their way.

    Attributes:
        power: Of the evidence.
        positions: Assignments, `[population, expert, entry]`.
        prior: Their log p(c), `[population, expert]`.
        height: Log evidence given each, to the power, `[population, expert]`.
        total: Log evidence, to the power, `[population]`.
        key: For what is to come.
        steps: How many were taken.
        kept: Positions and heights of the rounds with all evidence, `[round, ...]`.
        rounds: How many of these there are.
    """

    power: Array
    positions: Array
    prior: Array
    height: Array
    total: Array
    key: Array
    steps: Array
    kept: tuple[Array, Array]
    rounds: Array


@jit_lightly
def annealed(
    program: Program,
    sites: Sites,
    bent: Society | None,
    data: Data,
    seen: Array,
    keys: Key[Array, " task"],
    experts: int,
) -> Annealed:
    """The experts of some tasks.

    Args:
        program: Whose tasks share nothing.
        sites: Its discrete latents.
        bent: Experts who integrate what is continuous, given an assignment, where that is not
            linear-Gaussian; else None.
        data: `[task, step, ...]`.
        seen: Which rows are real, `[task, step]`.
        keys: One for each task.
        experts: Of each population.
    """

    def one(xs: tuple[Data, Array, Array]) -> Annealed:
        data, seen, key = xs
        data = jax.tree.map(lambda x: x[None], data)
        return _Task(program, sites, bent, data, seen, experts).run(key)

    return each_task(one, (data, seen, keys))


class _Task:
    """What stays the same for all assignments of one task."""

    def __init__(
        self,
        program: Program,
        sites: Sites,
        bent: Society | None,
        data: Data,
        seen: Array,
        experts: int,
    ) -> None:
        self.program, self.sites, self.bent, self.straight = program, sites, bent, bent is None
        self.data, self.seen, self.experts = data, seen, experts
        self.n = POPULATIONS * experts
        self.batch = max(1, AT_ONCE // len(seen))

    def run(self, key: Array) -> Annealed:
        """From the prior to the posterior."""
        keys = jax.random.split(key, 4)
        state = jax.lax.while_loop(
            lambda s: (s.rounds < ROUNDS) & (s.steps < MOST_STEPS),
            self._risen,
            self._start(keys[0]),
        )
        total = jnp.where(state.power < 1, jnp.nan, state.total)
        positions, height = (jnp.moveaxis(x, 0, 2) for x in state.kept)
        right, mean, root, latents = self._rest(positions, height, keys[1])
        # The weights of points over Laplace's approximation, by which experts came here.
        change = jnp.where(jnp.isfinite(right), right - height, -jnp.inf)
        log_weights = total[:, None, None] + (0.0 if self.straight else change)
        log_weights = jnp.broadcast_to(log_weights, change.shape)
        rises = state.steps - state.rounds + 1
        return Annealed(positions, log_weights, mean, root, latents, rises)

    def _start(self, key: Array) -> _State:
        """Draws from the prior that its factors allow."""
        keys = jax.random.split(key, 3)
        tried = jax.random.split(keys[0], POPULATIONS * TRIED * self.experts)
        drawn, allowed = jax.lax.map(self._drawn, tried, batch_size=4096)
        drawn = drawn.reshape(POPULATIONS, -1, drawn.shape[-1])
        allowed = allowed.reshape(POPULATIONS, -1)
        share = jnp.log(allowed.mean(1))
        chosen = jax.random.split(keys[1], POPULATIONS)
        which = jax.vmap(
            lambda key, some: jax.random.categorical(
                key, jnp.where(some, 0.0, -jnp.inf), shape=(self.experts,)
            )
        )(chosen, allowed)
        positions = jnp.take_along_axis(drawn, which[..., None], 1)
        prior = self._over(lambda c: self._prior(c), positions)
        height, none = jnp.zeros((POPULATIONS, self.experts)), jnp.zeros((), int)
        kept = jnp.stack([positions] * ROUNDS), jnp.stack([height] * ROUNDS)
        return _State(jnp.zeros(()), positions, prior, height, share, keys[2], none, kept, none)

    def _drawn(self, key: Array) -> tuple[Array, Array]:
        keys = jax.random.split(key)
        z = jax.random.normal(keys[0], (1, self.program.task_size))
        columns = self.data.task_columns
        values = self.program.constrain(jnp.zeros(0), z, columns, keys[1])
        values = {name: values[name][0] for name in self.sites.names}
        _, factors = self.program.rows_and_factors(z[0], self.data, values)
        return self.sites.positions(values), factors > -jnp.inf

    def _prior(self, positions: Array) -> Array:
        zero = jnp.zeros(self.program.task_size)
        assignment = self.sites.assignment(positions)
        return self.program.log_prior_of_discrete(zero, self.data, assignment)

    def _height(self, positions: Array, power: Array) -> Array:
        """Log evidence of the rows, and factors, to a power, given an assignment."""
        at = Tempered(self.program, self.sites.assignment(positions), power)
        if not at.size:
            rows, factors = at.rows_and_factors(jnp.zeros(0), self.data)
            found = jnp.where(self.seen, rows, 0.0).sum() + factors
        elif self.straight:
            key = jax.random.key(0)
            found = straight_one(at, self.data, self.seen, key, 1).log_evidence
        else:
            found = self._climbed(at).log_joint
        return jnp.where(jnp.isnan(found) | (found == jnp.inf), -jnp.inf, found)

    def _climbed(self, at: Tempered) -> Climbed:
        size = at.size
        prior = jnp.zeros(size), jnp.eye(size)
        none = jnp.zeros((size, 0)), jnp.zeros(())
        return climb(at, Untaught(), prior, *none, self.data, self.seen, MOVES, with_factors=True)

    def _over(self, function: Callable[[Any], Any], xs: Any) -> Any:
        """Of all experts, some at a time."""
        flat = jax.tree.map(lambda x: x.reshape(self.n, *x.shape[2:]), xs)
        found = jax.lax.map(function, flat, batch_size=self.batch)
        return jax.tree.map(lambda x: x.reshape(POPULATIONS, self.experts, *x.shape[1:]), found)

    def _risen(self, state: _State) -> _State:
        """β as high as enough experts count; drawn again by their weights, and moved."""
        left = 1 - state.power

        def gained(rise: Array) -> tuple[Array, Array, Array]:
            power = jnp.minimum(state.power + rise, 1.0)
            height = self._over(lambda c: self._height(c, power), state.positions)
            gain = jnp.where(jnp.isfinite(height), height - state.height, -jnp.inf)
            weights = jax.nn.softmax(gain, axis=1)
            count = 1 / (weights**2).sum(1)
            return height, gain, jnp.nan_to_num(count).mean() >= ENOUGH * self.experts

        def halve(carry: Any) -> Any:
            """All that is left, then the least, then between them; one that fits is the new low."""
            i, low, high, height, gain = carry
            least = jnp.minimum(LEAST, left)
            middle = jnp.where(i == 0, left, jnp.where(i == 1, least, jnp.sqrt(low * high)))
            *found, fits = gained(middle)
            fits |= i == 1
            low, high = jnp.where(fits, middle, low), jnp.where(fits, high, middle)
            height, gain = (
                jnp.where(fits, x, y) for x, y in zip(found, (height, gain), strict=True)
            )
            return i + 1, low, high, height, gain

        _, low, _, height, gain = jax.lax.while_loop(
            lambda carry: (carry[0] < HALVINGS + 2) & (carry[1] < carry[2]),
            halve,
            (jnp.zeros((), int), jnp.zeros(()), left, state.height, jnp.zeros_like(state.height)),
        )
        power = jnp.minimum(state.power + low, 1.0)
        total = state.total + jax.scipy.special.logsumexp(gain, axis=1) - np.log(self.experts)
        keys = jax.random.split(state.key, 4)
        which = jax.vmap(self._chosen)(jax.random.split(keys[0], POPULATIONS), gain)
        positions = jnp.take_along_axis(state.positions, which[..., None], 1)
        prior, height = (jnp.take_along_axis(x, which, 1) for x in (state.prior, height))
        own = jax.random.split(keys[1], (POPULATIONS, self.experts))
        positions, prior, height = self._over(
            lambda xs: self._moved(power, *xs), (positions, prior, height, own)
        )
        now = power >= 1
        kept = jax.tree.map(
            lambda x, new: x.at[state.rounds].set(jnp.where(now, new, x[state.rounds])),
            state.kept,
            (positions, height),
        )
        steps, rounds = state.steps + 1, state.rounds + now
        return _State(power, positions, prior, height, total, keys[2], steps, kept, rounds)

    def _chosen(self, key: Array, log_weights: Array) -> Array:
        """Systematic: each expert about as often as it weighs."""
        weights = jnp.nan_to_num(jax.nn.softmax(log_weights), nan=1 / self.experts)
        place = (jnp.arange(self.experts) + jax.random.uniform(key)) / self.experts
        which = jnp.searchsorted(jnp.cumsum(weights), place)
        return jnp.minimum(which, self.experts - 1)

    def _moved(
        self, power: Array, positions: Array, prior: Array, height: Array, key: Array
    ) -> tuple[Array, Array, Array]:
        """Each entry drawn given all others, then exchanged with another."""
        sites, entries = self.sites, len(self.sites.counts)
        counts, most = jnp.asarray(sites.counts), sites.values.shape[1]

        def looked(positions: Array) -> tuple[Array, Array]:
            return self._prior(positions), self._height(positions, power)

        def conditional(carry: Any, xs: tuple[Array, Array]) -> tuple[Any, None]:
            positions, prior, height = carry
            i, key = xs
            others = jnp.arange(1, most)
            tried = jax.vmap(lambda step: positions.at[i].set((positions[i] + step) % counts[i]))(
                others
            )
            priors, heights = jax.vmap(looked)(tried)
            priors = jnp.concatenate([prior[None], priors])
            heights = jnp.concatenate([height[None], heights])
            log_share = jnp.where(jnp.arange(most) < counts[i], priors + heights, -jnp.inf)
            # The first stays where none is possible.
            log_share = log_share.at[0].set(jnp.nan_to_num(log_share[0], neginf=-1e30))
            which = jax.random.categorical(key, log_share)
            positions = positions.at[i].set((positions[i] + which) % counts[i])
            return (positions, priors[which], heights[which]), None

        def exchanged(carry: Any, xs: tuple[Array, Array]) -> tuple[Any, None]:
            positions, prior, height = carry
            i, key = xs
            keys, partners = jax.random.split(key), jnp.asarray(sites.partners)[i]
            j = jax.random.categorical(keys[0], jnp.where(partners, 0.0, -1e30))
            tried = positions.at[i].set(positions[j]).at[j].set(positions[i])
            now = looked(tried)
            gain = now[0] + now[1] - prior - height
            taken = jnp.log(jax.random.uniform(keys[1])) < jnp.nan_to_num(gain, nan=-jnp.inf)
            taken &= partners.any()
            new = (tried, *now)
            return jax.tree.map(lambda a, b: jnp.where(taken, a, b), new, carry), None

        order, keys = jnp.arange(entries), jax.random.split(key, (2, entries))
        carry = positions, prior, height
        carry, _ = jax.lax.scan(conditional, carry, (order, keys[0]))
        if sites.partners.any():
            carry, _ = jax.lax.scan(exchanged, carry, (order, keys[1]))
        return carry

    def _rest(
        self, positions: Array, height: Array, key: Array
    ) -> tuple[Array, Array, Array, Array]:
        """What is continuous, of each assignment; Gaussians of the last alone."""
        size, lead = self.program.task_size, height.shape
        if not size:
            none = jnp.zeros((*lead[:2], 0)), jnp.zeros((*lead[:2], 0, 0))
            return height, *none, jnp.zeros((*lead, DRAWS, 0))
        flat = positions.reshape(-1, positions.shape[-1])
        found = jax.lax.map(self._last, (flat, jax.random.split(key, len(flat))), batch_size=64)
        right, mean, root, latents = (x.reshape(*lead, *x.shape[1:]) for x in found)
        return right, mean[:, :, -1], root[:, :, -1], latents

    def _last(self, xs: tuple[Array, Array]) -> tuple[Array, Array, Array, Array]:
        """Log evidence given an assignment by weights of points, a Gaussian, and draws."""
        positions, key = xs
        size, keys = self.program.task_size, jax.random.split(key)
        assignment = self.sites.assignment(positions)
        at = self._climbed(Tempered(self.program, assignment, jnp.ones(())))
        if self.bent is None:
            noise = jax.random.normal(key, (DRAWS, size))
            return at.log_joint, at.mean, at.root, at.mean + noise @ at.root.T
        given = Given(self.program, jnp.zeros(0), assignment)
        points = self.data, self.seen, keys[0], keys[1]
        found = weighed_one(given, self.bent, *points, LAST, DRAWS)
        # Given the assignment its prior is part of what was weighed.
        right = found.log_evidence - self._prior(positions)
        return right, at.mean, at.root, found.latents
