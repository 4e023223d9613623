"""Functions that are compiled with as much optimisation as their work is worth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayes_badger import compilation
from bayes_badger.compilation import WORTH, jit_by_work


@pytest.fixture
def counted():
    """A function, and how often it was traced."""
    traced = []

    @jit_by_work
    def function(x, power=2):
        traced.append(x.shape)
        return (jnp.exp(x) ** power).sum()

    return function, traced


def test_little_and_much_work_give_the_same(counted):
    function, traced = counted
    x = jnp.linspace(0.0, 1.0, 7)
    little, much = function(x), function(x, work=WORTH)
    np.testing.assert_allclose(little, much, rtol=1e-6)
    np.testing.assert_allclose(little, np.exp(2 * np.linspace(0, 1, 7)).sum(), rtol=1e-6)
    assert len(traced) == 2
    function(x), function(x, work=WORTH + 1), function(x, work=0)
    assert len(traced) == 2


def test_without_work_it_is_what_is_given_that_counts(counted, monkeypatch):
    function, traced = counted
    monkeypatch.setattr(compilation, "WORTH", 8)
    function(jnp.ones(9))
    function(jnp.ones(9), work=8)
    assert len(traced) == 1
    function(jnp.ones(9), work=7)
    assert len(traced) == 2


def test_within_what_is_compiled_it_is_a_part_of_it(counted):
    function, _ = counted
    x = jnp.ones((3, 2))
    np.testing.assert_allclose(jax.jit(lambda x: function(x, work=0))(x[0]), 2 * np.exp(2), 1e-6)
    np.testing.assert_allclose(jax.vmap(function)(x), 3 * [2 * np.exp(2)], 1e-6)
    np.testing.assert_allclose(jax.grad(function)(x[0]), 2 * [2 * np.exp(2)], 1e-6)
    held = jax.jit(lambda: function(np.ones(2, np.float32), power=1))
    np.testing.assert_allclose(held(), 2 * np.exp(1), 1e-6)
