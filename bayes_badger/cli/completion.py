"""Names that a shell completes. Nothing here may wait for jax, nor fail."""

from __future__ import annotations

from collections.abc import Callable

import typer

from bayes_badger.errors import BadgerError

Found = list[tuple[str, str]]


def model_names(incomplete: str) -> Found:
    """Programs on the shelf."""
    return _from_shelf("models", incomplete)


def recipe_names(incomplete: str) -> Found:
    """Recipes on the shelf."""
    return _from_shelf("inference", incomplete)


def run_names(ctx: typer.Context, incomplete: str) -> Found:
    """Complete runs in the folder of runs, the newest first."""

    def found() -> Found:
        from bayes_badger.runs.listing import LAST, list_runs

        entries = [e for e in list_runs(ctx.params.get("out") or "runs") if e.state == "complete"]
        names = [(entry.name, f"{entry.created:%Y-%m-%d %H:%M}") for entry in entries]
        return [*names, (LAST, "the newest run")] if names else []

    return _starting(found, incomplete)


def _from_shelf(kind: str, incomplete: str) -> Found:
    def found() -> Found:
        from bayes_badger import shelves

        return shelves.names("models" if kind == "models" else "inference")

    return _starting(found, incomplete)


def _starting(found: Callable[[], Found], incomplete: str) -> Found:
    # A message in the middle of a half-typed line would help nobody.
    try:
        return [(name, about) for name, about in found() if name.startswith(incomplete)]
    except (BadgerError, OSError):
        return []
