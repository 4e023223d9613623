"""Which tasks one Gaussian serves, by itself: planted tasks of two modes, and others of one."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayes_badger as bb
from bayes_badger.evidence import from_arrays
from bayes_badger.evidence.compiled import data_of
from bayes_badger.inner_loop._given import Asked, chunks_given, plan_given
from bayes_badger.inner_loop._kinds import HARD, SEVERAL_MODES, SINGLE_MODE, kinds_of
from bayes_badger.inner_loop._offline import Effort
from bayes_badger.inner_loop._plan import rows_to_look_at

# What a task's rows see of its latent: the latent, its size, its logistic, its square.
SEEN = {"itself": 0, "size": 1, "logistic": 2, "square": 3}
TASKS = (
    ("itself", 1.5, SINGLE_MODE),
    ("size", 1.5, SEVERAL_MODES),
    ("logistic", 0.5, SINGLE_MODE),
    ("square", 1.2, SEVERAL_MODES),
    ("itself", -2.0, SINGLE_MODE),
    ("size", 0.6, SEVERAL_MODES),
)


def model(x, y=None, *, seen):
    spread = numpyro.sample("spread", dist.LogNormal(0.0, 0.2))
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(0.0, spread))
        told = jnp.stack([z, jnp.abs(z), jax.nn.sigmoid(z), z**2])
        chosen = (told * (jnp.arange(4)[:, None, None] == seen)).sum(0)
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(chosen + 0.0 * x, 0.3), obs=y)


@pytest.fixture(scope="module")
def found():
    program = bb.lift(model)
    seen = np.array([[SEEN[what]] for what, _, _ in TASKS], float)
    y = np.array([[value - 0.1, value, value + 0.1] for _, value, _ in TASKS])
    evidence = from_arrays(program.signature, {"x": np.zeros(y.shape)}, y, {"seen": seen})
    block = evidence.padded()
    plan = plan_given(program, rows_to_look_at(data_of(block), block.mask), {})
    asked = Asked(plan, Effort(8, 0, 32), 1, {})
    keys = jax.random.split(jax.random.key(0), len(TASKS)), jax.random.key(1)
    kind = np.full(len(TASKS), SINGLE_MODE)
    kind[4] = HARD
    chunks = chunks_given(evidence.select(np.flatnonzero(kind == SINGLE_MODE)))
    at = np.flatnonzero(kind == SINGLE_MODE)
    chunks = [x._replace(tasks=at[x.tasks]) for x in chunks]
    lifetimes = np.array([[-0.5], [0.5]])
    return kind, kinds_of(program, chunks, kind, lifetimes, {}, asked, keys, 16)


def test_a_task_of_two_modes_is_asked_by_several(found):
    _, after = found
    for (what, value, expected), kind in zip(TASKS, after, strict=True):
        if expected == SEVERAL_MODES:
            assert kind == SEVERAL_MODES, (what, value)


def test_a_task_of_one_mode_is_asked_by_one(found):
    _, after = found
    for (what, value, expected), kind in zip(TASKS, after, strict=True):
        if expected == SINGLE_MODE and kind != HARD:
            assert kind == SINGLE_MODE, (what, value)


def test_what_is_known_to_be_hard_stays_so(found):
    before, after = found
    assert before[4] == after[4] == HARD
