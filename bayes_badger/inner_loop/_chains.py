"""Chains of NumPyro's NUTS side by side, in chunks, each device with its share of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PRNGKeyArray
from numpyro.infer.hmc import hmc
from numpyro.infer.util import ParamInfo

from bayes_badger.inner_loop.protocol import Report

# Between chunks progress is told and Ctrl-C is heard.
CHUNK = 50
STATISTICS = ("potential_energy", "energy", "num_steps", "accept_prob", "diverging")
Position = dict[str, Array]


def run_chains(
    log_density: Callable[[Position, Any], Array],
    evidence: Any,
    start: Position,
    metric: Mapping[str, Array],
    key: PRNGKeyArray,
    *,
    warmup: int,
    draws: int,
    target_accept: float,
    max_tree_depth: int,
    report: Report,
) -> dict[str, np.ndarray]:
    """Draws from a density.

    Args:
        log_density: Of a position and the evidence, in nats.
        evidence: Arrays that the density needs; handed to the compiled program, not baked into it.
        start: A position for each chain, `[chain, ...]`.
        metric: First guess of the covariance of each part of a position: a vector for a diagonal
            one, a matrix for a dense one.
        key: For the momenta.
        warmup: Draws in which step size and metric adapt, not returned.
        draws: Draws to return, of each chain.
        target_accept: Acceptance rate to which the step size adapts.
        max_tree_depth: Of a trajectory.
        report: Is told how far the chains have come.

    Returns:
        Positions and statistics by name, `[chain, draw, ...]`. After a Ctrl-C, those drawn so far,
        if they are at least 100 of each chain.

    Raises:
        KeyboardInterrupt: If there are fewer.
    """
    chains = next(iter(start.values())).shape[0]
    dense = [(name,) for name, part in metric.items() if part.ndim == 2]
    init_kernel, sample_kernel = hmc(
        potential_fn_gen=lambda evidence: lambda position: -log_density(position, evidence),
        algo="NUTS",
    )

    def init(position: Position, key: PRNGKeyArray, shared: Any) -> Any:
        evidence, metric = shared

        def potential(position: Position) -> Array:
            return -log_density(position, evidence)

        energy, slope = jax.value_and_grad(potential)(position)
        return init_kernel(
            ParamInfo(position, energy, slope),
            num_warmup=warmup,
            inverse_mass_matrix=(
                {(name,): part for name, part in metric.items()}
                if dense
                else jnp.concatenate([metric[name] for name in sorted(metric)])
            ),
            dense_mass=dense or False,
            target_accept_prob=target_accept,
            max_tree_depth=max_tree_depth,
            model_args=(evidence,),
            rng_key=key,
        )

    def advance(state: Any, evidence: Any) -> Any:
        def one(state: Any, _: None) -> Any:
            state = sample_kernel(state, (evidence,))
            drawn = {name: getattr(state, name) for name in STATISTICS}
            return state, {**drawn, "step_size": state.adapt_state.step_size, **state.z}

        return jax.lax.scan(one, state, None, CHUNK)

    mesh = _mesh(chains)
    keys = jax.random.split(key, chains)
    shared = (evidence, metric)
    if mesh is not None:
        own, everyone = (NamedSharding(mesh, PartitionSpec(*x)) for x in (("chain",), ()))
        start, keys = jax.device_put((start, keys), own)
        shared = jax.device_put(shared, everyone)
    started = jax.jit(_side_by_side(init, mesh, 2))
    advanced = jax.jit(_side_by_side(advance, mesh, 1))

    collected: list[dict[str, np.ndarray]] = []
    try:
        state = started(start, keys, shared)
        for done in range(0, warmup + draws, CHUNK):
            _tell(report, done, warmup, draws, state, collected)
            state, drawn = advanced(state, shared[0])
            kept = slice(max(0, warmup - done), warmup + draws - done)
            collected.append({n: np.asarray(x)[:, kept] for n, x in drawn.items()})
        _tell(report, warmup + draws, warmup, draws, state, collected)
    except KeyboardInterrupt:
        if sum(chunk["diverging"].shape[1] for chunk in collected) < 2 * CHUNK:
            raise
    return {n: np.concatenate([chunk[n] for chunk in collected], 1) for n in collected[0]}


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
