"""Which columns of a table a program needs, and whether they are there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, NoReturn, Protocol, runtime_checkable

from bayes_badger.errors import did_you_mean, listed
from bayes_badger.signature import Signature
from bayes_badger.tables.labels import Labels
from bayes_badger.tables.numbers import Numbers
from bayes_badger.tables.origin import Origin, show


@runtime_checkable
class Table(Protocol):
    """A table that is read once it is known which of its columns are needed."""

    @property
    def origin(self) -> Origin:
        """What messages call it and its rows."""

    @property
    def names(self) -> list[str]:
        """Names of its columns; one that occurs twice is there twice."""

    @property
    def index_names(self) -> list[str]:
        """Names, among `names`, that the table itself uses to label its rows."""

    def labels(self, name: str) -> Labels:
        """Reads the column that labels the tasks, as it stands.

        Raises:
            BadgerError: If a row has no label.
        """

    def numbers(self, names: Iterable[str]) -> dict[str, Numbers]:
        """Reads columns of numbers.

        Raises:
            BadgerError: If a cell is not a number.
        """


class Needed(NamedTuple):
    """What a program needs of a table.

    Attributes:
        label: The column that labels the task.
        columns: Columns of numbers, each once.
        of_rows: Those of them that belong to the program's columns of rows.
        no_outcome: Whether the table has no outcome, and need not have one.
        tasks_alone: Whether it has no column of rows either: it is a table of tasks.
    """

    label: str
    columns: tuple[str, ...]
    of_rows: frozenset[str]
    no_outcome: bool
    tasks_alone: bool


def needed_columns(signature: Signature, table: Table, task: str | None, queries: bool) -> Needed:
    """Finds the columns of a table that a program asks for, by the table's header alone.

    Args:
        signature: What the program asks for.
        table: The table.
        task: The column that labels the task, or None to look for it.
        queries: Whether the outcome may be absent.

    Raises:
        BadgerError: If a column is absent or is there twice, with the closest name.
    """
    origin, known = table.origin, table.names
    label = _find_label(signature, table, task)
    no_outcome = queries and not set(signature.table_columns(signature.outcome)) & set(known)
    of_rows = frozenset(c for name in signature.columns for c in signature.table_columns(name))
    # A table of tasks alone: it has no column of rows, and so no rows.
    tasks_alone = no_outcome and not of_rows & set(known)
    left_out = (signature.outcome, *(signature.columns if tasks_alone else ()))
    wanted = [name for name in signature.names if not (no_outcome and name in left_out)]
    columns = tuple(dict.fromkeys(c for name in wanted for c in signature.table_columns(name)))
    for column in columns:
        if column not in known:
            _refuse_absent(column, signature, known, origin)
    for column in (label, *columns):
        if known.count(column) > 1:
            origin.refuse(f"{known.count(column)} columns are called {column}: rename all but one")
    return Needed(label, columns, of_rows, no_outcome, tasks_alone)


def refuse_label_as_column(
    label: str, labels: Labels, signature: Signature, origin: Origin
) -> None:
    """Refuses text that labels the tasks and is a column of the program too, as in index style.

    Raises:
        BadgerError: With what to write instead.
    """
    if labels.tasks.dtype != object or not len(labels.tasks):
        return
    others = [name for name in signature.columns if label not in signature.table_columns(name)]
    size = others[0] if others else signature.columns[0]
    origin.refuse(
        f"{label} labels the tasks ({show(labels.tasks[0])}, ...), and the program "
        f"{signature.program} asks for it as a column of numbers: leave {label} out of its "
        "parameters, and write what each of them has of its own inside "
        f'numpyro.plate("task", {size}.shape[0], dim=-2), not as entries picked by [{label}]'
    )


def _find_label(signature: Signature, table: Table, task: str | None) -> str:
    known = table.names
    used = {column for name in signature.names for column in signature.table_columns(name)}
    candidates = list(dict.fromkeys(name for name in known if name not in used))
    if task is not None:
        if task in known:
            return task
        table.origin.refuse(
            f"has no column {show(task)} for the task{did_you_mean(task, known)}: "
            f"say --task COLUMN, one of {listed(candidates or known, 12)}"
        )
    if "task" in known:
        return "task"
    levels = [name for name in table.index_names if name not in used]
    if len(levels) == 1:
        return levels[0]
    among = f": {listed(candidates, 12)}" if candidates else "; it has no column to spare"
    return table.origin.refuse(
        f"which column labels the task? say --task COLUMN, one of its columns{among}"
    )


def _refuse_absent(column: str, signature: Signature, known: list[str], origin: Origin) -> NoReturn:
    outcome = column in signature.table_columns(signature.outcome)
    need = "needs as its outcome" if outcome else "needs"
    origin.refuse(
        f"has no column {show(column)}, which the program {signature.program} {need}"
        f"{did_you_mean(column, known)}: rename or add it; it has {listed(known, 12)}"
    )
