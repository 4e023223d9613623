#!/usr/bin/env python3
"""Writes the exact versions of all dependencies into pyproject.toml, as constraints of uv.

Run `uv run python .ci/pin.py` to pin what is resolved now; with `--upgrade` it takes the newest
releases first. A lock file would name the hosts that it was made from; constraints name none.
"""

import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
BEGIN, END = "# pinned by .ci/pin.py: begin", "# pinned by .ci/pin.py: end"


def main() -> None:
    """Resolves without the present pins if asked to upgrade, and writes them anew."""
    text = PROJECT.read_text()
    rest = re.sub(rf"\n*{re.escape(BEGIN)}.*{re.escape(END)}\n", "\n", text, flags=re.DOTALL)
    if "--upgrade" in sys.argv:
        PROJECT.write_text(rest)
        subprocess.run(["uv", "lock", "--upgrade", "--quiet"], cwd=PROJECT.parent, check=True)
    command = [
        "uv",
        "export",
        "--all-groups",
        "--no-group",
        "peers",
        "--no-hashes",
        "--no-emit-project",
        "--quiet",
    ]
    command += ["--no-annotate", "--no-header"]
    done = subprocess.run(command, cwd=PROJECT.parent, check=True, capture_output=True, text=True)
    pins = [line.strip() for line in done.stdout.splitlines() if "==" in line]
    lines = "\n".join(f'    "{pin.replace(chr(34), chr(39))}",' for pin in pins)
    block = f"{BEGIN}\n[tool.uv]\nconstraint-dependencies = [\n{lines}\n]\n{END}\n"
    PROJECT.write_text(f"{rest.rstrip()}\n\n{block}")
    print(f"pinned {len(pins)} packages in {PROJECT.name}")


main()
