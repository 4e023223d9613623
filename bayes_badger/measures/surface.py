"""The loss against both budgets: L(M, t) after M outer and t inner steps, fitted by NUTS.

    additive      L = E + A / M^α + B / t^β
    washed out    L = E + A / (M^α t^γ) + B / t^β     evidence washes out a bad prior

The log likelihood is the sum over cells and repetitions, never their mean: a mean makes intervals
wrong (Besiroglu et al. 2024). What one training happened to learn moves all its cells together, in
proportion to their outer part: cells of one training are correlated, and so they are fitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from bayes_badger.errors import BadgerError

ADDITIVE, WASHED = "additive", "washed out"
MODELS = (ADDITIVE, WASHED)
NAMES = ("E", "A", "alpha", "B", "beta", "gamma")
WARMUP, DRAWS = 400, 500
# Less than this part of the range of the losses is not told from rounding.
SMALL = 1e-4


class Losses(NamedTuple):
    """What was measured, nats per step.

    Attributes:
        outer: M, ascending, `[M]`.
        inner: t, ascending, `[t]`.
        loss: `[repetition, M, t]`.
        error: Standard error of each, beyond what repetitions share, `[repetition, M, t]`.
        floor: E and its standard error, where it is known; else None.
    """

    outer: np.ndarray
    inner: np.ndarray
    loss: np.ndarray
    error: np.ndarray
    floor: tuple[float, float] | None = None


class Surface(NamedTuple):
    """Draws of the coefficients of one of the two, and how well it goes on.

    Attributes:
        draws: By name, `[draw]`: E, A, alpha, B, beta, gamma, and the noise `cell` and `path`.
        held_out: Log predictive density of the held-out cell, nats, the mean over repetitions.
        divergences: How many of the draws came of a trajectory that diverged.
        r_hat: The largest of a coefficient, of two halves of the draws.
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
    from_outer = draws["A"] * outer ** -draws["alpha"] * inner ** -draws["gamma"]
    return from_outer, draws["B"] * inner ** -draws["beta"]


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
        draws: Of each surface.

    Raises:
        BadgerError: Where there are too few cells, or losses are not finite.
    """
    stacked = Losses(
        losses.outer, losses.inner, losses.loss[None], losses.error[None], losses.floor
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
        losses: `loss` and `error` with an axis of sets in front.
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
    if not (np.isfinite(losses.loss).all() and np.isfinite(losses.error).all()):
        raise BadgerError("losses of the surface are not finite: score tasks that can be predicted")
    y = losses.loss[..., :-1, :-1]
    low, high = (f(y, axis=(1, 2, 3)) for f in (np.min, np.max))
    scale = np.maximum(high - low, 1e-9)
    by_set = (slice(None), None, None, None)
    flat = (len(y), y.shape[1], -1)
    scaled = ((y - low[by_set]) / scale[by_set]).reshape(flat)
    noise = (losses.error[..., :-1, :-1] / scale[by_set]).reshape(flat)
    wide = np.stack([np.zeros(len(y)), np.ones(len(y))], 1)
    prior = wide
    if floors is not None:
        prior = np.stack([floors[:, 0] - low, np.maximum(floors[:, 1], SMALL * scale)], 1)
        prior = prior / scale[:, None]
    grid = outer[:-1] / outer[0], inner[:-1] / inner[0]
    found = {}
    far, deep, heights, errors, starts = (
        jnp.asarray(x, jnp.float32) for x in (*grid, scaled, noise, prior)
    )
    for model in MODELS:
        samples, divergent = _run(
            model,
            far,
            deep,
            heights,
            errors,
            starts,
            keys,
            warmup,
            draws,
        )
        each = {name: np.asarray(x, float) for name, x in samples.items()}
        found[model] = [
            _surface({n: x[i] for n, x in each.items()}, losses, i, low[i], scale[i], divergent[i])
            for i in range(len(y))
        ]
    return found


def _model(washed: bool, outer: Array, inner: Array, y: Array, error: Array, floor: Array) -> None:
    """In units in which the losses reach from 0 to 1, and both budgets begin at 1."""
    import numpyro
    import numpyro.distributions as dist

    e = numpyro.sample("E", dist.Normal(floor[0], floor[1]))
    a = numpyro.sample("A", dist.HalfNormal(1.0))
    alpha = numpyro.sample("alpha", dist.LogNormal(0.0, 0.5))
    b = numpyro.sample("B", dist.HalfNormal(1.0))
    beta = numpyro.sample("beta", dist.LogNormal(0.0, 0.3))
    gamma = numpyro.sample("gamma", dist.LogNormal(0.0, 0.7)) if washed else 0.0
    cell = numpyro.sample("cell", dist.HalfNormal(0.02))
    path = numpyro.sample("path", dist.HalfNormal(1.0))
    by_cell = a * outer[:, None] ** -alpha * inner**-gamma
    mean = (e + by_cell + b * inner**-beta).ravel()
    # What M steps happened to learn is still there after M' with a share of M / M'.
    share = jnp.minimum(outer[:, None], outer) / jnp.maximum(outer[:, None], outer)
    root = jnp.linalg.cholesky(share)
    factor = (path * by_cell[:, :, None] * root[:, None, :]).reshape(-1, len(outer))
    noise = error**2 + cell**2 + 1e-8
    with numpyro.plate("repetition", len(y)):
        numpyro.sample("y", dist.LowRankMultivariateNormal(mean, factor, noise), obs=y)


def _run(
    model: str,
    outer: Array,
    inner: Array,
    y: Array,
    error: Array,
    floor: Array,
    keys: Array,
    warmup: int,
    draws: int,
) -> tuple[dict[str, Array], np.ndarray]:
    from numpyro.infer import MCMC, NUTS, init_to_median

    def one(y: Array, error: Array, floor: Array, key: PRNGKeyArray) -> Any:
        # Coefficients trade off against each other: their covariance is learned too.
        kernel = NUTS(
            _model,
            dense_mass=True,
            target_accept_prob=0.9,
            max_tree_depth=6,
            init_strategy=init_to_median,
        )
        chain = MCMC(kernel, num_warmup=warmup, num_samples=draws, progress_bar=False)
        told = model == WASHED, outer, inner, y, error, floor
        chain.run(key, *told, extra_fields=("diverging",))
        return chain.get_samples(), chain.get_extra_fields()["diverging"].sum()

    samples, divergent = jax.vmap(one)(y, error, floor, keys)
    return samples, np.asarray(divergent)


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
    draws.setdefault("gamma", np.zeros_like(draws["alpha"]))
    worst = max(_r_hat(draws[name].reshape(2, -1)) for name in NAMES)
    outer, inner = float(losses.outer[0]), float(losses.inner[0])
    draws["E"] = low + scale * draws["E"]
    draws["A"] = scale * draws["A"] * outer ** draws["alpha"] * inner ** draws["gamma"]
    draws["B"] = scale * draws["B"] * inner ** draws["beta"]
    draws["cell"] = scale * draws["cell"]
    at = float(losses.outer[-1]), float(losses.inner[-1])
    spread = np.hypot(draws["path"] * parts(draws, *at)[0], draws["cell"])
    corner, error = (x[index][:, -1, -1, None] for x in (losses.loss, losses.error))
    sd = np.hypot(spread, error)
    density = -0.5 * ((corner - value(draws, *at)) / sd) ** 2 - np.log(sd)
    density = np.logaddexp.reduce(density, axis=1) - np.log(density.shape[1])
    height = float(density.mean() - 0.5 * np.log(2 * np.pi))
    return Surface(draws, height, int(divergent), worst)


def _r_hat(x: np.ndarray) -> float:
    """Of halves `[2, draw]`; 1 where they agree."""
    within = x.var(1, ddof=1).mean()
    between = x.mean(1).var(ddof=1)
    return float(np.sqrt(1 + between / within)) if within > 0 else 1.0
