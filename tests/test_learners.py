"""Measures of learners: endurance and the like, against closed forms and planted faults."""

import dataclasses

import numpy as np
import pytest

import bayes_badger as bb
from bayes_badger.belief import Draws
from bayes_badger.errors import BadgerError
from bayes_badger.measures.definitions.alone import dreamt, gain
from bayes_badger.measures.definitions.endurance import endured
from bayes_badger.measures.definitions.transfer import (
    _forward,
    _mean,
    _short,
    drift_of,
    transferred,
)
from bayes_badger.measures.lifetimes import divergence

LENGTHS = np.array([10, 32, 100, 316, 1000])


def counted(stop=None, decay=1.0, coins=400, seed=0):
    """Log predictive of fresh tosses after `LENGTHS` tosses, and that of Beta(1, 1), and the truth.

    The learner counts heads and tails; it stops counting, or forgets, where it is told to.
    """
    rng = np.random.default_rng(seed)
    p = rng.uniform(size=coins)
    tosses = rng.uniform(size=(coins, LENGTHS[-1])) < p[:, None]
    fresh = rng.uniform(size=(coins, 16)) < p[:, None]

    def heads(n):
        if stop is not None:
            n = min(n, stop)
        weights = decay ** np.arange(n)[::-1]
        return (1 + tosses[:, :n] @ weights) / (2 + weights.sum())

    def score(q):
        return np.log(np.where(fresh, q[:, None], 1 - q[:, None]))

    own = np.stack([score(heads(n)) for n in LENGTHS])
    exact = np.stack([score((1 + tosses[:, :n].sum(1)) / (2 + n)) for n in LENGTHS])
    return own, exact, score(p)


def test_divergence_is_unbiased_and_never_negative():
    p, q = np.array([0.3, 0.7]), np.array([0.5, 0.5])
    each = divergence(np.log(q), np.log(p))
    assert (each >= 0).all()
    np.testing.assert_allclose(p @ each, (p * np.log(p / q)).sum(), rtol=1e-12)


def test_a_learner_that_stops_at_100_steps_is_found_with_the_place():
    own, exact, truth = counted(stop=100)
    found = endured(divergence(own, truth).mean(2), LENGTHS)
    assert found.stops == 100
    excess = divergence(own, exact).mean((1, 2))
    np.testing.assert_allclose(excess[:3], 0, atol=1e-12)
    # Regret of 100 tosses less that of 1000, in units of 1/2n.
    assert excess[-1] == pytest.approx(0.005 - 0.0005, rel=0.25)


def test_a_counter_that_forgets_is_found_where_its_memory_ends():
    own, _, truth = counted(decay=0.95)
    # Its memory is (1 + decay)/(1 - decay) = 39 tosses.
    assert endured(divergence(own, truth).mean(2), LENGTHS).stops == 32


def test_a_sound_counter_does_not_stop():
    own, exact, truth = counted()
    found = endured(divergence(own, truth).mean(2), LENGTHS)
    assert np.isnan(found.stops)
    assert not found.doubt
    assert found.slope.error < 0.1
    assert abs(found.slope.value + 1) < 4 * found.slope.error
    np.testing.assert_allclose(divergence(own, exact), 0, atol=1e-12)


def test_too_few_tasks_to_tell_are_told():
    regret = np.random.default_rng(1).chisquare(1, (2, 4))
    found = endured(regret / np.array([[100], [150]]), np.array([100, 150]))
    assert np.isnan(found.stops)
    assert "not known" in found.doubt
    with pytest.raises(BadgerError, match="two lengths and two tasks"):
        endured(np.ones((1, 5)), np.array([10]))


@pytest.fixture(scope="module")
def gaussian():
    """The normal hierarchy, by closed forms."""
    return bb.fit("gaussian", inference="exact", tasks=6, steps=4)


