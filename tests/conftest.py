"""Shared by all tests; quick ones check array annotations. Processes: ../conftest.py."""

import os

import jax
import pytest
from jaxtyping import install_import_hook


def pytest_configure(config):
    """Annotations are checked, but not by what is slow: it goes where quick tests have been."""
    if config.option.markexpr not in ("slow", "browser", "slow or browser", "nightly"):
        install_import_hook("bayes_badger", "beartype.beartype")


# To JAX itself too: a plugin may have imported it before its variables were set.
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


@pytest.fixture(autouse=True, scope="module")
def what_is_compiled_is_forgotten():
    """Once there is much of it, between two files of tests; it comes back from the disk."""
    from bayes_badger.program.crowding import forget_if_crowded

    yield
    forget_if_crowded(most=25_000)


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture(scope="session")
def eight_schools():
    """One run of the README's first command, for all tests that look at a run."""
    import bayes_badger as bb

    return bb.fit("eight_schools")


@pytest.fixture(scope="session")
def readings():
    """The normal hierarchy, in closed form: tasks of several rows that share a level."""
    import bayes_badger as bb

    return bb.fit("gaussian", inference="exact", tasks=6, steps=3)


@pytest.fixture(scope="session")
def radon():
    """A ragged run with columns of tasks, short, and by NUTS: it has chains and divergences."""
    import bayes_badger as bb

    few = {"inference.draws": 400, "inference.warmup": 400, "inference.max_tree_depth": 6}
    return bb.fit("radon", inference="nuts", settings=few)


@pytest.fixture(scope="session")
def learned():
    """A run whose prior was learned: levels around a mean, of 40 tasks of 9 rows."""
    import bayes_badger as bb
    from tests.programs import learned_levels, simulated_levels

    return bb.fit(learned_levels, simulated_levels(40, 9), inference="exact")
