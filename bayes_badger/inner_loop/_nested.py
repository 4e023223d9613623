"""A lifetime's posterior by sums and lattices over what is left when the rest is in closed form.

    p(D) = Σ_s ∫ p(a, s) Π_i Z_i(a, s) da
    Z_i(a, s) = Σ_t ∫ p(z, t | a, s) p(D_i | z, t, a, s) dz

Each integral is a lattice over the few coordinates that need one, a sum over the assignments s of
the lifetime's discrete latents and t of a task's, and a Gaussian over the others. Given `a` tasks
do not touch each other, so that the cost is linear in their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from bayes_badger.belief.gaussian import log_standard_normal
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop import _quadratic as quadratic
from bayes_badger.inner_loop._density import parts_of
from bayes_badger.inner_loop._interpolation import draw as draw_interpolated
from bayes_badger.inner_loop._lattice import Integral, Lattice, logsumexp
from bayes_badger.inner_loop._quadratic import CELLS, Arrow, Points
from bayes_badger.inner_loop._quadrature import NODES, integrate
from bayes_badger.inner_loop._split import Split
from bayes_badger.inner_loop.protocol import Report
from bayes_badger.program import LIFETIME, Program

# Lifetimes at which closed forms are asked for, draws among them, and log densities that a closed
# form costs for a row: a value, its slopes and its curvature.
CALLED, EACH = 6_000, 10
# Integrals over tasks that are held in memory at once, by the dimensions of their lattice.
AT_ONCE = {0: 100_000, 1: 20_000, 2: 4_000, 3: 1_000}
# Where lattices are nested, so many nodes of one are enough, by its dimensions: that of a task is
# integrated at every lifetime, most of which do not matter, and each lifetime costs all tasks.
WITHIN = {1: 3_000, 2: 40_000, 3: 600_000}
# What an integral that was given up counts as an error, in nats.
GIVEN_UP = 1e3
# Independence Metropolis: until so few draws were never moved, but within these steps.
UNMOVED, FEWEST, MOST = 1e-3, 5, 40


@dataclass(frozen=True)
class Outer:
    """The belief about a lifetime: one integral for each assignment of its discrete latents.

    Attributes:
        log_weights: Log of each assignment's part of the evidence, `[s]`.
        error: Estimated, of the log evidence, in nats.
        integrals: Over the lattice of each; none where no lifetime latent needs one.
        by_task: Log evidence of each task, `[task]`, where tasks share nothing.
        worst: The largest estimated error of any integral, in nats.
    """

    log_weights: np.ndarray
    error: float
    integrals: tuple[Integral, ...]
    by_task: np.ndarray | None
    worst: float

    @property
    def log_evidence(self) -> float:
        """Of everything, in nats."""
        return logsumexp(self.log_weights)


class Nested:
    """Integrates a lifetime; all computing is done in float64, whatever the caller's setting."""

    def __init__(
        self,
        program: Program,
        evidence: Evidence,
        split: Split,
        tolerance: float,
        report: Report,
    ) -> None:
        self.program, self.split, self.tolerance = program, split, tolerance
        self.tasks, self.report = evidence.n_tasks, report
        self.parts = parts_of(evidence)
        self.part_of = np.zeros(self.tasks, int)
        self.local = np.zeros(self.tasks, int)
        for i, part in enumerate(self.parts):
            at = np.asarray(part.tasks)
            self.part_of[at], self.local[at] = i, np.arange(len(at))
        cells = max(sum(part.mask.size for part in self.parts), 1)
        # Lifetimes that are integrated at once; always as many, since each number is compiled.
        self.at_once = int(np.clip(CELLS // cells, 1, 64))
        # Log densities of a row that closed forms of about so many lifetimes ask for in all.
        self.work = CALLED * EACH * cells
        self.points = 0
        self.last: tuple[np.ndarray, np.ndarray, tuple[np.ndarray, list[Integral]]] | None = None
        self.errors: dict[tuple[float, ...], tuple[float, float]] = {}

    # --- the evidence

    def outer(self) -> Outer:
        """The belief about the lifetime, and the evidence."""
        dims = len(self.split.lattice.lifetime)
        states = self.split.n_lifetime_states
        if not dims:
            which = np.arange(states)
            values = self._of_lifetimes(which, np.zeros((states, 0)))
            alone = not self.program.select(LIFETIME) and self.split.tasks_are_summed
            by_task = self._by_task(which, np.zeros((1, 0)))[0] if alone else None
            share = np.exp(values - logsumexp(values))
            error, worst = self._error_of_tasks(which, np.zeros((states, 0)), share)
            return Outer(values, error, (), by_task, worst)
        most = WITHIN[dims] if self.split.tasks_are_summed else NODES
        integrals = tuple(integrate(self._of_lifetimes, states, dims, self.tolerance, most))
        values = np.array([integral.log_evidence for integral in integrals])
        share = np.exp(values - logsumexp(values))
        errors = [integral.error for integral in integrals]
        found = [integral.nodes_and_weights() for integral in integrals]
        which = np.repeat(np.arange(states), [len(nodes) for nodes, _ in found])
        weights = np.concatenate([s * w for s, (_, w) in zip(share, found, strict=True)])
        nodes = np.concatenate([nodes for nodes, _ in found])
        of_tasks, worst = self._error_of_tasks(which, nodes, weights)
        own = _expected(share, np.array(errors))
        return Outer(values, own + of_tasks, integrals, None, max(own, worst))

    def _error_of_tasks(
        self, which: np.ndarray, points: np.ndarray, weights: np.ndarray
    ) -> tuple[float, float]:
        """What is expected of the tasks' errors under the posterior: their sum, and the largest."""
        if not self.errors:
            return 0.0, 0.0
        known = [self.errors.get(key, (0.0, 0.0)) for key in _keys(which, points)]
        sums, worst = np.array(known).T
        return _expected(weights, sums), _expected(weights, worst)

    def _of_lifetimes(self, which: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Log likelihood of some points on the lifetime's lattice, all else integrated."""
        self.points += len(points)
        self.report("integrating", 0, 1, f"{self.points} lifetimes")
        discrete = _taken(self.split.lifetime_states, which)
        lifetimes = self._lifetimes(points)
        if not self.split.tasks_are_summed:
            each = self.arrows(lifetimes, discrete)
            values = [np.asarray(found.log_integral)[:real] for real, _, found in each]
            return np.concatenate(values) - log_standard_normal(points)
        own = np.array(self._own(lifetimes, discrete))
        return own + self._by_task(which, points).sum(1) - log_standard_normal(points)

    def arrows(
        self, lifetimes: np.ndarray, discrete: Mapping[str, np.ndarray]
    ) -> Iterator[tuple[int, Array, Arrow]]:
        """Closed forms at many lifetimes, in chunks of one size: one compilation will do.

        Yields how many of a chunk are real, its lifetimes and their Gaussians.
        """
        for start in range(0, len(lifetimes), self.at_once):
            at = np.minimum(np.arange(start, start + self.at_once), len(lifetimes) - 1)
            with jax.enable_x64(True):
                some = jnp.asarray(lifetimes[at])
                given = {name: jnp.asarray(x[at]) for name, x in discrete.items()}
                found = quadratic.arrows(
                    self.program, some, self.parts, self.split.linear, given, work=self.work
                )
            yield min(self.at_once, len(lifetimes) - start), some, found

    def _own(self, lifetimes: np.ndarray, discrete: Mapping[str, np.ndarray]) -> list[float]:
        """Log prior of lifetimes, factors included."""
        data = self.parts[0].data.task(slice(0, 1))
        with jax.enable_x64(True):
            return [
                float(
                    quadratic.lifetime_density(
                        self.program,
                        jnp.asarray(lifetime),
                        data,
                        {name: jnp.asarray(x[i]) for name, x in discrete.items()},
                    )
                )
                for i, lifetime in enumerate(lifetimes)
            ]

    def _by_task(self, which: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Log evidence of each task at some lifetimes, `[point, task]`."""
        found = []
        per_point = self.tasks * self.split.n_task_states
        at_once = max(1, AT_ONCE[len(self.split.lattice.task)] // per_point)
        for start in range(0, len(points), at_once):
            some = slice(start, start + at_once)
            values, integrals = self.inner(which[some], points[some])
            total = np.logaddexp.reduce(values, axis=2)
            found.append(total)
            if integrals:
                own = np.array([x.error for x in integrals]).reshape(values.shape)
                known = np.where(np.isfinite(total), total, 0.0)  # else it is impossible
                own = np.where(np.isfinite(own), own, GIVEN_UP) * np.exp(values - known[..., None])
                errors = zip(own.sum((1, 2)), own.sum(2).max(1), strict=True)
                self.errors |= dict(zip(_keys(which[some], points[some]), errors, strict=True))
        return np.concatenate(found)

    def inner(self, which: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, list[Integral]]:
        """Integrals of all tasks and their assignments, at some lifetimes.

        Returns:
            Log evidence, `[point, task, state]`, and the integrals in this order; none where no
            latent of a task needs a lattice.
        """
        if self.last is not None and all(map(np.array_equal, self.last[:2], (which, points))):
            return self.last[2]
        states = self.split.n_task_states
        shape = (len(points), self.tasks, states)
        count, dims = int(np.prod(shape)), len(self.split.lattice.task)

        def log_likelihood(index: np.ndarray, at: np.ndarray) -> np.ndarray:
            point, task, state = np.unravel_index(index, shape)
            values = self.task_integrals(which[point], points[point], task, state, at)
            return values - log_standard_normal(at)

        if not dims:
            values = log_likelihood(np.arange(count), np.zeros((count, 0)))
            return self._kept(which, points, values.reshape(shape), [])
        most = WITHIN[dims] if self.split.lattice.lifetime else NODES
        integrals = integrate(log_likelihood, count, dims, self.tolerance, most)
        values = np.array([x.log_evidence for x in integrals]).reshape(shape)
        return self._kept(which, points, values, integrals)

    def _kept(
        self, which: np.ndarray, points: np.ndarray, values: np.ndarray, integrals: list[Integral]
    ) -> tuple[np.ndarray, list[Integral]]:
        """Keeps what is asked for again, where the lifetime needs no lattice."""
        if not self.split.lattice.lifetime:
            self.last = which, points, (values, integrals)
        return values, integrals

    def task_integrals(
        self,
        which: np.ndarray,
        points: np.ndarray,
        task: np.ndarray,
        state: np.ndarray,
        at: np.ndarray,
    ) -> np.ndarray:
        """Log density of tasks at points of their lattice, the rest integrated: all `[n, ...]`."""
        found = np.empty(len(task))
        for chosen, index, args in self._gathered(which, points, task, state, at):
            with jax.enable_x64(True):
                values = quadratic.task_integrals(
                    self.program, self.parts[index], args, self.split.linear.task
                )
            found[chosen] = np.asarray(values)[: len(chosen)]
        return found

    def fill_gaussians(
        self,
        which: np.ndarray,
        points: np.ndarray,
        task: np.ndarray,
        state: np.ndarray,
        loc: np.ndarray,
        scale: np.ndarray,
    ) -> None:
        """Writes means `[n, r]` and scales `[n, r, r]` of what is in closed form of some tasks."""
        nowhere = np.zeros((len(task), 0))
        for chosen, index, args in self._gathered(which, points, task, state, nowhere):
            with jax.enable_x64(True):
                found = quadratic.task_gaussians(
                    self.program, self.parts[index], args, self.split.linear.task
                )
            loc[chosen], scale[chosen] = (np.asarray(x)[: len(chosen)] for x in found)

    def _gathered(
        self,
        which: np.ndarray,
        points: np.ndarray,
        task: np.ndarray,
        state: np.ndarray,
        at: np.ndarray,
    ) -> Iterator[tuple[np.ndarray, int, Points]]:
        """Chunks of one size for each block of evidence, as the compiled functions take them."""
        lifetimes = self._lifetimes(points)
        z = np.zeros((len(task), self.program.task_size))
        z[:, list(self.split.lattice.task)] = at
        discrete = {
            **_taken(self.split.lifetime_states, which),
            **_taken(self.split.task_states, state),
        }
        for i, part in enumerate(self.parts):
            mine = np.flatnonzero(self.part_of[task] == i)
            most = int(np.clip(CELLS // max(part.mask.shape[1], 1), 64, 8192))
            # Of two sizes, for each is compiled, and much of a chunk may be padding.
            size = most if len(mine) > most // 8 else max(most // 16, 16)
            for start in range(0, len(mine), size):
                chosen = mine[start : start + size]
                padded = np.resize(chosen, size)
                with jax.enable_x64(True):
                    args = Points(
                        jnp.asarray(self.local[task[padded]]),
                        jnp.asarray(lifetimes[padded]),
                        jnp.asarray(z[padded]),
                        {name: jnp.asarray(x[padded]) for name, x in discrete.items()},
                    )
                yield chosen, i, args

    def _lifetimes(self, points: np.ndarray) -> np.ndarray:
        lifetimes = np.zeros((len(points), self.program.lifetime_size))
        lifetimes[:, list(self.split.lattice.lifetime)] = points
        return lifetimes

    # --- draws

    def draw(
        self, outer: Outer, count: int, chance: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """Independent draws of everything.

        Returns:
            Lifetimes `[draw, a]`, tasks `[draw, task, z]`, and discrete latents by name.
        """
        share = np.exp(outer.log_weights - outer.log_evidence)
        which = chance.choice(len(share), count, p=share / share.sum())
        dims = len(self.split.lattice.lifetime)
        points, parents = np.zeros((count, dims)), np.zeros((count, dims))
        for state, integral in enumerate(outer.integrals):
            mine = which == state
            points[mine], parents[mine] = draw_interpolated(
                integral.lattices[0], int(mine.sum()), chance
            )
        discrete = _taken(self.split.lifetime_states, which)
        if not self.split.tasks_are_summed:
            lifetimes, tasks = self._gaussian(points, discrete, chance)
            return lifetimes, tasks, discrete
        tasks, states = self._tasks(which, points, parents, chance)
        return (
            self._lifetimes(points),
            tasks,
            {**discrete, **_taken(self.split.task_states, states)},
        )

    def _gaussian(
        self, points: np.ndarray, discrete: Mapping[str, np.ndarray], chance: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Everything in closed form, at each point of the lifetime's lattice."""
        drawn, done = [], 0
        for real, some, found in self.arrows(self._lifetimes(points), discrete):
            self.report("drawing", done, len(points))
            with jax.enable_x64(True):
                keys = jax.random.split(jax.random.key(int(chance.integers(2**31))), len(some))
                both = quadratic.draws_of(
                    keys, found, some, self.split.linear, self.program.task_size
                )
            drawn.append([np.asarray(x)[:real] for x in both])
            done += real
        self.report("drawing", done, done)
        lifetimes, tasks = (np.concatenate(x) for x in zip(*drawn, strict=True))
        return lifetimes, tasks

    def centred_pairs(
        self, which: np.ndarray, points: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]]:
        """The centres of the Gaussians at some lifetimes, and two points opposite to each other."""
        discrete, moved = _taken(self.split.lifetime_states, which), []
        for real, some, found in self.arrows(self._lifetimes(points), discrete):
            with jax.enable_x64(True):
                both = quadratic.centres_of(found, some, self.split.linear, self.program.task_size)
            moved.append([np.asarray(x)[:, :real] for x in both])
        lifetimes, tasks = (np.concatenate(x, 1) for x in zip(*moved, strict=True))
        return [(a, z, discrete) for a, z in zip(lifetimes, tasks, strict=True)]

    def _tasks(
        self,
        which: np.ndarray,
        points: np.ndarray,
        parents: np.ndarray,
        chance: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Each task's latents: proposed from its lattice at a node near by, then made exact."""
        count, dims = len(points), len(self.split.lattice.task)
        family, member = np.unique(
            np.concatenate([which[:, None], parents], 1), axis=0, return_inverse=True
        )
        members = [np.flatnonzero(member == i) for i in range(len(family))]
        per_point = self.tasks * self.split.n_task_states
        at_once = max(1, AT_ONCE[dims] // per_point)
        at = np.zeros((count, self.tasks, dims))
        states = np.zeros((count, self.tasks), int)
        for start in range(0, len(family), at_once):
            some = range(start, min(start + at_once, len(family)))
            self.report("drawing", start, len(family))
            values, integrals = self.inner(
                family[some.start : some.stop, 0].astype(int), family[some.start : some.stop, 1:]
            )
            for j in some:
                proposal = _Proposal(values[j - start], integrals, (j - start) * per_point)
                mine = members[j]
                at[mine], states[mine] = self._settled(which[mine], points[mine], proposal, chance)
        self.report("drawing", len(family), len(family))
        tasks = self._completed(which, points, states, at, chance)
        return tasks, states

    def _settled(
        self,
        which: np.ndarray,
        points: np.ndarray,
        proposal: _Proposal,
        chance: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draws of a proposal, moved by independence Metropolis until they are the posterior's."""
        count = len(which)
        task = np.tile(np.arange(self.tasks), count)
        repeated = np.repeat(which, self.tasks), np.repeat(points, self.tasks, 0)

        def propose() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            at, state, log_density = proposal.draw(count, chance)
            target = self.task_integrals(
                *repeated, task, state.ravel(), at.reshape(count * self.tasks, -1)
            )
            return at, state, target.reshape(count, self.tasks) - log_density

        at, state, log_ratio = propose()
        unmoved = np.ones((count, self.tasks))
        for step in range(MOST):
            if step >= FEWEST and unmoved.mean() < UNMOVED:
                break
            new_at, new_state, new_ratio = propose()
            rises = np.log(chance.uniform(size=new_ratio.shape)) < new_ratio - log_ratio
            at = np.where(rises[..., None], new_at, at)
            state = np.where(rises, new_state, state)
            log_ratio = np.where(rises, new_ratio, log_ratio)
            unmoved = unmoved * (1 - rises.mean(0, keepdims=True))
        return at, state

    def _completed(
        self,
        which: np.ndarray,
        points: np.ndarray,
        states: np.ndarray,
        at: np.ndarray,
        chance: np.random.Generator,
    ) -> np.ndarray:
        """The tasks' vectors, with what is in closed form drawn given the rest."""
        count = len(points)
        flat = np.zeros((count * self.tasks, self.program.task_size))
        flat[:, list(self.split.lattice.task)] = at.reshape(count * self.tasks, -1)
        if self.split.linear.task:
            gathered = self._gathered(
                np.repeat(which, self.tasks),
                np.repeat(points, self.tasks, 0),
                np.tile(np.arange(self.tasks), count),
                states.ravel(),
                at.reshape(count * self.tasks, -1),
            )
            for chosen, index, args in gathered:
                with jax.enable_x64(True):
                    key = jax.random.key(int(chance.integers(2**31)))
                    drawn = quadratic.task_draws(
                        self.program,
                        self.parts[index],
                        args,
                        self.split.linear.task,
                        jax.random.split(key, len(args.task)),
                    )
                flat[chosen] = np.asarray(drawn)[: len(chosen)]
        return flat.reshape(count, self.tasks, -1)


class _Proposal:
    """Draws of every task from its assignments and its lattice, at one lifetime."""

    def __init__(self, values: np.ndarray, integrals: list[Integral], first: int) -> None:
        self.log_share = values - np.logaddexp.reduce(values, axis=1, keepdims=True)
        self.lattices: list[list[Lattice]] = [
            [
                integrals[first + task * values.shape[1] + state].lattices[0]
                for state in range(values.shape[1])
            ]
            if integrals
            else []
            for task in range(values.shape[0])
        ]

    def draw(
        self, count: int, chance: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points `[draw, task, d]`, assignments and log densities `[draw, task]`."""
        points, states, densities = [], [], []
        for log_share, lattices in zip(self.log_share, self.lattices, strict=True):
            share = np.exp(log_share)
            state = chance.choice(len(share), count, p=share / share.sum())
            density = log_share[state]
            at = np.zeros((count, 0))
            if lattices:
                at = np.zeros((count, lattices[0].index.shape[1]))
                for one in np.unique(state):
                    mine = np.flatnonzero(state == one)
                    at[mine], own = lattices[one].draw(len(mine), chance)
                    density[mine] += own
            points.append(at)
            states.append(state)
            densities.append(density)
        return np.stack(points, 1), np.stack(states, 1), np.stack(densities, 1)


def _taken(states: Mapping[str, np.ndarray], which: np.ndarray) -> dict[str, np.ndarray]:
    return {name: x[which] for name, x in states.items()}


def _keys(which: np.ndarray, points: np.ndarray) -> list[tuple[float, ...]]:
    """Lifetimes as keys, whichever way their coordinates were computed."""
    rows = np.concatenate([which[:, None].astype(float), np.round(points, 8)], 1)
    return [tuple(row) for row in rows.tolist()]


def _expected(weights: np.ndarray, values: np.ndarray) -> float:
    return float((weights * values).sum())
