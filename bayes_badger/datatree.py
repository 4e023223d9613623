"""A belief as ArviZ sees it: a DataTree in long form, complete.

Rows are one dimension, `obs_id`, whatever the tasks' lengths, with the task's label as a coordinate:
padding never reaches ArviZ, and every diagnostic that wants a 1-D observation has one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, PRNGKeyArray

from bayes_badger.belief import Draws
from bayes_badger.errors import BadgerError
from bayes_badger.evidence import Block, Evidence
from bayes_badger.evidence.blocks import single
from bayes_badger.program import LIFETIME, TASK, Data, Program

OBS = "obs_id"
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
    labels = _Labels(program, evidence)
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
    columns = {name: jnp.asarray(single(x))[:, None] for name, x in evidence.task_columns.items()}
    tasks = evidence.n_tasks

    def one(program: Program, key: Array, columns: Any) -> dict[str, Array]:
        return program.simulate(key, program.without_rows(columns, tasks)).values

    keys = jax.random.split(key, PRIOR_CHAINS * PRIOR_DRAWS)
    return _over_draws(one, program, keys, (columns,), (PRIOR_CHAINS, PRIOR_DRAWS), tasks)


def predict_rows(
    program: Program,
    evidence: Evidence,
    values: Mapping[str, Array],
    key: PRNGKeyArray,
    states: Callable[[Block], Any] | None = None,
) -> np.ndarray:
    """An outcome for each row from each draw of the latents: `[chain, draw, row, ...]`."""

    def one(program: Program, xs: Any, data: Data) -> Array:
        key, values = xs
        return program.simulate(key, data, values).outcome

    return _by_block(one, program, evidence, values, key, states)


def log_likelihood_rows(
    program: Program, evidence: Evidence, values: Mapping[str, Array]
) -> np.ndarray:
    """Log likelihood of each row at each draw of the latents, in nats: `[chain, draw, row]`."""

    def one(program: Program, xs: Any, data: Data) -> Array:
        return program.log_likelihood_of(xs[1], data)

    return _by_block(one, program, evidence, values, jax.random.key(0))


def safe_name(name: str) -> str:
    """A site's name as netCDF and ArviZ take it.

    Example:
        >>> safe_name("net/layers[0].weight")
        'net.layers.0.weight'
    """
    return name.replace("/", ".").replace("[", ".").replace("]", "").replace("..", ".").strip(".")


def data_of(block: Block, states: Any = None) -> Data:
    """A block of evidence as a program takes it."""
    return Data(
        {name: jnp.asarray(x) for name, x in block.columns.items()},
        {name: jnp.asarray(x) for name, x in block.task_columns.items()},
        None if block.outcome is None else jnp.asarray(block.outcome),
        states,
    )


def _by_block(
    function: Callable[[Program, Any, Data], Array],
    program: Program,
    evidence: Evidence,
    values: Mapping[str, Array],
    key: PRNGKeyArray,
    states: Callable[[Block], Any] | None = None,
) -> np.ndarray:
    """Applies a function of one draw to each block of tasks; back to the long form of rows."""
    lead = next(iter(values.values())).shape[:2]
    blocks, done = evidence.blocks(), []
    for i, block in enumerate(blocks):
        own = {
            name: x[:, :, block.tasks] if program.latent(name).scope == TASK else x
            for name, x in values.items()
        }
        flat = {name: x.reshape(-1, *x.shape[2:]) for name, x in own.items()}
        keys = jax.random.split(jax.random.fold_in(key, i), lead[0] * lead[1])
        data = data_of(block, None if states is None else states(block))
        cells = block.mask.size
        done.append(_over_draws(function, program, (keys, flat), (data,), lead, cells))
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
    columns = {name: jnp.asarray(single(x))[:, None] for name, x in evidence.task_columns.items()}
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


class _Labels:
    """Names the axes of arrays, with the labels of tasks and rows."""

    def __init__(self, program: Program, evidence: Evidence) -> None:
        self.program, self.task = program, evidence.task_name
        things = (*program.latents, *program.derived)
        self.scopes = {thing.name: thing.scope for thing in things}
        self.tasks = evidence.tasks
        self.rows = {
            OBS: evidence.rows,
            self.task: (OBS, evidence.tasks[evidence.task_index]),
        }
        self._refuse_clashes(program, evidence)

    def of_values(
        self, values: Mapping[str, Any], lead: tuple[str, ...] = ("chain", "draw")
    ) -> xr.Dataset:
        """Latents and deterministics."""
        variables = {}
        for name, x in values.items():
            dims = (*lead, self.task) if self.scopes[name] != LIFETIME else lead
            variables[safe_name(name)] = (self._dims(name, np.ndim(x), dims), np.asarray(x))
        return self._dataset(variables, {self.task: self.tasks})

    def of_sites(self, values: Mapping[str, Any]) -> xr.Dataset:
        """One value per site, or per site and task."""
        variables = {}
        for name, x in values.items():
            dims = ("chain", "draw", self.task)[: np.ndim(x)]
            variables[safe_name(name)] = (dims, np.asarray(x))
        return self._dataset(variables, {self.task: self.tasks})

    def of_rows(self, values: Mapping[str, Any], kept: slice | None = None) -> xr.Dataset:
        """One value per row."""
        variables = {
            name: (self._dims(name, np.ndim(x), ("chain", "draw", OBS)), np.asarray(x))
            for name, x in values.items()
        }
        return self._dataset(variables, self.rows, kept)

    def plain(self, values: Mapping[str, Any]) -> xr.Dataset:
        """One value per draw."""
        return self._dataset({n: (("chain", "draw"), np.asarray(x)) for n, x in values.items()}, {})

    def observed(self, evidence: Evidence) -> xr.Dataset:
        """The outcome of each row."""
        name, x = evidence.outcome_name, evidence.outcome
        assert x is not None  # noqa: S101 - what was fitted has outcomes
        return xr.Dataset({name: (self._dims(name, x.ndim, (OBS,)), x)}, self.rows)

    def constant(self, evidence: Evidence) -> xr.Dataset:
        """Columns of rows and of tasks."""
        variables = {n: (self._dims(n, x.ndim, (OBS,)), x) for n, x in evidence.columns.items()}
        by_task = {
            n: (self._dims(n, x.ndim, (self.task,)), x) for n, x in evidence.task_columns.items()
        }
        # The label of a row's task cannot share its name with the dim of tasks.
        label = f"{self.task}_of_{OBS}"
        rows = {OBS: evidence.rows, label: self.rows[self.task]}
        return xr.Dataset({**variables, **by_task}, {**rows, self.task: self.tasks})

    def _dims(self, name: str, ndim: int, lead: Sequence[str]) -> tuple[str, ...]:
        extra = (f"{safe_name(name)}_dim_{i}" for i in range(ndim - len(lead)))
        return (*lead, *extra)

    def _dataset(
        self,
        variables: Mapping[str, Any],
        coords: Mapping[str, Any],
        kept: slice | None = None,
    ) -> xr.Dataset:
        used = {dim for dims, _ in variables.values() for dim in dims}
        shape = next(iter(variables.values()), ((), np.zeros(())))
        sizes = dict(zip(shape[0], shape[1].shape, strict=True))
        coords = {n: c for n, c in coords.items() if n in used or isinstance(c, tuple)}
        for dim in ("chain", "draw"):
            if dim in sizes:
                step = kept.step if kept is not None and dim == "draw" else 1
                coords[dim] = np.arange(sizes[dim]) * step
        return xr.Dataset(dict(variables), coords)

    def _refuse_clashes(self, program: Program, evidence: Evidence) -> None:
        taken = {"chain", "draw", OBS}
        if self.task in taken | set(self.scopes) | {evidence.outcome_name}:
            raise BadgerError(
                f"the task column is called '{self.task}', as is something else in "
                f"{program.name}: rename the column"
            )
        names = [safe_name(name) for name in self.scopes]
        twice = [name for name in names if names.count(name) > 1 or name in taken]
        if twice:
            raise BadgerError(f"{program.name}: two sites are called '{twice[0]}': rename one")