def test_exact_inference_endures(gaussian):
    found = bb.measures.endurance(gaussian, longest=160, points=3, tasks=32, lifetimes=8)
    assert np.isnan(found["stops_at"])
    # Of a normal mean: ½ log(1 + 1/(n + 1)), whatever is known of the level they share.
    regret, se = found["regret"].values, found["regret_se"].values
    assert (np.abs(regret - 0.5 / found["length"].values) < 4 * se).all()
    assert (found["excess"] < 0.02 * found["regret"]).all()


class Counter:
    """Counts heads and tails of a coin, Beta(1, 1) before any; a fault if one is planted."""

    def __init__(self, weight=1.0, decay=1.0, sharpen=0.0):
        self.weight, self.decay, self.sharpen = weight, decay, sharpen

    def dream(self, state, rng):
        p = state[:, 0] / state.sum(1)
        return rng.uniform(size=len(p)) < p + self.sharpen * (p - 0.5)

    def after(self, state, outcome):
        return self.decay * state + self.weight * np.stack([outcome, 1 - outcome], 1)

    def moments(self, state):
        n = state.sum(1)
        p = state[:, 0] / n
        return np.stack([p, (p * (n - p * n) / n) / (n + 1) + p**2], 1)


def dreaming(**fault):
    return dreamt(Counter(**fault), np.tile([3.0, 2.0], (4000, 1)), 20)


def test_exact_counting_stays_where_it_is_when_alone():
    found = dreaming()
    assert not found.astray.any()
    # A test that could not find five thousandths would say nothing.
    assert (found.detectable < 0.02).all()


@pytest.mark.parametrize(
    ("fault", "moment"),
    [({"sharpen": 0.2}, 0), ({"weight": 2.0}, 1), ({"weight": 0.5}, 1), ({"decay": 0.95}, 1)],
)
def test_a_learner_that_drifts_alone_is_found(fault, moment):
    # What counts outcomes twice, or forgets, keeps its mean: the second moment tells.
    assert dreaming(**fault).astray[moment]


def test_gain_is_without_bias_in_the_number_of_dreams():
    rng = np.random.default_rng(0)
    q = rng.beta(3, 2, size=(2000, 8))
    each = [gain(np.log([0.6]), np.log(x)[:, None]) for x in q]
    values = np.array([float(x.value) for x in each])
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values)) + 0.002


def test_exact_inference_stays_where_it_is_when_alone(gaussian):
    found = bb.measures.alone(gaussian, dreams=16)
    assert found.attrs["doubts"] == "[]"
    assert (found["mean_se"] < 0.25).all()
    assert abs(found["gain"]) < 4 * found["gain_se"] + 0.01


def test_an_inner_loop_that_takes_no_notice_of_spread_is_found(gaussian, monkeypatch):
    # Half the spread: dreams are drawn too close, and the belief closes in on itself.
    from bayes_badger.inner_loop.exact import Exact

    infer = Exact.infer

    def closing_in(self, program, evidence, key, report=None):
        posterior = infer(self, program, evidence, key)
        means = {name: x.mean((0, 1)) for name, x in posterior.draws.values.items()}
        drawn = posterior.draws.values.items()
        draws = {n: (means[n] + (x - means[n]) * 0.5).astype(x.dtype) for n, x in drawn}
        return dataclasses.replace(posterior, draws=Draws(draws, {}))

    monkeypatch.setattr(Exact, "infer", closing_in)
    found = bb.measures.alone(gaussian, dreams=32, steps=8)
    assert "as a whole becomes" in found.attrs["doubts"]


