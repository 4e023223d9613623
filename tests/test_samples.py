"""Information between samples: each estimator against truth, and what may be believed."""

import numpy as np
import pytest
from scipy.integrate import dblquad
from scipy.special import ndtr
from scipy.stats import multivariate_t
from scipy.stats import t as student_t

import bayes_badger as bb
from bayes_badger.errors import BadgerError
from bayes_badger.measures.estimate import Estimate
from bayes_badger.measures.labelled import doubts_of, notes_of
from bayes_badger.measures.samples import copula
from bayes_badger.measures.samples.bound import contributions, held_out
from bayes_badger.measures.samples.choice import Witness, allowed, judged
from bayes_badger.measures.samples.ksg import ksg
from bayes_badger.measures.samples.misfit import left_over
from bayes_badger.measures.samples.scores import normal_scores, uniform_scores
from benchmarks._sampled import (
    additive,
    bimodal,
    dense,
    normal_information,
    others,
    sparse,
    spirals,
    student,
    student_excess,
    tasks,
)

between = bb.measures.information_between_samples


def drawn(task, n, seed=3):
    return task.draw(np.random.default_rng(seed), n)


# Truths


def test_forty_tasks_of_different_names():
    assert len({task.name for task in tasks()}) == len(tasks()) == 40
    assert not {(t.name, round(t.truth, 4)) for t in tasks()} & {
        (t.name, round(t.truth, 4)) for t in others()
    }


