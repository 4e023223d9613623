"""Chains of NumPyro's NUTS side by side, in chunks, each device with its share of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PRNGKeyArray
from numpyro.infer.hmc import hmc
from numpyro.infer.util import ParamInfo

from bayes_badger.compilation import jit_lightly
from bayes_badger.inner_loop._budget import OutOfTimeError
from bayes_badger.inner_loop.protocol import Report

# Between chunks progress is told and Ctrl-C is heard.
CHUNK = 50
STATISTICS = ("potential_energy", "energy", "num_steps", "accept_prob", "diverging")
Position = dict[str, Array]


class Plan(NamedTuple):
    """How to sample, as far as compiled code depends on it.

    Attributes:
        warmup: Draws in which step size and metric adapt, not returned.
        target_accept: Acceptance rate to which the step size adapts.
        max_tree_depth: Of a trajectory.
        dense: Parts of a position whose metric is a matrix.
    """

    warmup: int
    target_accept: float
    max_tree_depth: int
    dense: tuple[str, ...]


class Start(NamedTuple):
    """Where chains begin, `[chain, ...]`: positions, their log densities in nats, and slopes."""

    position: Position
    value: Array
    slope: Position


def run_chains(
    log_density: Callable[[Position, Any], Array],
    given: Any,
    start: Start,
    metric: Mapping[str, Array],
    key: PRNGKeyArray,
    *,
    plan: Plan,
    draws: int,
    report: Report,
) -> dict[str, np.ndarray]:
    """Draws from a density.

    Args:
        log_density: Of a position and what is given, in nats. What is compiled is kept for as long
            as it is the same function: give none that is made anew.
        given: A tree that the density needs; its arrays are handed to the compiled program.
        start: Where the chains begin.
        metric: First guess of the covariance of each part of a position: a vector for a diagonal
            one, a matrix for a dense one.
        key: For the momenta.
        plan: How to sample.
        draws: Draws to return, of each chain.
        report: Is told how far the chains have come.

    Returns:
        Positions and statistics by name, `[chain, draw, ...]`. After a Ctrl-C, or where
        time is over, those drawn so far, if they are at least 100 of each chain.

    Raises:
        KeyboardInterrupt: If there are fewer.
        OutOfTimeError: Likewise, where the report says that time is over.
    """
    chains, warmup = len(start.value), plan.warmup
    mesh = _mesh(chains)
    keys = jax.random.split(key, chains)
    if mesh is not None:
        own, everyone = (NamedSharding(mesh, PartitionSpec(*x)) for x in (("chain",), ()))
        start, keys = jax.device_put((start, keys), own)
        metric = jax.device_put(metric, everyone)
        arrays, static = eqx.partition(given, eqx.is_array)
        given = eqx.combine(jax.device_put(arrays, everyone), static)

    collected: list[dict[str, np.ndarray]] = []
    try:
        state = _begun(start, keys, dict(metric), plan, mesh)
        for done in range(0, warmup + draws, CHUNK):
            _tell(report, done, warmup, draws, state, collected)
            state, drawn = _advanced(log_density, state, given, plan, mesh)
            kept = slice(max(0, warmup - done), warmup + draws - done)
            collected.append({n: np.asarray(x)[:, kept] for n, x in drawn.items()})
        _tell(report, warmup + draws, warmup, draws, state, collected)
    except (KeyboardInterrupt, OutOfTimeError):
        if sum(chunk["diverging"].shape[1] for chunk in collected) < 2 * CHUNK:
            raise
    return {n: np.concatenate([chunk[n] for chunk in collected], 1) for n in collected[0]}


@jit_lightly
def _begun(
    start: Start, keys: Array, metric: dict[str, Array], plan: Plan, mesh: Mesh | None
) -> Any:
    """The state of each chain before its first transition; the density is not asked for it."""

    def one(start: Start, key: Array, metric: dict[str, Array]) -> Any:
        return _kernel(_unknown, None, start, key, metric, plan)[0]

    return _side_by_side(one, mesh, 2)(start, keys, metric)


@jit_lightly
def _advanced(
    log_density: Callable[[Position, Any], Array],
    state: Any,
    given: Any,
    plan: Plan,
    mesh: Mesh | None,
) -> Any:
    """A chunk of transitions of each chain: the states after it, and the draws `[chain, ...]`."""
    arrays, static = eqx.partition(given, eqx.is_array)

    def some(state: Any, arrays: Any) -> Any:
        given = eqx.combine(arrays, static)
        start = Start(state.z, -state.potential_energy, jax.tree.map(jnp.negative, state.z_grad))
        metric = {
            name: jnp.ones((x.size, x.size) if name in plan.dense else x.size)
            for name, x in state.z.items()
        }
        # The kernel is told by a first state what to adapt; that state is not used.
        _, sample = _kernel(log_density, given, start, state.rng_key, metric, plan)

        def one(state: Any, _: None) -> Any:
            state = sample(state, (given,))
            drawn = {name: getattr(state, name) for name in STATISTICS}
            return state, {**drawn, "step_size": state.adapt_state.step_size, **state.z}

        return jax.lax.scan(one, state, None, CHUNK)

    return _side_by_side(some, mesh, 1)(state, arrays)


def _unknown(position: Position, given: Any) -> Array:
    raise AssertionError("a state begins with the density and slope that are given")


def _kernel(
    log_density: Callable[[Position, Any], Array],
    given: Any,
    start: Start,
    key: Array,
    metric: dict[str, Array],
    plan: Plan,
) -> tuple[Any, Callable[..., Any]]:
    """A first state of one chain, and NumPyro's transition."""
    init, sample = hmc(
        potential_fn_gen=lambda given: lambda position: -log_density(position, given), algo="NUTS"
    )
    slope = jax.tree.map(jnp.negative, start.slope)
    state = init(
        ParamInfo(start.position, -start.value, slope),
        num_warmup=plan.warmup,
        inverse_mass_matrix=(
            {(name,): part for name, part in metric.items()}
            if plan.dense
            else jnp.concatenate([metric[name] for name in sorted(metric)])
        ),
        dense_mass=[(name,) for name in plan.dense] or False,
        target_accept_prob=plan.target_accept,
        max_tree_depth=plan.max_tree_depth,
        model_args=(given,),
        rng_key=key,
    )
    return state, sample


