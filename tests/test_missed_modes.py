"""Draws that describe one of two modes are named; draws of both, or of the only one, are not."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from bayes_badger.belief import Draws, Posterior
from bayes_badger.evidence import from_arrays
from bayes_badger.evidence.compiled import data_of
from bayes_badger.inner_loop import auto
from bayes_badger.inner_loop.protocol import silent
from bayes_badger.program import lift, read_signature
from bayes_badger.trust import inferred, missed_modes

TASKS, ROWS, DRAWS = 6, 5, 400


def one_of_two(x, y=None):
    """Only the size of mu is seen, in what all tasks share."""
    mu = numpyro.sample("mu", dist.Normal(0.0, 3.0))
    spread = numpyro.sample("spread", dist.HalfNormal(1.0))
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(jnp.abs(mu), spread))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z + 0 * x, 0.3), obs=y)


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(0)
    z = 2.0 + 0.5 * rng.normal(size=(TASKS, 1))
    y = z + 0.3 * rng.normal(size=(TASKS, ROWS))
    evidence = from_arrays(read_signature(one_of_two), {"x": np.zeros((TASKS, ROWS))}, y)
    return lift(one_of_two, example=data_of(evidence.padded())), evidence, z


def drawn(world, sides):
    program, _, z = world
    rng = np.random.default_rng(1)
    mu = (2.0 + 0.25 * rng.normal(size=DRAWS)) * rng.choice(sides, DRAWS)
    values = {
        "mu": mu[None],
        "spread": np.abs(0.6 + 0.15 * rng.normal(size=(1, DRAWS))),
        "z": (z.T + 0.1 * rng.normal(size=(DRAWS, TASKS)))[None],
    }
    return Posterior(Draws(values, {}, variables=program.variables))


def test_a_mode_that_no_draw_has_seen_is_named(world):
    program, evidence, _ = world
    (told,) = missed_modes(program, evidence, drawn(world, [1.0]), jax.random.key(0))
    assert "another mode, near mu = -" in told
    (told,) = missed_modes(program, evidence, drawn(world, [-1.0]), jax.random.key(1))
    assert "another mode, near mu = " in told
    assert "mu = -" not in told


def test_draws_of_both_modes_are_not_doubted(world):
    program, evidence, _ = world
    for seed in range(5):
        both = drawn(world, [-1.0, 1.0])
        assert missed_modes(program, evidence, both, jax.random.key(seed)) == []


class Fixed:
    """An inner loop whose draws are known."""

    def __init__(self, posterior):
        self.posterior = posterior

    def why_not(self, program, evidence):
        return None

    def infer(self, program, evidence, key, report=silent):
        return self.posterior


def test_auto_goes_on_to_the_next_inner_loop(world):
    program, evidence, _ = world
    first, second = Fixed(drawn(world, [1.0])), Fixed(drawn(world, [-1.0, 1.0]))
    loop = auto.Auto((("one", first, "it is first"), ("two", second, "it is second")))
    found, _ = inferred(loop, program, evidence, jax.random.key(0), "weigh", silent)
    assert found.warnings == ()
    assert any(note.startswith("auto picked two") for note in found.notes)
    assert any(note.startswith("one was tried and not kept: ") for note in found.notes)
    alone = auto.Auto((("one", first, "it is first"),))
    found, _ = inferred(alone, program, evidence, jax.random.key(0), "weigh", silent)
    assert len(found.warnings) == 1
    assert "another mode" in found.warnings[0]