@pytest.mark.parametrize(
    ("task", "truth"),
    [
        (dense(1, 1, 0.75), 0.4133),
        (dense(25, 25), 1.2922),
        (sparse(5, 5), 1.0217),
        (student(5, 5, 2), 0.4482),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_truths_that_others_printed(task, truth):
    assert task.truth == pytest.approx(truth, abs=5e-5)


def test_the_student_truth_by_quadrature():
    df, rho = 3.0, 0.6
    joint = multivariate_t([0, 0], [[1, rho], [rho, 1]], df=df)

    def integrand(y, x):
        p = joint.pdf([x, y])
        return p * (np.log(p) - student_t.logpdf(x, df) - student_t.logpdf(y, df))

    # Coordinates that make both tails finite.
    def bent(v, u):
        return integrand(np.tan(v), np.tan(u)) / (np.cos(v) * np.cos(u)) ** 2

    edge = np.pi / 2 - 1e-6
    found = dblquad(bent, -edge, edge, -edge, edge, epsabs=1e-4)[0]
    r = np.array([[1, rho], [rho, 1]])
    assert found == pytest.approx(normal_information(r, 1) + student_excess(df, 1, 1), abs=1e-3)


def test_maps_are_one_to_one():
    x = np.linspace(-4, 4, 1001)[:, None]
    assert (np.diff(bimodal(0.3, 0, 5)(x)[:, 0]) > 0).all()
    task = sparse(3, 3)
    (x, _), (turned, _) = drawn(task, 50), drawn(spirals(task), 50)
    np.testing.assert_allclose((x**2).sum(1), (turned**2).sum(1))


# Estimators


def test_a_bound_of_the_true_critic_is_close_and_below_the_truth_with_any():
    rng, rho = np.random.default_rng(0), 0.75
    x = rng.normal(size=(2500, 1))
    y = rho * x + np.sqrt(1 - rho**2) * rng.normal(size=(2500, 1))
    right = copula.Copula(copula.NORMAL, np.array([[1, rho], [rho, 1]]), 1)
    truth = right.information()
    assert truth == pytest.approx(-0.5 * np.log(1 - rho**2))
    each = contributions(copula.scores(right.critic(), x, y))
    error = each.std() / np.sqrt(len(each))
    assert error < 0.02
    assert abs(each.mean() - truth) < 4 * error
    for wrong in (-0.75, 0.2, 0.98):
        off = copula.Copula(copula.NORMAL, np.array([[1, wrong], [wrong, 1]]), 1)
        assert contributions(copula.scores(off.critic(), x, y)).mean() < each.mean() - 0.05


def test_a_bound_never_exceeds_the_logarithm_of_its_pairs():
    assert contributions(1e3 * np.eye(50)).mean() == pytest.approx(np.log(50))
    assert contributions(-1e3 * np.eye(50)).mean() < 0


def test_the_error_of_a_bound_is_the_spread_between_data_sets():
    rho, right = 0.6, copula.Copula(copula.NORMAL, np.array([[1, 0.6], [0.6, 1]]), 1)
    means, errors = [], []
    for seed in range(200):
        x, y = drawn(dense(1, 1, rho), 200, seed)
        each = contributions(copula.scores(right.critic(), x, y))
        means.append(each.mean())
        errors.append(each.std() / np.sqrt(len(each)))
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.2)


def test_scores_are_the_log_ratio_of_densities():
    r = np.full((3, 3), 0.4) + 0.6 * np.eye(3)
    for df in (2.0, copula.NORMAL):
        rng = np.random.default_rng(1)
        x, y = rng.normal(size=(4, 2)), rng.normal(size=(5, 1))
        found = copula.scores(copula.Copula(df, r, 2).critic(), x, y)
        i, j = 2, 3
        both = multivariate_t(np.zeros(3), r, df=df).logpdf(np.concatenate([x[i], y[j]]))
        apart = multivariate_t(np.zeros(2), r[:2, :2], df=df).logpdf(x[i])
        apart += student_t.logpdf(y[j, 0], df)
        assert found[i, j] == pytest.approx(both - apart, abs=1e-4)


@pytest.mark.parametrize("df", [2.0, np.inf])
def test_a_copula_finds_its_own_kind_whatever_the_margins(df):
    x, y = drawn(dense(3, 2, 0.5, df).through("", np.sinh), 4000)
    found = copula.fit(uniform_scores(np.concatenate([x, y], 1)), 3)
    assert found.df == (df if np.isfinite(df) else copula.NORMAL)
    assert found.information() == pytest.approx(dense(3, 2, 0.5, df).truth, abs=0.04)


def test_correlations_that_chance_shows_as_well_are_left_out():
    x, y = drawn(dense(20, 20), 2000)
    fitted = copula.fit(uniform_scores(np.concatenate([x, y], 1)), 20)
    truth = dense(20, 20).truth
    assert fitted.information() > truth + 0.05
    assert copula.sparser(fitted, 2000).information() == pytest.approx(truth, abs=0.07)


@pytest.mark.parametrize("variant", [1, 2])
@pytest.mark.parametrize("task", [additive(0.75), dense(1, 1, 0.75)], ids=lambda x: x.name)
def test_neighbours_in_two_dimensions(task, variant):
    x, y = drawn(task, 4000)
    found = ksg(normal_scores(x), normal_scores(y), variant=variant)
    assert found.error < 0.02
    assert abs(found.value - task.truth) < 4 * found.error


def test_neighbours_of_shuffled_pairs_find_nothing():
    rng = np.random.default_rng(0)
    found = ksg(rng.normal(size=(3000, 1)), rng.normal(size=(3000, 2)))
    assert abs(found.value) < 4 * found.error


def test_what_is_left_over_is_within_its_error_where_the_copula_is_right():
    ratios = []
    for seed in range(20):
        x, y = drawn(dense(4, 4, 0.5), 1500, seed)
        whole = np.full((8, 8), 0.5) + 0.5 * np.eye(8)
        found = left_over(x, y, whole, copula.NORMAL)
        ratios.append(found.value / found.error)
    assert abs(np.mean(ratios)) < 4 / np.sqrt(20)
    assert 0.5 < np.std(ratios) < 1.6


def test_a_spiral_in_many_dimensions_leaves_something_over():
    x, y = drawn(spirals(sparse(15, 15), 2.0), 4000)
    u = uniform_scores(np.concatenate([x, y], 1))
    fitted = copula.fit(u, 15)
    z = fitted.quantiles(u)
    found = left_over(z[:, :15], z[:, 15:], fitted.dispersion, fitted.df)
    assert found.value > 0.05 > 4 * found.error


# What is believed


def witness(proven, seeming, left=0.0, error=0.01):
    return Witness(Estimate(proven, error), seeming, Estimate(left, 0.001))


@pytest.mark.parametrize(
    ("critic", "near", "dims", "believed"),
    [
        (witness(1.0, 1.02), None, 10, "copula"),
        (witness(0.8, 1.2), None, 10, ""),
        (witness(1.0, 1.02, left=0.1), None, 10, ""),
        (witness(6.5, 6.6), None, 10, ""),
        (witness(1.5, 1.52, left=0.1), (1.9, 1.88), 2, "neighbours"),
        (witness(0.5, 0.52), (0.9, 0.89), 6, ""),
        (witness(0.5, 0.52), (0.2, 0.1), 6, "copula"),
        (witness(0.5, 0.52), (0.2, 0.2), 6, "copula"),
    ],
)
def test_who_is_believed(critic, near, dims, believed):
    both = near and tuple(Estimate(x, 0.005) for x in near)
    found = judged(critic, ["copula"], both, dims)
    assert found.method == believed
    assert found.reason


@pytest.mark.parametrize(
    "task",
    [
        dense(1, 1, 0.6).through("uniform", ndtr),
        student(3, 3, 1.5),
        additive(0.3),
        dense(4, 3, 0.0),
    ],
    ids=lambda x: x.name,
)
def test_what_is_believed_is_right(task):
    found = between(*drawn(task, 3000), steps=0)
    assert found.attrs["believed"]
    assert "is believed" in notes_of(found)[0]
    off = abs(float(found["information"]) - task.truth)
    assert off < min(4 * float(found["information_se"]), 0.1 * task.truth + 0.06)
    assert float(found["proven"]) < task.truth + 4 * float(found["proven_se"])


def test_where_no_critic_is_good_nothing_is_believed_but_something_is_proven():
    task = spirals(sparse(5, 5, 0.9), 3.0)
    found = between(*drawn(task, 3000), steps=0)
    assert np.isnan(found["information"])
    assert "not trusted here" in doubts_of(found)[0]
    assert 0 < float(found["proven"]) < task.truth


@pytest.mark.slow
def test_networks_find_what_a_copula_lacks():
    task = spirals(sparse(3, 3))
    found = between(*drawn(task, 8000))
    assert float(found["copula"]) < 0.6 * task.truth
    assert 0.8 * task.truth < float(found["proven"]) < task.truth + 4 * float(found["proven_se"])
    # What is proven and what seems are a hair too far apart to be believed on some machines.
    assert found.attrs["believed"] in ("critic", "")
    assert float(found["critic"]) == pytest.approx(task.truth, rel=0.1)


def test_training_starts_from_the_copula_and_gains():
    import jax

    from bayes_badger.measures.samples import neural

    rng = np.random.default_rng(0)
    x = rng.normal(size=(1500, 1))
    y = x**2 + 0.5 * rng.normal(size=(1500, 1))
    u = uniform_scores(np.concatenate([x, y], 1))
    c = copula.fit(u[:1000], 1)
    z, q = normal_scores(np.concatenate([x, y], 1)), c.quantiles(u)
    sides = neural.single(neural.Sides(z[:, :1], z[:, 1:], q[:, :1], q[:, 1:]))
    at = [sides.at(np.arange(a, b)) for a, b in ((0, 1000), (1000, 1250), (1250, 1500))]
    learned = neural.train(c.critic(), at[0], at[1], jax.random.key(0), 300)
    plain = contributions(copula.scores(c.critic(), q[1000:1250, :1], q[1000:1250, 1:])).mean()
    assert learned.start == pytest.approx(plain, abs=1e-3)
    rows = np.arange(1250, 1500)
    told = held_out(
        lambda r: np.asarray(neural.scores(learned.weights, np.float32(c.df), sides.at(r))), rows
    )
    assert learned.apart > plain + 0.2
    assert told.mean() > plain + 0.2


def test_units_do_not_matter_and_the_same_seed_says_the_same():
    x, y = drawn(dense(2, 2, 0.4), 600)
    found = between(x, y, steps=0)
    again = between(1e6 * np.exp(x), -3 * y, steps=0)
    assert float(again["information"]) == pytest.approx(float(found["information"]), abs=0.02)
    assert between(x, y, steps=0).equals(found)


def test_repeated_values_leave_neighbours_out():
    x, y = drawn(dense(1, 1, 0.7), 1000)
    assert "neighbours" not in between(np.round(x), y, steps=0)
    assert "neighbours" in between(x, y, steps=0)


@pytest.mark.parametrize(
    ("x", "y", "settings", "said"),
    [
        (np.arange(300.0), np.arange(299.0), {}, "must be pairs"),
        (np.arange(30.0), np.arange(30.0), {}, "at least 200"),
        (np.full(300, np.nan), np.arange(300.0), {}, "not finite in sample 0"),
        (np.ones(300), np.arange(300.0), {}, "never changes"),
        (np.array(["a"] * 300), np.arange(300.0), {}, "must be numbers"),
        (np.zeros((300, 1, 1)), np.arange(300.0), {}, "must be"),
        (np.arange(300.0), np.arange(300.0), {"folds": 1}, "folds = 1"),
    ],
)
def test_what_cannot_be_estimated_is_refused(x, y, settings, said):
    with pytest.raises(BadgerError, match=said):
        between(x, y, **settings)


def test_what_is_allowed_is_half_of_what_counts_as_right():
    assert allowed(1.0) == pytest.approx((0.1 + 0.02) / 2)
