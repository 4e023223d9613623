"""Draws: weighted, resampled, taken apart; and what they refuse."""

import jax
import numpy as np
import pytest
from test_mixture import latent

from bayes_badger.belief import Draws, kl, standard_normal
from bayes_badger.errors import BadgerError
from bayes_badger.program import Derived

VARIABLES = (
    latent("mu", "lifetime"),
    latent("kind", discrete=("kind",)),
    latent("theta", role="style"),
    Derived("total", "lifetime", (), None, False),
)
CHAINS, DRAWS, TASKS = 2, 50, 3


@pytest.fixture
def draws():
    rng = np.random.default_rng(0)
    shape = (CHAINS, DRAWS)
    return Draws(
        values={
            "mu": rng.normal(size=shape).astype(np.float32),
            "kind": rng.integers(0, 2, size=(*shape, TASKS)),
            "theta": rng.normal(size=(*shape, TASKS, 2)),
            "total": rng.normal(size=shape),
        },
        stats={"energy": np.arange(CHAINS * DRAWS).reshape(shape)},
        log_weights=rng.normal(size=shape) * 3,
        variables=VARIABLES,
    )


def test_means_are_weighted_in_double(draws):
    weights = np.exp(draws.log_weights)
    weights /= weights.sum()
    mean = draws.mean()
    assert mean["theta"].shape == (TASKS, 2)
    np.testing.assert_allclose(mean["mu"], (weights * draws.values["mu"]).sum(), rtol=1e-12)
    expected = (weights[..., None, None] * draws.values["theta"]).sum((0, 1))
    np.testing.assert_allclose(mean["theta"], expected, rtol=1e-12)
    plain = Draws(draws.values, draws.stats)
    np.testing.assert_allclose(plain.mean()["kind"], draws.values["kind"].mean((0, 1)))


def test_a_constant_in_the_log_weights_changes_nothing(draws):
    """A planted fault, exp before the shift, would make zeros of e^-1000."""
    low = Draws(draws.values, draws.stats, log_weights=draws.log_weights - 1000.0)
    assert np.exp(low.log_weights).sum() == 0
    np.testing.assert_allclose(low.mean()["theta"], draws.mean()["theta"], rtol=1e-9)
    np.testing.assert_allclose(low.ess(), draws.ess(), rtol=1e-9)
    one = Draws(
        draws.values, draws.stats, log_weights=np.where(draws.stats["energy"] == 7, 0, -1e3)
    )
    assert one.mean()["mu"] == draws.values["mu"][0, 7]
    assert one.ess() == pytest.approx(1.0)


def test_ess_of_equal_weights_is_the_number_of_draws(draws):
    assert Draws(draws.values, draws.stats).ess() == pytest.approx(CHAINS * DRAWS)
    same = Draws(draws.values, draws.stats, log_weights=np.full((CHAINS, DRAWS), -1000.0))
    assert same.ess() == pytest.approx(CHAINS * DRAWS)
    half = np.where(np.arange(DRAWS) % 2, 0.0, -np.inf) * np.ones((CHAINS, 1))
    half = np.where(np.isnan(half), -np.inf, half)
    assert Draws(draws.values, draws.stats, log_weights=half).ess() == pytest.approx(DRAWS)


def test_resampling_follows_the_weights(draws, key):
    n = 20_000
    some = draws.sample(key, n)
    assert (some.chains, some.draws, some.log_weights) == (1, n, None)
    assert some.values["theta"].shape == (1, n, TASKS, 2)
    assert some.variables == draws.variables
    count = np.bincount(some.stats["energy"][0], minlength=CHAINS * DRAWS)
    p = draws.weights().ravel()
    assert (np.abs(count - n * p) <= 5 * np.sqrt(n * p * (1 - p)) + 1).all()
    which = some.stats["energy"][0]
    np.testing.assert_array_equal(some.values["mu"][0], draws.values["mu"].ravel()[which])
    np.testing.assert_array_equal(
        draws.sample(key, 5).values["mu"], draws.sample(key, 5).values["mu"]
    )
    other = draws.sample(jax.random.key(1), 5).values["mu"]
    assert (other != draws.sample(key, 5).values["mu"]).any()


