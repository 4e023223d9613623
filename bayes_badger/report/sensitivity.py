"""Prior or evidence: how far the answers would move if either had more weight."""

from __future__ import annotations

import numpy as np
import xarray as xr

from bayes_badger.measures.definitions.sensitivity import (
    ALGORITHM,
    LIKELIHOOD,
    THRESHOLD,
    components_of,
    scaled,
)
from bayes_badger.report.contents import SAMPLE, group, posterior, scalars, tried
from bayes_badger.report.section import Block, Bullets, Section, Table
from bayes_badger.report.text import enough, label, number, plain
from bayes_badger.runs.run import Run

title = "Do the answers rest on the prior?"

MOST_ROWS = 48
EXPLAINED = (
    "Power-scaling (Kallioinen, Paananen, Bürkner & Vehtari 2024) raises the density of the prior "
    "of what all tasks share, or the likelihood, to a power near one, and tells how far the "
    f"posterior moves. Above {THRESHOLD} it moves. The tasks' own prior is what the program "
    "learns, and stays as it is."
)


def build(run: Run) -> Section | None:
    """None where the program has no latent of the lifetime."""
    shared = list(dict.fromkeys(scalar.variable for scalar in scalars(run).lifetime))
    if not shared:
        return None
    priors = group(run, "log_prior")
    with_prior = [name for name in priors.data_vars if run.task_name not in priors[name].dims]
    if not with_prior or not group(run, "log_likelihood").data_vars:
        missing = "no log likelihood" if with_prior else "no log prior of what all tasks share"
        return Section(title=title, lead=f"This cannot be told: the run holds {missing}.")
    table, failed = tried(
        "ArviZ could not scale the prior and the likelihood",
        lambda: _sensitivity(run, shared),
    )
    if failed:
        return Section(title=title, lead=plain(failed))
    rows = [(label(name), float(row["prior"]), float(row["likelihood"])) for name, row in table]
    rows = [row for row in rows if np.isfinite(row[1:]).all()]
    if not rows:
        return Section(title=title, lead="This cannot be told: nothing that is shared moves.")
    blocks: list[Block] = [_table(rows[:MOST_ROWS]), Bullets(sentences=[EXPLAINED])]
    return Section(title=title, lead=_lead(rows), blocks=blocks)


def _sensitivity(run: Run, shared: list[str]) -> list[tuple[str, dict[str, float]]]:
    components = components_of(run)
    like = components[LIKELIHOOD]
    kept = {dim: like[dim].values for dim in SAMPLE if dim in like.coords}
    draws = posterior(run)[shared].sel(kept)
    found = {
        short: _by_number(scaled(draws, components[component]))
        for short, component in (("prior", ALGORITHM), ("likelihood", LIKELIHOOD))
    }
    return [(name, {k: x[name] for k, x in found.items()}) for name in found["prior"]]


def _by_number(found: xr.Dataset) -> dict[str, float]:
    """By the names that ArviZ gives to entries, `effects[0]`."""
    from arviz_base import dataset_to_dataframe

    table = dataset_to_dataframe(found.expand_dims("component"), sample_dims=["component"]).T
    return {str(name): float(x) for name, x in table.iloc[:, 0].items()}


def _lead(rows: list[tuple[str, float, float]]) -> str:
    moved = [name for name, prior, _ in rows if prior >= THRESHOLD]
    if not moved:
        return (
            "No: were the prior of what all tasks share somewhat weaker or stronger, none of it "
            "would move noticeably."
        )
    weak = [name for name, prior, data in rows if prior >= THRESHOLD > data]
    clash = [name for name in moved if name not in weak]
    told = f"{enough(moved)} would move, were the prior somewhat weaker or stronger"
    told += f"; the evidence says little of {enough(weak)}" if weak else ""
    told += f"; prior and evidence may disagree about {enough(clash)}" if clash else ""
    return f"{told}."


def _table(rows: list[tuple[str, float, float]]) -> Table:
    return Table(
        caption=f"Sensitivity to the prior and to the likelihood; above {THRESHOLD} is noticeable",
        columns=("", "prior", "likelihood", "what it may mean"),
        rows=[[name, number(p, 3), number(x, 3), _meaning(p, x)] for name, p, x in rows],
    )


def _meaning(prior: float, likelihood: float) -> str:
    if max(prior, likelihood) < THRESHOLD:
        return "neither moves it"
    if prior < THRESHOLD:
        return "the prior hardly matters"
    if likelihood < THRESHOLD:
        return "strong prior or weak evidence"
    return "prior and evidence may disagree"
