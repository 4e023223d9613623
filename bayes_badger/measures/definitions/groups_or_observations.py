"""More groups, or more observations of each? Which design tells most of what groups share.

J groups of n observations cost J (c1 + c2 n). For the mean of a normal hierarchy with variance τ²
between groups and σ² within, ρ = τ²/(τ² + σ²), a group's information is 1/(τ² + σ²/n), and the
best n is √((c1/c2)(1 - ρ)/ρ). For any other latent, of any program, the covariance of what is
shared is (I + J F(n))⁻¹ in prior-normal coordinates, F(n) the expected Fisher information of one
group; whatever is not known (ρ, say) is taken at draws of the run's posterior.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from bayes_badger.errors import BadgerError, did_you_mean, listed
from bayes_badger.evidence.compiled import task_columns_of
from bayes_badger.inner_loop.messages import lifetime_coordinates
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.measures.group_information import group_information, why_not
from bayes_badger.measures.labelled import Quantity, labelled
from bayes_badger.measures.picture import BLUE, GREY, ORANGE
from bayes_badger.measures.subject import AnyProgram, Subject, opened
from bayes_badger.program import LIFETIME
from bayes_badger.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUESTION = "To learn what groups share: more groups, or more observations of each?"
REFERENCE = "Raudenbush (1997), Psychological Methods 2(2); expected Fisher information"
# Sizes of a group at which information is computed; between them, cubic splines over log size.
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
# Of an interval; the share of draws from which on one of two is called better.
TAILS, SURE = (0.05, 0.5, 0.95), 0.95
# Fewer groups than this for each shared coordinate, and Fisher information promises too much.
GROUPS_PER_COORDINATE = 5
# A group's variance is a + b/n where it is so close to it, relatively, at every size.
ALIKE = 1e-3


def best_size(cost_group: float, cost_observation: float, between: float) -> float:
    """Observations per group that estimate the mean of a normal hierarchy best.

    Args:
        cost_group: Of a group, whatever its size.
        cost_observation: Of one observation.
        between: ρ, the share of the variance that is between groups.

    Example:
        >>> best_size(10.0, 1.0, 0.1)  # √(10 · 0.9 / 0.1)
        9.486832980505138
    """
    return float(np.sqrt(cost_group / cost_observation * (1 - between) / between))


def design_variance(
    information: np.ndarray, groups: np.ndarray | float, slope: np.ndarray
) -> np.ndarray:
    """Expected posterior variance of a target, its geometric mean over entries.

    Args:
        information: Of one group, `[..., a, a]`.
        groups: How many, `[...]`.
        slope: ∂target/∂u, `[..., entry, a]`.
    """
    total = np.eye(information.shape[-1]) + np.asarray(groups)[..., None, None] * information
    found = slope @ np.linalg.solve(total, np.swapaxes(slope, -1, -2))
    entries = slope.shape[-2]
    return np.asarray(np.exp(np.linalg.slogdet(found)[1] / entries))


class Designs(NamedTuple):
    """What designs promise, at each draw of what is shared.

    Attributes:
        observations: Per group, `[n]`.
        groups: That the budget pays, `[n]`.
        sd: Expected posterior sd of the target, `[draw, n]`.
        best: The best number of observations, `[draw]`.
        now: Sd with the groups there are, `[draw]`.
        more_observations: With one observation more of each, `[draw]`.
        more_groups: With as many groups more as that would cost, `[draw]`.
        extra: How many groups that are.
        raudenbush: √(c1 b / (c2 a)) where a group's variance is a + b/n, `[draw]`; else None.
    """

    observations: np.ndarray
    groups: np.ndarray
    sd: np.ndarray
    best: np.ndarray
    now: np.ndarray
    more_observations: np.ndarray
    more_groups: np.ndarray
    extra: float
    raudenbush: np.ndarray | None


def compared(
    sizes: np.ndarray,
    information: np.ndarray,
    slope: np.ndarray,
    lengths: np.ndarray,
    costs: tuple[float, float],
    budget: float,
) -> Designs:
    """Compares designs of one cost.

    Args:
        sizes: Observations of a group, ascending from 1.
        information: Of one group of each size, `[draw, size, a, a]`.
        slope: ∂target/∂u, `[draw, entry, a]`.
        lengths: Observations of each group that there is, not more than the largest size.
        costs: Of a group, and of an observation.
        budget: Of a design.
    """
    from scipy.interpolate import CubicSpline

    spline = CubicSpline(np.log(sizes), information, axis=1)
    observations = np.arange(1, sizes[-1] + 1)
    of_one = spline(np.log(observations))
    price = costs[0] + costs[1] * observations
    groups = budget / price
    enough = groups >= 2
    variance = design_variance(of_one, groups, slope[:, None])
    sd = np.sqrt(np.where(enough, variance, np.nan))
    best = observations[np.argmin(np.where(enough, variance, np.inf), axis=1)]
    # The groups that there are, each as long as it is.
    kept = lengths[lengths > 0]
    there = of_one[:, kept - 1].sum(1)
    longer = of_one[:, np.minimum(kept + 1, sizes[-1]) - 1].sum(1)
    extra = len(kept) * costs[1] / (costs[0] + costs[1] * kept.mean())
    more = there * (1 + extra / len(kept))
    now, with_rows, with_groups = (
        np.sqrt(design_variance(x, 1.0, slope)) for x in (there, longer, more)
    )
    return Designs(
        observations,
        groups,
        sd,
        best,
        now,
        with_rows,
        with_groups,
        float(extra),
        _straight(sizes, information, slope, costs),
    )


def _straight(
    sizes: np.ndarray, information: np.ndarray, slope: np.ndarray, costs: tuple[float, float]
) -> np.ndarray | None:
    """The best number in closed form, where the variance of a group is a + b/n."""
    if slope.shape[1] != 1:
        return None
    # Without the prior; many groups, so that what one group cannot tell at all is large.
    variance = 1e6 * design_variance(information, 1e6, slope[:, None])
    slow = (variance[:, 1] - variance[:, -1]) / (1 / sizes[1] - 1 / sizes[-1])
    rest = variance[:, -1] - slow / sizes[-1]
    line = rest[:, None] + slow[:, None] / sizes
    if not (rest > 0).all() or not np.allclose(line[:, 1:], variance[:, 1:], rtol=ALIKE):
        return None
    return np.sqrt(costs[0] * np.maximum(slow, 0) / (costs[1] * rest))


def groups_or_observations(
    run: Run,
    *,
    program: AnyProgram = None,
    seed: int = 0,
    report: Report = silent,
    target: str = "",
    cost_group: float = 1.0,
    cost_observation: float = 1.0,
    budget: float = 0.0,
    draws: int = 40,
) -> xr.Dataset:
    """More groups, or more observations of each.

    Args:
        run: Of a program whose tasks share latents; its tasks are the groups.
        program: The program, where the run was read and its program is not on the shelf.
        seed: Of everything random.
        report: Is told how far the work has come.
        target: A latent or a deterministic of the lifetime; by default the first latent. Of a
            vector, the geometric mean of the sds.
        cost_group: Of a group, whatever its size.
        cost_observation: Of one observation.
        budget: Of the design; by default what the run's own table would have cost.
        draws: Of the posterior, at which designs are compared.

    Returns:
        `best`, the best number of observations per group, with a 90% interval; the expected
        posterior `sd` of the target for each number; and what one observation more of each group
        of the run, or as many more groups as cost the same, would leave of it.

    Raises:
        BadgerError: Where nothing is shared, or the target is not of the lifetime.

    Example:
        >>> import bayes_badger as bb
        >>> run = bb.fit("gaussian", tasks=12, steps=3)
        >>> found = bb.measures.groups_or_observations(run, cost_group=25.0)
        >>> int(found["best"]), round(float(found["best_exact"]), 3)  # τ = σ: √(25)
        (5, 5.0)
    """
    subject = opened(run, program)
    lifted = subject.program
    reason = why_not(lifted)
    if reason is not None:
        raise BadgerError(f"{run.name} {reason}")
    name = _target(subject, target)
    for said, cost in (("cost_group", cost_group), ("cost_observation", cost_observation)):
        if cost <= 0:
            raise BadgerError(f"{said} = {cost:g} must be more than 0")
    lengths = subject.evidence.lengths
    there = lengths[lengths > 0]
    budget = budget or float(len(there) * cost_group + there.sum() * cost_observation)
    if budget < 2 * (cost_group + cost_observation):
        raise BadgerError(f"budget = {budget:g} pays for less than 2 groups of 1 observation")
    flat = {n: x.reshape(-1, *x.shape[2:]) for n, x in subject.draws.items()}
    many = len(next(iter(flat.values())))
    chosen = np.linspace(0, many - 1, min(draws, many)).astype(int)
    some = {n: x[chosen] for n, x in flat.items()}
    points = lifetime_coordinates(
        lifted, task_columns_of(subject.evidence.select(np.arange(1))), some
    )
    report("groups", 0, 1)
    found = group_information(lifted, subject.evidence, points, SIZES, jax.random.key(seed))
    report("groups", 1, 1)
    slope = _slopes(subject, name, points)
    costs = cost_group, cost_observation
    sizes = np.array(SIZES)
    designs = compared(sizes, found.about, slope, np.minimum(lengths, SIZES[-1]), costs, budget)
    return _labelled(designs, name, found.exact, len(there), points.shape[1], budget)


def _target(subject: Subject, name: str) -> str:
    known = [x.name for x in subject.program.variables if x.scope == LIFETIME]
    if not name:
        return known[0]
    if name not in known:
        raise BadgerError(
            f"target = '{name}' is nothing that groups share{did_you_mean(name, known)}: choose "
            f"one of {listed(known, 12)}"
        )
    return name


def _slopes(subject: Subject, name: str, points: np.ndarray) -> np.ndarray:
    """∂target/∂u at each lifetime, `[draw, entry, a]`."""
    program = subject.program
    columns = task_columns_of(subject.evidence.select(np.arange(1)))

    def value(u: Array) -> Array:
        return jnp.ravel(program.constrain(u, jnp.zeros((1, program.task_size)), columns)[name])

    slopes = jax.jit(jax.vmap(jax.jacfwd(value)))(jnp.asarray(points, jnp.float32))
    return np.asarray(slopes, float)


def _labelled(
    found: Designs, target: str, exact: bool, groups: int, size: int, budget: float
) -> xr.Dataset:
    low, middle, high = map(float, np.quantile(found.best, TAILS, method="inverted_cdf"))
    curve = np.quantile(found.sd, TAILS, axis=0)
    for_observations = np.log(found.now / found.more_observations)
    for_groups = np.log(found.now / found.more_groups)
    better = float((for_groups > for_observations).mean())
    known = None if found.raudenbush is None else float(np.median(found.raudenbush))
    count, one = "observations per group", (("observations",), target)
    quantities = {
        "best": Quantity("best size of a group", middle, None, known, units=count),
        "best_low": Quantity("5% of the posterior", low, units=count),
        "best_high": Quantity("95% of the posterior", high, units=count),
        "groups_better": Quantity("P(more groups are better)", better, units="probability"),
        "of_observations": Quantity("one observation more of each group", *_over(for_observations)),
        "of_groups": Quantity("more groups for the same", *_over(for_groups)),
        "now": Quantity(f"sd of {target} now", *_over(found.now), units=target),
        "sd": Quantity(f"expected sd of {target}", curve[1], dims=one[0], units=target),
        "sd_low": Quantity("5% of the posterior", curve[0], dims=one[0], units=target),
        "sd_high": Quantity("95% of the posterior", curve[2], dims=one[0], units=target),
        "groups": Quantity("groups that it pays", found.groups, dims=one[0], units="groups"),
    }
    notes = [_sentence(found, target, better), _chosen(found, budget, (low, middle, high))]
    if not exact:
        notes.append("information of a group is simulated: best sizes have Monte Carlo error")
    doubts = []
    if high >= found.observations[-1]:
        doubts.append(f"no more than {found.observations[-1]} observations per group are compared")
    at_best = float(found.groups[int(middle) - 1])
    if min(groups, at_best) < GROUPS_PER_COORDINATE * size:
        doubts.append(
            f"with {min(groups, at_best):.0f} groups for {size} shared numbers the expected sd is "
            "too small: Fisher information is what many groups tell"
        )
    coords = {"observations": found.observations}
    return labelled("groups_or_observations", REFERENCE, quantities, coords, notes, doubts)


def _over(samples: np.ndarray) -> tuple[float, float]:
    """Mean and sd over draws of what is shared."""
    return float(samples.mean()), float(samples.std(ddof=1)) if len(samples) > 1 else 0.0


def _sentence(found: Designs, target: str, better: float) -> str:
    now, longer, wider = (
        float(np.median(x)) for x in (found.now, found.more_observations, found.more_groups)
    )
    which = "more groups" if better > 0.5 else "more observations"
    share = max(better, 1 - better)
    sure = "better" if share >= SURE else "probably better"
    return (
        f"one more observation per group leaves {longer / now:.1%} of the sd of {target}, the same "
        f"money in {found.extra:.3g} more groups {wider / now:.1%}: {which} are {sure} "
        f"(probability {share:.2f})"
    )


def _chosen(found: Designs, budget: float, best: tuple[float, float, float]) -> str:
    low, middle, high = best
    groups = found.groups[int(middle) - 1]
    return (
        f"a budget of {budget:g} is best spent on {groups:.3g} groups of {middle:.0f} observations "
        f"({low:.0f} to {high:.0f} in 90% of the posterior)"
    )


def plot(found: xr.Dataset, axes: Axes) -> None:
    """The expected sd against observations per group."""
    size, sd = found["observations"].values, found["sd"].values
    band = found["sd_low"].values, found["sd_high"].values
    axes.fill_between(size, *band, color=BLUE, alpha=0.2, label="90% of the posterior")
    axes.plot(size, sd, color=BLUE, label="expected")
    low, high = float(found["best_low"]), float(found["best_high"])
    axes.axvspan(low, max(high, low * 1.02), color=ORANGE, alpha=0.2, lw=0)
    axes.axvline(float(found["best"]), color=ORANGE, label="best size, and 90%")
    axes.axhline(float(found["now"]), color=GREY, ls=":", label="with the groups there are")
    axes.set_xscale("log")
    axes.legend(fontsize=7, frameon=False)
    axes.set_xlabel("observations per group, at one budget")
    axes.set_ylabel(str(found["sd"].attrs["long_name"]))
