"""NumPyro's NUTS over a whole lifetime: the reference that every other inner loop is held to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from pydantic import BaseModel, ConfigDict, Field

from bayes_badger.belief import Draws, Posterior
from bayes_badger.compilation import jit_lightly
from bayes_badger.errors import BadgerError, listed
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import task_columns_of
from bayes_badger.inner_loop._chains import Plan, Start, metric_of, run_chains
from bayes_badger.inner_loop._coordinates import Pilot, pilot, suited
from bayes_badger.inner_loop._density import (
    BATCH,
    Part,
    log_density,
    parts_of,
    reference,
    values_and_slopes,
)
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.program import UNCONSTRAINED, Program

# Batches of draws from the prior that are tried as starts; draws that make the first metric.
TRIES, METRIC_DRAWS = 1000, 100
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
        keys = jax.random.split(key, 2)
        rng = np.random.default_rng(np.asarray(jax.random.key_data(keys[0])).ravel())
        tasks, parts = evidence.n_tasks, parts_of(evidence)
        report("finding coordinates", 0, 1)
        rough = pilot(program, tasks, parts, rng)
        kinds, note = self._kinds(program, rough)
        placed = program.with_coordinates(kinds)
        references = reference(program, *_single(rough.centre), parts)
        columns = task_columns_of(evidence)
        points = self._starts(program, tasks, parts, references, rng, start)
        every = [
            np.concatenate(x) for x in zip(points, rough.draws(rng, METRIC_DRAWS), strict=True)
        ]
        moved = _moved(program, placed, every, columns, tasks)
        chains, settings = self.settings.chains, self.settings
        at = [x[:chains] for x in moved]
        value, *slopes = values_and_slopes(placed, at[0], at[1], parts, references)
        begun = Start(_position(at), jnp.asarray(value), _position(slopes))
        dense = ("lifetime",) if 1 < program.lifetime_size <= DENSE else ()
        metric = metric_of(_position(x[chains:] for x in moved), frozenset(dense))
        report("finding coordinates", 1, 1)
        collected = run_chains(
            _density,
            (placed, parts, references),
            begun,
            metric,
            keys[1],
            plan=Plan(settings.warmup, settings.target_accept, settings.max_tree_depth, dense),
            draws=settings.draws,
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

    def _kinds(self, program: Program, rough: Pilot) -> tuple[dict[str, str], str]:
        """The coordinate of each latent, and why."""
        if self.settings.parametrisation == "auto":
            return suited(program, rough)
        if self.settings.parametrisation == "whitened":
            return {}, ""
        latents = program.latents
        return {x.name: UNCONSTRAINED for x in latents if UNCONSTRAINED in dict(x.shapes)}, ""

    def _starts(
        self,
        program: Program,
        tasks: int,
        parts: Sequence[Part],
        references: Sequence[Array],
        rng: np.random.Generator,
        given: tuple[np.ndarray, np.ndarray] | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Starts, one per chain: those given, or draws from the prior, at half its spread."""
        chains = self.settings.chains
        found: list[tuple[np.ndarray, np.ndarray]] = []
        for _ in range(TRIES):
            if given is None:
                lifetime = 0.5 * rng.normal(size=(BATCH, program.lifetime_size))
                task = 0.5 * rng.normal(size=(BATCH, tasks, program.task_size))
            else:
                some = rng.integers(len(given[0]), size=BATCH)
                lifetime, task = (np.asarray(x)[some] for x in given)
            every = values_and_slopes(program, lifetime, task, parts, references)
            fine = [np.isfinite(x.reshape(BATCH, -1)).all(1) for x in every]
            found += [(lifetime[i], task[i]) for i in np.flatnonzero(np.all(fine, 0))]
            if len(found) >= chains:
                first, second = zip(*found[:chains], strict=True)
                return np.stack(first), np.stack(second)
        raise BadgerError(
            f"{program.name}: the density was finite at {len(found)} of {TRIES * BATCH} "
            "draws from the prior, so NUTS cannot start: look for outcomes that the program "
            "cannot explain, or a far too wide prior"
        )


def make(settings: Settings) -> Nuts:
    """An inner loop from its validated settings."""
    return Nuts(settings)


def _density(position: Mapping[str, Array], given: Any) -> Array:
    placed, parts, references = given
    tasks = sum(len(part.tasks) for part in parts)
    return log_density(placed, *_point(placed, position, tasks), parts, references)


def _position(parts: Iterable[Any]) -> dict[str, Array]:
    """Both parts of points by name; without empty arrays, which NUTS cannot ravel."""
    named = zip(("lifetime", "task"), parts, strict=True)
    return {name: jnp.asarray(x, jnp.float32) for name, x in named if x.size}


def _moved(
    program: Program,
    placed: Program,
    points: Sequence[np.ndarray],
    columns: Mapping[str, Array],
    tasks: int,
) -> list[np.ndarray]:
    """Points `[point, ...]` in the coordinates that are sampled."""
    if placed.latents == program.latents:
        return list(points)
    return [np.asarray(x) for x in _placed(program, placed, _single(points), columns, tasks)]


def _single(point: Sequence[np.ndarray]) -> tuple[Array, Array]:
    """What tasks share and what each has, in single precision."""
    return jnp.asarray(point[0], jnp.float32), jnp.asarray(point[1], jnp.float32)


@jit_lightly
def _placed(
    program: Program,
    placed: Program,
    points: tuple[Array, Array],
    columns: Mapping[str, Array],
    tasks: int,
) -> tuple[Array, Array]:
    def one(point: tuple[Array, Array]) -> tuple[Array, Array]:
        return placed.unconstrain(program.constrain(*point, columns), columns, tasks)

    found: tuple[Array, Array] = jax.lax.map(one, points)
    return found


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

    values = _constrained(program, flat, columns, tasks)
    return {name: np.asarray(x).reshape(chains, draws, *x.shape[1:]) for name, x in values.items()}


@jit_lightly
def _constrained(program: Program, flat: Any, columns: Any, tasks: int) -> dict[str, Array]:
    def one(position: dict[str, Array]) -> dict[str, Array]:
        return program.constrain(*_point(program, position, tasks), columns)

    return jax.lax.map(one, flat, batch_size=100)


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
