"""What processes of the tests inherit, the kernels of notebooks among them.

Here, and not in tests/, so that `uv run pytest analyses` has it too.
"""

import os
from pathlib import Path

# The notebooks in analyses/ take fewer draws: see analyses/README.md.
os.environ.setdefault("BADGER_SMALL", "1")
# Compilations are kept from one process to the next.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent / ".cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
