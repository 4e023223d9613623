"""A program without a `task` plate: for certain, by its text, and what to write instead.

In index style a program gets one row after the other and looks up what belongs to each:
`effect[patient]`. Here columns come as [task, step], and a latent inside `plate("task", ...)` has
one value for each task.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

from bayes_badger.errors import BadgerError
from bayes_badger.preflight.libraries import LIBRARIES, only_libraries
from bayes_badger.preflight.source import Source, is_dynamic
from bayes_badger.signature import Signature

TASK = "task"


def check_task_plate(source: Source, signature: Signature, task: str | None = None) -> None:
    """Refuses a program of which it is certain that it opens no plate named "task".

    Args:
        source: The program.
        signature: What it asks for.
        task: The column that labels the tasks, if it is known.

    Raises:
        BadgerError: With the lines to write instead, in the program's own names.
    """
    if source.function is None or may_have_task_plate(source.tree):
        return
    raise BadgerError(f"{source.path.name}: {_told(source.function, signature, task)}")


def check_live_task_plate(
    model: Callable[..., Any], signature: Signature, task: str | None = None
) -> None:
    """The same of a function in memory, by its text and what the names in it mean.

    Raises:
        BadgerError: With the lines to write instead, in the program's own names.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(model)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return
    function = tree.body[0] if len(tree.body) == 1 else None
    if not isinstance(function, ast.FunctionDef) or function.decorator_list:
        return
    if not inspect.isfunction(model) or model.__closure__ or not _knows_libraries(model, tree):
        return
    if not may_have_task_plate(tree):
        raise BadgerError(f"{signature.program}: {_told(function, signature, task)}")


def may_have_task_plate(tree: ast.AST) -> bool:
    """Whether anything in a file could open a plate named "task".

    It could wherever that word is part of a text, a plate's name is computed, a plate is passed
    on instead of called, or code comes from another file of the user's.
    """
    if is_dynamic(tree) or not only_libraries(tree):
        return True
    called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    documentation = {id(node) for node in _docstrings(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
            if TASK in text and id(node) not in documentation:
                return True
        elif _is_plate(node):
            call = called.get(id(node))
            if call is None or not isinstance(_plate_name(call), str):
                return True
        elif isinstance(node, ast.alias) and node.name.endswith("plate") and node.asname:
            return True
    return False


def _told(function: ast.FunctionDef, signature: Signature, task: str | None) -> str:
    """What is wrong, and the lines to write."""
    sites = _sites(function)
    index, latent = _index(function, signature, sites) or ("", "")
    columns = [name for name in signature.columns if name != index] or ["x"]
    parameters = [*columns, f"{signature.outcome}=None"]
    if signature.task_columns:
        parameters += ["*", *signature.task_columns]
    outer = f'with numpyro.plate("task", {columns[0]}.shape[0], dim=-2):'
    inner = f'with numpyro.plate("step", {columns[0]}.shape[1], dim=-1):'
    last = f"around {signature.outcome}"
    if not index:
        return (
            f'{function.name} has no numpyro.plate("task", ...), so that nothing says what belongs '
            f"to a task: write {outer} around what each task has of its own, and inside it "
            f"{inner} {last}"
        )
    plates = _plates_around(function, sites.get(latent, latent))
    replaced = f", in place of {plates[0]}" if plates else ""
    told = (
        f'{function.name} has no numpyro.plate("task", ...): it is in index style '
        f"({latent}[{index}]), and here columns come as [task, step]. Write def {function.name}"
        f"({', '.join(parameters)}): without {index}; {outer} around {latent}{replaced}; "
        f"{latent} where it says {latent}[{index}]; and, inside that plate, {inner} {last}"
    )
    if columns == ["x"] and "x" not in signature.columns:
        told += "; x is any column of the table, which gives the plates their sizes"
    return told if task == index else f"{told}; {index} is then given by --task {index}"


def _knows_libraries(model: FunctionType, tree: ast.Module) -> bool:
    """Whether every global name in a function is a library's, under its own name."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Name) and node.id in model.__globals__):
            continue
        value = model.__globals__[node.id]
        if isinstance(value, bool | int | float):
            continue
        name = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None)
        if str(name).partition(".")[0] not in LIBRARIES:
            return False
        if getattr(value, "__name__", "") == "plate" and node.id != "plate":
            return False
    return True


def _is_plate(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr == "plate"
    return isinstance(node, ast.Name) and node.id == "plate"


def _plate_name(call: ast.Call) -> object:
    """The name that a call of `plate` gives, where it is written out; else None."""
    given = call.args[0] if call.args else None
    for keyword in call.keywords:
        if keyword.arg == "name":
            given = keyword.value
    return given.value if isinstance(given, ast.Constant) else None


def _docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    """Texts that are statements by themselves: nobody reads their value."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value


def _sites(function: ast.FunctionDef) -> dict[str, str]:
    """Variables that hold a sampled value, and the name of their site."""
    found = {}
    for node in ast.walk(function):
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)):
            continue
        call, target = node.value, node.targets[0]
        name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        if name == "sample" and isinstance(target, ast.Name) and call.args:
            site = call.args[0]
            found[target.id] = str(site.value) if isinstance(site, ast.Constant) else target.id
    return found


def _index(
    function: ast.FunctionDef, signature: Signature, sites: dict[str, str]
) -> tuple[str, str] | None:
    """The parameter that picks entries of a latent, and the variable of that latent."""
    for node in ast.walk(function):
        if not (isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name)):
            continue
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        for part in parts:
            by = part.id if isinstance(part, ast.Name) else ""
            if by in signature.columns and node.value.id in sites:
                return by, node.value.id
    return None


def _plates_around(function: ast.FunctionDef, site: str) -> list[str]:
    """The plates around a site, the outermost first, as they are written."""

    def holds(node: ast.AST) -> bool:
        return any(
            isinstance(part, ast.Call)
            and part.args
            and isinstance(part.args[0], ast.Constant)
            and part.args[0].value == site
            and not _is_plate(part.func)
            for part in ast.walk(node)
        )

    return [
        ast.unparse(item.context_expr)
        for node in ast.walk(function)
        if isinstance(node, ast.With) and any(holds(statement) for statement in node.body)
        for item in node.items
        if isinstance(item.context_expr, ast.Call) and _is_plate(item.context_expr.func)
    ]
