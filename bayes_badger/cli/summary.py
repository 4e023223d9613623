"""What is said of a run: what was fitted, its posterior, and whether to believe it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from rich.console import RenderableType

from bayes_badger.cli.scalars import ENTRIES, Scalar, entries, scalars
from bayes_badger.cli.screen import Screen, short_path, told
from bayes_badger.cli.tables import bullets, facts, scalar_table
from bayes_badger.doubts import HEADINGS, NUMBERS
from bayes_badger.doubts.reading import tried
from bayes_badger.doubts.truth import held
from bayes_badger.errors import listed
from bayes_badger.named_values import chances, names_of
from bayes_badger.runs.run import Run

TASKS_SHOWN = 16


@dataclass(frozen=True)
class Summary:
    """A posterior as scalars.

    Attributes:
        lifetime: Of what all tasks share.
        tasks: Of what each task has, by variable.
        tasks_left_out: How many tasks are not among them.
        variables_left_out: Variables with too many entries to show.
    """

    lifetime: list[Scalar]
    tasks: dict[str, list[Scalar]]
    tasks_left_out: int
    variables_left_out: list[str]


def summarise(run: Run, tasks: int | None) -> Summary:
    """The scalars of a run's posterior, in the program's order; None for all tasks."""
    posterior = _group(run, "posterior")
    truth = _group(run, "truth")
    task = run.task_name
    count = posterior.sizes.get(task, 0)
    kept = count if tasks is None else min(tasks, count)
    lifetime: list[Scalar] = []
    by_task: dict[str, list[Scalar]] = {}
    too_long = []
    for name in _in_order(run, posterior):
        variable, true = chances(posterior[name]), truth.get(name)
        true = None if true is None else chances(true, names_of(posterior[name]))
        if entries(variable, task) > ENTRIES:
            too_long.append(name)
        elif task in variable.dims:
            first = {task: slice(0, kept)}
            some = None if true is None or task not in true.dims else true.isel(first)
            by_task[name] = scalars(variable.isel(first), task, some)
        else:
            lifetime += scalars(variable, None, true)
    return Summary(lifetime, by_task, count - kept, too_long)


def show(screen: Screen, run: Run, tasks: int, again: str) -> None:
    """Shows a run on the terminal.

    Args:
        screen: Where to.
        run: The run.
        tasks: How many tasks to show.
        again: The command that shows all tasks.
    """
    found = summarise(run, tasks)
    screen.answer(told(run.name, "bold"), facts(_facts(run)), "")
    groups = [("lifetime", found.lifetime)] if found.lifetime else []
    groups += [
        (f"{name}, by {run.task_name}", scalars) for name, scalars in found.tasks.items() if scalars
    ]
    if groups:
        screen.answer(scalar_table(groups))
    for line in _footnotes(run, found, again):
        screen.answer(told(f"  {line}", "dim"))
    for heading, texts in run.findings.by_heading():
        screen.answer("", *under(heading, texts))
    for reason in run.findings.not_looked_at:
        screen.answer(told(f"  not looked at: {reason}", "dim"))


def distrust(warnings: list[str]) -> list[RenderableType]:
    """Warnings that nobody overlooks."""
    return under(HEADINGS[NUMBERS], warnings)


def under(heading: str, texts: list[str]) -> list[RenderableType]:
    """Doubts under the heading that says what they concern; those about numbers in red."""
    colour = "red" if heading == HEADINGS[NUMBERS] else "yellow"
    return [told(f"{heading}:", f"bold {colour}"), bullets(texts, colour)]


def as_json(run: Run, tasks: int | None = None) -> dict[str, Any]:
    """A run as plain values, with all tasks unless told otherwise."""
    found = summarise(run, tasks)
    spec = run.spec
    return {
        "run": run.name,
        "path": None if run.path is None else str(run.path),
        "model": part(spec, "program").get("name"),
        "recipe": part(spec, "recipe"),
        "seed": spec.get("seed"),
        "evidence": part(spec, "evidence"),
        "seconds": part(spec, "result").get("seconds"),
        "device": spec.get("device"),
        "versions": part(spec, "versions"),
        "notes": strings(part(spec, "result").get("notes")),
        **run.findings.as_table(),
        "log_evidence": part(spec, "result").get("log_evidence"),
        "log_evidence_error": part(spec, "result").get("log_evidence_error"),
        "interval": "89% equal-tailed",
        "lifetime": [scalar.as_dict() for scalar in found.lifetime],
        "tasks": [scalar.as_dict() for group in found.tasks.values() for scalar in group],
        "tasks_left_out": found.tasks_left_out,
        "variables_left_out": found.variables_left_out,
    }


def part(spec: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A table of a spec; a stored one may be anything."""
    found = spec.get(name)
    return found if isinstance(found, Mapping) else {}


