"""Settings of the toolkit's own parts, read from the text of the class that validates them.

An inner loop imports jax, and its settings stand in the same file. Their names, types and ranges
are literals in the text of `class Settings`, from which a model with the same fields is made.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from bayes_badger.preflight.libraries import full_name, imports_of

PLAIN: dict[str, Any] = {"int": int, "float": float, "str": str, "bool": bool}


@functools.cache
def settings_model(module: str, name: str = "Settings") -> type[BaseModel]:
    """A model with the fields of a class of the toolkit, made without importing its module.

    A field whose type or range is not written out in the text takes anything: the class itself
    looks at it later.

    Args:
        module: The module in full, "bayes_badger.inner_loop.nuts".
        name: The class.

    Example:
        >>> list(settings_model("bayes_badger.inner_loop.grid").model_fields)
        ['chains', 'draws', 'tolerance', 'evaluations']
    """
    tree = _tree(module)
    found = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    fields: dict[str, Any] = {}
    if not found:
        raise LookupError(f"{module} has no class {name}")
    imports, config = imports_of(tree), ConfigDict(extra="forbid")
    for base in found[0].bases:
        parent = _class_of(base, imports, module)
        if parent is not None:
            model = settings_model(*parent)
            fields |= {n: (info.annotation, info) for n, info in model.model_fields.items()}
            config = ConfigDict(**{**config, **model.model_config})
    for node in found[0].body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            fields[node.target.id] = _field(node, imports, module)
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "model_config":
            given = getattr(node.value, "keywords", [])
            own = {keyword.arg: ast.literal_eval(keyword.value) for keyword in given}
            config = ConfigDict(**{**config, **own})
    return create_model(name, __config__=config, **fields)


def _field(node: ast.AnnAssign, imports: dict[str, str], module: str) -> tuple[Any, Any]:
    """The type of a field, and its default and range."""
    kind: Any = Any
    annotation = node.annotation
    inner = _class_of(annotation, imports, module)
    if isinstance(annotation, ast.Name) and annotation.id in PLAIN:
        kind = PLAIN[annotation.id]
    elif inner is not None:
        kind = settings_model(*inner)
    elif isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Literal":
        kind = Literal[ast.literal_eval(annotation.slice)]
    ranges: dict[str, Any] = {}
    if isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "Field":
        for keyword in node.value.keywords:
            try:
                ranges[str(keyword.arg)] = ast.literal_eval(keyword.value)
            except ValueError:
                kind, ranges = Any, {}
                break
    ranges.pop("description", None)
    # What the default is does not matter: only what is given is looked at.
    return kind, Field(default=None, validate_default=False, **ranges)


def _class_of(node: ast.expr, imports: dict[str, str], module: str) -> tuple[str, str] | None:
    """The module and the name of a class of the toolkit; None for any other."""
    if isinstance(node, ast.Name) and node.id not in imports:
        own = {x.name for x in _tree(module).body if isinstance(x, ast.ClassDef)}
        return (module, node.id) if node.id in own else None
    full = full_name(node, imports)
    if full is None or not full.startswith("bayes_badger."):
        return None
    where, _, name = full.rpartition(".")
    return where, name


@functools.cache
def _tree(module: str) -> ast.Module:
    # A package above it may import jax, so the file is found without importing any.
    parts = module.split(".")[1:]
    path = Path(__file__).resolve().parents[1].joinpath(*parts).with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))
