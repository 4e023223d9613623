"""How would a task be predicted that had not been seen? Leave-one-task-out, at no extra fit."""

from __future__ import annotations

import numpy as np
import xarray as xr

from bayes_badger.errors import BadgerError
from bayes_badger.runs import Run

GROUP, VARIABLE = "messages", "log_evidence"


def leave_one_task_out(run: Run) -> xr.Dataset:
    """Log predictive density of all rows of a task, from all other tasks; in nats.

    Of tasks that share latents a, each told its evidence log p(D_i | a) at every draw of a. What is
    believed of a without task i, the cavity p(a | D)/p(D_i | a), is those draws weighed by one over
    that; the weights are Pareto-smoothed (Vehtari, Gelman & Gabry 2017), by ArviZ.

    Args:
        run: Fitted by experts, of a program whose tasks share latents.

    Returns:
        `elpd`, log p(D_i | the other tasks), `[task]`, and `pareto_k`: above .7 not to be trusted.

    Raises:
        BadgerError: Where the run has not what it takes.

    Example:
        >>> import bayes_badger as bb
        >>> run = bb.fit("eight_schools", inference="experts")
        >>> found = bb.leave_one_task_out(run)
        >>> str(found["elpd"].idxmin().item()), bool((found["pareto_k"] < 0.7).all())
        ('A', True)
    """
    # Not by way of arviz: its plots take seconds to import.
    import arviz_stats

    if GROUP not in run.tree.children:
        raise BadgerError(
            f"{run.name} has no messages of tasks: they are told by recipe experts, of a program "
            "whose tasks share latents"
        )
    messages = run.tree[GROUP].to_dataset()[[VARIABLE]]
    tree = xr.DataTree.from_dict({"/log_likelihood": messages.astype(np.float64)})
    found = arviz_stats.loo(tree, pointwise=True, var_name=VARIABLE, reff=1.0)
    elpd, k = (np.asarray(x, float).ravel() for x in (found.elpd_i, found.pareto_k))
    dim = run.task_name
    coords = {dim: messages[dim].values}
    result = xr.Dataset({"elpd": (dim, elpd), "pareto_k": (dim, k)}, coords)
    result["elpd"].attrs["units"] = "nats"
    return result
