"""The loss against both budgets: L(M, t) after M outer and t inner steps, fitted by NUTS.

    additive      L = E + A / M^α + B / (t + t0)^β
    washed out    L = E + A / (M^α (1 + t/t0)^γ) + B / (t + t0)^β    evidence washes out a bad prior

A prior is worth t0 rows: of a level with noise σ² and prior τ², t0 = σ²/τ², B = ½, β = 1, γ = 2.
The log likelihood is the sum over cells and repetitions, never their mean: a mean makes intervals
wrong (Besiroglu et al. 2024). What one training happened to learn moves all its cells together, in
proportion to their outer part: cells of one training are correlated, and so they are fitted. So are
cells that were scored on the same tasks: what two of them differ by is known far better than each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from bayes_badger.errors import BadgerError
from bayes_badger.program.tracing import TRACING

ADDITIVE, WASHED = "additive", "washed out"
MODELS = (ADDITIVE, WASHED)
NAMES = ("E", "A", "alpha", "B", "beta", "gamma", "t0")
WARMUP, DRAWS, CHAINS = 400, 1000, 4
# Less than this part of the range of the losses is not told from rounding.
SMALL = 1e-4


class Losses(NamedTuple):
    """What was measured, nats per step.

    Attributes:
        outer: M, ascending, `[M]`.
        inner: t, ascending, `[t]`.
        loss: `[repetition, M, t]`.
        covariance: Of these by the chance of the tasks that they were scored on, which all cells of
            a repetition have in common, `[repetition, M, t, M, t]`.
        floor: E and its standard error, where it is known; else None.
    """

    outer: np.ndarray
    inner: np.ndarray
    loss: np.ndarray
    covariance: np.ndarray
    floor: tuple[float, float] | None = None

    @property
    def error(self) -> np.ndarray:
        """Standard error of each cell by itself, as `loss`."""
        return np.sqrt(np.einsum("...mtmt->...mt", self.covariance))


class Surface(NamedTuple):
    """Draws of the coefficients of one of the two, and how well it goes on.

    Attributes:
        draws: By name, `[draw]`: E, A, alpha, B, beta, gamma, t0, and the noise `cell` and `path`.
        held_out: Log predictive density of the held-out cell, nats, the mean over repetitions.
        divergences: How many of the draws came of a trajectory that diverged.
        r_hat: The largest of a coefficient, over halves of the chains.
    """

    draws: dict[str, np.ndarray]
    held_out: float
    divergences: int
    r_hat: float


def value(draws: Mapping[str, Any], outer: Any, inner: Any) -> Any:
    """L(M, t) at each draw, nats per step."""
    return draws["E"] + sum(parts(draws, outer, inner))


def parts(draws: Mapping[str, Any], outer: Any, inner: Any) -> tuple[Any, Any]:
    """What is lost for want of outer and of inner steps, nats per step."""
    left = (1 + inner / draws["t0"]) ** -draws["gamma"]
    return (
        draws["A"] * outer ** -draws["alpha"] * left,
        draws["B"] * (inner + draws["t0"]) ** -draws["beta"],
    )


def gains(
    draws: Mapping[str, Any],
    outer: float,
    inner: float,
    cost_outer: float = 0.0,
    cost_inner: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """By how much a unit of cost spent on each loop lowers the loss, `[draw]` each.

    Args:
        draws: Of the coefficients.
        outer: M, where the learner is.
        inner: t.
        cost_outer: Of one outer step; 0 for 1/M, so that both budgets cost the same.
        cost_inner: Of one inner step; 0 for 1/t.
    """
    from_outer, from_inner = parts(draws, outer, inner)
    of_outer = draws["alpha"] * from_outer / (outer * (cost_outer or 1 / outer))
    of_inner = draws["gamma"] * from_outer + draws["beta"] * from_inner
    of_inner = of_inner * inner / (inner + draws["t0"])
    return of_outer, of_inner / (inner * (cost_inner or 1 / inner))


def fit_surfaces(
    losses: Losses, key: PRNGKeyArray, warmup: int = WARMUP, draws: int = DRAWS
) -> dict[str, Surface]:
    """Both surfaces, fitted to all cells with neither the largest M nor the largest t.

    The corner, the longest of all, is held out; what lies beside it is not used.

    Args:
        losses: At least four M and four t.
        key: Of the chains.
        warmup: Steps of NUTS before the draws.
        draws: Of each surface, by all chains together.

    Raises:
        BadgerError: Where there are too few cells, or losses are not finite.
    """
    stacked = Losses(
        losses.outer, losses.inner, losses.loss[None], losses.covariance[None], losses.floor
    )
    floors = None if losses.floor is None else np.array([losses.floor])
    found = fit_many(stacked, floors, jax.random.split(key, 1), warmup, draws)
    return {name: several[0] for name, several in found.items()}


def fit_many(
    losses: Losses,
    floors: np.ndarray | None,
    keys: Array,
    warmup: int = WARMUP,
    draws: int = DRAWS,
) -> dict[str, list[Surface]]:
    """As `fit_surfaces`, for many sets of losses over one grid side by side.

    Args:
        losses: `loss` and `covariance` with an axis of sets in front.
        floors: E and its standard error of each, `[set, 2]`; None where it is not known.
        keys: `[set]`.
        warmup: As there.
        draws: As there.
    """
    outer, inner = np.asarray(losses.outer, float), np.asarray(losses.inner, float)
    if len(outer) < 4 or len(inner) < 4:
        raise BadgerError(
            f"a surface needs 4 outer and 4 inner budgets or more, not {len(outer)} and "
            f"{len(inner)}: score more checkpoints, or tasks with more observations"
        )
    if not (np.isfinite(losses.loss).all() and np.isfinite(losses.covariance).all()):
        raise BadgerError("losses of the surface are not finite: score tasks that can be predicted")
    y = losses.loss[..., :-1, :-1]
    low, high = (f(y, axis=(1, 2, 3)) for f in (np.min, np.max))
    scale = np.maximum(high - low, 1e-9)
    by_set = (slice(None), None, None, None)
    sets, paths, cells = len(y), y.shape[1], y[0, 0].size
    scaled = ((y - low[by_set]) / scale[by_set]).reshape(sets, paths, cells)
    # Of repetitions about the same: pooled, so that all are weighed by one matrix.
    shared = losses.covariance[..., :-1, :-1, :-1, :-1].mean(1).reshape(sets, cells, cells)
    # In the axes of that noise cells are independent of each other.
    variance, axes = np.linalg.eigh(shared / scale[:, None, None] ** 2)
    noise = np.maximum(variance, 0.0), axes
    turned = scaled @ axes
    wide = np.stack([np.zeros(len(y)), np.ones(len(y))], 1)
    prior = wide
    if floors is not None:
        prior = np.stack([floors[:, 0] - low, np.maximum(floors[:, 1], SMALL * scale)], 1)
        prior = prior / scale[:, None]
    grid = outer[:-1] / outer[0], inner[:-1] / inner[0]
    samples, divergent = _run(grid, turned, noise, prior, keys, warmup, draws)
    return {
        model: [
            _surface({n: x[m, i] for n, x in samples.items()}, losses, i, low[i], scale[i], bad)
            for i, bad in enumerate(divergent[m])
        ]
        for m, model in enumerate(MODELS)
    }


def _model(
    washed: Array, outer: Array, inner: Array, y: Array, noise: tuple[Array, Array], floor: Array
) -> None:
    """In units in which the losses reach from 0 to 1, and both budgets begin at 1.

    Cells are seen along the axes of their noise, `[repetition, axis]`.
    """
    import numpyro
    import numpyro.distributions as dist

    # Coefficients are what is lost at the first cell, so that they are told by the data one by one.
    e = numpyro.deterministic("E", floor[0] + floor[1] * numpyro.sample("e", dist.Normal(0.0, 1.0)))
    a = numpyro.sample("A", dist.HalfNormal(1.0))
    alpha = numpyro.sample("alpha", dist.LogNormal(0.0, 0.5))
    b = numpyro.sample("B", dist.HalfNormal(1.0))
    beta = numpyro.sample("beta", dist.LogNormal(0.0, 0.3))
    gamma = washed * numpyro.sample("gamma", dist.LogNormal(0.3, 0.7))
    t0 = numpyro.sample("t0", dist.LogNormal(0.5 * jnp.log(inner[-1]), 2.0))
    cell = numpyro.sample("cell", dist.HalfNormal(0.02))
    path = numpyro.sample("path", dist.HalfNormal(1.0))
    rows = (inner + t0) / (1 + t0)
    by_cell = a * outer[:, None] ** -alpha * rows**-gamma
    mean = (e + by_cell + b * rows**-beta).ravel()
    # What M steps happened to learn is still there after M' with a share of M / M'.
    share = jnp.minimum(outer[:, None], outer) / jnp.maximum(outer[:, None], outer)
    root = jnp.linalg.cholesky(share)
    factor = (path * by_cell[:, :, None] * root[:, None, :]).reshape(-1, len(outer))
    variance, axes = noise
    seen = dist.LowRankMultivariateNormal(axes.T @ mean, axes.T @ factor, variance + cell**2 + 1e-8)
    with numpyro.plate("repetition", len(y)):
        numpyro.sample("y", seen, obs=y)


def _run(
    grid: tuple[np.ndarray, np.ndarray],
    y: np.ndarray,
    noise: tuple[np.ndarray, np.ndarray],
    floor: np.ndarray,
    keys: Array,
    warmup: int,
    draws: int,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Draws `[model, set, chain * draw]`, in double precision: noise may be 1e-4 of all.

    Both models are one program, so that it is compiled once; all chains go side by side.
    """
    from numpyro.infer import MCMC, NUTS, init_to_median

    def one(key: PRNGKeyArray, washed: Array, y: Array, noise: Any, floor: Array) -> Any:
        # Coefficients trade off against each other: their covariance is learned too.
        kernel = NUTS(
            _model,
            dense_mass=True,
            target_accept_prob=0.9,
            max_tree_depth=7,
            init_strategy=init_to_median,
        )
        chain = MCMC(kernel, num_warmup=warmup, num_samples=-(-draws // CHAINS), progress_bar=False)
        chain.run(key, washed, outer, inner, y, noise, floor, extra_fields=("diverging",))
        return chain.get_samples(), chain.get_extra_fields()["diverging"].sum()

    with jax.enable_x64(True):
        outer, inner = (jnp.asarray(x) for x in grid)
        each = len(MODELS), len(y), CHAINS
        which, index, _ = (x.ravel() for x in np.indices(each))
        washed = jnp.asarray([model == WASHED for model in MODELS], float)[which]
        seeds = jax.vmap(lambda key: jax.random.split(key, CHAINS))(keys)
        chains = jnp.broadcast_to(seeds, each).ravel()
        told = jax.tree.map(lambda x: jnp.asarray(x)[index], (y, noise, floor))
        # NumPyro runs the model while this is traced, and not when it is run.
        with TRACING:
            traced = jax.jit(jax.vmap(one)).lower(chains, washed, *told)
        samples, divergent = traced.compile()(chains, washed, *told)
    samples.pop("e")
    found = {n: np.array(x, float).reshape(*each[:2], -1) for n, x in samples.items()}
    found["gamma"][MODELS.index(ADDITIVE)] = 0.0
    return found, np.asarray(divergent).reshape(each).sum(-1)


def _surface(
    draws: dict[str, np.ndarray],
    losses: Losses,
    index: int,
    low: float,
    scale: float,
    divergent: Any,
) -> Surface:
    """Back in nats and steps, and what it says of the corner."""
    draws = dict(draws)
    worst = max(_r_hat(draws[name].reshape(2 * CHAINS, -1)) for name in NAMES)
    outer, inner = float(losses.outer[0]), float(losses.inner[0])
    draws["E"] = low + scale * draws["E"]
    draws["t0"] = inner * draws["t0"]
    washed = (1 + inner / draws["t0"]) ** draws["gamma"]
    draws["A"] = scale * draws["A"] * outer ** draws["alpha"] * washed
    draws["B"] = scale * draws["B"] * (inner + draws["t0"]) ** draws["beta"]
    draws["cell"] = scale * draws["cell"]
    return Surface(draws, _held_out(draws, losses, index), int(divergent), worst)


def _held_out(draws: dict[str, np.ndarray], losses: Losses, index: int) -> float:
    """Log predictive density of the corner given the cells that were fitted, in nats.

    What they miss by, the corner misses by too, as far as it was scored on the same tasks and is of
    the same training.
    """
    many = len(draws["E"])
    inside = np.zeros(losses.loss.shape[-2:], bool)
    inside[:-1, :-1] = inside[-1, -1] = True
    m, t = (x[inside] for x in np.broadcast_arrays(losses.outer[:, None], losses.inner))
    wide = {name: x[:, None] for name, x in draws.items()}
    mean, lost = value(wide, m, t), draws["path"][:, None] * parts(wide, m, t)[0]
    alike = np.minimum(m[:, None], m) / np.maximum(m[:, None], m)
    own = lost[:, :, None] * lost[:, None] * alike + draws["cell"][:, None, None] ** 2 * np.eye(
        len(m)
    )
    heights = []
    for loss, noise in zip(losses.loss[index], losses.covariance[index], strict=True):
        whole = own + noise[inside][:, inside]
        whole = whole + 1e-12 * np.trace(whole, axis1=1, axis2=2)[:, None, None] * np.eye(len(m))
        root = np.linalg.cholesky(whole)
        off = np.linalg.solve(root, (loss[inside] - mean)[..., None])[:, -1, 0]
        density = -0.5 * off**2 - np.log(root[:, -1, -1])
        heights.append(np.logaddexp.reduce(density) - np.log(many))
    return float(np.mean(heights) - 0.5 * np.log(2 * np.pi))


def _r_hat(x: np.ndarray) -> float:
    """Of halves of chains `[half, draw]`; 1 where they agree."""
    within = x.var(1, ddof=1).mean()
    between = x.mean(1).var(ddof=1)
    return float(np.sqrt(1 + between / within)) if within > 0 else 1.0