def _side_by_side(function: Callable[..., Any], mesh: Mesh | None, by_chain: int) -> Callable:
    """Over chains by vmap; each device takes its share, and none waits for another."""
    many = jax.vmap(function, in_axes=(0,) * by_chain + (None,))
    if mesh is None:
        return many
    chains = PartitionSpec("chain")
    specs = (chains,) * by_chain + (PartitionSpec(),)
    return jax.shard_map(many, mesh=mesh, in_specs=specs, out_specs=chains, check_vma=False)


def _mesh(chains: int) -> Mesh | None:
    """The devices that share the chains: as many as divide them; None for one."""
    devices = jax.local_devices()
    count = max(n for n in range(1, len(devices) + 1) if chains % n == 0)
    return Mesh(np.asarray(devices[:count]), ("chain",)) if count > 1 else None


def _tell(
    report: Report,
    done: int,
    warmup: int,
    draws: int,
    state: Any,
    collected: Sequence[Mapping[str, np.ndarray]],
) -> None:
    steps = f"{int(np.asarray(state.num_steps).max())} leapfrog steps"
    if done < warmup:
        report("warm-up", done, warmup, steps)
    else:
        divergences = sum(int(chunk["diverging"].sum()) for chunk in collected)
        report("sampling", min(done - warmup, draws), draws, f"{steps}, {divergences} divergences")


def metric_of(points: Position, dense: frozenset[str]) -> dict[str, Array]:
    """The spread of some points, `[point, ...]`, part by part, as a first metric."""
    metric = {}
    for name, x in points.items():
        spread = jnp.maximum(x.reshape(x.shape[0], -1).var(0), 1e-6)
        metric[name] = jnp.diag(spread) if name in dense else spread
    return metric
