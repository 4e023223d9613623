"""On what the answers rest: the prior of what tasks share, the tasks' own prior, or the evidence.

Power-scaling raises one of them to a power near one, and tells how far the posterior moves: the
cumulative Jensen-Shannon distance per doubling, by importance weights, so that nothing is fitted
again. It has no sign; beside it stands how far the mean moves, d E[x] / d log2(power) =
log 2 cov(x, log c), in standard deviations.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bayes_badger.errors import BadgerError
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.measures.labelled import Quantity, labelled
from bayes_badger.measures.picture import BLUE, GREEN, GREY, ORANGE
from bayes_badger.runs.run import Run
from bayes_badger.whole_process import quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bayes_badger.measures.subject import AnyProgram

QUESTION = "Do the answers rest on the prior of what tasks share, on the tasks' own, on data?"
REFERENCE = "Kallioinen, Paananen, Bürkner & Vehtari (2024), power-scaling"

SAMPLE = ("chain", "draw")
ALGORITHM, TASKS, LIKELIHOOD = "prior of algorithm", "prior of tasks", "likelihood"
ALPHAS = (0.99, 1.01)
# Kallioinen et al.: below it, nothing moves that is worth a word.
THRESHOLD = 0.05
# Groups of draws that are left out in turn for a standard error; weights that are even enough.
GROUPS, EVEN = 10, 0.5


def scaled(
    posterior: xr.Dataset, component: xr.DataArray, alphas: tuple[float, float] = ALPHAS
) -> xr.Dataset:
    """How far each number moves when a component of the density is scaled, by ArviZ.

    Args:
        posterior: Draws, `[chain, draw, ...]`.
        component: Its log density at these draws, summed, `[chain, draw]`, in nats.
        alphas: The two powers.

    Returns:
        Cumulative Jensen-Shannon distance per doubling of the power, one for each number.

    Example:
        >>> import numpy as np, xarray as xr
        >>> x = xr.DataArray(np.random.default_rng(0).normal(size=(4, 500)), dims=SAMPLE)
        >>> found = scaled(xr.Dataset({"x": x}), -0.5 * (x - 3) ** 2)
        >>> bool(found["x"] > 5 * scaled(xr.Dataset({"x": x}), -0.5 * (x / 10) ** 2)["x"])
        True
    """
    # Not by way of arviz: its plots take seconds to import.
    import arviz_stats

    groups = {"/posterior": posterior, "/log_prior": xr.Dataset({"component": component})}
    with _silence():
        found: xr.Dataset = arviz_stats.psense(
            xr.DataTree.from_dict(groups), group="prior", alphas=alphas
        )
    return found


def moved(x: np.ndarray, component: np.ndarray) -> np.ndarray:
    """How far a mean moves per doubling of the power, in standard deviations.

    Args:
        x: Draws of some numbers, `[draw, latent]`.
        component: Log density of what is scaled, `[draw]`, in nats.

    Returns:
        `[latent]`; 0 for what does not vary.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(40_000, 1))
        >>> bool(abs(moved(x, x[:, 0])[0] - np.log(2)) < 0.02)
        True
    """
    away = np.asarray(x, float) - np.mean(x, 0, dtype=float)
    own = np.asarray(component, float) - np.mean(component, dtype=float)
    sd = away.std(0)
    found = np.log(2) * (away * own[:, None]).mean(0)
    return np.where(sd > 0, found / np.where(sd > 0, sd, 1.0), 0.0)


def components_of(run: Run) -> dict[str, xr.DataArray]:
    """Log density of each component at the run's draws, summed: `[chain, draw]`, in nats.

    A component that the program lacks is not there. Where a run is large the likelihood was kept
    for fewer draws, and all are cut to these.
    """
    found: dict[str, xr.DataArray] = {}
    sites = _group(run, "log_prior")
    of_tasks = {str(n) for n, x in sites.data_vars.items() if run.task_name in x.dims}
    names = {ALGORITHM: set(map(str, sites.data_vars)) - of_tasks, TASKS: of_tasks}
    for component, chosen in names.items():
        if chosen:
            found[component] = _summed(sites[sorted(chosen)])
    likelihood = _group(run, "log_likelihood")
    if likelihood.data_vars:
        found[LIKELIHOOD] = _summed(likelihood)
        kept = {dim: likelihood[dim].values for dim in SAMPLE if dim in likelihood.coords}
        found = {name: x.sel(kept) for name, x in found.items()}
    return found


def sensitivity(
    run: Run,
    *,
    program: AnyProgram = None,
    seed: int = 0,
    report: Report = silent,
    latents: int = 40,
) -> xr.Dataset:
    """On what the answers rest.

    Args:
        run: Of any inner loop: draws and their log densities are all it takes.
        program: Not needed.
        seed: Not needed: nothing is random.
        report: Is told how far the work has come.
        latents: At most so many numbers, those that tasks share first.

    Returns:
        `distance` and `mean_moves` of each number, for each component.

    Raises:
        BadgerError: Where the run has no log densities, or nothing in it varies.

    Example:
        >>> import bayes_badger as bb
        >>> found = bb.measures.sensitivity(bb.fit("eight_schools"))
        >>> bool(found["distance"].sel(latent="mu", component="prior of algorithm") > 0.05)
        True
    """
    components = components_of(run)
    if not components:
        raise BadgerError(
            f"{run.name}: the run holds no log prior and no log likelihood: fit again"
        )
    draws, names, of_task, left = _columns(run, next(iter(components.values())), latents)
    if not names:
        raise BadgerError(f"{run.name}: nothing in the posterior varies, so nothing can move")
    as_data = xr.Dataset({"x": ((*SAMPLE, "latent"), draws)})
    value, error, mean, mean_se = (np.zeros((len(components), len(names))) for _ in range(4))
    doubts = []
    for i, (component, log_density) in enumerate(components.items()):
        report("scaling", i, len(components), component)
        own = xr.DataArray(np.asarray(log_density, float), dims=SAMPLE)
        value[i] = scaled(as_data, own)["x"].values
        flat, weights = draws.reshape(-1, len(names)), own.values.ravel()
        mean[i] = moved(flat, weights)
        kept = [np.arange(len(flat)) % GROUPS != g for g in range(GROUPS)]
        pairs = [(flat[k][None], weights[k][None]) for k in kept]
        without = [
            scaled(xr.Dataset({"x": ((*SAMPLE, "latent"), x)}), xr.DataArray(w, dims=SAMPLE))[
                "x"
            ].values
            for x, w in pairs
        ]
        error[i] = _jackknife(np.array(without))
        mean_se[i] = _jackknife(np.array([moved(x[0], w[0]) for x, w in pairs]))
        share = _even(weights)
        if share < EVEN:
            doubts.append(
                f"{component}: scaled by {ALPHAS[1] - 1:.0%} it leaves {share:.0%} of the draws "
                "that count: more draws would be needed, or fewer tasks"
            )
    report("scaling", len(components), len(components))
    dims = ("component", "latent")
    units = "Jensen-Shannon distance per doubling"
    quantities = {
        "distance": Quantity("how far it moves", value, error, dims=dims, units=units),
        "mean_moves": Quantity(
            "how far its mean moves", mean, mean_se, dims=dims, units="sd per doubling"
        ),
    }
    coords: dict[Hashable, Any] = {
        "component": list(components),
        "latent": names,
        "level": ("latent", ["task" if x else "algorithm" for x in of_task]),
    }
    notes = [f"above {THRESHOLD} a distance is noticeable"]
    if left:
        notes.append(f"{left} more numbers were not looked at: latents = {latents}")
    return labelled("sensitivity", REFERENCE, quantities, coords, notes, doubts)


def _columns(
    run: Run, like: xr.DataArray, most: int
) -> tuple[np.ndarray, list[str], list[bool], int]:
    """Draws of numbers that vary, `[chain, draw, latent]`, their names, and how many are left."""
    posterior = _group(run, "posterior")
    kept = {dim: like[dim].values for dim in SAMPLE if dim in like.coords}
    posterior = posterior.sel(kept)
    found: list[tuple[bool, str, np.ndarray]] = []
    total = 0
    ordered = sorted(posterior.data_vars.items(), key=lambda x: run.task_name in x[1].dims)
    for name, x in ordered:
        rest = [dim for dim in x.dims if dim not in SAMPLE]
        values = np.asarray(x.transpose(*SAMPLE, *rest), float).reshape(*like.shape, -1)
        moves = np.flatnonzero(values.std((0, 1)) > 0)
        total += len(moves)
        sizes = [x.sizes[dim] for dim in rest]
        for at in moves[: max(most - len(found), 0)]:
            place = np.unravel_index(at, sizes) if sizes else ()
            labels = [
                str(x[dim].values[i]) if dim in x.coords else str(i)
                for dim, i in zip(rest, place, strict=True)
            ]
            own = f"{name}[{', '.join(labels)}]" if labels else str(name)
            found.append((run.task_name in x.dims, own, values[..., at]))
    if not found:
        return np.zeros((*like.shape, 0)), [], [], 0
    of_task, names, columns = zip(*found, strict=True)
    return np.stack(columns, -1), list(names), list(of_task), total - len(found)


def _group(run: Run, name: str) -> xr.Dataset:
    return run.tree[name].to_dataset() if name in run.tree.children else xr.Dataset()


def _summed(densities: xr.Dataset) -> xr.DataArray:
    """Here and not in ArviZ, which would copy the value of each row and draw."""
    sums: list[Any] = [
        x.sum([dim for dim in x.dims if dim not in SAMPLE], dtype=np.float64)
        for x in densities.data_vars.values()
    ]
    total: xr.DataArray = sum(sums[1:], sums[0])
    return total.transpose(*SAMPLE)


def _even(log_density: np.ndarray) -> float:
    """The share of draws that count under weights of the larger power."""
    weights = np.exp((ALPHAS[1] - 1) * (log_density - log_density.max()))
    return float(weights.sum() ** 2 / (weights**2).sum() / len(weights))


def _jackknife(without: np.ndarray) -> np.ndarray:
    groups = len(without)
    found: np.ndarray = np.sqrt((groups - 1) / groups * ((without - without.mean(0)) ** 2).sum(0))
    return found


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """ArviZ points to its manual on stderr, and divides by what may be 0."""
    log = logging.getLogger("arviz_stats")
    level = log.level
    with quiet(), np.errstate(all="ignore"):
        try:
            log.setLevel(logging.ERROR)
            yield
        finally:
            log.setLevel(level)


def plot(found: xr.Dataset, axes: Axes) -> None:
    """A group of bars for each number, one bar for each component."""
    names = [str(x) for x in found["latent"].values][::-1][-12:]
    height = np.arange(len(names))
    parts = [str(x) for x in found["component"].values]
    for i, (part, colour) in enumerate(zip(parts, (BLUE, GREEN, ORANGE), strict=False)):
        own = found.sel(component=part, latent=names)
        place = height + 0.27 * ((len(parts) - 1) / 2 - i)
        bars = own["distance"].values
        axes.barh(place, bars, 0.25, xerr=own["distance_se"].values, color=colour, label=part)
    axes.axvline(THRESHOLD, color=GREY, linestyle=":")
    axes.set_yticks(height, names)
    axes.set_xlabel("power-scaling sensitivity (Jensen-Shannon distance per doubling)")
    axes.legend(frameon=False)
