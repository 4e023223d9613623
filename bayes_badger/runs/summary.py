"""The table of a posterior: lifetime latents first, then those of the tasks, by label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayes_badger.whole_process import quiet

SAMPLE = ("chain", "draw")


def posterior_table(
    tree: xr.DataTree,
    task_name: str,
    tasks: int = 16,
    latents: Sequence[Mapping[str, Any]] = (),
    entries: int = 64,
) -> pd.DataFrame:
    """Summarises a posterior, a row for each scalar.

    The interval is the 89 % equal-tailed one, columns `eti89_lb` and `eti89_ub`, whatever ArviZ
    is set to.

    Args:
        tree: With a group `posterior`, dims `(chain, draw, ...)`.
        task_name: The dim of the tasks.
        tasks: How many tasks to show, the first ones.
        latents: Tables with `name`, in the order in which to show them; variables that are not
            among them (deterministic sites) come after.
        entries: Variables with more scalars than this (of one task) are left out: a network's
            weights say nothing one by one.

    Returns:
        Its `attrs` tell `tasks_left_out` (how many) and `variables_left_out` (their names).
    """
    posterior = tree["posterior"].to_dataset()
    left_out = max(0, posterior.sizes.get(task_name, 0) - tasks)
    shown = posterior.isel({task_name: slice(0, tasks)}) if left_out else posterior
    known = [str(latent.get("name")) for latent in latents]
    order = [name for name in known if name in posterior.data_vars]
    order += [str(name) for name in posterior.data_vars if name not in order]
    too_long = [name for name in order if _entries(posterior[name], task_name) > entries]
    order = [name for name in order if name not in too_long]
    ranked = [name for name in order if task_name not in posterior[name].dims]
    ranked += [name for name in order if name not in ranked]
    table = _summary(shown[ranked]) if ranked else pd.DataFrame()
    table.attrs["tasks_left_out"] = left_out
    table.attrs["variables_left_out"] = too_long
    return table


def _entries(variable: xr.DataArray, task_name: str) -> int:
    inner = [size for dim, size in variable.sizes.items() if dim not in SAMPLE and dim != task_name]
    return int(np.prod(inner, dtype=np.int64))


def _summary(posterior: xr.Dataset) -> pd.DataFrame:
    # Imported here, for it takes seconds and a run can be read without it.
    import arviz as az

    numbers = posterior.map(lambda values: values.astype(int) if values.dtype == bool else values)
    # What never moves (a deterministic site may) has no r_hat: NaN says so.
    with quiet(RuntimeWarning):
        return az.summary(
            xr.DataTree.from_dict({"posterior": numbers}), ci_prob=0.89, ci_kind="eti"
        )
