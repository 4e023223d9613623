"""A belief as ArviZ sees it: a DataTree in long form, complete.

Rows are one dimension, `obs_id`, whatever the tasks' lengths, with the label of the task as a
coordinate: padding never reaches ArviZ, and what wants a 1-D observation has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, PRNGKeyArray

from bayes_badger.belief import Draws, in_chains
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import task_columns_of
from bayes_badger.labels import Labels
from bayes_badger.pointwise import (
    ASKED,
    DRAWN_IN_A_LOOP,
    log_likelihood_rows,
    over_draws,
    predict_rows,
)
from bayes_badger.program import Program

# Independent draws come as chains too: ArviZ's diagnostics and plots want several.
PRIOR_CHAINS, PRIOR_DRAWS = 4, 250
# Above this many values, quantities that have one per row and draw are kept for fewer draws.
POINTWISE_LIMIT = 40_000_000


def build_tree(
    program: Program,
    evidence: Evidence,
    draws: Draws,
    key: PRNGKeyArray,
    truth: Mapping[str, np.ndarray] | None = None,
) -> xr.DataTree:
    """All groups of a run.

    Args:
        program: The lifted program.
        evidence: What it was fitted to.
        draws: The belief.
        key: For the prior, and for both predictives.
        truth: The latents that the evidence was simulated with, if it was.

    Returns:
        Groups `posterior`, `posterior_predictive`, `log_likelihood`, `log_prior`, `sample_stats`,
        `prior`, `prior_predictive`, `observed_data`, `constant_data`, and `truth` where known.
        Log densities are in nats; `log_prior` has one variable per site, so that it can be split
        by scope.
    """
    prior_key, prior_predictive_key, predictive_key = jax.random.split(key, 3)
    labels = Labels(program, evidence)
    kept = _kept(draws, evidence)
    posterior = _latents(program, draws.values)
    pointwise = {name: x[:, kept] for name, x in posterior.items()}
    prior = draw_prior(program, evidence, prior_key)
    prior_latents = _latents(program, prior)
    outcome = evidence.outcome_name
    groups = {
        "posterior": labels.of_values(draws.values),
        "posterior_predictive": labels.of_rows(
            {outcome: predict_rows(program, evidence, pointwise, predictive_key)}, kept
        ),
        "log_likelihood": labels.of_rows(
            {outcome: log_likelihood_rows(program, evidence, pointwise)}, kept
        ),
        "log_prior": labels.of_sites(_log_prior(program, evidence, posterior)),
        "sample_stats": labels.plain(draws.stats),
        "prior": labels.of_values(prior),
        "prior_predictive": labels.of_rows(
            {outcome: predict_rows(program, evidence, prior_latents, prior_predictive_key)}
        ),
        "observed_data": labels.observed(evidence),
        "constant_data": labels.constant(evidence),
    }
    if truth is not None:
        groups["truth"] = labels.of_values(truth, lead=())
    if kept.step != 1:
        for name in ("posterior_predictive", "log_likelihood"):
            groups[name].attrs["thinned"] = f"every {kept.step}th draw: {evidence.n_rows} rows"
    return xr.DataTree.from_dict({f"/{name}": group for name, group in groups.items()})


def draw_prior(program: Program, evidence: Evidence, key: PRNGKeyArray) -> dict[str, np.ndarray]:
    """Lifetimes from the prior, with the tasks of the evidence: `[chain, draw, ...]`."""
    args = key, task_columns_of(evidence), evidence.n_tasks
    draws = PRIOR_CHAINS * PRIOR_DRAWS
    each = DRAWN_IN_A_LOOP * draws / ASKED
    drawn = over_draws(_drawn_prior, program, np.arange(draws), args, evidence.n_tasks, each)
    return {name: in_chains(x, (PRIOR_CHAINS, PRIOR_DRAWS)) for name, x in drawn.items()}


def _drawn_prior(
    program: Program, number: Array, key: PRNGKeyArray, columns: Any, tasks: int
) -> dict[str, Array]:
    key = jax.random.fold_in(key, number)
    return program.simulate(key, program.without_rows(columns, tasks)).values


def _log_prior(
    program: Program, evidence: Evidence, values: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    args = task_columns_of(evidence), evidence.n_tasks
    lead = next(iter(values.values())).shape[:2]
    flat = {name: np.asarray(x).reshape(-1, *x.shape[2:]) for name, x in values.items()}
    found = over_draws(Program.log_prior_by_site, program, flat, args, evidence.n_tasks)
    return {name: in_chains(x, lead) for name, x in found.items()}


def _latents(program: Program, values: Mapping[str, Any]) -> dict[str, Any]:
    return {latent.name: np.asarray(values[latent.name]) for latent in program.latents}


def _kept(draws: Draws, evidence: Evidence) -> slice:
    """Which draws are kept where there is a value per row."""
    values = draws.chains * draws.draws * max(evidence.n_rows, 1)
    return slice(None, None, max(1, -(-values // POINTWISE_LIMIT)))
