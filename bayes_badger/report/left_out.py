"""Does it predict rows it has not seen: leave-one-out by Pareto-smoothed importance sampling."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import xarray as xr
from markupsafe import Markup
from matplotlib.axes import Axes

from bayes_badger.report.contents import SAMPLE, evenly, group, is_independent, part, tried
from bayes_badger.report.diagnostics import diagnose
from bayes_badger.report.figure import INK, POSTERIOR, PRIOR, picture
from bayes_badger.report.section import Block, Bullets, Figures, Section, Table
from bayes_badger.report.text import label, many, number, percent, plain
from bayes_badger.runs.run import Run

title = "Does it predict rows it has not seen?"

MOST_ROWS, MOST_VALUES, WORST = 2_000, 4_000_000, 8
EXPLAINED = (
    "Pareto-smoothed importance sampling (Vehtari, Gelman & Gabry 2017) re-weighs the draws as if "
    "a row had not been seen. A row is left out, not a task: the other rows of its task still tell "
    "of it."
)


def build(run: Run) -> Section:
    """Always applies; says what is missing where something is."""
    likelihood = group(run, "log_likelihood")
    names = [str(name) for name, x in likelihood.data_vars.items() if set(SAMPLE) < set(x.dims)]
    if not names:
        lead = "This cannot be told: the run holds no log likelihood for each row."
        return Section(title=title, lead=lead)
    asked = str(part(run.spec, "program").get("outcome"))
    name = asked if asked in names else names[0]
    rows, draws = _kept(likelihood[name])
    some = likelihood[[name]].isel({**rows, "draw": draws})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found, failed = tried(
            "ArviZ could not leave out a row", lambda: _left_out(some, name, _reff(run))
        )
    if failed:
        return Section(title=title, lead=plain(failed))
    if not np.isfinite(found.elpd):
        lead = "This cannot be told: the log likelihood of some row is not finite."
        return Section(title=title, lead=lead)
    k = np.asarray(found.pareto_k.values, np.float64).reshape(-1)
    total = likelihood[name].sizes[next(iter(rows))] if rows else k.size
    told = [EXPLAINED, *dict.fromkeys(_first_line(w.message) for w in caught)]
    if total > k.size:
        told.insert(0, f"For speed, {k.size:,} of the {total:,} rows were left out, evenly spread.")
    blocks: list[Block] = [_scores(run, found, k.size), _pareto(k, float(found.good_k))]
    # What is not a number is no good sign either.
    if not (k <= found.good_k).all():
        blocks.append(_worst(run, found.pareto_k, float(found.good_k)))
    blocks += [*_pit(run, found, name, rows, draws), Bullets(sentences=told)]
    return Section(title=title, lead=_lead(run, found, k), blocks=blocks)


def _kept(likelihood: xr.DataArray) -> tuple[dict[Any, np.ndarray], slice]:
    """The rows and draws that are used, so that it does not take minutes."""
    lead = next(dim for dim in likelihood.dims if dim not in SAMPLE)
    count = likelihood.sizes[lead]
    rows = {lead: evenly(count, MOST_ROWS)} if count > MOST_ROWS else {}
    values = likelihood.size * min(MOST_ROWS, count) // max(count, 1)
    return rows, slice(None, None, max(1, -(-values // MOST_VALUES)))


def _left_out(some: xr.Dataset, name: str, reff: float) -> Any:
    # Not by way of arviz: its plots take seconds to import.
    import arviz_stats

    tree = xr.DataTree.from_dict({"/log_likelihood": some.astype(np.float64)})
    return arviz_stats.loo(tree, pointwise=True, var_name=name, reff=reff)


def _reff(run: Run) -> float:
    """Effective draws for each draw."""
    if is_independent(run):
        return 1.0
    found = diagnose(run)
    bulk = found.bulk[np.isfinite(found.bulk)]
    return float(bulk.mean() / found.draws[..., 0].size) if len(bulk) else 1.0


def _lead(run: Run, found: Any, k: np.ndarray) -> str:
    unit = "log probability" if _discrete(run) else "log density"
    bad = int((~(k <= found.good_k)).sum())
    sound = f"sound for all rows (Pareto k at most {number(float(k.max()))})"
    doubt = f"not to be trusted for {many(bad, 'row')} (Pareto k above {found.good_k:.2f})"
    return (
        f"A row that was left out would be predicted with a {unit} of "
        f"{number(float(found.elpd) / k.size)} nats on average; the estimate is "
        f"{doubt if bad else sound}."
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


def _pit(run: Run, found: Any, name: str, rows: dict[Any, np.ndarray], draws: slice) -> list[Block]:
    """Where each outcome falls within what is predicted of it without it."""
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

        weights, k = (xr.Dataset({name: x}) for x in (found.log_weights, found.pareto_k))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
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


def _first_line(message: object) -> str:
    lines = str(message).strip().splitlines()
    return f"ArviZ warns: {plain(lines[0])}" if lines else "ArviZ warns."
