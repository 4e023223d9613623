"""A program read from the text of its file, without executing it."""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bayes_badger import shelves
from bayes_badger.signature import Signature, signature_of

# With these a file may define anything under any name.
DYNAMIC = {
    "exec",
    "eval",
    "globals",
    "locals",
    "vars",
    "setattr",
    "getattr",
    "__import__",
    "delattr",
}
# What a default is taken from is never None, though the text does not say its value.
CONSTANTS_OF = {"jnp", "np", "jax", "math", "numpy"}


class UnclearError(Exception):
    """The text does not tell: the program has to be executed to know."""


@dataclass(frozen=True)
class Source:
    """The text of a program.

    Attributes:
        name: What the program is called in messages.
        path: Its file.
        tree: The file's syntax.
        sha256: Of the file's bytes.
        function: The program, where it is a plain function of the file; None if that is unclear.
    """

    name: str
    path: Path
    tree: ast.Module
    sha256: str
    function: ast.FunctionDef | None

    def defines(self, name: str) -> bool | None:
        """Whether the file binds a name at its top level; None if that is unclear."""
        if self._dynamic:
            return None
        return name in self._bound

    def signature(self, groups: Mapping[str, Any] | None = None) -> Signature | None:
        """What the program asks for; None if its text does not tell.

        Args:
            groups: Table columns behind a column of the program, in place of the file's own.

        Raises:
            BadgerError: Where a parameter has no meaning in the contract.
        """
        if self.function is None:
            return None
        try:
            parameters = list(_parameters(self, self.function.args))
            groups = groups or self.literal("columns")
        except UnclearError:
            return None
        if groups is not None and not _is_groups(groups):
            return None
        return signature_of(self.name, parameters, groups)

    def literal(self, name: str) -> Any:
        """The value of a name that the file binds once, to a literal; None if it does not bind it.

        Raises:
            UnclearError: If it is bound in another way.
        """
        if self.defines(name) is False:
            return None
        statements = self._bound.get(name, [])
        if self._dynamic or len(statements) != 1 or statements[0] not in self.tree.body:
            raise UnclearError
        statement = statements[0]
        if not isinstance(statement, ast.Assign | ast.AnnAssign) or statement.value is None:
            raise UnclearError
        try:
            return ast.literal_eval(statement.value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            raise UnclearError from None

    @cached_property
    def _bound(self) -> dict[str, list[ast.stmt]]:
        return _bound_names(self.tree)

    @cached_property
    def _dynamic(self) -> bool:
        return "*" in self._bound or is_dynamic(self.tree)


def read_source(name_or_path: str | Path) -> Source:
    """Reads the text of a program: by name, by path, or one function of a file after a colon.

    Raises:
        BadgerError: Where there is no such file, it is not Python, or it is certain that it has no
            such function.
    """
    path, named = shelves.find_program(name_or_path)
    source, tree = shelves.parsed(path)
    found = Source(
        name=shelves.called(path, named),
        path=path,
        tree=tree,
        sha256=hashlib.sha256(source).hexdigest(),
        function=None,
    )
    defined = shelves.functions_of(source)
    if found.defines(named or "model") is False:
        if named:
            shelves.refuse_function(path, named, defined)
        # A name that is bound again later may be no function in the end.
        if all(len(found._bound[name]) == 1 for name in defined):
            named = shelves.choose(path, "", defined)
    return Source(found.name, path, tree, found.sha256, _plain_function(found, named or "model"))


def is_dynamic(tree: ast.AST) -> bool:
    """Whether code may define or call what its text does not name."""
    return any(isinstance(node, ast.Name) and node.id in DYNAMIC for node in ast.walk(tree))


def _plain_function(source: Source, name: str) -> ast.FunctionDef | None:
    """A function that is defined once, undecorated, at the top level of its file."""
    if source.defines(name) is not True:
        return None
    statements = source._bound[name]
    if len(statements) != 1 or statements[0] not in source.tree.body:
        return None
    function = statements[0]
    if isinstance(function, ast.FunctionDef) and not function.decorator_list:
        return function
    return None


def _bound_names(tree: ast.Module) -> dict[str, list[ast.stmt]]:
    """The statements that bind each name at the top level, those in `if` and `try` too."""
    found: dict[str, list[ast.stmt]] = {}

    def bind(name: str, statement: ast.stmt) -> None:
        found.setdefault(name, []).append(statement)

    def visit(body: list[ast.stmt]) -> None:
        for statement in body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                bind(statement.name, statement)
            elif isinstance(statement, ast.Import | ast.ImportFrom):
                for alias in statement.names:
                    bind((alias.asname or alias.name).partition(".")[0], statement)
            else:
                for name in _stored(statement):
                    bind(name, statement)
                for field in ("body", "orelse", "finalbody"):
                    visit(getattr(statement, field, []))
                for part in (*getattr(statement, "handlers", []), *getattr(statement, "cases", [])):
                    visit(part.body)

    visit(tree.body)
    for node in ast.walk(tree):
        # A function may bind a name of the module.
        if isinstance(node, ast.Global):
            for name in node.names:
                found.setdefault(name, []).extend([tree.body[0]] * 2)
    return found


def _stored(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement itself assigns or deletes, without the blocks inside it."""
    for field, value in ast.iter_fields(statement):
        if field in ("body", "orelse", "finalbody", "handlers", "cases"):
            continue
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, ast.AST):
                for node in ast.walk(part):
                    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                        yield node.id


def _parameters(source: Source, arguments: ast.arguments) -> Iterator[inspect.Parameter]:
    """The parameters of a function, as `inspect.signature` gives them of a live one."""
    kind = inspect.Parameter
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    for argument, default in zip(positional, defaults, strict=True):
        yield kind(argument.arg, kind.POSITIONAL_OR_KEYWORD, default=_default(source, default))
    if arguments.vararg:
        yield kind(arguments.vararg.arg, kind.VAR_POSITIONAL)
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield kind(argument.arg, kind.KEYWORD_ONLY, default=_default(source, default))
    if arguments.kwarg:
        yield kind(arguments.kwarg.arg, kind.VAR_KEYWORD)


def _default(source: Source, node: ast.expr | None) -> Any:
    """The value of a default; where it is no literal, what stands for some value but None."""
    if node is None:
        return inspect.Parameter.empty
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        pass
    if isinstance(node, ast.Name) and source.defines(node.id):
        return source.literal(node.id)
    root = node
    while isinstance(root, ast.Attribute):
        root = root.value
    of_library = isinstance(root, ast.Name) and root.id in CONSTANTS_OF and root is not node
    if of_library or isinstance(node, ast.BinOp | ast.UnaryOp | ast.Tuple | ast.List | ast.Lambda):
        return ...
    raise UnclearError


def _is_groups(groups: Any) -> bool:
    return isinstance(groups, Mapping) and all(
        isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
        for value in groups.values()
    )
