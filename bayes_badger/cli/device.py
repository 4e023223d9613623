"""JAX, before it starts: compiled programs are kept, several chains use several cores."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path

CACHE_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
MOST_DEVICES = 4


def prepare(debug: bool = False) -> None:
    """Sets JAX up; what the user has set by environment variables stays.

    Args:
        debug: Whether libraries may warn of what a user of the command cannot change.
    """
    if not debug:
        silence()
    import jax

    folder = cache_folder()
    if CACHE_VARIABLE not in os.environ and _usable(folder):
        jax.config.update("jax_compilation_cache_dir", str(folder))
    # A second fit of eight_schools then takes 15 s of CPU instead of 28.
    # A fit compiles many small programs, most of them in less than the default of a second.
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    # On two busy cores, 1000 + 1000 draws of radon: 14.1 s on one device (14.0 to 14.2 in three
    # runs), 6.1 to 14.0 s on two; eight_schools takes 0.2 to 0.6 s on either.
    given = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if not given and "JAX_NUM_CPU_DEVICES" not in os.environ:
        # A second fit in one process finds JAX started, and then it is too late.
        try:
            jax.config.update("jax_num_cpu_devices", device_count())
        except RuntimeError:
            return


def cache_folder() -> Path:
    """Where compiled programs are kept: the user's own folder for caches."""
    parent = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(parent) / "bayes-badger" / "jax"


def device_count() -> int:
    """How many CPU devices share the chains: as many as there are cores, at most four."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(MOST_DEVICES, cores or 1)


def silence() -> None:
    """Keeps what libraries warn of off the screen."""
    warnings.simplefilter("ignore")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in ("jax", "absl", "numpyro", "arviz", "matplotlib"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _usable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
