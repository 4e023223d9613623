"""Sound and faulty learners of a coin and of a level: each fault is caught by the test for it."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.stats import norm

import bayes_badger as bb
from bayes_badger import shelves
from bayes_badger.errors import BadgerError
from bayes_badger.evidence import from_arrays
from bayes_badger.inner_loop import registry
from bayes_badger.measures.calibration import coverage, holm, ranks, uniformity
from bayes_badger.measures.definitions.is_it_bayesian import (
    LEVEL,
    calibration,
    examined,
    martingale,
    order,
    root_mean_square,
    sweep,
)
from bayes_badger.measures.labelled import doubts_of
from bayes_badger.measures.learners import Learner, OfProgram, Seen
from bayes_badger.measures.subject import Subject
from benchmarks._learners import Counter, Level

ONE = Seen(np.arange(6)[None], np.array([[1, 0, 1, 1, 0, 1]]))
SIX = Seen(np.arange(6)[None], np.array([[0.3, 1.2, -0.4, 0.8, 1.9, 0.1]]))


def test_these_are_learners():
    assert isinstance(Counter(), Learner)
    assert isinstance(Level(), Learner)


@pytest.mark.parametrize(("learner", "observed"), [(Counter(), ONE), (Level(), SIX)])
@pytest.mark.parametrize("seed", range(4))
def test_a_sound_learner_passes_all(learner, observed, seed):
    found = examined(learner, observed=observed, seed=1000 * seed, simulations=300)
    assert found.failed == []
    assert found.martingale[0].value < 0.1
    assert (
        set(found.prior)
        == set(found.posterior)
        == {*("p", "z") & found.prior.keys(), "log likelihood"}
    )


def test_a_counter_that_forgets_passes_the_martingale_and_fails_the_order():
    forgets = Counter(decay=0.95)
    one, _ = martingale(forgets, 200, 30, 4, 0)
    assert np.abs(one).max() < 1e-15
    pair = order(forgets, 2000, 30, 0)
    size, chance = root_mean_square(*pair, 0.01)
    # By itself: two orders of the same tosses.
    rng = np.random.default_rng(5)
    y = (rng.uniform(size=(20_000, 30)) < rng.uniform(size=(20_000, 1))).astype(float)
    weight = 0.95 ** np.arange(29, -1, -1)
    total = 2 * 0.95**30 + weight.sum()
    apart = (y @ weight - rng.permuted(y, axis=1) @ weight) / total
    truth = np.sqrt((apart**2).mean())
    assert abs(size.value - truth) < 4 * size.error
    assert truth == pytest.approx(0.045, abs=0.002)
    assert chance < 1e-6
    sound, chance = root_mean_square(*order(Counter(), 2000, 30, 0), 0.01)
    assert sound.value < 1e-12
    assert chance == 1.0
    found = examined(forgets, steps=30, simulations=200)
    assert "order" in found.failed
    assert "martingale" not in found.failed


def test_an_over_confident_learner_fails_calibration_and_coverage():
    found = examined(Level(width=0.6), observed=SIX, simulations=200)
    for kind in ("prior", "posterior"):
        assert f"calibration of z, {kind}" in found.failed
        assert f"coverage of z, {kind}" in found.failed
    assert "order" not in found.failed
    share, _ = coverage(found.prior["z"], LEVEL)
    exact = 1 - 2 * norm.sf(0.6 * norm.isf(0.05))
    assert abs(share - exact) < 4 * np.sqrt(exact * (1 - exact) / 200)


def test_a_biased_learner_fails_calibration_after_the_evidence_too():
    found = examined(Level(bias=0.7), observed=SIX, simulations=200)
    assert {"calibration of z, prior", "calibration of z, posterior"} <= set(found.failed)


def test_a_defect_is_found_where_it_is_and_its_noise_is_not():
    rng = np.random.default_rng(0)
    noise = [rng.normal(size=(4000, 1)) for _ in range(2)]
    size, chance = root_mean_square(0.1 + 0.2 * noise[0], 0.1 + 0.2 * noise[1], 0.01)
    assert abs(size.value - 0.1) < 4 * size.error
    assert size.error < 0.01
    assert chance < 1e-6
    nothing, chance = root_mean_square(0.2 * noise[0], 0.2 * noise[1], 0.01)
    assert nothing.value < 0.03
    assert chance > 0.01


def test_beliefs_contract_at_the_root_and_lose_what_they_should():
    widths, lost = sweep(Level(), 50, [16, 64, 256, 1024], 0, reference=Level())
    slope = np.polyfit(np.log([16, 64, 256, 1024]), widths.mean(1), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.02)
    assert np.abs(lost).max() == 0.0
    _, lost = sweep(Level(bias=3.0), 4000, [1, 4], 0, reference=Level())
    # KL of N(m, v) from N(m + 3 sd, v): 9 sd² / 2 v, sd² = 1/(1+n), v = 1 + sd².
    for own, n in zip(lost, (1, 4), strict=True):
        exact = 4.5 / (n + 2)
        assert abs(own.mean() - exact) < 4 * own.std() / np.sqrt(len(own))


def test_the_false_alarm_rate_is_what_is_declared():
    rng = np.random.default_rng(0)
    chances = np.array([uniformity(u) for u in rng.uniform(size=(4000, 40))])
    for rate in (0.05, 0.01):
        share = (chances < rate).mean()
        assert abs(share - rate) < 4 * np.sqrt(rate / 4000)
    covered = np.array([coverage(u, 0.9)[1] for u in rng.uniform(size=(4000, 40))])
    assert (covered < 0.05).mean() <= 0.05 + 4 * np.sqrt(0.05 / 4000)
    assert holm({}, 0.01) == []


def test_ranks_of_whole_numbers_are_uniform_too():
    rng = np.random.default_rng(0)
    u = ranks(rng.integers(3, size=2000), rng.integers(3, size=(100, 2000)))
    assert uniformity(u) > 0.001
    assert uniformity(calibration(Counter(), 500, 5, 0)["p"]) > 0.001


BIASES = np.array([0.1, 0.5, 0.9])


def bent_coin(toss, heads=None):
    """A coin of one of three kinds."""
    with numpyro.plate("task", toss.shape[0], dim=-2):
        kind = numpyro.sample("kind", dist.Categorical(jnp.full(3, 1 / 3)))
        with numpyro.plate("step", toss.shape[1], dim=-1):
            numpyro.sample("heads", dist.Bernoulli(jnp.asarray(BIASES)[kind]), obs=heads)


def level(x, y=None):
    """z ~ N(0, 1), y ~ N(z, 1)."""
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(0, 1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z, 1), obs=y)


@pytest.fixture(scope="module")
def levels():
    y = np.random.default_rng(0).normal(size=(2, 5)) + 0.7
    return bb.fit(level, {"x": np.zeros(y.shape), "y": y}, inference="exact")


def test_an_inner_loop_for_discrete_latents_is_a_learner():
    y = np.array([[1, 0, 1, 1, 1]])
    program = bb.lift(bent_coin)
    design = from_arrays(program.signature, {"toss": np.zeros(y.shape)}, y, {})
    loop = registry.module("enumerate")
    learner = OfProgram(program, loop.make(loop.Settings()), design)
    assert isinstance(learner, Learner)
    assert learner.outcomes.tolist() == [0, 1]
    truth, heads = learner.simulate(np.tile(np.arange(5), (40, 1)), 0)
    seen = Seen(np.tile(np.arange(5), (40, 1)), heads)
    p = BIASES[truth["kind"]]
    total = heads.sum(1)
    by_hand = total * np.log(p) + (5 - total) * np.log1p(-p)
    own = {"kind": truth["kind"][None]}
    np.testing.assert_allclose(learner.log_likelihood(own, seen)[0], by_hand, rtol=1e-5)
    weight = BIASES ** total[:, None] * (1 - BIASES) ** (5 - total[:, None])
    exact = (weight @ BIASES) / weight.sum(1)
    found = np.exp(learner.log_predictive(seen, np.zeros(40, int), np.ones((40, 1)), 0))[:, 0]
    assert (np.abs(found - exact) < 4 * 0.4 / np.sqrt(1000)).all()


def test_an_inner_loop_for_shared_latents_infers_each_lifetime_by_itself():
    y = np.zeros((2, 2))
    program = bb.lift(shelves.load_program("gaussian").model)
    design = from_arrays(program.signature, {"reading": y}, y, {})
    loop = registry.module("exact")
    learner = OfProgram(program, loop.make(loop.Settings()), design)
    # Places take tasks in turn: the first two are of different tasks.
    seen = Seen(np.tile([0, 1], (2, 1)), np.array([[2.0, 0.0], [0.0, 2.0]]))
    found = {n: x.mean(0) for n, x in learner.draws(seen, 0).items()}
    covariance = np.array([[3.0, 1.0], [1.0, 3.0]])
    gain = np.array([[2.0, 1.0], [1.0, 2.0]]) @ np.linalg.inv(covariance)
    np.testing.assert_allclose(found["z"], seen.outcomes @ gain.T, atol=4 / np.sqrt(1000))
    np.testing.assert_allclose(found["a"], 0.5, atol=4 / np.sqrt(1000))


class Sure:
    """Another inner loop's beliefs, half as wide."""

    def __init__(self, loop):
        self.loop = loop

    def why_not(self, program, evidence):
        return self.loop.why_not(program, evidence)

    def infer(self, program, evidence, key, report=None):
        belief = self.loop.infer(program, evidence, key)
        z = np.asarray(belief.draws.values["z"])
        centre = z.mean((0, 1))
        values = {"z": centre + 0.5 * (z - centre)}
        return dataclasses.replace(belief, draws=dataclasses.replace(belief.draws, values=values))