def strings(value: Any) -> list[str]:
    """A list of texts, whatever was stored."""
    return [str(item) for item in value] if isinstance(value, list | tuple) else []


def _group(run: Run, name: str) -> xr.Dataset:
    return run.tree[name].to_dataset() if name in run.tree.children else xr.Dataset()


def _in_order(run: Run, posterior: xr.Dataset) -> list[str]:
    """Latents as the program has them, then what it computes from them."""
    latents = part(run.spec, "program").get("latents")
    rows = latents if isinstance(latents, list | tuple) else []
    known = [str(row.get("name")) for row in rows if isinstance(row, Mapping)]
    names = [name for name in known if name in posterior.data_vars]
    return names + [str(name) for name in posterior.data_vars if name not in names]


def _facts(run: Run) -> list[tuple[str, str]]:
    spec, result = run.spec, part(run.spec, "result")
    program, recipe, evidence = (part(spec, name) for name in ("program", "recipe", "evidence"))
    facts = [("program", _program(program))]
    facts += [("recipe", str(recipe.get("name", "?")))]
    facts += [("", note) for note in strings(result.get("notes"))]
    facts += [("evidence", _sizes(run, evidence))]
    facts += [("", note) for note in strings(evidence.get("notes"))]
    sizes = _group(run, "posterior").sizes
    if {"chain", "draw"} <= set(sizes):
        seconds = result.get("seconds")
        took = f", {seconds:.1f} s" if isinstance(seconds, int | float) else ""
        chains = f"{sizes['chain']} chains" if sizes["chain"] != 1 else "1 chain"
        drawn = f"{chains} of {sizes['draw']} draws"
        if result.get("independent") is True:
            drawn = f"{sizes['chain'] * sizes['draw']} independent draws"
        facts.append(("posterior", f"{drawn}, seed {spec.get('seed', '?')}{took}"))
    evidence_nats = log_evidence(result)
    if evidence_nats:
        facts.append(("log evidence", evidence_nats))
    facts.append(("stored", short_path(run.path)))
    return facts


def log_evidence(result: Mapping[str, Any]) -> str:
    """The log evidence and its error, in nats; empty where it is not known."""
    value, error = result.get("log_evidence"), result.get("log_evidence_error")
    if not isinstance(value, int | float):
        return ""
    if not isinstance(error, int | float) or error <= 0:
        return f"{value:.4f} nats"
    return f"{value:.4f} nats, error about {error:.1g} by its own estimate"


def _program(program: Mapping[str, Any]) -> str:
    name = str(program.get("name", "?"))
    settings = part(program, "settings")
    told = f" ({', '.join(f'{key}={value}' for key, value in settings.items())})"
    return f"{name}{told if settings else ''}"


def _sizes(run: Run, evidence: Mapping[str, Any]) -> str:
    tasks, rows, name = evidence.get("tasks"), evidence.get("rows"), run.task_name
    unit = "" if name == "task" else f" ({name})"
    text = f"{_many(tasks, 'task')}{unit}, {_many(rows, 'row')}"
    if "task_index" in run.evidence and isinstance(tasks, int) and tasks > 0:
        lengths = np.bincount(np.asarray(run.evidence["task_index"].values, int), minlength=tasks)
        low, high = int(lengths.min()), int(lengths.max())
        text += f", {low} to {high} of a task" if low != high else f", {low} of each"
    return text


def _many(count: Any, unit: str) -> str:
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


def _footnotes(run: Run, found: Summary, again: str) -> list[str]:
    every = [*found.lifetime, *(scalar for group in found.tasks.values() for scalar in group)]
    if not every and not found.tasks_left_out:
        return ["no latents to show"]
    lines = ["intervals: 89% equal-tailed"]
    if found.tasks_left_out:
        count = found.tasks_left_out
        unit = "task" if run.task_name == "task" else f"task ({run.task_name})"
        unit = unit if count == 1 else unit.replace("task", "tasks", 1)
        lines.append(f"{count} more {unit}: {again}")
    if found.variables_left_out:
        lines.append(f"too many entries to show: {listed(found.variables_left_out)}")
    true, _ = tried("true values", lambda: held(run.spec, run.tree))
    return [*lines, true.sentence] if true else lines
