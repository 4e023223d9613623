"""What does not depend on a function's argument is computed once, and the values stay the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayes_badger.inner_loop._hoisted import hoisted
from bayes_badger.program.numerical_families import log_gamma_quantile


def primitives(jaxpr, name, counts):
    """How often a primitive stands in a traced function, by whether it has an axis of points."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == name:
            counts.append(equation.outvars[0].aval.shape)
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                primitives(inner, name, counts)
    return counts


def test_what_the_argument_does_not_reach_has_no_axis_of_points():
    def density(points, y, a):
        of = hoisted(lambda u: (jax.lax.lgamma(y + jnp.exp(a)) * u[0]).sum(), points[0])
        return jax.vmap(of)(points)

    points, y = jnp.ones((50, 2)), jnp.arange(3.0)
    shapes = primitives(jax.make_jaxpr(density)(points, y, 0.5).jaxpr, "lgamma", [])
    assert shapes == [(3,)]
    expected = jax.lax.lgamma(y + jnp.exp(0.5)).sum() * jnp.ones(50)
    np.testing.assert_allclose(jax.jit(density)(points, y, 0.5), expected, rtol=1e-6)


def test_derivatives_of_their_own_are_kept():
    @jax.custom_jvp
    def rounded(x):
        return jnp.round(x)

    rounded.defjvp(lambda primals, tangents: (rounded(*primals), tangents[0]))
    of = hoisted(lambda u: rounded(u) ** 2, jnp.float32(0.0))
    assert float(jax.grad(of)(2.2)) == 4.0


@pytest.mark.parametrize("inline", [False, True])
def test_a_numerical_quantile_is_what_it_is(inline):
    def values(points, concentration):
        of = hoisted(lambda u: log_gamma_quantile(concentration, u), points[0], inline)
        return jax.vmap(of)(points)

    points = jnp.linspace(-4.0, 4.0, 9)
    found = jax.jit(values)(points, 1.5)
    np.testing.assert_allclose(found, log_gamma_quantile(1.5, points), rtol=1e-4, atol=1e-5)
