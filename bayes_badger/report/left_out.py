"""Does it predict rows it has not seen: leave-one-out by Pareto-smoothed importance sampling."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import xarray as xr
from markupsafe import Markup
from matplotlib.axes import Axes

from bayes_badger.doubts.left_out import LeftOut, doubt_of, left_out
from bayes_badger.report.contents import group, part, tried
from bayes_badger.report.figure import INK, POSTERIOR, PRIOR, picture
from bayes_badger.report.section import Block, Bullets, Figures, Section, Table
from bayes_badger.report.text import label, many, number, percent, plain
from bayes_badger.runs.run import Run
from bayes_badger.whole_process import quiet

title = "Does it predict rows it has not seen?"

WORST = 8
EXPLAINED = (
    "Pareto-smoothed importance sampling (Vehtari, Gelman & Gabry 2017) re-weighs the draws as if "
    "a row had not been seen. A row is left out, not a task: the other rows of its task still tell "
    "of it."
)


def build(run: Run) -> Section:
    """Always applies; says what is missing where something is."""
    left = left_out(run.spec, run.tree)
    if isinstance(left, str):
        return Section(title=title, lead=f"This cannot be told: {plain(left)}.")
    scored, failed = tried("ArviZ could not leave out a row", left.scores)
    if failed:
        return Section(title=title, lead=plain(failed))
    found, k = scored[0], left.pareto_k
    told = [EXPLAINED, *(f"ArviZ warns: {plain(x)}" for x in scored[1])]
    doubt = doubt_of(left)
    if doubt is not None:
        told.insert(0, f"This concerns comparisons of runs, not the posterior: {doubt.mend}.")
    if left.total > k.size:
        told.insert(
            0, f"For speed, {k.size:,} of the {left.total:,} rows were left out, evenly spread."
        )
    blocks: list[Block] = [_scores(run, found, k.size), _pareto(k, left.good_k)]
    if left.bad.any():
        blocks.append(_worst(run, left.k, left.good_k))
    blocks += [*_pit(run, left), Bullets(sentences=told)]
    return Section(title=title, lead=_lead(run, left, found), blocks=blocks, wary=doubt is not None)


def _lead(run: Run, left: LeftOut, found: Any) -> str:
    unit = "log probability" if _discrete(run) else "log density"
    doubt, k = doubt_of(left), left.pareto_k
    sound = f"leave-one-out is sound for all rows (Pareto k at most {number(float(k.max()))})"
    return (
        f"A row that was left out would be predicted with a {unit} of "
        f"{number(float(found.elpd) / k.size)} nats on average; "
        f"{sound if doubt is None else doubt.sentence}."
    )


def _discrete(run: Run) -> bool:
    return part(run.spec, "program").get("outcome_discrete") is True


def _scores(run: Run, found: Any, rows: int) -> Table:
    unit = "log probability" if _discrete(run) else "log predictive density"
    # Scores of rows are independent, so the error of a sum is that of a row times a root.
    se = float(found.se)
    return Table(
        caption=f"Expected {unit} of rows left out, in nats; higher is better",
        columns=("", "estimate", "standard error"),
        rows=[
            [f"all {many(rows, 'row')}", number(float(found.elpd), 1), number(se, 1)],
            ["a row", number(float(found.elpd) / rows, 3), number(se / rows, 3)],
            ["effective number of parameters", number(float(found.p), 1), ""],
        ],
    )


def _pareto(k: np.ndarray, good: float) -> Table:
    edges = (-np.inf, good, 1.0, np.inf)
    names = (f"good: up to {good:.2f}", f"bad: {good:.2f} to 1", "very bad: above 1")
    counts = [int(((k > a) & (k <= b)).sum()) for a, b in itertools.pairwise(edges)]
    return Table(
        caption="Pareto k: how much a row's absence would change the posterior",
        columns=("Pareto k", "rows", "share"),
        rows=[[n, f"{c:,}", percent(c / k.size)] for n, c in zip(names, counts, strict=True)],
    )


def _worst(run: Run, k: xr.DataArray, good: float) -> Table:
    values = np.asarray(k.values, np.float64)
    order = np.argsort(np.where(np.isnan(values), -np.inf, -values), axis=None)[:WORST]
    rows = []
    for at in order:
        place = np.unravel_index(int(at), values.shape)
        if values[place] <= good:
            break
        coords = {
            dim: k[dim].values[i] for dim, i in zip(k.dims, place, strict=True) if dim in k.coords
        }
        name = ", ".join(label(x) for x in coords.values()) or str(int(at))
        task = k.coords.get(run.task_name)
        who = "" if task is None or task.dims != k.dims else label(task.values[place])
        rows.append([name, who, number(float(values[place]))])
    return Table(
        caption="The rows on which the posterior hangs most",
        columns=("row", "task", "Pareto k"),
        rows=rows,
        words=2,
    )


def _pit(run: Run, left: LeftOut) -> list[Block]:
    """Where each outcome falls within what is predicted of it without it."""
    name, rows, draws = left.name, left.rows, left.draws
    predictive, observed = group(run, "posterior_predictive"), group(run, "observed_data")
    if name not in predictive or name not in observed or _discrete(run):
        return []
    likelihood = group(run, "log_likelihood")[[name]].isel({**rows, "draw": draws})
    tree = xr.DataTree.from_dict(
        {
            # Looked for by ArviZ, and not looked into.
            "/posterior": likelihood,
            "/posterior_predictive": predictive[[name]].isel({**rows, "draw": draws}),
            "/observed_data": observed[[name]].isel(rows),
            "/log_likelihood": likelihood,
        }
    )

    def pit() -> np.ndarray:
        import arviz_stats

        weights, k = (xr.Dataset({name: x}) for x in (left.log_weights, left.k))
        with quiet():
            done = arviz_stats.loo_pit(tree, var_names=name, log_weights=weights, pareto_k=k)
        return np.asarray(done[name].values, np.float64).reshape(-1)

    values, failed = tried("ArviZ could not compare outcomes with predictions (LOO-PIT)", pit)
    if failed or not np.isfinite(values).all():
        return [Bullets(sentences=[failed or "LOO-PIT is not a number for some row."])]
    caption = (
        "LOO-PIT: the share of what is predicted of a row without it that lies below its outcome. "
        "Flat is calibrated; high at both ends, predictions are too sure; high in the middle, too "
        "unsure. The dashed lines hold 89% of the bars of a calibrated program."
    )
    return [Figures(pictures=[_pit_picture(values)], caption=caption)]


def _pit_picture(values: np.ndarray) -> Markup:
    bins = int(np.clip(len(values) // 10, 4, 20))
    counts, edges = np.histogram(values, bins, (0, 1))
    chance = np.random.default_rng(0).binomial(len(values), 1 / bins, 20_000)
    lower, upper = np.quantile(chance, (0.055, 0.945))

    def draw(axes: Axes) -> None:
        axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=POSTERIOR, alpha=0.45)
        for height in (lower, upper):
            axes.axhline(height, color=INK, linewidth=1, linestyle="--")
        axes.axhline(len(values) / bins, color=PRIOR, linewidth=1)
        axes.set_xlim(0, 1)
        axes.set_xlabel("share of the prediction below the outcome")
        axes.set_ylabel("rows")

    return picture(draw, "Histogram of LOO-PIT values", height=2.4)
