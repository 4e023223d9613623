"""What a program asks for, read from its signature alone.

    def model(floor, log_radon=None, *, log_uranium, scale=1.0, state=None): ...

| parameter | meaning |
|---|---|
| positional, no default | a column of evidence, `[task, step, ...]` |
| default `None` | the outcome, `[task, step, ...]` |
| keyword-only, no default | a column of the task, `[task, 1, ...]` |
| `state=None` | what the program also returns: the state after its last step |
| any other default | a setting of the variant, `--set scale=2` |
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bayes_badger.errors import BadgerError, did_you_mean, listed

STATE = "state"


@dataclass(frozen=True)
class Signature:
    """The columns, outcome, state and settings that a program names.

    Attributes:
        program: The program's name, for messages.
        columns: Names of the columns of evidence, `[task, step, ...]`.
        outcome: Name of the outcome, `[task, step, ...]`.
        task_columns: Names of the columns of the task, `[task, 1, ...]`.
        stateful: Whether the program takes and returns a `state`.
        settings: Name and default of each setting.
        groups: Table columns gathered into one feature axis, by the name of the program's column.
    """

    program: str
    columns: tuple[str, ...]
    outcome: str
    task_columns: tuple[str, ...] = ()
    stateful: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Every column the program asks for, the outcome last."""
        return (*self.columns, *self.task_columns, self.outcome)

    def table_columns(self, name: str) -> tuple[str, ...]:
        """The columns of a table that make up one column of the program.

        Example:
            >>> Signature("m", ("X",), "y", groups={"X": ("x1", "x2")}).table_columns("X")
            ('x1', 'x2')
        """
        return tuple(self.groups.get(name, (name,)))

    def check_settings(self, settings: Iterable[str]) -> None:
        """Refuses the name of a setting that the program does not have.

        Raises:
            BadgerError: With the closest name, and those that there are.
        """
        for key in settings:
            if key not in self.settings:
                known = list(self.settings)
                has = f"it has {listed(known)}" if known else "it has none"
                raise BadgerError(
                    f"{self.program} has no setting '{key}'{did_you_mean(key, known)}: {has}"
                )


def read_signature(
    model: Callable[..., Any],
    name: str | None = None,
    groups: Mapping[str, Any] | None = None,
) -> Signature:
    """Reads what a program asks for.

    Args:
        model: The program, a function.
        name: What messages call it; the function's own name by default.
        groups: Table columns behind a column of the program, `{"X": ["x1", "x2"]}`.

    Raises:
        BadgerError: Where a parameter has no meaning in the contract.

    Example:
        >>> def radon(floor, log_radon=None, *, log_uranium, scale=1.0): ...
        >>> signature = read_signature(radon)
        >>> signature.columns, signature.outcome, signature.task_columns
        (('floor',), 'log_radon', ('log_uranium',))
        >>> dict(signature.settings)
        {'scale': 1.0}
    """
    name = name or str(getattr(model, "__name__", type(model).__name__))
    return signature_of(name, inspect.signature(model).parameters.values(), groups)


def signature_of(
    name: str, parameters: Iterable[inspect.Parameter], groups: Mapping[str, Any] | None = None
) -> Signature:
    """What parameters mean, whether they come from a live function or from the text of a file.

    Args:
        name: What messages call the program.
        parameters: Its parameters in order, each with its default.
        groups: Table columns behind a column of the program, `{"X": ["x1", "x2"]}`.

    Raises:
        BadgerError: Where a parameter has no meaning in the contract.
    """
    columns: list[str] = []
    task_columns: list[str] = []
    outcomes: list[str] = []
    settings: dict[str, Any] = {}
    stateful = False
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise BadgerError(
                f"{name}: parameter '*{parameter.name}' hides which columns the program needs: "
                "name each one"
            )
        if parameter.default is None:
            if parameter.name == STATE:
                stateful = True
            else:
                outcomes.append(parameter.name)
        elif parameter.default is not parameter.empty:
            settings[parameter.name] = parameter.default
        elif parameter.kind is parameter.KEYWORD_ONLY:
            task_columns.append(parameter.name)
        else:
            columns.append(parameter.name)
    if not outcomes:
        # The outcome tends to stand last, without the default that makes it one.
        first, last = (columns[:-1], columns[-1]) if len(columns) > 1 else (columns, "y")
        raise BadgerError(
            f"{name} has no outcome: give the parameter that is observed the default None, "
            f"as in def model({', '.join([*first, f'{last}=None'])})"
        )
    if len(outcomes) > 1:
        raise BadgerError(
            f"{name} has {len(outcomes)} parameters with default None ({listed(outcomes)}), but a "
            "program has one outcome: gather them on one axis, or give a setting another default"
        )
    if not columns:
        raise BadgerError(
            f"{name} has no column of evidence to take the sizes of its plates from: add one, "
            f"as in def model(x, {outcomes[0]}=None)"
        )
    groups = {key: tuple(value) for key, value in (groups or {}).items()}
    for key in groups:
        if key not in (*columns, *task_columns, *outcomes):
            known = (*columns, *task_columns, *outcomes)
            raise BadgerError(
                f"{name}: columns = {{'{key}': ...}} groups a column that the program does not "
                f"have{did_you_mean(key, known)}; it has {listed(known)}"
            )
    return Signature(
        program=name,
        columns=tuple(columns),
        outcome=outcomes[0],
        task_columns=tuple(task_columns),
        stateful=stateful,
        settings=settings,
        groups=groups,
    )
