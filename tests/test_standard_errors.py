"""Standard errors of learned parameters: against exact curvatures, or that there are none."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.optimize import approx_fprime

import bayes_badger as bb
from bayes_badger.evidence import from_arrays
from bayes_badger.inner_loop import experts
from bayes_badger.learning import _numbers
from bayes_badger.outer_loop import Settings, information_test, learn, scoring, standard_errors
from bayes_badger.outer_loop.objective import is_smooth, log_evidence_and_slopes
from bayes_badger.outer_loop.observed import observed
from bayes_badger.outer_loop.penalty import penalty
from bayes_badger.program.parameters import bound, free
from benchmarks.prior import levels
from benchmarks.standard_errors import SIGMA, Y, curvature, exact, heads, heads_code, normal_code

TASKS, TOSSES = 40, 16
LOOP = experts.make(experts.Settings(experts=16, refits=1, points=16))
SENTENCE = "the program does not describe how tasks vary"


@pytest.fixture(scope="module")
def program():
    return bb.lift(levels)


@pytest.fixture(scope="module")
def coins():
    """Coins with sixteen tosses each, of which nothing is in closed form."""
    program = bb.lift(heads, inputs=lambda key, t, s: {"x": jnp.zeros((t, s))})
    rng = np.random.default_rng(0)
    z = 0.5 + 1.5 * rng.normal(size=(TASKS, 1))
    y = (rng.uniform(size=(TASKS, TOSSES)) < 1 / (1 + np.exp(-z))).astype(int)
    return program, y, from_arrays(program.signature, {"x": np.zeros(y.shape)}, y, {})


def learned(program, sigma, y, **settings):
    evidence = from_arrays(program.signature, {"sigma": sigma}, y, {})
    return learn(program, evidence, jax.random.key(0), Settings(starts=1, **settings))


def pairs(tasks, z, seed=0):
    """Two rows of each task, and their standard errors."""
    rng = np.random.default_rng(seed)
    sigma = rng.uniform(0.3, 0.6, (tasks, 2))
    return sigma, z(rng)[:, None] + sigma * rng.normal(size=(tasks, 2))


def test_a_curvature_is_that_of_the_normal_hierarchy():
    """What the truth is found with: second differences against the derivatives in closed form."""
    weight = (SIGMA**-2.0).sum(1)
    mean, at = (SIGMA**-2.0 * Y).sum(1) / weight, np.array([0.9, 0.3])
    between = np.exp(2 * at[1])
    spread, away = between + 1 / weight, mean - at[0]
    mixed = (2 * away * between / spread**2).sum()
    # Of 1/2 log v + r²/(2 v), v = t² + 1/w: twice by log t.
    share = between / spread
    twice = 2 * share * (1 - share) - 2 * away**2 / spread * share * (1 - 2 * share)
    expected = [[(1 / spread).sum(), mixed], [mixed, twice.sum()]]
    np.testing.assert_allclose(curvature(normal_code(SIGMA, Y), at), expected, rtol=1e-6)


def test_four_tasks_have_the_errors_of_the_exact_curvature(program):
    """The README's table; products of four tasks' slopes say 1 for tau where .553 is right."""
    found = learned(program, SIGMA, Y)
    code = normal_code(SIGMA, Y)
    top, errors = exact(code, np.zeros(2))
    assert errors == pytest.approx([0.771, 0.553], abs=1e-3)
    assert [float(found.errors[n]) for n in ("mu", "tau")] == pytest.approx(errors, rel=1e-2)
    assert found.warnings == ()
    # How far it is from the maximum, by its own count and truly.
    at = np.array([found.program.parameters["mu"], np.log(found.program.parameters["tau"])])
    away = np.sqrt((at - top) @ curvature(code, top) @ (at - top))
    assert away < 2 * scoring.CLOSE
    assert found.curve[-1]["standard_errors_away"] == pytest.approx(away, abs=5e-3)


def test_a_penalty_counts_as_information(program):
    found = learned(program, SIGMA, Y, penalty=2.0)
    at = np.array([found.program.parameters["mu"], np.log(found.program.parameters["tau"])])
    information = curvature(normal_code(SIGMA, Y), at) + 2.0 * np.eye(2)
    errors = np.sqrt(np.diag(np.linalg.inv(information))) * [1.0, np.exp(at[1])]
    assert [float(found.errors[n]) for n in ("mu", "tau")] == pytest.approx(errors, rel=1e-2)


def test_a_scale_that_goes_to_zero_has_no_standard_error(program):
    """All levels are the same: the likelihood of tau rises all the way down."""
    y = np.array([[0.5, -0.5], [-0.5, 0.5], [0.5, -0.4], [-0.4, 0.5]])
    found = learned(program, SIGMA, y)
    assert np.isnan(found.errors["tau"])
    assert found.errors["mu"] == pytest.approx((SIGMA**-2.0).sum() ** -0.5, rel=0.05)
    assert found.warnings == (
        "tau: no standard error: the likelihood is flat or still rising there",
    )
    told = _numbers(np.array([0.5, 0.01]), np.array([0.123, np.nan]))
    assert told == "0.5 ± 0.123, 0.01 (no standard error)"


def test_the_interval_of_a_scale_is_that_of_its_logarithm():
    value, error = np.array([1.5, 0.2]), np.array([0.5, np.nan])
    low, high = standard_errors.interval(value, error, dist.constraints.positive)
    np.testing.assert_allclose([low[0], high[0]], 1.5 * np.exp([-2 / 3, 2 / 3]), rtol=1e-5)
    assert np.isnan([low[1], high[1]]).all()
    told = _numbers(value, error, (low, high))
    assert told == "1.5 ± 0.5, 0.77 to 2.92, 0.2 (no standard error)"
    low, high = standard_errors.interval(
        np.array(0.9), np.array(0.09), dist.constraints.unit_interval
    )
    np.testing.assert_allclose([low, high], 1 / (1 + np.exp([-np.log(9) + 2, -np.log(9) - 2])))
    for unbound in (None, dist.constraints.real, dist.constraints.simplex):
        assert standard_errors.interval(np.array([0.4, 0.6]), np.ones(2), unbound) is None


def test_where_it_stops_early_there_is_no_word_of_flatness(program):
    found = learned(program, SIGMA, Y, steps=1)
    assert len(found.warnings) == 1
    assert "standard errors from its maximum: take more" in found.warnings[0]


@pytest.mark.parametrize(
    ("z", "doubted"),
    [
        (lambda rng: 1 + 1.5 * rng.normal(size=TASKS), False),
        (lambda rng: rng.choice([-0.5, 2.5], TASKS), True),
        (lambda rng: 1 + np.where(np.arange(TASKS) < 2, [9.0, -8.0] * (TASKS // 2), 0.3), True),
    ],
    ids=["normal", "two clusters", "two far out"],
)
def test_a_program_that_does_not_describe_tasks_is_named(program, z, doubted):
    sigma, y = pairs(TASKS, z)
    found = learned(program, sigma, y)
    assert any(SENTENCE in each for each in found.warnings) == doubted
    # The errors told are those of the curvature all the same.
    errors = exact(normal_code(sigma, y), np.zeros(2))[1]
    assert [float(found.errors[n]) for n in ("mu", "tau")] == pytest.approx(errors, rel=1e-2)


@pytest.mark.slow
def test_errors_are_right_where_nothing_is_closed(coins):
    program, y, evidence = coins
    found = learn(program, evidence, jax.random.key(0), Settings(starts=1))
    top, errors = exact(heads_code(y), np.zeros(2))
    assert [float(found.errors[n]) for n in ("mu", "tau")] == pytest.approx(errors, rel=0.05)
    assert float(found.program.parameters["mu"]) == pytest.approx(top[0], abs=0.1 * errors[0])
    assert found.warnings == ()


@pytest.mark.slow
def test_control_variates_take_noise_out_of_slopes(coins):
    """The same mean, against quadrature; and of the noise of long tasks little is left."""
    program, y, evidence = coins
    there = free(program) | {"mu": jnp.array(0.4), "tau": jnp.array(0.3)}
    args = (program, there, evidence, LOOP, jax.random.key(0))
    each = [heads_code(one[None]) for one in y]
    truth = np.array([-approx_fprime(np.array([0.4, 0.3]), code, 1e-6) for code in each])
    assert is_smooth(*args)
    off = [log_evidence_and_slopes(*args, steady=steady)[1] - truth for steady in (False, True)]
    plain, steady = (np.sqrt((x**2).mean(0)) for x in off)
    assert (steady < 0.3 * plain).all()
    # Without bias: the sum over tasks, in its own standard errors.
    assert (np.abs(off[1].sum(0)) < 5 * off[1].std(0) * np.sqrt(TASKS) + 1e-3).all()


@pytest.mark.slow
def test_a_density_with_a_jump_is_seen(coins):
    def rounded(x, y=None):
        mu = numpyro.param("mu", 0.0)
        with numpyro.plate("task", x.shape[0], dim=-2):
            z = numpyro.sample("z", dist.Normal(mu, 2.0))
            with numpyro.plate("step", x.shape[1], dim=-1):
                numpyro.sample("y", dist.Bernoulli(logits=jnp.where(z > 0.3, 1.5, -1.5) + x), obs=y)

    evidence = coins[2]
    program = bb.lift(rounded, inputs=lambda key, t, s: {"x": jnp.zeros((t, s))})
    evidence = from_arrays(program.signature, {"x": np.zeros(coins[1].shape)}, coins[1], {})
    assert not is_smooth(program, free(program), evidence, LOOP, jax.random.key(0))


def test_directions_without_information_have_no_standard_error():
    """Two parameters of which only the sum is known, and a third."""
    information = np.array([[4.0, 4.0, 0.0], [4.0, 4.0, 0.0], [0.0, 0.0, 25.0]])
    found = standard_errors.covariance(information)
    assert found.flat.tolist() == [True, True, False]
    assert found.matrix[2, 2] == pytest.approx(0.04)
    # The points do not tell the third from none.
    spread = np.diag([0.0, 0.0, 15.0])
    assert standard_errors.covariance(information, spread).flat.all()
    nowhere = standard_errors.covariance(np.full((2, 2), np.nan))
    assert nowhere.flat.all()
    assert nowhere.away(np.ones(2)) == 0.0


def test_a_loosely_known_parameter_is_looked_at_on_both_sides():
    found = standard_errors.covariance(np.diag([0.25, 0.25, 100.0]))

    def height(point):
        return float(-0.125 * point[0] ** 2 - np.log1p(np.exp(4 * point[1])))

    at, none = np.array([0.0, -3.0, 0.0]), np.zeros(3, bool)
    flat = standard_errors.that_do_not_fall(found, at, none, height)
    assert flat.tolist() == [False, True, False]
    errors = {"a": np.array(0.1), "b": np.array([0.1, np.nan]), "c": np.full(2, np.nan)}
    doubt = standard_errors.flat_doubt(errors)
    assert doubt == "b[1], c: no standard error: the likelihood is flat or still rising there"


def test_noise_of_points_is_told():
    found = standard_errors.covariance(np.diag([4.0, 4.0]))
    noisy = np.diag([4.0, 4.0])
    assert standard_errors.with_noise(found, noisy).matrix == pytest.approx(0.5 * np.eye(2))
    assert "noise of 1 standard errors" in standard_errors.noise_doubt(found, noisy, "outer.points")
    assert standard_errors.noise_doubt(found, 0.1 * noisy, "outer.points") is None


@pytest.mark.parametrize(("noise", "known"), [(0.0, True), (0.01, True), (2.0, False)])
def test_points_that_do_not_tell_the_curvature_are_seen(noise, known):
    def look(point, points):
        tilt = noise * np.random.default_rng(points).normal()
        return np.zeros(1), -(10 + 10 * tilt) * point[None]

    found = observed(look, np.zeros(1), noisy=True)
    assert found.known == known
    assert abs(found.information[0, 0] - 10) <= 5 * found.spread[0, 0] + 1e-4


def test_steps_that_are_much_too_long_are_taken_again():
    """Slopes of two tasks that cancel, and are small: they say nothing of the curvature."""

    def look(point, points):
        each = np.array([1e-3, -1e-3]) - 50 * np.sin(point[0])
        return np.zeros(2), each[:, None]

    found = observed(look, np.zeros(1), noisy=False).information
    assert found[0, 0] == pytest.approx(100.0, rel=1e-3)


def test_the_count_goes_on_where_products_say_that_it_is_near():
    """Slopes that cancel but for .2: by their products that is near the maximum."""
    slopes = np.array([[30.0], [-29.8]])
    none = penalty(np.zeros(1), np.zeros(1), 0.0)
    place = scoring.moved(scoring.start(np.zeros(1)), np.zeros(2), slopes, none, 2, 0.0, 0.0)
    assert scoring.at_rest(place)
    assert not scoring.is_settled(place)
    place = scoring.examined(place, np.array([[0.25]]), np.zeros((1, 1)))
    assert place.away == pytest.approx(0.4)
    assert not scoring.is_settled(place)
    np.testing.assert_allclose(place.point, [0.8], rtol=1e-5)
    there = scoring.moved(place, np.zeros(2), slopes - 0.1, none, 2, 0.0, 0.0)
    assert scoring.is_settled(there)


def test_alarms_are_rare_where_all_is_as_expected():
    """Scores of a scale, whose kurtosis is 15: of 200 worlds of twenty tasks at most 2% alarm."""
    rng = np.random.default_rng(0)

    def influence(shape):
        squares = rng.normal(size=shape) ** 2
        return (squares / squares.mean(-1, keepdims=True) - 1)[..., None]

    drawn = (rng.normal(size=(50, 20)) ** 2 - 1)[..., None]
    alarms = 0
    for _ in range(200):
        own = influence((20,))
        # The information about the logarithm of a scale is two of each task.
        found = information_test.sandwich(own, np.eye(1), 40 * np.eye(1), np.eye(1))
        alarms += bool(information_test.beyond_chance(found, drawn, rng).any())
    assert alarms <= 4
    two = np.where(np.arange(20) < 10, 1.02, 0.98)[:, None] - 1
    found = information_test.sandwich(two, np.eye(1), 40 * np.eye(1), np.eye(1))
    assert information_test.beyond_chance(found, drawn, rng).all()
    assert information_test.is_suspect(found, 1)
    assert not information_test.is_suspect(found, 7)


def test_parameters_with_bounds_are_known():
    def model(x, y=None):
        mu = numpyro.param("mu", jnp.zeros(2))
        tau = numpyro.param("tau", 1.0, constraint=dist.constraints.positive)
        with numpyro.plate("task", x.shape[0], dim=-2):
            z = numpyro.sample("z", dist.Normal(mu.sum(), tau))
            with numpyro.plate("step", x.shape[1], dim=-1):
                numpyro.sample("y", dist.Normal(z + 0 * x, 1.0), obs=y)

    program = bb.lift(model, inputs=lambda key, t, s: {"x": jnp.zeros((t, s))})
    assert standard_errors.bounded(program).tolist() == [False, False, True]
    flat, unflatten = jax.flatten_util.ravel_pytree(free(program))
    table = standard_errors.table_at(program, unflatten, flat + jnp.log(2.0))
    assert table.names == ["mu[0]", "mu[1]", "tau"]
    np.testing.assert_allclose(table.slopes, np.diag([1.0, 1.0, 2.0]))
    found = standard_errors.covariance(np.diag([4.0, 4.0, 4.0]))
    errors = standard_errors.by_name(table, found)
    np.testing.assert_allclose(errors["mu"], [0.5, 0.5])
    assert errors["tau"] == pytest.approx(1.0)
    assert bound(program, unflatten(flat)).parameters["tau"] == pytest.approx(1.0)
