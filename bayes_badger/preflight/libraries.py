"""Names of a file that are certain to mean a library's."""

from __future__ import annotations

import ast

# None of them opens a plate that is called "task", or reads the user's other files.
LIBRARIES = {
    "__future__",
    "abc",
    "collections",
    "dataclasses",
    "enum",
    "equinox",
    "functools",
    "itertools",
    "jax",
    "jaxtyping",
    "math",
    "numpy",
    "numpyro",
    "operator",
    "optax",
    "pandas",
    "pathlib",
    "scipy",
    "typing",
    "warnings",
}


def imports_of(tree: ast.AST) -> dict[str, str]:
    """What each imported name means, in full: `dist` is "numpyro.distributions".

    Example:
        >>> imports_of(ast.parse("import numpyro.distributions as dist"))
        {'dist': 'numpyro.distributions'}
    """
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                found[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                found[alias.asname or alias.name] = f"{module}.{alias.name}"
    return found


def only_libraries(tree: ast.AST) -> bool:
    """Whether a file imports nothing of the user's own."""
    return all(full.partition(".")[0] in LIBRARIES for full in imports_of(tree).values())


def full_name(node: ast.expr, imports: dict[str, str]) -> str | None:
    """What a name or an attribute means, `dist.Poisson` as "numpyro.distributions.Poisson".

    None where it does not begin with a name that is imported.
    """
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in imports:
        return None
    return ".".join([imports[node.id], *reversed(parts)])