def test_a_run_is_examined_and_a_fault_planted_in_its_inner_loop_is_named(levels, monkeypatch):
    small = {"cases": 8, "simulations": 100, "steps": 5, "samples": 8, "longest": 16}
    found = bb.measures.is_it_bayesian(levels, **small)
    assert doubts_of(found) == []
    assert found["order"] < 0.05
    assert abs(float(found["contraction"]) + 0.45) < 0.06
    exact = 1 / np.sqrt(1 + found["length"].values)
    np.testing.assert_allclose(found["width"], exact, rtol=0.05)
    sound = Subject.inner_loop.fget
    monkeypatch.setattr(Subject, "inner_loop", property(lambda x: Sure(sound(x))))
    faulty = bb.measures.is_it_bayesian(levels, **small)
    named = " ".join(doubts_of(faulty))
    assert "z is not calibrated" in named
    assert "90% intervals of z" in named
    # Against exact inference it loses: ½ (log v'/v + v/v' - 1), v' = 1 + sd²/4.
    lost = faulty["lost"].values[0], faulty["lost_se"].values[0]
    v, wrong = 1.5, 1 + 0.5 / 4
    assert abs(lost[0] - 0.5 * (np.log(wrong / v) + v / wrong - 1)) < 4 * lost[1] + 0.05


def test_settings_that_test_nothing_are_refused(levels):
    with pytest.raises(BadgerError, match="at least 2"):
        bb.measures.is_it_bayesian(levels, cases=1)
