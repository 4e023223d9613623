"""Bayesian meta-learning: infer what a lifetime teaches, and learn the prior over it.

    import bayes_badger as bb

    run = bb.fit("eight_schools")
    run.posterior

| name | what it does |
|---|---|
| `fit` | infers the latents of a program from evidence; returns a `Run` |
| `predict` | a run's posterior and predictive for tasks it has not seen |
| `update` | goes on with new tasks from what a run learned, without the old data |
| `learn_prior` | learns a program's parameters from many lifetimes |
| `leave_one_task_out` | how a task would be predicted from all others |
| `breed` | breeds the policy of experts for one program |
| `compare` | ranks runs on the same evidence by expected log predictive density |
| `measures` | in nats: what tasks share, how far evidence moved a belief |
| `write_report` | a run as one HTML page |
| `load`, `list_runs` | reads a stored run; lists those in a folder |
| `lift` | a NumPyro program as pure functions of one flat vector |
| `read` | evidence from a file, a data frame, arrays |
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bayes_badger import measures
    from bayes_badger.comparison import compare
    from bayes_badger.errors import BadgerError
    from bayes_badger.evidence import Evidence, read
    from bayes_badger.fitting import fit
    from bayes_badger.left_out_tasks import leave_one_task_out
    from bayes_badger.many_lifetimes import learn_prior
    from bayes_badger.policies import breed
    from bayes_badger.prediction import predict
    from bayes_badger.program import Program, lift, read_signature
    from bayes_badger.recipe import load_recipe
    from bayes_badger.report import write_report
    from bayes_badger.runs import Run, list_runs
    from bayes_badger.runs import read_run as load
    from bayes_badger.updating import update

__version__ = version("bayes-badger")
__all__ = [
    "BadgerError",
    "Evidence",
    "Program",
    "Run",
    "breed",
    "compare",
    "fit",
    "learn_prior",
    "leave_one_task_out",
    "lift",
    "list_runs",
    "load",
    "load_recipe",
    "measures",
    "predict",
    "read",
    "read_signature",
    "update",
    "write_report",
]

# No room has the name of what it gives, or the module would hide the function.
# The rooms are entered when they are first asked for: jax and arviz take seconds to import.
_ROOMS = {
    "BadgerError": ("errors", "BadgerError"),
    "Evidence": ("evidence", "Evidence"),
    "Program": ("program", "Program"),
    "Run": ("runs", "Run"),
    "breed": ("policies", "breed"),
    "compare": ("comparison", "compare"),
    "fit": ("fitting", "fit"),
    "learn_prior": ("many_lifetimes", "learn_prior"),
    "leave_one_task_out": ("left_out_tasks", "leave_one_task_out"),
    "list_runs": ("runs", "list_runs"),
    "lift": ("program", "lift"),
    "load": ("runs", "read_run"),
    "load_recipe": ("recipe", "load_recipe"),
    "predict": ("prediction", "predict"),
    "read": ("evidence", "read"),
    "read_signature": ("program", "read_signature"),
    "update": ("updating", "update"),
    "write_report": ("report", "write_report"),
}


def __getattr__(name: str) -> Any:
    if name == "measures":
        return importlib.import_module(f"{__name__}.measures")
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room, attribute = _ROOMS[name]
    return getattr(importlib.import_module(f"{__name__}.{room}"), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
