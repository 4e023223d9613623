"""More groups or more observations: the textbook's design, and designs by simulation."""

import jax
import numpy as np
import pytest

import bayes_badger as bb
from bayes_badger.errors import BadgerError
from bayes_badger.measures import group_information as of_groups
from bayes_badger.measures.definitions.groups_or_observations import (
    best_size,
    compared,
    design_variance,
)
from bayes_badger.measures.group_information import closed, group_information
from bayes_badger.measures.labelled import doubts_of, notes_of
from tests.hierarchies import gaussian_evidence, shelf_evidence

SIZES = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64])


@pytest.fixture(scope="module")
def run():
    return bb.fit("gaussian", tasks=12, steps=3)


def normal_information(between, within):
    """Of the mean of a normal hierarchy, `[1, size, 1, 1]`."""
    return (1 / (between + within / SIZES))[None, :, None, None]


@pytest.mark.parametrize("between", [0.02, 0.1, 0.5, 0.8])
@pytest.mark.parametrize("cost", [1.0, 10.0, 50.0])
def test_the_textbooks_size_to_one_observation(between, cost):
    costs = cost, 1.0
    one = np.ones((1, 1, 1))
    found = compared(
        SIZES, normal_information(between, 1 - between), one, np.full(9, 4), costs, 1000.0
    )
    exact = best_size(cost, 1.0, between)
    assert found.raudenbush[0] == pytest.approx(exact, rel=1e-4)
    assert abs(found.best[0] - np.clip(exact, 1, 64)) <= 1


def test_a_run_of_the_normal_hierarchy(run):
    for cost in (9.0, 100.0):
        found = bb.measures.groups_or_observations(run, cost_group=cost)
        exact = best_size(cost, 1.0, 0.5)
        assert found["best_exact"] == pytest.approx(exact, rel=1e-4)
        assert abs(float(found["best"]) - exact) <= 1
        assert float(found["best_low"]) == float(found["best_high"])  # nothing is unknown
    # Var(a | J groups of n) = 1 / (1 + J / (1 + 1/n)).
    groups, sd = found["groups"].values, found["sd"].values
    exact = 1 / np.sqrt(1 + groups / (1 + 1 / found["observations"].values))
    enough = groups >= 2
    np.testing.assert_allclose(sd[enough], exact[enough], rtol=2e-4)
    now, more = 1 / np.sqrt(1 + 12 / (1 + 1 / 3)), 1 / np.sqrt(1 + 12 / (1 + 1 / 4))
    assert float(found["now"]) == pytest.approx(now, rel=1e-4)
    assert float(found["of_observations"]) == pytest.approx(np.log(now / more), rel=1e-3)
    assert notes_of(found)[0].startswith("one more observation per group leaves")


def test_groups_that_cost_nothing_more_are_better(run):
    """And where groups are dear, observations are: the verdict turns with the price."""
    cheap = bb.measures.groups_or_observations(run, cost_group=0.01)
    dear = bb.measures.groups_or_observations(run, cost_group=1000.0)
    assert float(cheap["groups_better"]) == 1
    assert float(dear["groups_better"]) == 0


def test_closed_forms_of_information_about_all_that_is_shared():
    """Against the covariance matrix of a group, differentiated numerically in double precision."""
    rng, n, a, z = np.random.default_rng(0), 5, 3, 2
    g0, m = rng.normal(size=(n, z)), rng.normal(size=(n, a))
    g1, s1 = rng.normal(size=(n, z, a)), rng.normal(size=(n, a))

    def covariance(u):
        g = g0 + g1 @ u
        return g @ g.T + np.diag(np.exp(s1 @ u))

    step = 1e-5 * np.eye(a)
    slopes = [(covariance(h) - covariance(-h)) / 2e-5 for h in step]
    inverse = np.linalg.inv(covariance(np.zeros(a)))
    exact = m.T @ inverse @ m + 0.5 * np.array(
        [[np.trace(inverse @ x @ inverse @ y) for x in slopes] for y in slopes]
    )
    np.testing.assert_allclose(closed(m, g0, g1, s1), exact, rtol=1e-7)


def test_simulated_information_is_the_closed_form(monkeypatch, key):
    program, evidence = gaussian_evidence(6, 4)
    monkeypatch.setattr(of_groups, "straight", lambda program, evidence: False)
    monkeypatch.setattr(of_groups, "SIMULATED", 1024)
    found = group_information(program, evidence, np.zeros((2, 1)), (1, 4), key)
    assert not found.exact
    exact = np.array([1 / 2, 1 / (1 + 1 / 4)])
    # Of a squared normal: twice its square, over 2 x 1,024 groups; and draws of z.
    error = exact * np.sqrt(3 / 2048)
    assert (np.abs(found.about[:, :, 0, 0].mean(0) - exact) < 4 * error).all()


@pytest.mark.slow
def test_unknown_scales_are_an_interval():
    radon = bb.fit("radon")
    found = bb.measures.groups_or_observations(radon, cost_group=5.0, draws=20)
    assert 1 <= float(found["best_low"]) < float(found["best"]) < float(found["best_high"]) <= 128
    assert (found["sd_low"] <= found["sd_high"]).sum() > 20
    assert float(found["now"]) == pytest.approx(float(radon.posterior["intercept"].std()), rel=0.25)
    of_spread = bb.measures.groups_or_observations(
        radon, cost_group=5.0, draws=20, target="between"
    )
    assert float(of_spread["best"]) > float(found["best"])
    at_the_end = float(of_spread["best_high"]) >= 128
    assert any("128 observations" in x for x in doubts_of(of_spread)) == at_the_end


def test_more_entries_are_their_geometric_mean():
    found = design_variance(np.diag([3.0, 1.0]), 1.0, np.eye(2))
    assert found == pytest.approx(np.sqrt(1 / 4 * 1 / 2))


def test_refused_in_one_line(run):
    measure = bb.measures.groups_or_observations
    for settings, said in (
        ({"target": "z"}, "target = 'z' is nothing that groups share"),
        ({"cost_group": 0.0}, "must be more than 0"),
        ({"budget": 1.0}, "pays for less than 2 groups"),
    ):
        with pytest.raises(BadgerError, match=said):
            measure(run, **settings)
    coin, evidence = shelf_evidence("coin")
    with pytest.raises(BadgerError, match="shares no latent"):
        group_information(coin, evidence, np.zeros((1, 0)), (1,), jax.random.key(0))
