"""Information gain, between tasks and between families: bounds that hold, and faults that show."""

import numpy as np
import pytest

import bayes_badger as bb
from bayes_badger import shelves
from bayes_badger.belief import Mixture
from bayes_badger.errors import BadgerError
from bayes_badger.fitting import example_of
from bayes_badger.inner_loop.linear_gaussian import is_linear_gaussian, task_information
from bayes_badger.inner_loop.messages import messages, messages_of_each
from bayes_badger.measures import controls, exact, families, nested, shared_evidence, simulated
from bayes_badger.measures.conjugate import beta_of
from bayes_badger.measures.definitions import information_between_tasks as between_module
from bayes_badger.measures.definitions import information_gain as gain_module
from bayes_badger.measures.labelled import doubts_of
from tests.hierarchies import gaussian_evidence, joint_covariance, shelf_evidence

STEPS, TASKS = 20, 4


@pytest.fixture(scope="module")
def gaussian():
    """A run of the normal hierarchy, whose outcomes the measures do not look at."""
    evidence = gaussian_evidence(TASKS, STEPS)[1]
    return bb.fit("gaussian", evidence, inference="exact", settings={"inference.draws": 10})


# --- bounds from log densities


def levels(pairs, steps=STEPS, seed=0):
    """A level z ~ N(0, 1) and the sum of its readings; log likelihood at any level."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=pairs)
    y = z[:, None] + rng.normal(size=(pairs, steps))

    def log_likelihood(at):
        square = (y**2).sum(1)[:, None] - 2 * at * y.sum(1)[:, None] + steps * at**2
        return -0.5 * square

    return rng, z, y, log_likelihood


@pytest.mark.parametrize(
    ("draws", "lower", "upper"),
    [(1, 0.507, 19.99), (10, 1.251, 2.50), (100, 1.485, 1.585), (1000, 1.517, 1.529)],
)
def test_the_prior_as_proposal_gives_the_bounds_that_are_known(draws, lower, upper):
    pairs = 40_000 if draws < 100 else 4000
    rng, z, _, log_likelihood = levels(pairs, seed=draws)
    own = log_likelihood(z[:, None])[:, 0]
    weights = log_likelihood(rng.normal(size=(pairs, draws)))
    found = nested.information(own, nested.log_evidence(own, weights))
    assert abs(found.lower.value - lower) < 4 * found.lower.error + 0.005
    assert abs(found.upper.value - upper) < 4 * found.upper.error + 0.005
    assert found.lower.error < 0.03
    assert found.lower.value < np.log(draws + 1)
    assert found.narrow == (draws == 1000)


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (2.0, 1.0), (0.0, 0.3), (0.0, 4.0)])
def test_a_wrong_proposal_makes_bounds_wide_and_never_false(shift, scale):
    rng, z, y, log_likelihood = levels(4000)
    spread = scale / np.sqrt(STEPS + 1)
    mean = y.sum(1) / (STEPS + 1) + shift / np.sqrt(STEPS + 1)
    draws = mean[:, None] + spread * rng.normal(size=(4000, 20))

    def log_weight(at):
        log_q = -0.5 * ((at - mean[:, None]) / spread) ** 2 - np.log(spread)
        return log_likelihood(at) - 0.5 * at**2 - log_q

    own = log_likelihood(z[:, None])[:, 0]
    found = nested.information(
        own, nested.log_evidence(log_weight(z[:, None])[:, 0], log_weight(draws))
    )
    truth = exact.normal_level(float(STEPS))
    assert found.lower.value < truth + 4 * found.lower.error
    assert found.upper.value > truth - 4 * found.upper.error
    assert bool(found.narrow) == (shift == 0 and scale == 1)
    log_q = -0.5 * ((z - mean) / spread) ** 2 - np.log(spread)
    by_density = nested.barber_agakov(log_q, -0.5 * z**2)
    short = 0.5 * (1 / scale**2 + (shift / scale) ** 2 - 1) + np.log(scale)
    assert abs(truth - short - by_density.value) < 4 * by_density.error
    assert by_density.error < 0.4


def test_controls_of_a_linear_gaussian_leave_nothing_to_chance():
    rng = np.random.default_rng(0)
    design = rng.normal(size=(60, 3))
    fisher = design.T @ design / 0.25
    u = rng.normal(size=(300, 3))
    score = (0.5 * rng.normal(size=(300, 60))) @ design / 0.25
    square = np.broadcast_to(fisher, (300, 3, 3))
    found = controls.of_squares(u, score, square, square)
    off = found.mean(0) / (found.std(0) / np.sqrt(300))
    assert (np.abs(off) < 4).all()
    left = np.linalg.inv(np.eye(3) + fisher)
    sample = 0.5 * (u**2).sum(1) - 0.5 * np.einsum("ni,ij,nj->n", u - score, left, u - score)
    told = controls.controlled_mean(sample, found)
    assert abs(told.value) < 1e-9
    assert told.error < 1e-9
    assert sample.std() > 1


def test_control_errors_are_those_of_the_mean():
    rng = np.random.default_rng(1)
    luck, noise = rng.normal(size=(2, 1000, 60))
    each = [
        controls.controlled_mean(x + 0.3 * y, np.stack([x, x**2 - 1], 1))
        for x, y in zip(luck, noise, strict=True)
    ]
    score = np.array([x.value / x.error for x in each])
    assert abs(score.mean()) < 0.13
    assert 0.9 < score.std() < 1.15
    assert np.mean([x.error for x in each]) < 0.05


# --- what a program tells


@pytest.mark.parametrize("name", ["gaussian", "linear"])
def test_linear_gaussian_programs_know_their_information(name):
    program, evidence = shelf_evidence(name, 3, 4)
    assert is_linear_gaussian(program, evidence)
    fisher = task_information(program, evidence)
    if name == "gaussian":
        truth = np.full((3, 2, 2), 4.0)
    else:
        x = np.asarray(evidence.columns["X"], float).reshape(3, 4, 8) / 0.5
        both = np.concatenate([np.sqrt(64 / 3) * x, x], -1)
        truth = np.swapaxes(both, 1, 2) @ both
    np.testing.assert_allclose(fisher, truth, rtol=1e-5, atol=1e-4)


def test_coins_are_known_by_what_they_do():
    program, evidence = shelf_evidence("coin", 2, 3)
    assert beta_of(program, evidence) == (1.0, 1.0)
    model = shelves.load_program("coin").model
    lopsided = bb.lift(
        model, example=example_of(evidence), settings={"a": 2.0, "b": 0.5}, name="lopsided"
    )
    assert beta_of(lopsided, evidence) == (2.0, 0.5)
    assert beta_of(*gaussian_evidence(2, 3)) is None


def test_simulated_rows_are_those_of_the_run():
    _, evidence = shelf_evidence("eight_schools")
    queries = simulated.rows_like(evidence, 8, None, 2)
    for i in range(2):
        own = queries.columns["sigma"][8 * i : 8 * i + 8]
        assert sorted(own) == sorted(evidence.columns["sigma"])
    longer = simulated.rows_like(evidence, 10, 3)
    assert set(longer.lengths) == {3}
    assert (np.ptp(longer.columns["sigma"].reshape(10, 3), 1) == 0).all()


def test_tasks_tell_of_lifetimes_of_their_own_as_of_common_ones(key):
    program, evidence = gaussian_evidence(3, 4)
    a = np.linspace(-1, 1, 5)
    common = messages(program, evidence, {"a": a, "z": np.zeros((5, 3))}, key)
    own = messages_of_each(program, evidence, np.stack([a, -a, 0.1 * a])[..., None], key)
    np.testing.assert_allclose(own.log_evidence[0], common.log_evidence[:, 0], rtol=1e-5)
    np.testing.assert_allclose(own.log_evidence[1], common.log_evidence[::-1, 1], rtol=1e-5)


# --- measures of a run


def test_information_gain_is_found_and_known(gaussian):
    found = bb.measures.information_gain(gaussian, tasks=200, draws=100)
    t = found["rows_seen"].values
    np.testing.assert_array_equal(t, [1, 2, 5, 10, 20])
    truth = {
        "": 0.5 * np.log1p(2 * t),
        "given_": 0.5 * np.log1p(t),
        "of_algorithm_": 0.5 * np.log((1 + 2 * t) / (1 + t)),
    }
    for name, known in truth.items():
        middle = found[f"{name}middle"]
        np.testing.assert_allclose(found[f"{name}middle_exact"], known, rtol=1e-6)
        error = found[f"{name}middle_se"].values
        assert (np.abs(middle - known) < 4 * error + 5e-4).all()
        assert (error < 0.005).all()
        assert ((found[f"{name}upper"] - found[f"{name}lower"]) < 0.005).all()
    assert not doubts_of(found)


def test_a_belief_that_is_off_is_not_taken_for_information(gaussian, monkeypatch):
    def too_sure(program, evidence, key, report):
        belief = gain_believed(program, evidence, key, report)
        return Mixture(
            belief.log_weights, belief.loc + 1.0, 0.2 * belief.scale_tril, belief.latents
        )

    gain_believed = gain_module.believed
    monkeypatch.setattr(gain_module, "believed", too_sure)
    found = bb.measures.information_gain(gaussian, tasks=200, draws=10)
    assert any("information about the latents" in x for x in doubts_of(found))
    assert "middle" not in found
    for side, sign in (("lower", 1), ("upper", -1)):
        off = sign * (found[side] - found[f"{side}_exact"]) / found[f"{side}_se"]
        assert (off < 4).all()
    assert (found["by_density"] < found["lower"] - 1).all()


def test_information_between_tasks_is_found_and_known(gaussian):
    found = bb.measures.information_between_tasks(gaussian, lifetimes=200, draws=150, steps=10)
    m = found["tasks_seen"].values
    truth = {
        "of_algorithm": [exact.normal_shared(float(x), 10.0) for x in m],
        "total_correlation": [exact.normal_total_correlation(float(x), 10.0) for x in m],
        "between": exact.normal_between_tasks(10.0),
    }
    for name, known in truth.items():
        np.testing.assert_allclose(found[f"{name}_exact"], known, rtol=1e-6, atol=1e-9)
        error = found[f"{name}_se"].values
        assert (np.abs(found[name] - known) <= 4 * error + 5e-4).all()
        assert (error < 0.006).all()
    assert not doubts_of(found)


def test_proposals_that_are_off_leave_bounds_wide(gaussian, monkeypatch):
    def astray(belief, k):
        information, shift = natural(belief, k)
        return 100 * information, 100 * (shift + 1)

    natural = shared_evidence._natural
    monkeypatch.setattr(shared_evidence, "_natural", astray)
    monkeypatch.setattr(shared_evidence, "ROUNDS", 0)
    found = bb.measures.information_between_tasks(gaussian, lifetimes=100, draws=10, steps=10)
    assert any("total correlation" in x for x in doubts_of(found))
    assert "total_correlation" not in found
    for side, sign in (("lower", 1), ("upper", -1)):
        name = f"of_algorithm_{side}"
        off = sign * (found[name] - found[f"{name}_exact"]) / found[f"{name}_se"]
        assert (off < 4).all()


def test_proposals_that_are_off_are_moved(gaussian, monkeypatch):
    natural = shared_evidence._natural

    def off(belief, k):
        information, shift = natural(belief, k)
        return 4 * information, 4 * (shift + 0.5)

    monkeypatch.setattr(shared_evidence, "_natural", off)
    width = {}
    for rounds in (0, shared_evidence.ROUNDS):
        monkeypatch.setattr(shared_evidence, "ROUNDS", rounds)
        found = bb.measures.information_between_tasks(gaussian, lifetimes=100, draws=150, steps=10)
        width[rounds] = float(found["of_algorithm_upper"][-1] - found["of_algorithm_lower"][-1])
    assert width[shared_evidence.ROUNDS] < 0.1 * width[0]
    error = found["of_algorithm_se"]
    assert (np.abs(found["of_algorithm"] - found["of_algorithm_exact"]) < 4 * error + 5e-3).all()


def test_where_nothing_is_shared_it_is_zero_by_construction():
    program, _ = shelf_evidence("coin", 2, 3)
    with pytest.raises(BadgerError, match="zero by construction"):
        between_module.check_shared(program, "coin")


@pytest.mark.parametrize(
    ("measure", "wrong", "said"),
    [
        ("information_gain", {"tasks": 1}, "2 tasks or more"),
        ("information_gain", {"proposal": "posterior"}, "'experts' or 'prior'"),
        ("information_between_tasks", {"lifetimes": 1}, "2 lifetimes or more"),
        ("information_between_tasks", {"proposal": "posterior"}, "'experts' or 'prior'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(gaussian, measure, wrong, said):
    with pytest.raises(BadgerError, match=said):
        getattr(bb.measures, measure)(gaussian, **wrong)


# --- families


@pytest.mark.slow
def test_families_are_told_apart_by_their_densities():
    program, evidence = gaussian_evidence(4, 3)
    model = shelves.load_program("gaussian").model
    noisy = bb.lift(model, example=example_of(evidence), settings={"sigma": 3.0}, name="noisy")
    log_p, unsure = families.log_densities([program, noisy], evidence, tasks=100, draws=64)
    assert unsure < 0.005
    covariances = joint_covariance(1, 3), joint_covariance(1, 3) + 8 * np.eye(3)
    for k, own in enumerate((program, noisy)):
        queries = simulated.rows_like(evidence, 1, 3, 100)
        y = simulated.simulated(own, queries, 100, k).evidence.outcome.reshape(100, 3)
        for j, covariance in enumerate(covariances):
            white = np.linalg.solve(np.linalg.cholesky(covariance), y.T)
            log_scale = 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]
            truth = -0.5 * (white**2).sum(0) - log_scale
            off = log_p[k, :, j] - truth
            assert np.abs(off).max() < 0.2
            assert abs(off.mean()) < 0.02
    told = families.jensen_shannon(log_p)
    assert told.value < np.log(2)
    pairs = families.of_pairs(log_p)
    assert pairs.value[0, 1] == pytest.approx(told.value, abs=1e-9)


def test_families_that_do_not_meet_are_log_of_their_number():
    apart = np.where(np.eye(3, dtype=bool)[:, None], 0.0, -1e9) * np.ones((3, 5, 1))
    share = np.array([0.5, 0.25, 0.25])
    assert families.jensen_shannon(apart).value == pytest.approx(np.log(3), rel=1e-12)
    assert families.jensen_shannon(apart, share).value == pytest.approx(-share @ np.log(share))
    assert families.of_pairs(apart).value[0, 1] == pytest.approx(np.log(2), rel=1e-12)


def test_families_of_other_columns_are_refused():
    with pytest.raises(BadgerError, match="has other columns"):
        families.log_densities(
            [gaussian_evidence(2, 3)[0], shelf_evidence("linear", 2, 3)[0]],
            gaussian_evidence(2, 3)[1],
        )
