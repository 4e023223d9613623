"""NumPyro's NUTS over a whole lifetime: the reference that every other inner loop is held to.

All chains run side by side, in chunks between which progress is told and Ctrl-C is heard. Where
there are several devices, each takes a share of the chains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PRNGKeyArray
from numpyro.infer.hmc import hmc
from numpyro.infer.util import ParamInfo
from pydantic import BaseModel, ConfigDict, Field

from bayes_badger.belief import Draws
from bayes_badger.errors import BadgerError, listed
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import data_of, task_columns_of
from bayes_badger.inner_loop._coordinates import Part, log_density, pilot, reference, suited
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.program import UNCONSTRAINED, Program

CHUNK = 50
START_TRIES = 100
# A lifetime's latents are few and correlated; beyond this a dense metric costs more than it gives.
DENSE = 32
FIELDS = ("potential_energy", "energy", "num_steps", "accept_prob", "diverging")


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
        if program.parameters:
            names = listed(program.parameters)
            return f"cannot learn parameters ({names}): that is the work of an outer loop"
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
        self, program: Program, evidence: Evidence, key: PRNGKeyArray, report: Report = silent
    ) -> Draws:
        """Draws from the posterior of a whole lifetime."""
        reason = self.why_not(program, evidence)
        if reason is not None:
            raise BadgerError(f"nuts {reason}")
        parts = parts_of(evidence)
        keys = jax.random.split(key, 3)
        placed, note, references = self._place(program, evidence, parts, keys[2], report)
        start = self._starts(program, placed, evidence, parts, references, keys[0])
        collected, kept = self._sample(placed, start, parts, references, keys[1], report)
        values = _values(placed, collected, evidence)
        stats = _stats(collected)
        notes = (note,) if note else ()
        warnings = _warnings(stats, kept, self.settings)
        return Draws(values=values, stats=stats, notes=notes, warnings=warnings)

    def _place(
        self,
        program: Program,
        evidence: Evidence,
        parts: Sequence[Part],
        key: PRNGKeyArray,
        report: Report,
    ) -> tuple[Program, str, list[Array]]:
        """Chooses the coordinates; with a log likelihood per row from the posterior's midst."""
        report("finding coordinates", 0, 1)
        pilot_key, key = jax.random.split(key)
        fitted = pilot(program, evidence.n_tasks, parts, pilot_key)
        references = reference(program, *fitted.centre, parts)
        kinds: dict[str, str] = {}
        note = ""
        if self.settings.parametrisation == "auto":
            kinds, note = suited(program, fitted, parts, key)
        elif self.settings.parametrisation == "centred":
            kinds = {
                latent.name: UNCONSTRAINED
                for latent in program.latents
                if UNCONSTRAINED in dict(latent.shapes)
            }
        report("finding coordinates", 1, 1)
        return program.with_coordinates(kinds), note, references

    def _starts(
        self,
        program: Program,
        placed: Program,
        evidence: Evidence,
        parts: Sequence[Part],
        references: Sequence[Array],
        key: PRNGKeyArray,
    ) -> dict[str, Array]:
        """Overdispersed starts, one per chain: draws from the prior, at half its spread."""
        columns = task_columns_of(evidence)

        @eqx.filter_jit
        def attempt(program: Program, placed: Program, parts: Any, key: PRNGKeyArray) -> Any:
            a_key, z_key = jax.random.split(key)
            a = 0.5 * jax.random.normal(a_key, (program.lifetime_size,))
            z = 0.5 * jax.random.normal(z_key, (evidence.n_tasks, program.task_size))
            values = program.constrain(a, z, columns)
            point = placed.unconstrain(values, columns, evidence.n_tasks)
            return point, log_density(placed, *point, parts, references)

        starts: list[dict[str, Array]] = []
        for attempt_key in jax.random.split(key, START_TRIES * self.settings.chains):
            (lifetime, task), density = attempt(program, placed, parts, attempt_key)
            finite = all(bool(jnp.isfinite(x).all()) for x in (lifetime, task, density))
            if finite:
                starts.append(_position(lifetime, task))
            if len(starts) == self.settings.chains:
                return jax.tree.map(lambda *x: jnp.stack(x), *starts)
        raise BadgerError(
            f"{program.name}: the density was finite at {len(starts)} of "
            f"{START_TRIES * self.settings.chains} draws from the prior, so NUTS cannot start: "
            "look for outcomes that the program cannot explain, or a far too wide prior"
        )

    def _sample(
        self,
        program: Program,
        start: dict[str, Array],
        parts: Sequence[Part],
        references: Sequence[Array],
        key: PRNGKeyArray,
        report: Report,
    ) -> tuple[dict[str, np.ndarray], int]:
        """Runs warm-up and draws in chunks; returns what was drawn, and how many draws."""
        settings = self.settings
        evidence = (parts, references)
        mesh = _mesh(settings.chains)
        init, advance = _kernels(program, settings, mesh)
        keys = jax.random.split(key, settings.chains)
        total = settings.warmup + settings.draws
        collected: list[dict[str, np.ndarray]] = []
        try:
            state = init(start, keys, evidence)
            for done in range(0, total, CHUNK):
                _tell(report, done, settings, state, collected)
                state, drawn = advance(state, evidence, CHUNK)
                if done + CHUNK > settings.warmup:
                    kept = slice(max(0, settings.warmup - done), total - done)
                    collected.append({n: np.asarray(x)[:, kept] for n, x in drawn.items()})
                jax.block_until_ready(state)
            _tell(report, total, settings, state, collected)
        except KeyboardInterrupt:
            if sum(c["diverging"].shape[1] for c in collected) < 2 * CHUNK:
                raise
        together = jax.tree.map(lambda *x: np.concatenate(x, 1), *collected)
        return together, together["diverging"].shape[1]


