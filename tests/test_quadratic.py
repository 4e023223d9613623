"""Closed forms are proved: what is quadratic is accepted, and what only looks so is not."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from bayes_badger.evidence import from_arrays
from bayes_badger.evidence.compiled import data_of
from bayes_badger.inner_loop._plan import make_plan
from bayes_badger.inner_loop._split import split
from bayes_badger.program import Data, lift, read_signature
from bayes_badger.program.degrees import OTHER, degrees
from bayes_badger.program.quadratic import is_linear_gaussian, not_quadratic, support_moves

X = jnp.array([[0.5, -1.0]])
DATA = Data({"x": X}, {}, jnp.array([[0.3, 0.1]]))


class Curve(NamedTuple):
    """One task whose outcome is normal around a function of its two latents."""

    mean: object
    scale: object = 0.5
    size: int = 2
    information: str = "expected"
    outcome: object = None
    example: object = None

    def rows_and_factors(self, u, data):
        mean, scale = self.mean(u, data.columns["x"][0]), self.scale
        scale = scale(u) if callable(scale) else scale
        return dist.Normal(mean, scale).log_prob(data.outcome[0]), jnp.zeros(())

    def outcome_parameters(self, u, data):
        return None


def looped(u, x):
    return jax.lax.scan(lambda carry, row: (0.5 * carry + row * u[1], carry), u[0], x)[1]


def by_network(u, x):
    hidden = jnp.tanh(x[:, None] @ jnp.ones((1, 3)))
    return hidden @ (jnp.eye(3, 2) @ u)


LINEAR = {
    "a line": lambda u, x: u[0] + u[1] * x,
    "a difference": lambda u, x: (u[0] - u[1]) / 3.0 - x,
    "matrices": lambda u, x: jnp.stack([x, x**2], -1) @ (jnp.array([[2.0, 1.0], [0.0, 1.0]]) @ u),
    "one entry by its number": lambda u, x: u[jnp.array([0, 1])] * x,
    "entries by a column": lambda u, x: u[(x > 0).astype(int)],
    "a choice by a column": lambda u, x: jnp.where(x > 0, u[0], u[1]),
    "a running sum": lambda u, x: jnp.cumsum(u) * x,
    "a triangular system": lambda u, x: jax.scipy.linalg.solve_triangular(
        jnp.array([[1.0, 0.0], [0.5, 2.0]]), u, lower=True
    ),
    "a loop": looped,
    "the last layer of a network": by_network,
    "concatenated with what is not linear": lambda u, x: jnp.concatenate(
        [u[:1], jnp.exp(x[:1]), u[1:]]
    )[jnp.array([0, 2])],
    "written into a vector": lambda u, x: jnp.zeros(2).at[1].set(u[0]) + x * u[1],
    "compiled": jax.jit(lambda u, x: u[0] * x),
}

ONLY_LOOKS_SO = {
    # saturated
    "sigmoid": lambda u, x: jax.nn.sigmoid(1e4 * (u[0] - 60.0)) + u[1] * x,
    "tanh": lambda u, x: jnp.tanh(100.0 * (u[0] - 9.0)) + u[1],
    "exponential": lambda u, x: jnp.exp(50.0 * (u[0] - 40.0)) + u[1] * x,
    "softplus": lambda u, x: jax.nn.softplus(u[0] - 100.0) + u[1] * x,
    "error function": lambda u, x: jax.scipy.special.erf(20 * (u[0] - 8.0)) + u[1],
    "relu": lambda u, x: jax.nn.relu(u[0] - 7.0) + u[1] * x,
    "clip": lambda u, x: jnp.clip(u[0], -9.0, 9.0) + u[1] * x,
    "minimum": lambda u, x: jnp.minimum(u[0], 8.0) + u[1] * x,
    "maximum": lambda u, x: jnp.maximum(u[0], -8.0) + u[1] * x,
    "a step": lambda u, x: jnp.where(u[0] > 7.0, 1.0, 0.0) + u[1] * x,
    "a step in the other latent": lambda u, x: jnp.where(u[1] > 7.0, u[0], 0.0),
    "linear at 99.9% of the prior": lambda u, x: jnp.where(u[0] < 3.1, u[0], u[0] ** 3),
    "a sign": lambda u, x: jnp.sign(u[0] - 9.0) + u[1],
    "a rounded number": lambda u, x: jnp.round(u[0] / 50.0) + u[1] * x,
    "a floor": lambda u, x: jnp.floor(u[0] / 50.0) + u[1] * x,
    # folded
    "size": lambda u, x: jnp.abs(u[0]) + 0 * x,
    "root of a square": lambda u, x: jnp.sqrt(u[0] ** 2) + 0 * x,
    "square": lambda u, x: u[0] ** 2 + x * u[1],
    "product": lambda u, x: u[0] * u[1] + 0 * x,
    "length": lambda u, x: jnp.linalg.norm(u) + 0 * x,
    "largest": lambda u, x: jnp.max(u) + 0 * x,
    "sorted": lambda u, x: jnp.sort(u) * x,
    # periodic
    "sine": lambda u, x: jnp.sin(x + u[0]) + u[1],
    "cosine": lambda u, x: jnp.cos(2 * jnp.pi * u[0]) + u[1] * x,
    "a phase on a circle": lambda u, x: jnp.stack([jnp.cos(u[0]), jnp.sin(u[0])]),
    "remainder": lambda u, x: jnp.mod(u[0], 5.0) + u[1] * x,
    "angle": lambda u, x: jnp.arctan2(u[0], u[1]) + 0 * x,
    # an entry of a vector that the latents choose, loops and branches that they steer
    "position": lambda u, x: jnp.arange(5.0)[jnp.clip(u[0].astype(int), 0, 4)] + u[1] * x,
    "loop": lambda u, x: jax.lax.fori_loop(0, 2, lambda _, c: c * u[0], 1.0) + 0 * x,
    "while": lambda u, x: jax.lax.while_loop(lambda c: c > 9.0, lambda c: c - 1, u[0]) + 0 * x,
    "branch": lambda u, x: jax.lax.cond(u[0] > 9, lambda: u[1] * x, lambda: u[0] * x),
    "division": lambda u, x: u[0] / (1.0 + 1e-9 * u[1]) + 0 * x,
    "power": lambda u, x: (u[0] + 20.0) ** 1.001 + 0 * x,
    "logarithm": lambda u, x: jnp.log(u[0] + 100.0) + 0 * x,
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear_means_are_proved(name):
    assert is_linear_gaussian(Curve(LINEAR[name]), DATA)


@pytest.mark.parametrize("name", ONLY_LOOKS_SO)
def test_what_only_looks_linear_is_not_proved(name):
    assert not is_linear_gaussian(Curve(ONLY_LOOKS_SO[name]), DATA)


def test_a_scale_that_moves_is_not_proved():
    assert not is_linear_gaussian(Curve(LINEAR["a line"], lambda u: jnp.exp(1e-9 * u[0])), DATA)


def test_entries_of_one_vector_have_degrees_of_their_own():
    def function(w, i):
        joined = jnp.concatenate([w, w**2, jnp.exp(w)])
        return joined, joined[::-1][:2], joined[i]

    whole, last, any_ = degrees(function, (jnp.zeros(2), 1), (np.ones((2, 1), int), None))
    assert whole[:, 0].tolist() == [1, 1, 2, 2, OTHER, OTHER]
    assert last[:, 0].tolist() == [OTHER, OTHER]
    assert any_[0] == OTHER  # it is not known which


def scaled(x, y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    tau = numpyro.sample("tau", dist.HalfNormal(1.0))
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(mu, tau))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z + 0 * x, 0.5), obs=y)


def folded(x, y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(mu, 1.0))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(jnp.abs(z) + 0 * x, 0.5), obs=y)


def adoption(year, share=None):
    middle = numpyro.sample("middle", dist.Normal(1950.0, 30.0))
    noise = numpyro.sample("noise", dist.HalfNormal(5.0))
    with numpyro.plate("task", year.shape[0], dim=-2):
        top = numpyro.sample("top", dist.Normal(50.0, 20.0))
        with numpyro.plate("step", year.shape[1], dim=-1):
            rising = top * jax.nn.sigmoid((year - middle) / 0.7)
            numpyro.sample("share", dist.Normal(rising, noise), obs=share)


def some_rows(program, low=0.0):
    x = low + np.arange(12.0).reshape(3, 4)
    return from_arrays(read_signature(program), {list_of(program)[0]: x}, np.sin(x))


def list_of(program):
    return list(read_signature(program).columns)


def test_a_scale_is_left_to_the_lattice_and_the_rest_is_closed():
    evidence = some_rows(scaled)
    program = lift(scaled, example=_example(evidence))
    found = split(program, evidence)
    assert found.names == ("tau",)
    table = not_quadratic(program, _example(evidence), program.latents, {})
    mu, tau, z = (program.latents.index(program.latent(name)) for name in ("mu", "tau", "z"))
    assert not table[mu, z, z]
    assert table[tau, tau, tau]
    assert table[tau, z, z]


def test_a_curve_that_is_saturated_under_its_prior_is_not_closed():
    evidence = some_rows(adoption, 1998.0)
    found = split(lift(adoption, example=_example(evidence)), evidence)
    assert set(found.names) == {"middle", "noise"}


def test_one_gaussian_is_not_the_posterior_of_what_is_folded():
    evidence = some_rows(folded)
    program = lift(folded, example=_example(evidence))
    plan = make_plan(program, _example(evidence).task(slice(0, 1)))
    assert not plan.straight
    # Though its information is the same everywhere, experts are sent along some direction.
    assert plan.directions.shape[1] > 0


def _example(evidence):
    return data_of(evidence.padded())


def after_a_start(x, y=None):
    start = numpyro.sample("start", dist.HalfNormal(1.0))
    with numpyro.plate("task", x.shape[0], dim=-2):
        rate = numpyro.sample("rate", dist.LogNormal(0.0, 1.0))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Uniform(start, start + rate + x), obs=y)


def test_a_support_that_latents_move_is_seen():
    x = np.arange(12.0).reshape(3, 4)
    for program, moves in ((after_a_start, True), (scaled, False)):
        evidence = from_arrays(read_signature(program), {"x": x}, 1.0 + x / 20)
        assert support_moves(lift(program, example=_example(evidence))) == moves
