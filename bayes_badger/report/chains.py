"""Do the chains agree: traces, ranks, and the scalars that mix worst."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from bayes_badger.report.contents import is_independent, posterior
from bayes_badger.report.diagnostics import Diagnostics, diagnose
from bayes_badger.report.figure import CHAINS, PRIOR, picture
from bayes_badger.report.section import Block, Figures, Section, Table
from bayes_badger.report.text import number, short
from bayes_badger.runs.run import Run

title = "Do the chains agree?"

MOST_TRACES, WORST, BINS = 8, 10, 20
# A picture of more chains than this is a tangle.
MOST_CHAINS = 6


def build(run: Run) -> Section | None:
    """None where there are no draws."""
    if not posterior(run).data_vars:
        return None
    if is_independent(run):
        lead = (
            "The draws are independent of each other, so that there are no chains that could "
            "disagree: r_hat and traces say nothing here."
        )
        return Section(title=title, lead=lead)
    found = diagnose(run)
    if not found.moves.any():
        return Section(title=title, lead="There is no scalar that moves: nothing can be compared.")
    order = _worst_first(found)
    blocks: list[Block] = [_table(found, order[:WORST])]
    traced = order[:MOST_TRACES]
    if traced:
        blocks.append(_figures(found, traced))
    return Section(title=title, lead=_lead(found, order), blocks=blocks)


def _worst_first(found: Diagnostics) -> list[int]:
    """Scalars that move, the one with the largest r_hat first, then by effective draws."""
    finite = np.isfinite(found.draws).all((0, 1))
    r_hat = np.where(np.isfinite(found.r_hat), found.r_hat, 0.0)
    # Differences of r_hat that nobody would look at are left to the effective draws.
    coarse = np.maximum(np.round(r_hat, 2), 1.01)
    order = np.lexsort((np.where(np.isfinite(found.bulk), found.bulk, np.inf), -coarse))
    return [int(i) for i in order if found.moves[i] and finite[i]]


def _lead(found: Diagnostics, order: list[int]) -> str:
    if not order:
        return "No scalar has finite draws, so that the chains cannot be compared."
    worst, chains = order[0], len(found.draws)
    ess = f"{found.bulk[worst]:,.0f} effective of {found.draws[..., 0].size:,} draws"
    if chains < 2:
        name = found.names[worst]
        return f"One chain alone has nothing to agree with; {name}, which mixes worst, has {ess}."
    return (
        f"Of {found.total:,} scalars, {found.names[worst]} mixes worst: r_hat "
        f"{number(found.r_hat[worst], 3)} over {chains} chains, {ess}."
    )


def _table(found: Diagnostics, order: list[int]) -> Table:
    rows = []
    for i in order:
        values = (found.r_hat[i], found.bulk[i], found.tail[i])
        cells = [number(float(x), places) for x, places in zip(values, (3, 0, 0), strict=True)]
        rows.append([found.names[i], *cells])
    return Table(
        caption=f"The {len(rows)} scalars that mix worst" if len(rows) > 1 else "What mixes",
        columns=("", "r_hat", "effective draws, bulk", "effective draws, tail"),
        rows=rows,
    )


def _figures(found: Diagnostics, order: list[int]) -> Figures:
    pictures = []
    for i in order:
        draws = found.draws[:MOST_CHAINS, :, i]
        pictures += [_trace(found.names[i], draws), _ranks(found.names[i], draws)]
    legend = [(f"chain-{k}", f"chain {k + 1}") for k in range(len(found.draws[:MOST_CHAINS]))]
    caption = (
        f"Traces, and the ranks of each chain's draws among all, of the {len(order)} that mix "
        "worst; chains that agree have flat ranks"
    )
    if len(found.draws) > MOST_CHAINS:
        caption += f"; {MOST_CHAINS} of {len(found.draws)} chains are shown"
    return Figures(pictures=pictures, caption=caption, legend=legend)


def _trace(name: str, draws: np.ndarray) -> Markup:
    def draw(axes: Axes) -> None:
        for chain, colour in zip(draws, CHAINS, strict=False):
            # As pixels: thousands of points of a line would make the page heavy.
            axes.plot(chain, color=colour, linewidth=0.6, alpha=0.8, rasterized=True)
        axes.margins(x=0.01)
        axes.set_xlabel("draw")
        axes.set_ylabel(short(name))

    return picture(draw, f"Trace of {name} in {len(draws)} chains", height=1.7)


def _ranks(name: str, draws: np.ndarray) -> Markup:
    """Vehtari et al. (2021): ranks within all draws, a histogram for each chain."""
    # Equal values share a rank, or the first chain would seem to have the low ones.
    _, inverse, counts = np.unique(draws, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts + 1) / 2)[inverse].reshape(draws.shape)
    edges = np.linspace(-0.5, draws.size - 0.5, BINS + 1)

    def draw(axes: Axes) -> None:
        expected = draws.shape[1] / BINS
        axes.axhline(expected, color=PRIOR, linewidth=1.2, linestyle="--")
        for chain, colour in zip(ranks, CHAINS, strict=False):
            axes.stairs(
                np.histogram(chain, edges)[0], edges, baseline=None, color=colour, linewidth=1.3
            )
        axes.set_ylim(bottom=0)
        axes.margins(x=0.01)
        axes.set_xlabel(f"rank of {short(name)}")
        axes.set_ylabel("draws")

    return picture(draw, f"Ranks of {name} in {len(draws)} chains", height=1.7)
