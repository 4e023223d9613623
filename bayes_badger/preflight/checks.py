"""All that can be told early, for each thing that is asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bayes_badger import recipe as recipes
from bayes_badger.errors import BadgerError, listed
from bayes_badger.preflight.budget import seconds_of
from bayes_badger.preflight.index_style import check_task_plate
from bayes_badger.preflight.settings import settings_model
from bayes_badger.preflight.source import Source, read_source
from bayes_badger.preflight.table import check_table
from bayes_badger.preflight.visible import visible_outcome
from bayes_badger.tables.rows import REFUSE

RECIPE, OUTER = "inference.", "outer."
BREEDING, POLICY = "breeding.", "policy."
PACKAGE = "bayes_badger"


def check_fit(
    program: Any,
    data: Any = None,
    *,
    task: str | None = None,
    inference: str | Path = "auto",
    settings: Mapping[str, Any] | None = None,
    columns: Mapping[str, Any] | None = None,
    missing: str = REFUSE,
    simulated: bool = False,
    budget: float | int | str | None = None,
) -> None:
    """Refuses what `fit` is asked for, where that is certain from the files alone.

    Args:
        program: As of `fit`; a function, whose text may be anywhere, passes.
        data: As of `fit`; what is not the path of a CSV file passes.
        task: The column that labels the task.
        inference: The recipe.
        settings: Of the program, of the recipe and of the outer loop, by prefix.
        columns: As of `fit`.
        missing: "refuse" or "drop".
        simulated: Whether a number of tasks or steps to simulate was given.
        budget: How long each way to infer may take.

    Raises:
        BadgerError: In one line, as the fit itself would say it minutes later.
    """
    if budget is not None:
        seconds_of(budget)
    own, parts = split_settings(settings or {}, (RECIPE, OUTER))
    recipes.check_recipe(inference, parts[RECIPE], settings_of_loop)
    outer = settings_model(f"{PACKAGE}.outer_loop.loop")
    recipes.validated(outer, OUTER, parts[OUTER], "the outer loop")
    check_program(program, data, task, own, columns, missing, simulated)


def check_breed(
    program: Any,
    data: Any = None,
    *,
    task: str | None = None,
    settings: Mapping[str, Any] | None = None,
    missing: str = REFUSE,
) -> None:
    """Refuses what `breed` is asked for, where that is certain from the files alone.

    Raises:
        BadgerError: In one line.
    """
    own, parts = split_settings(settings or {}, (BREEDING, POLICY))
    how = settings_model(f"{PACKAGE}.outer_loop.breeding")
    recipes.validated(how, BREEDING, parts[BREEDING], "breeding")
    shape = settings_model(f"{PACKAGE}.policies", "Shape")
    recipes.validated(shape, POLICY, parts[POLICY], "a policy")
    check_program(program, data, task, own, None, missing)


def check_program(
    program: Any,
    data: Any,
    task: str | None,
    settings: Mapping[str, Any],
    columns: Mapping[str, Any] | None = None,
    missing: str = REFUSE,
    simulated: bool = False,
) -> None:
    """Refuses a program by its text, and a table by the program's signature.

    Raises:
        BadgerError: In one line.
    """
    source = read_source(program) if isinstance(program, str | Path) else None
    path = Path(data) if isinstance(data, str | Path) else None
    if source is None:
        if path is not None:
            check_table(path, None)
        return
    signature = source.signature(columns)
    if signature is not None:
        signature.check_settings(settings)
        _check_sizes(source, data, simulated)
        check_task_plate(source, signature, task)
    if path is not None:
        distribution = visible_outcome(source, signature) if signature is not None else None
        check_table(path, signature, task, missing, distribution=distribution)
    elif data is None and signature is not None:
        _check_brings_data(source, signature.names)


def check_new_data(
    spec: Mapping[str, Any],
    program: Any,
    data: Any,
    *,
    task: str | None = None,
    missing: str = REFUSE,
    queries: bool = False,
) -> None:
    """Refuses new data for a run that was read from a folder, by the text of its program.

    Args:
        spec: What the run says of itself.
        program: What was given as its program; None where that is to come from the shelf.
        data: As of `predict` and `update`; what is not the path of a CSV file passes.
        task: The column that labels the task; by default the run's own.
        missing: "refuse" or "drop".
        queries: Whether rows may lack their outcome.

    Raises:
        BadgerError: In one line.
    """
    named = stored_program(spec, program)
    source = read_source(named) if isinstance(named, str | Path) else None
    signature = distribution = None
    if source is not None:
        check_unchanged(spec, source.path, source.sha256)
        signature = source.signature()
    if source is not None and signature is not None:
        distribution = visible_outcome(source, signature)
    if isinstance(data, str | Path):
        label = task or stored_label(spec)
        path = Path(data)
        check_table(path, signature, label, missing, queries, distribution)


def stored_label(spec: Mapping[str, Any]) -> str | None:
    """The column that told the tasks of a run apart; None for the one that is called "task"."""
    label = spec.get("evidence", {}).get("task_name", "task")
    return None if label == "task" else str(label)


def stored_program(spec: Mapping[str, Any], program: Any) -> Any:
    """The program of a stored run: as given, or by its name on the shelf.

    Raises:
        BadgerError: Where it is not on the shelf and was not given: a stored path is never run.
    """
    stored = spec["program"]
    if program is None and not stored["on_shelf"]:
        where = stored["path"] or "a function"
        raise BadgerError(
            f"this run was fitted with {where}, which is not run unasked: give the program, "
            f"--model {where if stored['path'] else 'FILE'}"
        )
    return stored["name"] if program is None else program


def check_unchanged(spec: Mapping[str, Any], path: Path, sha256: str) -> None:
    """Refuses a program that is another than a run was fitted with.

    Raises:
        BadgerError: Where its file has changed.
    """
    if spec["program"]["sha256"] and sha256 != spec["program"]["sha256"]:
        raise BadgerError(f"{path.name} has changed since this run was fitted: fit again")


def settings_of_loop(name: str) -> Any:
    """The model of an inner loop's settings, by the loop's name."""
    return settings_model(f"{PACKAGE}.inner_loop.{name}")


def split_settings(
    settings: Mapping[str, Any], prefixes: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Settings without a prefix, and those of each prefix without it.

    Example:
        >>> split_settings({"scale": 2, "outer.rate": 0.1}, ("outer.",))
        ({'scale': 2}, {'outer.': {'rate': 0.1}})
    """
    parts: dict[str, dict[str, Any]] = {prefix: {} for prefix in prefixes}
    own = {}
    for key, value in settings.items():
        prefix = next((x for x in prefixes if key.startswith(x)), None)
        if prefix is None:
            own[key] = value
        else:
            parts[prefix][key.removeprefix(prefix)] = value
    return own, parts


def _check_sizes(source: Source, data: Any, simulated: bool) -> None:
    """Refuses numbers of tasks and steps where nothing is simulated."""
    if simulated and (data is not None or source.defines("evidence")):
        raise refusal_of_sizes(source.name, data is not None)


def refusal_of_sizes(program: str, given: bool) -> BadgerError:
    """What is said of numbers of tasks and steps where there are data."""
    why = "there are data" if given else f"{program} brings its own data"
    return BadgerError(
        f"{why}, so nothing is simulated: leave out tasks and steps (--tasks, --steps)"
    )


def _check_brings_data(source: Source, names: tuple[str, ...]) -> None:
    if source.defines("evidence") is False and source.defines("inputs") is False:
        raise refusal_of_no_data(source.name, names)


def refusal_of_no_data(program: str, names: tuple[str, ...]) -> BadgerError:
    """What is said of a program that brings no data where none are given."""
    return BadgerError(
        f"{program} brings no data: give it some, --data FILE with columns {listed(names)}"
    )
