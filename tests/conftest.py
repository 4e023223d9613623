"""Shared by all tests: array annotations are checked, and compilations are kept."""

import os
from pathlib import Path

import jax
import pytest
from jaxtyping import install_import_hook

install_import_hook("bayes_badger", "beartype.beartype")

CACHE = Path(__file__).parents[1] / ".cache" / "jax"
jax.config.update("jax_compilation_cache_dir", os.environ.get("JAX_COMPILATION_CACHE_DIR", str(CACHE)))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


@pytest.fixture
def key():
    return jax.random.key(0)
