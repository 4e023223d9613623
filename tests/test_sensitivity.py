"""Power-scaling by level, against closed forms of the normal hierarchy and planted conflicts."""

import dataclasses

import numpy as np
import pytest
import xarray as xr

import bayes_badger as bb
from bayes_badger.errors import BadgerError
from bayes_badger.measures.definitions.sensitivity import (
    ALGORITHM,
    LIKELIHOOD,
    TASKS,
    THRESHOLD,
    moved,
    scaled,
)
from bayes_badger.measures.labelled import doubts_of

ROWS = 4


def levels(z, seed=0):
    """Readings of tasks with these levels."""
    y = np.asarray(z, float)[:, None] + np.random.default_rng(seed).normal(size=(len(z), ROWS))
    return {"reading": np.zeros_like(y), "y": y}


def slopes(y):
    """Exact d mean / d log2(power) of each component, in posterior sds: of a, then of z."""
    tasks = len(y)
    prior = np.zeros((tasks + 1, tasks + 1))
    prior[0, 0] = 1.0
    between = np.zeros_like(prior)
    between[0, 0] = tasks
    between[0, 1:] = between[1:, 0] = -1.0
    between[1:, 1:] = np.eye(tasks)
    data = np.diag([0.0, *[float(ROWS)] * tasks])
    drive = np.concatenate([[0.0], y.sum(1)])
    covariance = np.linalg.inv(prior + between + data)
    mean = covariance @ drive
    pulls = {ALGORITHM: -prior @ mean, TASKS: -between @ mean, LIKELIHOOD: drive - data @ mean}
    sd = np.sqrt(np.diag(covariance))
    return {name: np.log(2) * covariance @ pull / sd for name, pull in pulls.items()}


@pytest.fixture(scope="module")
def clash():
    """Tasks far from where the prior of the algorithm expects them, but close to each other."""
    return bb.fit("gaussian", levels([6.0, 6.3, 5.7, 6.1]), inference="exact")


def test_means_move_as_the_closed_form_says(clash):
    found = bb.measures.sensitivity(clash)
    exact = slopes(np.asarray(clash.evidence["y"]).reshape(4, ROWS))
    assert list(found["component"].values) == [ALGORITHM, TASKS, LIKELIHOOD]
    for component, truth in exact.items():
        own = found.sel(component=component)
        error = own["mean_moves_se"].values
        assert (np.abs(own["mean_moves"].values - truth) < 4 * error).all()
        assert (error < 0.3).all()


def test_a_prior_of_the_algorithm_in_conflict_is_caught_at_its_level(clash):
    found = bb.measures.sensitivity(clash)
    at_a = found["distance"].sel(latent="a")
    assert at_a.sel(component=ALGORITHM) > 4 * THRESHOLD
    assert found["level"].sel(latent="a") == "algorithm"
    # All agree on where the tasks are: each task's own prior is in no conflict with its evidence.
    own = found.sel(component=ALGORITHM, latent="z[0]")
    assert own["distance"] < at_a.sel(component=ALGORITHM) / 2


def test_what_the_evidence_settles_does_not_rest_on_a_prior():
    y = np.random.default_rng(1).normal(size=(40, 60))
    y = y - y.mean(1, keepdims=True) + np.random.default_rng(2).normal(size=(40, 1)) * 0.3
    data = {"reading": np.zeros_like(y), "y": y}
    found = bb.measures.sensitivity(bb.fit("gaussian", data, inference="exact"), latents=4)
    assert (found["distance"].sel(component=ALGORITHM) < THRESHOLD).all()
    assert found.sizes["latent"] == 4
    assert not doubts_of(found)


def test_a_density_of_too_many_terms_is_doubted(clash):
    tree = clash.tree.copy(deep=True)
    tree["log_likelihood"]["y"] = 100 * tree["log_likelihood"]["y"]
    wild = bb.measures.sensitivity(_with(clash, tree))
    assert "likelihood" in " ".join(doubts_of(wild))


def test_a_run_without_densities_is_refused(clash):
    tree = clash.tree.copy(deep=True)
    del tree["log_likelihood"], tree["log_prior"]
    with pytest.raises(BadgerError, match="holds no log prior"):
        bb.measures.sensitivity(_with(clash, tree))


def _with(run, tree):
    return dataclasses.replace(run, tree=tree)


def test_nothing_moves_that_is_not_in_the_component():
    rng = np.random.default_rng(0)
    x, other = rng.normal(size=(2, 4, 1000))
    draws = xr.Dataset({"x": (("chain", "draw"), x)})
    density = xr.DataArray(-0.5 * other**2, dims=("chain", "draw"))
    assert scaled(draws, density)["x"] < THRESHOLD
    assert abs(moved(x.reshape(-1, 1), density.values.ravel())[0]) < 4 * np.log(2) * 0.7 / 63
