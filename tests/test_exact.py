"""Information in closed form, held to values that were computed by other means."""

import numpy as np
import pytest

from bayes_badger.measures import exact

TOLERANCE = 1e-6


@pytest.mark.parametrize(
    ("steps", "truth"), [(1, 0.058892), (10, 0.128581), (100, 0.142190), (np.inf, 0.143841)]
)
def test_two_tasks_of_the_normal_hierarchy(steps, truth):
    assert exact.normal_between_tasks(float(steps)) == pytest.approx(truth, abs=TOLERANCE / 2)


@pytest.mark.parametrize(("tasks", "truth"), [(2, 0.128581), (10, 2.077318), (100, 30.070958)])
def test_total_correlation_of_the_normal_hierarchy(tasks, truth):
    assert exact.normal_total_correlation(float(tasks), 10.0) == pytest.approx(
        truth, abs=TOLERANCE / 2
    )


@pytest.mark.parametrize(
    ("steps", "truth"), [(1, 0.346574), (10, 1.198948), (100, 2.307560), (1e5, 5.756468)]
)
def test_a_level_with_a_known_prior(steps, truth):
    assert exact.normal_level(float(steps)) == pytest.approx(truth, abs=TOLERANCE / 2)


@pytest.mark.parametrize(
    ("tosses", "truth"),
    [
        (1, 0.193147),
        (2, 0.329661),
        (5, 0.595767),
        (10, 0.853997),
        (100, 1.900338),
        (1000, 3.037003),
        (100_000, 5.337553),
    ],
)
def test_tosses_of_a_coin(tosses, truth):
    assert exact.beta_bernoulli(tosses) == pytest.approx(truth, abs=TOLERANCE / 2)


@pytest.mark.parametrize(
    ("categories", "truth"), [(2, 0.193147), (3, 0.265279), (5, 0.326105), (10, 0.373617)]
)
def test_one_draw_of_some_categories(categories, truth):
    found = exact.dirichlet_categorical(np.ones(categories))
    assert found == pytest.approx(truth, abs=TOLERANCE / 2)


def test_coins_are_categories_of_two_and_lopsided_priors_by_quadrature():
    both = exact.beta_bernoulli(1, 0.5, 3.0), exact.dirichlet_categorical(np.array([0.5, 3.0]))
    assert both[0] == pytest.approx(both[1], rel=1e-12)
    p = (np.arange(200_000) + 0.5) / 200_000
    density = p**-0.5 * (1 - p) ** 2
    density /= density.sum()
    entropy = -(p * np.log(p) + (1 - p) * np.log1p(-p))
    mean = (density * p).sum()
    truth = -(mean * np.log(mean) + (1 - mean) * np.log1p(-mean)) - (density * entropy).sum()
    assert both[0] == pytest.approx(truth, rel=1e-3)


def test_a_gaussian_process():
    x = np.linspace(0, 1, 10)
    kernel = np.exp(-0.5 * ((x - x[:, None]) / 0.2) ** 2)
    assert exact.gaussian_process(kernel, 0.01) == pytest.approx(14.498551, abs=TOLERANCE / 2)


def test_a_regression_is_half_the_log_of_a_determinant_of_rows():
    rng = np.random.default_rng(0)
    x, root = rng.normal(size=(7, 3)), np.tril(rng.normal(size=(3, 3)), -1) + 2 * np.eye(3)
    prior = root @ root.T
    rows = np.eye(7) + x @ prior @ x.T / 0.25
    truth = 0.5 * np.linalg.slogdet(rows)[1]
    assert exact.linear_regression(x, prior, 0.5) == pytest.approx(truth, rel=1e-12)
    assert exact.linear_regression(x, 4.0, 0.5) == pytest.approx(
        exact.linear_regression(x, 4 * np.eye(3), 0.5), rel=1e-12
    )


def test_shared_regressions_are_differences_of_entropies():
    """I(D_1; D_2), I(mu; D_1:2) and I(w; D | mu) from the covariance of all outcomes."""
    x = np.random.default_rng(1).normal(size=(2, 4, 3))
    found = exact.shared_regressions(x, centre=2.0, spread=0.7, noise=0.5)

    def half(matrix):
        return 0.5 * np.linalg.slogdet(matrix)[1]

    flat = x.reshape(8, 3)
    same = np.kron(np.eye(2), np.ones((4, 4)))
    given = 0.7 * same * (flat @ flat.T) + 0.25 * np.eye(8)
    outcome = given + 2.0 * flat @ flat.T
    joint = half(outcome)
    between = half(outcome[:4, :4]) + half(outcome[4:, 4:]) - joint
    assert found.between[0, 1] == pytest.approx(between, rel=1e-10)
    assert found.of_algorithm[1] == pytest.approx(joint - half(given), rel=1e-10)
    noise = 4 * np.log(0.5)
    assert found.given[0] == pytest.approx(half(given[:4, :4]) - noise, rel=1e-10)
    assert found.total_correlation[1] == pytest.approx(between, rel=1e-10)


@pytest.mark.parametrize(
    ("rows", "given", "shared", "between", "within"),
    [
        (1, 1.687, (1.171, 2.239, 2.990), 0.685, 0.001),
        (5, 7.648, (2.254, 3.090, 3.788), 1.887, 0.001),
        (20, 16.57, (2.56, 3.36, 4.06), 2.22, 0.02),
        (50, 20.85, (2.57, 3.37, 4.07), 2.23, 0.02),
    ],
)
def test_the_mean_over_designs_of_eight_features(rows, given, shared, between, within):
    """In each lifetime 20 tasks with eight features from N(0, 1), weights around one number."""
    rng, each = np.random.default_rng(rows), []
    for _ in range(400):
        found = exact.shared_regressions(rng.normal(size=(20, rows, 8)), towards=np.ones((8, 1)))
        pairs = found.between[0::2, 1::2].diagonal().mean()
        each.append([found.given.mean(), found.of_one.mean(), *found.of_algorithm[[4, 19]], pairs])
    mean, error = np.mean(each, 0), np.std(each, 0, ddof=1) / 20
    assert (np.abs(mean - [given, *shared, between]) < within + 4 * error).all()
    assert (error < 0.02).all()


def test_hierarchies_of_many_tasks_agree_with_their_closed_form():
    found = exact.linear_gaussian(np.full((100, 2, 2), 10.0), 1)
    assert found.total_correlation[99] == pytest.approx(
        exact.normal_total_correlation(100.0, 10.0), rel=1e-10
    )
    assert found.of_algorithm[9] == pytest.approx(exact.normal_shared(10.0, 10.0), rel=1e-12)