def make(settings: Settings) -> Nuts:
    """An inner loop from its validated settings."""
    return Nuts(settings)


def parts_of(evidence: Evidence) -> list[Part]:
    """Evidence as a compiled density takes it: blocks of tasks of similar length."""
    return [
        Part(jnp.asarray(block.tasks), data_of(block), jnp.asarray(block.mask))
        for block in evidence.blocks()
    ]


def _position(lifetime: Array, task: Array) -> dict[str, Array]:
    """What NUTS moves: without empty arrays, which it cannot ravel."""
    parts = {"lifetime": lifetime, "task": task}
    return {name: x for name, x in parts.items() if x.size}


def _point(program: Program, position: dict[str, Array], tasks: int) -> tuple[Array, Array]:
    lifetime = position.get("lifetime", jnp.zeros(program.lifetime_size))
    return lifetime, position.get("task", jnp.zeros((tasks, program.task_size)))


def _kernels(program: Program, settings: Settings, mesh: Mesh | None) -> tuple[Callable, Callable]:
    """The compiled start and advance of all chains side by side."""

    def potential_of(parts: Sequence[Part], references: Sequence[Array]) -> Callable:
        tasks = sum(part.mask.shape[0] for part in parts)

        def potential(position: dict[str, Array]) -> Array:
            return -log_density(program, *_point(program, position, tasks), parts, references)

        return potential

    init_kernel, sample_kernel = hmc(potential_fn_gen=potential_of, algo="NUTS")
    dense: Any = [("lifetime",)] if 1 < program.lifetime_size <= DENSE else False

    def init(position: Any, key: PRNGKeyArray, evidence: Any) -> Any:
        potential = potential_of(*evidence)
        energy, slope = jax.value_and_grad(potential)(position)
        return init_kernel(
            ParamInfo(position, energy, slope),
            num_warmup=settings.warmup,
            dense_mass=dense,
            target_accept_prob=settings.target_accept,
            max_tree_depth=settings.max_tree_depth,
            model_args=evidence,
            rng_key=key,
        )

    def advance(state: Any, evidence: Any, count: int) -> Any:
        def one(state: Any, _: None) -> Any:
            state = sample_kernel(state, evidence)
            drawn = {name: getattr(state, name) for name in FIELDS}
            drawn["step_size"] = state.adapt_state.step_size
            return state, {**drawn, **state.z}

        return jax.lax.scan(one, state, None, count)

    def shared(function: Callable, sharded: int) -> Callable:
        """Over chains by vmap; each device takes its share, and none waits for another."""
        many = jax.vmap(function, in_axes=(0,) * sharded + (None,))
        if mesh is None:
            return many
        chains, everyone = PartitionSpec("chain"), PartitionSpec()
        specs = (chains,) * sharded + (everyone,)
        return jax.shard_map(many, mesh=mesh, in_specs=specs, out_specs=chains, check_vma=False)

    @partial(jax.jit, static_argnums=2)
    def advanced(state: Any, evidence: Any, count: int) -> Any:
        return shared(lambda s, e: advance(s, e, count), 1)(state, evidence)

    def started(position: Any, keys: Any, evidence: Any) -> Any:
        if mesh is not None:
            sharding = NamedSharding(mesh, PartitionSpec("chain"))
            position, keys = jax.device_put((position, keys), sharding)
            evidence = jax.device_put(evidence, NamedSharding(mesh, PartitionSpec()))
        return jax.jit(shared(init, 2))(position, keys, evidence)

    return started, advanced


def _mesh(chains: int) -> Mesh | None:
    """The devices that share the chains: as many as divide them; None for one."""
    devices = jax.local_devices()
    count = max(n for n in range(1, len(devices) + 1) if chains % n == 0)
    return Mesh(np.asarray(devices[:count]), ("chain",)) if count > 1 else None


def _tell(
    report: Report, done: int, settings: Settings, state: Any, collected: Sequence[Any]
) -> None:
    steps = f"{int(np.asarray(state.num_steps).max())} leapfrog steps"
    if done < settings.warmup:
        report("warm-up", done, settings.warmup, steps)
    else:
        divergences = sum(int(c["diverging"].sum()) for c in collected)
        note = f"{steps}, {divergences} divergences"
        report("sampling", done - settings.warmup, settings.draws, note)


def _values(
    program: Program, collected: dict[str, np.ndarray], evidence: Evidence
) -> dict[str, np.ndarray]:
    """Brings draws from coordinates to the user's own space."""
    columns, tasks = task_columns_of(evidence), evidence.n_tasks
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


def _stats(collected: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
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


def _warnings(stats: dict[str, np.ndarray], kept: int, settings: Settings) -> tuple[str, ...]:
    warnings = []
    divergences, total = int(stats["diverging"].sum()), stats["diverging"].size
    if divergences:
        warnings.append(
            f"{divergences} of {total} transitions diverged: the sampler cannot follow a narrow "
            "part of the posterior; raise target_accept"
        )
    deep = int((stats["n_steps"] >= 2**settings.max_tree_depth - 1).sum())
    if deep > total // 100:
        warnings.append(
            f"{deep} of {total} trajectories reached max_tree_depth {settings.max_tree_depth}: "
            "draws are correlated; raise it"
        )
    if kept < settings.draws:
        warnings.append(f"interrupted after {kept} of {settings.draws} draws per chain")
    return tuple(warnings)
