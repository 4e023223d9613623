"""NumPyro's NUTS over a whole lifetime: the reference that every other inner loop is held to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from pydantic import BaseModel, ConfigDict, Field

from bayes_badger.belief import Draws, Posterior
from bayes_badger.errors import BadgerError, listed
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import task_columns_of
from bayes_badger.inner_loop._chains import metric_of, run_chains
from bayes_badger.inner_loop._coordinates import Pilot, pilot, suited
from bayes_badger.inner_loop._density import log_density, parts_of, reference
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.program import UNCONSTRAINED, Program

# Draws from the prior that are tried as starts, for each chain; draws that make the first metric.
TRIES, METRIC_DRAWS = 100, 100
# A lifetime's latents are few and correlated; beyond this a dense metric costs more than it gives.
DENSE = 32
# Up to one transition in a thousand may diverge by chance; more is a place that is not reached.
DIVERGED = 1e-3


class Settings(BaseModel):
    """What a recipe may set."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    chains: int = Field(4, ge=1)
    warmup: int = Field(1000, ge=1)
    draws: int = Field(1000, ge=1)
    target_accept: float = Field(0.95, gt=0, lt=1)
    max_tree_depth: int = Field(10, ge=1, le=20)
    parametrisation: Literal["auto", "centred", "whitened"] = "auto"


