"""Runs one benchmark: prints its table, and writes it as JSON into `benchmarks/results/`."""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from pathlib import Path

import benchmarks

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Lists the benchmarks, or runs the one that is named."""
    found = (m.name for m in pkgutil.iter_modules(benchmarks.__path__))
    names = [name for name in found if not name.startswith("_")]
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        print("usage: uv run python -m benchmarks NAME [PART ...], NAME one of: ", end="")
        print(", ".join(sorted(names)))
        return 2
    name, *parts = sys.argv[1:]
    table = importlib.import_module(f"benchmarks.{name}").run(*parts)
    print(table.to_string(index=False, float_format=lambda x: f"{x:.4g}"))
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / ("-".join([name, *parts]).replace("/", "_") + ".json")
    path.write_text(json.dumps(table.to_dict(orient="records"), indent=1, default=float))
    print(f"written to {path}")
    return 0


sys.exit(main())