def test_without_weights_no_draw_comes_twice(draws, key):
    plain = Draws(draws.values, draws.stats)
    all_of_them = plain.sample(key, CHAINS * DRAWS).stats["energy"][0]
    assert sorted(all_of_them) == list(range(CHAINS * DRAWS))
    assert plain.sample(key, 3 * CHAINS * DRAWS).draws == 3 * CHAINS * DRAWS


def test_marginal_keeps_draws_and_weights(draws):
    names = {
        ("scope", "lifetime"): ["mu", "total"],
        ("scope", "task"): ["kind", "theta"],
        ("role", "style"): ["theta"],
        ("role", "algorithm"): ["mu"],
        ("site", "total"): ["total"],
    }
    for (how, word), expected in names.items():
        part = draws.marginal(**{how: word})
        assert list(part.values) == expected
        assert [x.name for x in part.variables] == expected
        assert part.ess() == draws.ess()
        np.testing.assert_array_equal(part.mean()[expected[0]], draws.mean()[expected[0]])
    plain = Draws(draws.values, draws.stats)
    assert list(plain.marginal(site=["theta", "mu"]).values) == ["theta", "mu"]


def test_condition_keeps_the_draws_that_match(draws):
    value = np.array([1, 0, 1])
    given = draws.condition(discrete={"kind": value})
    match = (draws.values["kind"] == value).all(-1)
    assert (given.chains, given.draws) == (1, match.sum())
    np.testing.assert_array_equal(given.values["mu"][0], draws.values["mu"][match])
    np.testing.assert_array_equal(given.log_weights[0], draws.log_weights[match])
    np.testing.assert_array_equal(given.stats["energy"][0], draws.stats["energy"][match])
    ones = draws.condition(discrete={"kind": 1})
    assert (ones.values["kind"] == 1).all()


def test_probabilities_of_assignments_and_conditional_means_make_the_mean(draws):
    weights, mean = draws.weights(), 0.0
    for kind in np.ndindex(2, 2, 2):
        match = (draws.values["kind"] == np.array(kind)).all(-1)
        mean += weights[match].sum() * draws.condition(discrete={"kind": kind}).mean()["theta"]
    np.testing.assert_allclose(mean, draws.mean()["theta"], rtol=1e-12)


MISTAKES = {
    "log_prob": (lambda d: d.log_prob(np.zeros(2)), "draws have no density: fit with an inner"),
    "kl": (lambda d: kl(d, d), "draws have no density"),
    "kl of one": (lambda d: kl(standard_normal(VARIABLES[:1]), d), "draws have no density"),
    "continuous": (lambda d: d.condition(discrete={"mu": 0.0}), "'mu' is continuous"),
    "unknown": (lambda d: d.condition(discrete={"kid": 0}), r"did you mean 'kind'\?"),
    "no match": (lambda d: d.condition(discrete={"kind": 9}), "none of 100 draws has"),
    "shape": (lambda d: d.condition(discrete={"kind": [0, 1]}), r"has shape \(3,\), not \(2,\)"),
    "site": (lambda d: d.marginal(site="thetta"), r"did you mean 'theta'\?"),
    "n": (lambda d: d.sample(jax.random.key(0), 0), "draw at least 1"),
    "scope": (
        lambda d: Draws(d.values, d.stats).marginal(scope="task"),
        "do not know the scope",
    ),
    "site of plain draws": (
        lambda d: Draws(d.values, d.stats).marginal(site="thetta"),
        r"did you mean 'theta'\?",
    ),
    "no weight": (
        lambda d: Draws(d.values, d.stats, log_weights=d.log_weights - np.inf).mean(),
        "one of them finite",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(draws, name):
    do, message = MISTAKES[name]
    with pytest.raises(BadgerError, match=message):
        do(draws)
