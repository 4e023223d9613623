"""Fits in this process, and what was compiled for them, as JSON: a part of `compile`."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax

COMPILED = "/jax/core/compile/backend_compile_duration"
# An operation of StableHLO, which JAX lowers its equations to, in the text of a module.
OPERATIONS = ("stablehlo.", "chlo.")


def main(name: str, recipe: str) -> None:
    """Fits twice, with another seed the second time, and prints a line of JSON."""
    compilations = [0]

    def heard(event: str, seconds: float, **more: Any) -> None:
        compilations[0] += event == COMPILED

    jax.monitoring.register_event_duration_secs_listener(heard)
    with tempfile.TemporaryDirectory() as folder:
        jax.config.update("jax_dump_ir_to", folder)
        import bayes_badger as bb

        found: dict[str, Any] = {"s imports": time.process_time()}
        program, kwargs = asked(name)
        for seed, told in enumerate(("", "again ")):
            started, before = time.process_time(), compilations[0]
            bb.fit(program, inference=recipe, seed=seed, **kwargs)
            found[f"{told}compilations"] = compilations[0] - before
            found[f"s {told}fit"] = time.process_time() - started
            found[f"{told}operations"] = operations(Path(folder))
    found["again operations"] -= found["operations"]
    print(json.dumps(found))


def asked(name: str) -> tuple[Any, dict[str, Any]]:
    """A program and its data: of those beside plain NumPyro, or of the shelf."""
    from benchmarks._plain import CASES

    if name not in CASES:
        return name, {}
    case = CASES[name]
    return case.program, {"data": case.table(), "task": case.task}


def operations(folder: Path) -> int:
    """How many operations all modules have that were lowered."""
    modules = (path.read_text().splitlines() for path in folder.glob("*.mlir"))
    return sum(any(word in line for word in OPERATIONS) for lines in modules for line in lines)


if __name__ == "__main__":
    main(*sys.argv[1:])
