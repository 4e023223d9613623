"""A belief as ArviZ sees it: a DataTree in long form, complete.

Rows are one dimension, `obs_id`, whatever the tasks' lengths, with the label of the task as a
coordinate: padding never reaches ArviZ, and what wants a 1-D observation has one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, PRNGKeyArray

from bayes_badger.belief import Draws
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import blocks_of, data_of, task_columns_of
from bayes_badger.labels import Labels
from bayes_badger.program import TASK, Data, Program

# Independent draws come as chains too: ArviZ's diagnostics and plots want several.
PRIOR_CHAINS, PRIOR_DRAWS = 4, 250
# Above this many values, quantities that have one per row and draw are kept for fewer draws.
POINTWISE_LIMIT = 40_000_000
# Values that are computed at once, so that memory stays small beside what is kept.
AT_ONCE = 4_000_000


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
    posterior = {name: jnp.asarray(x) for name, x in _latents(program, draws.values).items()}
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
    columns, tasks = task_columns_of(evidence), evidence.n_tasks

    def one(program: Program, key: Array, columns: Any) -> dict[str, Array]:
        return program.simulate(key, program.without_rows(columns, tasks)).values

    keys = jax.random.split(key, PRIOR_CHAINS * PRIOR_DRAWS)
    return _over_draws(one, program, keys, (columns,), (PRIOR_CHAINS, PRIOR_DRAWS), tasks)


def predict_rows(
    program: Program,
    evidence: Evidence,
    values: Mapping[str, Array],
    key: PRNGKeyArray,
    history: Evidence | None = None,
) -> np.ndarray:
    """An outcome for each row from each draw of the latents: `[chain, draw, row, ...]`.

    Args:
        program: The lifted program.
        evidence: The rows; their outcomes, if any, are not looked at.
        values: Draws of the latents, `[chain, draw, ...]`.
        key: For the outcomes.
        history: For a program with state, the rows that came before, of the same tasks: at least
            one of each. By default nothing came before.
    """

    def one(program: Program, xs: Any, data: Data, past: Any) -> Array:
        key, values = xs
        if past is not None:
            before, mask = past
            data = data._replace(state=program.state_after(values, before, mask))
        return program.simulate(key, data, values).outcome

    return _by_block(one, program, evidence, values, key, history)


def log_likelihood_rows(
    program: Program, evidence: Evidence, values: Mapping[str, Array]
) -> np.ndarray:
    """Log likelihood of each row at each draw of the latents, in nats: `[chain, draw, row]`."""

    def one(program: Program, xs: Any, data: Data, _: None) -> Array:
        return program.log_likelihood_of(xs[1], data)

    return _by_block(one, program, evidence, values, jax.random.key(0))


def replicated_rows(
    program: Program, evidence: Evidence, values: Mapping[str, Any], key: PRNGKeyArray
) -> np.ndarray:
    """How much likelier each row is than one drawn anew at the same latents, in nats.

    Returns:
        Log likelihood of the row less that of its replicate, `[chain, draw, row]`.
    """

    def one(program: Program, xs: Any, data: Data, _: None) -> Array:
        key, values = xs
        drawn = program.simulate(key, data, values).outcome
        itself, other = (
            program.log_likelihood_of(values, data._replace(outcome=y))
            for y in (data.outcome, drawn)
        )
        return itself - other

    return _by_block(one, program, evidence, values, key)


def _by_block(
    function: Callable[[Program, Any, Data, Any], Array],
    program: Program,
    evidence: Evidence,
    values: Mapping[str, Array],
    key: PRNGKeyArray,
    history: Evidence | None = None,
) -> np.ndarray:
    """Applies a function of one draw to each block of tasks; back to the long form of rows."""
    lead = next(iter(values.values())).shape[:2]
    blocks, done = blocks_of(evidence), []
    for i, block in enumerate(blocks):
        own = {
            name: x[:, :, block.tasks] if program.latent(name).scope == TASK else x
            for name, x in values.items()
        }
        flat = {name: x.reshape(-1, *x.shape[2:]) for name, x in own.items()}
        keys = jax.random.split(jax.random.fold_in(key, i), lead[0] * lead[1])
        past = None
        if history is not None:
            before = history.select(block.tasks).padded()
            past = data_of(before), jnp.asarray(before.mask)
        args = (data_of(block), past)
        done.append(_over_draws(function, program, (keys, flat), args, lead, block.mask.size))
    return evidence.long(blocks, done, axis=2)


def _over_draws(
    function: Callable[..., Any],
    program: Program,
    xs: Any,
    args: tuple[Any, ...],
    lead: tuple[int, ...],
    cells: int,
) -> Any:
    """Maps a function of one draw over all, some at once, and restores the axes chain and draw."""
    batch = max(1, min(250, AT_ONCE // max(cells, 1)))

    @eqx.filter_jit
    def all_draws(program: Program, xs: Any, args: Any) -> Any:
        return jax.lax.map(lambda x: function(program, x, *args), xs, batch_size=batch)

    done = all_draws(program, xs, args)
    return jax.tree.map(lambda x: np.asarray(x).reshape(*lead, *x.shape[1:]), done)


def _log_prior(
    program: Program, evidence: Evidence, values: Mapping[str, Array]
) -> dict[str, np.ndarray]:
    columns = task_columns_of(evidence)
    lead = next(iter(values.values())).shape[:2]
    flat = {name: x.reshape(-1, *x.shape[2:]) for name, x in values.items()}

    def one(program: Program, values: Any, columns: Any) -> dict[str, Array]:
        return program.log_prior_by_site(values, columns, evidence.n_tasks)

    return _over_draws(one, program, flat, (columns,), lead, evidence.n_tasks)


def _latents(program: Program, values: Mapping[str, Any]) -> dict[str, Any]:
    return {latent.name: jnp.asarray(values[latent.name]) for latent in program.latents}


def _kept(draws: Draws, evidence: Evidence) -> slice:
    """Which draws are kept where there is a value per row."""
    values = draws.chains * draws.draws * max(evidence.n_rows, 1)
    return slice(None, None, max(1, -(-values // POINTWISE_LIMIT)))
