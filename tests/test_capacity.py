"""How many experts are enough: one for a Gaussian, several for waves; too few are told so."""

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import safetensors

import bayes_badger as bb
from bayes_badger.errors import BadgerError
from bayes_badger.inner_loop.experts import UNIVERSAL
from bayes_badger.measures.definitions.capacity import enough

FEW = {"inference.draws": 400, "inference.refits": 1}


@pytest.fixture(scope="module")
def waves():
    settings = FEW | {"inference.experts": 1}
    run = bb.fit("wave", tasks=4, steps=3, inference="experts", settings=settings)
    return bb.measures.capacity(run, tasks=160, most=4, steps=6)


def test_whoever_has_one_expert_where_many_are_needed_is_told(waves):
    assert "1 experts lose" in waves.attrs["doubts"]
    assert (waves["enough"] > 1).all()
    regret = waves["regret"].sel(policy="none").values
    assert regret[0] > regret[-1]


def test_capacity_of_both_kinds_is_counted(waves):
    latents = 3
    assert waves["state"].values.tolist() == [latents * k for k in (1, 2, 4)]
    with safetensors.safe_open(UNIVERSAL, framework="numpy") as file:
        numbers = sum(file.get_tensor(name).size for name in file.keys())  # noqa: SIM118
    assert waves["parameters"].values.tolist() == [0, numbers]
    np.testing.assert_allclose(waves["ratio"][1], numbers / waves["state"])


def line(x, y=None):
    """A slope of each task, with normal readings."""
    with numpyro.plate("task", x.shape[0], dim=-2):
        slope = numpyro.sample("slope", dist.Normal(0, 1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(slope * x, 1), obs=y)


def test_one_expert_is_enough_where_the_posterior_is_gaussian():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 4, 3))
    settings = FEW | {"inference.experts": 1}
    run = bb.fit(line, {"x": x, "y": y}, inference="experts", settings=settings)
    found = bb.measures.capacity(run, most=4, policy="none", tasks=32)
    assert found["enough"].values.tolist() == [1]
    assert found.attrs["doubts"] == "[]"
    assert "worth" not in found


def test_the_fewest_that_lose_nothing():
    units = np.random.default_rng(0).normal(size=200)
    assert enough(np.array([0.3, 0.1, 0.0])[:, None] + units).enough == 2
    assert enough(np.zeros((3, 1)) + units).enough == 0


def test_what_is_refused(readings):
    with pytest.raises(BadgerError, match="1 <= fewest < most"):
        bb.measures.capacity(readings, fewest=3, most=2)
    with pytest.raises(BadgerError, match="most is 8 or more"):
        bb.measures.capacity(readings, most=4)
