"""The posterior of what all tasks share."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from bayes_badger.doubts.truth import decimals_apart
from bayes_badger.report.contents import Scalar, evenly, posterior, scalars, task_unit
from bayes_badger.report.figure import INK, OBSERVED, POSTERIOR, PRIOR, bins, density, picture
from bayes_badger.report.section import Block, Bullets, Figures, Section, Table
from bayes_badger.report.text import common_decimals, enough, many, number, short
from bayes_badger.runs.run import Run

title = "What all tasks share"

MOST_ROWS, MOST_PICTURES, MOST_TOLD = 48, 12, 3
# A density is shown where all but so little of it lies.
EDGE = 0.002


def build(run: Run) -> Section | None:
    """None where the program has no latent of the lifetime."""
    found, task = scalars(run), run.task_name
    everything = posterior(run)
    long = [name for name in found.left_out if task not in everything[name].dims]
    if not found.lifetime and not long:
        return None
    blocks: list[Block] = []
    shown = found.lifetime[:MOST_ROWS]
    if shown:
        # What never moves has no density.
        drawn = [x for x in shown if np.isfinite(x.flat).any() and float(x.sd()) != 0]
        drawn = [drawn[i] for i in evenly(len(drawn), MOST_PICTURES)] if drawn else []
        blocks = [table(shown), *([_figures(drawn)] if drawn else [])]
    told = []
    if len(found.lifetime) > MOST_ROWS:
        told.append(f"{len(found.lifetime) - MOST_ROWS} more scalars are not shown.")
    if long:
        told.append(f"Not shown, for they have too many entries: {enough(long)}.")
    if told:
        blocks.append(Bullets(sentences=told))
    return Section(title=title, lead=_lead(run, found.lifetime), blocks=blocks)


def table(found: list[Scalar]) -> Table:
    """A row for each scalar: mean, sd, interval, and what the evidence did."""
    simulated = any(np.isfinite(x.truth) for x in found)
    narrowed = any(np.isfinite(x.narrowing) for x in found)
    columns = ["", "mean", "sd", "89% from", "to"]
    columns += ["true"] * simulated + ["narrowed by, nats"] * narrowed
    rows = []
    for scalar in found:
        lower, upper = map(float, scalar.interval)
        places = common_decimals([float(scalar.sd())])
        places = decimals_apart(lower, upper, float(scalar.truth), places)
        numbers = [float(scalar.mean()), float(scalar.sd()), lower, upper]
        cells = [number(x, places) for x in numbers]
        cells += [number(float(scalar.truth), places)] if simulated else []
        cells += [number(float(scalar.narrowing))] if narrowed else []
        rows.append([scalar.name, *cells])
    caption = "Posterior, with 89% equal-tailed intervals"
    if narrowed:
        caption += "; narrowed by: log of how many times narrower than the prior's the interval is"
    return Table(caption=caption, columns=columns, rows=rows)


def _lead(run: Run, found: list[Scalar]) -> str:
    if not found:
        return "All that the tasks share has too many entries to be told one by one."
    told = []
    for scalar in found[:MOST_TOLD]:
        places = common_decimals([float(scalar.sd())])
        mean, lower, upper = (number(float(x), places) for x in (scalar.mean(), *scalar.interval))
        told.append(f"{scalar.name} is {mean} (89% interval {lower} to {upper})")
    rest = len(found) - MOST_TOLD
    tasks = posterior(run).sizes.get(run.task_name)
    who = f"All {tasks:,} tasks{task_unit(run)} share" if tasks else "The lifetime has"
    more = f"; {rest} more below" if rest > 0 else ""
    return f"{who} {many(len(found), 'number')}: {', '.join(told)}{more}."


def _figures(found: list[Scalar]) -> Figures:
    legend = [("posterior", "posterior"), ("prior", "prior")]
    legend += [("interval", "mean and 89% interval")]
    if any(np.isfinite(x.truth) for x in found):
        legend.append(("observed", "true value"))
    return Figures(
        pictures=[
            picture(
                lambda axes, x=x: _density(axes, x),  # type: ignore[misc]
                f"Density of {x.name}: mean {float(x.mean()):.3g}",
                width=2.9,
                height=1.9,
            )
            for x in found
        ],
        caption="Marginal densities",
        legend=legend,
        small=True,
    )


def _density(axes: Axes, scalar: Scalar) -> None:
    values = scalar.flat[np.isfinite(scalar.flat)]
    low, high = (float(x) for x in np.quantile(values, (EDGE, 1 - EDGE)))
    edges = bins(values, low, high, scalar.whole)
    heights = density(values, edges)
    if scalar.prior is not None:
        before = scalar.prior[np.isfinite(scalar.prior)]
        axes.stairs(density(before, edges), edges, color=PRIOR, linewidth=1.3)
    axes.stairs(heights, edges, fill=True, color=POSTERIOR, alpha=0.35, linewidth=0)
    axes.stairs(heights, edges, color=POSTERIOR, linewidth=1.3)
    lower, upper = np.quantile(values, (0.055, 0.945))
    top = float(heights.max()) or 1.0
    axes.plot([lower, upper], [-0.06 * top] * 2, color=INK, linewidth=2.2, solid_capstyle="butt")
    axes.plot([values.mean()], [-0.06 * top], "o", color=INK, markersize=4.5)
    if np.isfinite(scalar.truth):
        axes.axvline(float(scalar.truth), color=OBSERVED, linewidth=1.6, linestyle="--")
    axes.set_ylim(-0.13 * top, 1.08 * top)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(short(scalar.name))
    axes.locator_params(axis="x", nbins=5)
