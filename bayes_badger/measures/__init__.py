"""Measures, in nats: what tasks share, how far evidence moved a belief, which loop is short.

Each has a module of its own, with arrays first and one function of a run; `registry` lists them.
"""

from __future__ import annotations

from typing import Any

from bayes_badger.measures import registry

# Of programs, or of samples, and not of a run.
MORE = ("information_between_families", "information_between_samples")


def __getattr__(name: str) -> Any:
    # They are entered when they are first asked for: jax takes seconds to import.
    if name in registry.NAMES:
        return registry.function(name)
    if name == "information_between_samples":
        from bayes_badger.measures.samples.choice import information_between_samples

        return information_between_samples
    if name == "information_between_families":
        from bayes_badger.measures.families import information_between_families

        return information_between_families
    if name == "plot":
        from bayes_badger.measures.picture import plot

        return plot
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *registry.NAMES, *MORE, "plot"])
