"""Names the axes of arrays as ArviZ wants them, with the labels of tasks and rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from bayes_badger.belief import Mixture
from bayes_badger.errors import BadgerError
from bayes_badger.evidence import Evidence
from bayes_badger.named_values import LABELS
from bayes_badger.program import LIFETIME, Program

OBS = "obs_id"


def safe_name(name: str) -> str:
    """A site's name as netCDF and ArviZ take it.

    Example:
        >>> safe_name("net/layers[0].weight")
        'net.layers.0.weight'
    """
    return name.replace("/", ".").replace("[", ".").replace("]", "").replace("..", ".").strip(".")


class Labels:
    """Names the axes of arrays, with the labels of tasks and rows."""

    def __init__(self, program: Program, evidence: Evidence) -> None:
        self.program, self.task = program, evidence.task_name
        self.scopes = {variable.name: variable.scope for variable in program.variables}
        self.tasks = evidence.tasks
        self.rows = {
            OBS: evidence.rows,
            self.task: (OBS, evidence.tasks[evidence.task_index]),
        }
        self._refuse_clashes(program, evidence)

    def of_values(
        self, values: Mapping[str, Any], lead: tuple[str, ...] = ("chain", "draw")
    ) -> xr.Dataset:
        """Latents and deterministics; what the values of one are called is an attribute."""
        variables = {}
        for name, x in values.items():
            dims = (*lead, self.task) if self.scopes[name] != LIFETIME else lead
            variables[safe_name(name)] = (self._dims(name, np.ndim(x), dims), np.asarray(x))
        found = self._dataset(variables, {self.task: self.tasks})
        for latent in self.program.latents:
            if latent.labels and safe_name(latent.name) in found:
                found[safe_name(latent.name)].attrs[LABELS] = json.dumps(latent.labels)
        return found

    def of_sites(self, values: Mapping[str, Any]) -> xr.Dataset:
        """One value per site, or per site and task."""
        variables = {}
        for name, x in values.items():
            dims = ("chain", "draw", self.task)[: np.ndim(x)]
            variables[safe_name(name)] = (dims, np.asarray(x))
        return self._dataset(variables, {self.task: self.tasks})

    def of_tasks(self, values: Mapping[str, Any]) -> xr.Dataset:
        """One value per task."""
        variables = {name: ((self.task,), np.asarray(x)) for name, x in values.items()}
        return self._dataset(variables, {self.task: self.tasks})

    def of_rows(self, values: Mapping[str, Any], kept: slice | None = None) -> xr.Dataset:
        """One value per row."""
        variables = {
            name: (self._dims(name, np.ndim(x), ("chain", "draw", OBS)), np.asarray(x))
            for name, x in values.items()
        }
        return self._dataset(variables, self.rows, kept)

    def of_messages(self, messages: np.ndarray) -> xr.Dataset:
        """What each task said of each draw of what tasks share, in nats."""
        variables = {"log_evidence": (("chain", "draw", self.task), messages)}
        found = self._dataset(variables, {self.task: self.tasks})
        found["log_evidence"].attrs["units"] = "nats"
        return found

    def of_belief(self, belief: Mixture) -> xr.Dataset:
        """Experts over what tasks share: weights, means and roots of covariances in coordinates."""
        names = [
            f"{latent.name}[{i}]" if latent.size > 1 else latent.name
            for latent in belief.latents
            for i in range(latent.size)
        ]
        k = "expert"
        variables: dict[str, Any] = {
            "log_weight": ((k,), np.asarray(belief.log_weights)),
            "mean": ((k, "coordinate"), np.asarray(belief.loc)),
            "scale_tril": ((k, "coordinate", "column"), np.asarray(belief.scale_tril)),
        }
        for name, x in belief.discrete.items():
            variables[f"value of {safe_name(name)}"] = (
                self._dims(name, x.ndim, (k,)),
                np.asarray(x),
            )
        return xr.Dataset(variables, {"coordinate": names, "column": names})

    def discrete_of(self, group: xr.Dataset) -> dict[str, Array]:
        """The values of discrete latents that each expert of such a group has, by name."""
        names = {x.name: f"value of {safe_name(x.name)}" for x in self.program.discrete}
        return {n: jnp.asarray(group[x].values) for n, x in names.items() if x in group}

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
        columns = (*evidence.columns, *evidence.task_columns, evidence.outcome_name)
        if self.task in taken | set(self.scopes) | set(columns):
            raise BadgerError(
                f"the task column is called '{self.task}', as is something else in "
                f"{program.name}: give the tasks a column of another name"
            )
        for name in columns:
            if name in taken:
                raise BadgerError(
                    f"{program.name}: a column is called '{name}', as is an axis of all draws: "
                    "rename it"
                )
        names = [safe_name(name) for name in self.scopes]
        twice = [name for name in names if names.count(name) > 1 or name in taken]
        if twice:
            raise BadgerError(f"{program.name}: two sites are called '{twice[0]}': rename one")
