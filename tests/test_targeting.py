"""Tasks made to say most of each other, against closed forms of the normal hierarchy."""

import dataclasses

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayes_badger as bb
from bayes_badger.belief import Draws
from bayes_badger.errors import BadgerError
from bayes_badger.inner_loop.exact import Exact

# One family of tests, three runs of the measure: they share their compiled shapes.
SETTINGS = {"tasks": 2, "lifetimes": 120, "draws": 300}


@pytest.fixture(scope="module")
def run():
    return bb.fit("gaussian", inference="exact", tasks=6, steps=3)


def test_of_the_normal_hierarchy_all_is_known(run):
    """Tasks without columns have one design; what they teach, tasks and levels have in common."""
    found = bb.measures.targeting(run, tasks=4, lifetimes=160, draws=1000, designs=2)
    own = 1 + 1 / 3  # of a task's mean, given a
    between = -0.5 * np.log(1 - (1 / (1 + own)) ** 2)
    shared = 0.5 * np.log(1 + 4 / own)
    carried = shared + 0.5 * np.log((1 + own) / (1 / (1 + 4 / own) + own)) - shared
    for name, exact in (
        ("between", between),
        ("of_algorithm", shared),
        ("expected", carried),
        ("gain", carried),
    ):
        off = np.abs(found[name] - exact)
        assert (off < 4 * found[f"{name}_se"] + 0.01).all(), name
    assert found.attrs["doubts"] == "[]"


def slopes(x, y=None):
    """A slope that tasks share nearly."""
    a = numpyro.sample("a", dist.Normal(0, 1))
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(a, 0.2))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z * x, 1), obs=y)


def run_of_slopes(*sizes):
    """A run of tasks of three rows, whose inputs are as large as these."""
    rng = np.random.default_rng(0)
    x = np.repeat(sizes, 3).reshape(-1, 3)
    y = x * rng.normal(size=(len(x), 1)) + rng.normal(size=x.shape)
    return bb.fit(slopes, {"x": x, "y": y}, inference="exact")


def test_the_design_that_tells_is_chosen_and_teaches_more():
    # Three tasks that hardly tell of their slope, and one that does.
    found = bb.measures.targeting(run_of_slopes(0.1, 0.1, 0.1, 3.0), **SETTINGS)
    for name in ("between", "of_algorithm", "expected", "gain"):
        targeted, random = found[name].values
        assert targeted > random, name
    assert found["more"] > 2 * found["more_se"]
    assert found.attrs["doubts"] == "[]"


def test_a_learner_that_forgets_what_is_shared_carries_nothing_over(monkeypatch):
    run, infer = run_of_slopes(3.0, 3.0, 3.0, 3.0), Exact.infer

    def forgetting(self, program, evidence, key, report=None):
        posterior = infer(self, program, evidence, key)
        values = {n: np.asarray(x) for n, x in posterior.draws.values.items()}
        a = np.random.default_rng(0).normal(size=values["a"].shape)
        values["a"] = a.astype(values["a"].dtype)
        return dataclasses.replace(posterior, draws=Draws(values, {}))

    monkeypatch.setattr(Exact, "infer", forgetting)
    found = bb.measures.targeting(run, **SETTINGS)
    assert "does not carry over" in found.attrs["doubts"]
    assert (found["expected"] > found["gain"] + 3 * found["gain_se"]).all()


def test_what_is_refused(run):
    with pytest.raises(BadgerError, match="share no latent"):
        bb.measures.targeting(bb.fit("coin", tasks=3, steps=3))
    with pytest.raises(BadgerError, match="4 lifetimes or more"):
        bb.measures.targeting(run, lifetimes=2)
    with pytest.raises(BadgerError, match="coin takes toss and the run has reading"):
        bb.measures.targeting(run, family="coin")