class Nuts(eqx.Module):
    """The no-U-turn sampler on all latents of a lifetime at once."""

    settings: Settings = eqx.field(static=True)

    def why_not(self, program: Program, evidence: Evidence) -> str | None:
        """NUTS needs a gradient in every latent, and a prior that is known."""
        if program.discrete:
            names = listed(latent.name for latent in program.discrete)
            return f"cannot move discrete latents ({names}): sum them out of the likelihood"
        if program.without_gradient:
            names = listed(program.without_gradient)
            return f"needs a gradient, and {names} has none"
        if program.size == 0:
            return "has nothing to infer: the program has no latents"
        if not evidence.n_tasks:
            return "has nothing to infer from: the evidence has no tasks"
        return None

    def infer(
        self,
        program: Program,
        evidence: Evidence,
        key: PRNGKeyArray,
        report: Report = silent,
        start: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> Posterior:
        """Draws from the posterior of a whole lifetime.

        Args:
            program: The program.
            evidence: Of all tasks.
            key: For everything random.
            report: Is told how far it has come.
            start: Points from which chains may start, in coordinates: `[point, lifetime]` and
                `[point, task, size]`; by default draws from the prior.
        """
        reason = self.why_not(program, evidence)
        if reason is not None:
            raise BadgerError(f"nuts {reason}")
        keys = jax.random.split(key, 5)
        tasks, parts = evidence.n_tasks, parts_of(evidence)
        report("finding coordinates", 0, 1)
        rough = pilot(program, tasks, parts, keys[0])
        kinds, note = self._kinds(program, rough, parts, keys[1])
        placed = program.with_coordinates(kinds)
        given = (placed, parts, reference(program, *rough.centre, parts))
        columns = task_columns_of(evidence)

        def density(position: dict[str, Array], given: Any) -> Array:
            placed, parts, references = given
            return log_density(placed, *_point(placed, position, tasks), parts, references)

        def positions(points: tuple[Array, Array]) -> tuple[dict[str, Array], Array]:
            return _moved(program, placed, points, columns, given, density)

        started = self._starts(program, tasks, positions, keys[2], start)
        dense = frozenset(("lifetime",) if 1 < program.lifetime_size <= DENSE else ())
        metric = metric_of(positions(_drawn(rough, keys[3]))[0], dense)
        report("finding coordinates", 1, 1)
        settings = self.settings
        collected = run_chains(
            density,
            given,
            started,
            metric,
            keys[4],
            warmup=settings.warmup,
            draws=settings.draws,
            target_accept=settings.target_accept,
            max_tree_depth=settings.max_tree_depth,
            report=report,
        )
        told, too_many = _diverged(collected)
        few = collected["diverging"].any() and not too_many
        values = _values(placed, collected, columns, tasks)
        return Posterior(
            Draws(values, _stats(collected), variables=program.variables),
            notes=tuple(sentence for sentence in (note, told if few else "") if sentence),
            warnings=_warnings(collected, settings),
        )

    def _kinds(
        self, program: Program, rough: Pilot, parts: Any, key: PRNGKeyArray
    ) -> tuple[dict[str, str], str]:
        """The coordinate of each latent, and why."""
        if self.settings.parametrisation == "auto":
            return suited(program, rough, parts, key)
        if self.settings.parametrisation == "whitened":
            return {}, ""
        latents = program.latents
        return {x.name: UNCONSTRAINED for x in latents if UNCONSTRAINED in dict(x.shapes)}, ""

    def _starts(
        self,
        program: Program,
        tasks: int,
        positions: Any,
        key: PRNGKeyArray,
        given: tuple[np.ndarray, np.ndarray] | None,
    ) -> dict[str, Array]:
        """Starts, one per chain: those given, or draws from the prior, at half its spread."""
        chains = self.settings.chains
        found: list[dict[str, Array]] = []
        for one in jax.random.split(key, TRIES):
            a_key, z_key = jax.random.split(one)
            lifetime = 0.5 * jax.random.normal(a_key, (METRIC_DRAWS, program.lifetime_size))
            task = 0.5 * jax.random.normal(z_key, (METRIC_DRAWS, tasks, program.task_size))
            if given is not None:
                some = jax.random.choice(a_key, len(given[0]), (METRIC_DRAWS,))
                lifetime, task = jnp.asarray(given[0])[some], jnp.asarray(given[1])[some]
            moved, densities = positions((lifetime, task))
            finite = np.isfinite(densities)
            for x in moved.values():
                finite &= np.isfinite(x).all(tuple(range(1, x.ndim)))
            found += [{n: x[i] for n, x in moved.items()} for i in np.flatnonzero(finite)]
            if len(found) >= chains:
                return jax.tree.map(lambda *x: jnp.stack(x), *found[:chains])
        raise BadgerError(
            f"{program.name}: the density was finite at {len(found)} of {TRIES * METRIC_DRAWS} "
            "draws from the prior, so NUTS cannot start: look for outcomes that the program "
            "cannot explain, or a far too wide prior"
        )


def make(settings: Settings) -> Nuts:
    """An inner loop from its validated settings."""
    return Nuts(settings)


def _drawn(rough: Pilot, key: PRNGKeyArray) -> tuple[Array, Array]:
    return jax.vmap(rough.draw)(jax.random.split(key, METRIC_DRAWS))


@eqx.filter_jit
def _moved(
    program: Program,
    placed: Program,
    points: tuple[Array, Array],
    columns: Mapping[str, Array],
    given: Any,
    density: Any,
) -> tuple[dict[str, Array], Array]:
    """Points `[point, ...]` in the coordinates that are sampled, and their densities."""
    tasks = points[1].shape[1]

    def one(point: tuple[Array, Array]) -> tuple[dict[str, Array], Array]:
        if placed.latents != program.latents:
            point = placed.unconstrain(program.constrain(*point, columns), columns, tasks)
        # Without empty arrays, which NUTS cannot ravel.
        position = {n: x for n, x in zip(("lifetime", "task"), point, strict=True) if x.size}
        return position, density(position, given)

    return jax.lax.map(one, points, batch_size=10)


def _point(program: Program, position: Mapping[str, Array], tasks: int) -> tuple[Array, Array]:
    lifetime = position.get("lifetime", jnp.zeros(program.lifetime_size))
    return lifetime, position.get("task", jnp.zeros((tasks, program.task_size)))


def _values(
    program: Program,
    collected: Mapping[str, np.ndarray],
    columns: Mapping[str, Array],
    tasks: int,
) -> dict[str, np.ndarray]:
    """Brings draws from coordinates to the user's own space."""
    position = {name: collected[name] for name in ("lifetime", "task") if name in collected}
    chains, draws = collected["diverging"].shape
    flat = {name: x.reshape(chains * draws, *x.shape[2:]) for name, x in position.items()}

    @eqx.filter_jit
    def constrain(program: Program, flat: Any, columns: Any) -> dict[str, Array]:
        def one(position: dict[str, Array]) -> dict[str, Array]:
            return program.constrain(*_point(program, position, tasks), columns)

        return jax.lax.map(one, flat, batch_size=100)

    values = constrain(program, flat, columns)
    return {name: np.asarray(x).reshape(chains, draws, *x.shape[1:]) for name, x in values.items()}


def _stats(collected: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Statistics of the sampler under ArviZ's names."""
    return {
        "lp": -collected["potential_energy"],
        "energy": collected["energy"],
        "n_steps": collected["num_steps"],
        "tree_depth": np.log2(collected["num_steps"]).astype(np.int32) + 1,
        "acceptance_rate": collected["accept_prob"],
        "step_size": collected["step_size"],
        "diverging": collected["diverging"],
    }


def _diverged(collected: Mapping[str, np.ndarray]) -> tuple[str, bool]:
    """How many transitions diverged, and whether they are too many to trust the draws."""
    divergences, total = int(collected["diverging"].sum()), collected["diverging"].size
    return f"{divergences} of {total} transitions diverged", divergences > DIVERGED * total


def _warnings(collected: Mapping[str, np.ndarray], settings: Settings) -> tuple[str, ...]:
    warnings = []
    told, too_many = _diverged(collected)
    if too_many:
        warnings.append(
            f"{told}: the sampler cannot follow a narrow part of the posterior; raise target_accept"
        )
    total = collected["diverging"].size
    deep = int((collected["num_steps"] >= 2**settings.max_tree_depth - 1).sum())
    if deep > total // 100:
        warnings.append(
            f"{deep} of {total} trajectories reached max_tree_depth {settings.max_tree_depth}: "
            "draws are correlated; raise it"
        )
    kept = collected["diverging"].shape[1]
    if kept < settings.draws:
        warnings.append(f"interrupted after {kept} of {settings.draws} draws per chain")
    return tuple(warnings)