def hierarchy(tasks, rows, forget=False, seed=0, lifetimes=300):
    """Scores of tasks of the normal hierarchy, closed form, lifetime by lifetime: [s, life, task].

    What forgets starts each task from the prior of a, and no longer knows of the tasks before.
    """
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(lifetimes, 1))
    z = a + rng.normal(size=(lifetimes, tasks))
    mean = z + rng.normal(size=z.shape) / np.sqrt(rows)
    fresh = z + rng.normal(size=z.shape)
    scores = []
    for seen in range(tasks + 1):
        known = np.zeros(tasks)
        known[max(0, seen - 1) if forget else 0 : seen] = 1
        precision = known / (1 + 1 / rows)
        about = (mean * precision).sum(1, keepdims=True) / (1 + precision.sum())
        variance = 1 / (1 + precision.sum())
        # Of z: known tasks weigh their own mean against what is believed of a.
        share = known * rows / (rows + 1)
        centre = share * mean + (1 - share) * about
        spread = (1 - share) + (1 - share) ** 2 * variance
        scores.append(
            -0.5 * np.log(2 * np.pi * (1 + spread)) - 0.5 * (fresh - centre) ** 2 / (1 + spread)
        )
    return np.stack(scores)


def test_transfer_of_exact_inference_and_of_a_learner_that_forgets_a():
    sound, faulty = hierarchy(6, 4), hierarchy(6, 4, forget=True)
    seen = np.arange(7)
    each = [[transferred(x[:, i], seen) for i in range(300)] for x in (sound, faulty)]
    back = np.array([[float(y.backward.value) for y in x] for x in each])
    ahead = np.array([[float(y.forward.value) for y in x] for x in each])
    se = back.std(1) / np.sqrt(300)
    assert back[0].mean() > -4 * se[0]
    assert back[1].mean() < -10 * se[1]
    # A row of task j from m before it: ½ log(3 / (2 + v)), v = 1/(1 + m/(1 + 1/4)), on average.
    v = 1 / (1 + np.arange(1, 6) / 1.25)
    exact = 0.5 * np.log(3 / (2 + v)).mean()
    assert abs(ahead[0].mean() - exact) < 4 * ahead[0].std() / np.sqrt(300)
    assert ahead[0].mean() - ahead[1].mean() > 0


def test_what_is_not_carried_over_is_told():
    exact, faulty = (np.hstack(np.moveaxis(hierarchy(6, 4, f), 1, 0)) for f in (False, True))
    # Lifetime after lifetime: tasks of one stage are side by side.
    order = np.argsort(np.tile(np.arange(6), 300), kind="stable")
    ahead = [_forward(x[:, order], 300 * np.arange(7)) for x in (exact, faulty)]
    told = _short(_mean(ahead[0] - ahead[1]), _mean(ahead[0]))
    assert "does not carry over" in told[0]
    assert _short(_mean(ahead[0] - ahead[0]), _mean(ahead[0])) == []


def test_drift_is_the_divergence_of_two_gaussians():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20_000, 2))
    x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T, bias=True))).T
    root = np.array([[0.5, 0], [0.2, 1.0]])
    new = root @ root.T
    exact = 0.5 * (np.trace(new) - 2 + 0.09 - np.linalg.slogdet(new)[1])
    assert drift_of(x, x @ root.T + [0.3, 0]) == pytest.approx(exact, rel=1e-9)


def test_exact_inference_forgets_nothing(gaussian):
    found = bb.measures.transfer(gaussian, stages=3)
    assert found.attrs["doubts"] == "[]"
    assert found["score"].shape == (4, 6)
    assert (found["drift"] > 0).all()


def test_gradient_steps_forget_where_they_are_carried_on():
    settings = {"inference.steps": 10}
    run = bb.fit("coin", inference="gradient", settings=settings, tasks=60, steps=20)
    found = bb.measures.transfer(run, stages=2)
    assert abs(found["backward"]) < 1e-5
    assert found["carried_backward"] < -3 * found["carried_backward_se"]
    # What exact inference makes of it is known by draws: a reference with an error, not exact.
    assert not [name for name in found if str(name).endswith("_exact")]
    for name in ("forward", "own"):
        assert float(found[f"{name}_reference_se"]) >= 0
    assert abs(found["forward_reference"]) < 4 * found["forward_reference_se"]
    assert "carried on from task to task it forgets" in found.attrs["doubts"]
