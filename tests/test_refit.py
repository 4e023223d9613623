"""What experts are refitted by: points, small matrices, scouts and importance weights."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

import bayes_badger as bb
from bayes_badger.inner_loop import _small as small
from bayes_badger.inner_loop._offline import log_joint_of
from bayes_badger.inner_loop._plan import Plan, prior_society
from bayes_badger.inner_loop._points import centres, cloud
from bayes_badger.inner_loop._policy import Untaught
from bayes_badger.inner_loop._reborn import reborn_as_splits
from bayes_badger.inner_loop._refit import refitted
from bayes_badger.inner_loop._search import look_around, send_scouts, with_scouts
from bayes_badger.inner_loop._society import Society, log_densities
from bayes_badger.program import Data


def moments(society):
    """Mass, mean and covariance of a society, in double precision."""
    weights, mean, root = (
        np.asarray(x, float) for x in (jnp.exp(society.log_weights), society.mean, society.root)
    )
    mass = weights.sum()
    centre = weights @ mean / mass
    away = mean - centre
    inside = np.einsum("k,kij,klj->il", weights, root, root)
    return mass, centre, (inside + (weights[:, None] * away).T @ away) / mass


def society_of(mean, root, log_weights=None):
    mean, root = jnp.asarray(mean, jnp.float32), jnp.asarray(root, jnp.float32)
    k, size = mean.shape
    log_weights = jnp.zeros(k) if log_weights is None else jnp.asarray(log_weights, jnp.float32)
    return Society(
        jax.nn.log_softmax(log_weights),
        mean,
        jnp.broadcast_to(root, (k, size, size)),
        jnp.zeros((k, size, 0)),
    )


# --- points


@pytest.mark.parametrize(("n", "size"), [(8, 1), (32, 3), (64, 8), (100, 50)])
def test_moments_of_a_cloud(n, size):
    points = cloud(n, size)
    assert points.shape == (n, size)
    np.testing.assert_allclose(points.mean(0), 0.0, atol=1e-6)
    np.testing.assert_allclose(points.T @ points / n, np.eye(size), atol=1e-6)
    # Mirror images: all odd moments are zero too.
    np.testing.assert_allclose((points**3).mean(0), 0.0, atol=1e-6)


def test_a_cloud_of_few_pairs_is_finite():
    points = cloud(8, 20)
    assert np.isfinite(points).all()
    np.testing.assert_allclose(points.mean(0), 0.0, atol=1e-6)


@pytest.mark.parametrize(("n", "size"), [(2, 1), (16, 3), (64, 2)])
def test_moments_of_centres(n, size):
    points = centres(n, size, 0.7)
    np.testing.assert_allclose(points.mean(0), 0.0, atol=1e-6)
    np.testing.assert_allclose(points.T @ points / n, 0.49 * np.eye(size), atol=1e-6)


@pytest.mark.parametrize("turn", [0, 3])
@pytest.mark.parametrize("k", [2, 16, 64])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_a_split_prior_has_the_moments_of_the_prior(k, size, turn):
    chance = np.random.default_rng(0)
    directions = np.linalg.qr(chance.normal(size=(size, min(size, 3))))[0]
    split = prior_society(Plan(directions, "cloud"), k, size, turn=turn)
    whole = prior_society(Plan(directions[:, :0], "cloud"), k, size, turn=turn)
    for society in (split, whole):
        mass, mean, covariance = moments(society)
        assert mass == pytest.approx(1.0, abs=1e-5)
        np.testing.assert_allclose(mean, 0.0, atol=1e-6)
        np.testing.assert_allclose(covariance, np.eye(size), atol=2e-6)
    np.testing.assert_array_equal(whole.mean, 0.0)
    # Where there are more experts than directions, each is narrower than the prior.
    narrower = np.linalg.det(np.asarray(split.root[0], float)) < 0.999
    assert narrower == (k > directions.shape[1])


# --- small matrices, against numpy

SIZES = [1, 3, 6, 8, 20]


@pytest.mark.parametrize("size", SIZES)
def test_small_linear_algebra(size):
    chance = np.random.default_rng(size)
    half = chance.normal(size=(size, 2 * size))
    matrix, vector = half @ half.T / size, chance.normal(size=size)
    lower = np.linalg.cholesky(matrix)
    single = [jnp.asarray(x, jnp.float32) for x in (matrix, lower, vector)]

    @jax.jit
    def all_of(matrix, lower, vector):
        return {
            "cholesky": small.cholesky(matrix),
            "inverse": small.inverse_lower(lower),
            "root of inverse": small.root_of_inverse(matrix),
            "matvec": small.matvec(matrix, vector),
            "matmul": small.matmul(matrix, lower),
            "square": small.square(vector),
            "log det": small.log_det(lower),
        }

    found = {name: np.asarray(x, float) for name, x in all_of(*single).items()}
    root = found.pop("root of inverse")
    np.testing.assert_array_equal(root, np.tril(root))
    assert (np.diag(root) > 0).all()
    inverse = np.linalg.inv(matrix)
    np.testing.assert_allclose(root @ root.T, inverse, atol=2e-5 * np.abs(inverse).max())
    truth = {
        "cholesky": lower,
        "inverse": np.linalg.inv(lower),
        "matvec": matrix @ vector,
        "matmul": matrix @ lower,
        "square": vector @ vector,
        "log det": np.log(np.diag(lower)).sum(),
    }
    for name, x in truth.items():
        np.testing.assert_allclose(
            found[name], x, rtol=1e-4, atol=2e-5 * np.abs(x).max(), err_msg=name
        )


@pytest.mark.parametrize("size", SIZES)
def test_matrices_that_are_nearly_singular(size):
    """Of rank one, all but zero, huge, of unlike scales, or made indefinite by rounding."""
    chance = np.random.default_rng(size)
    vector = chance.normal(size=size)
    scales = np.geomspace(1e-4, 1e4, size)
    turned = np.linalg.qr(chance.normal(size=(size, size)))[0]
    indefinite = turned @ np.diag(np.linspace(-1e-7, 1.0, size)) @ turned.T
    many = [
        np.outer(vector, vector),
        1e-12 * np.eye(size),
        np.zeros((size, size)),
        1e12 * np.eye(size) + np.outer(vector, vector),
        scales[:, None] * (np.eye(size) + 0.5) * scales,
        0.5 * (indefinite + indefinite.T) + 1e-12 * np.eye(size),
    ]
    single = jnp.asarray(np.array(many), jnp.float32)

    @jax.jit
    @jax.vmap
    def roots(matrix):
        return small.cholesky(matrix), small.root_of_inverse(matrix)

    for root in roots(single):
        assert np.isfinite(root).all()
        assert (np.diagonal(root, axis1=-2, axis2=-1) > 0).all()
        np.testing.assert_array_equal(root, np.tril(root))
    # Where the scales alone are unlike, nothing is lost.
    first, inverse = (np.asarray(x[4], float) for x in roots(single))
    back = first @ first.T / np.outer(scales, scales)
    np.testing.assert_allclose(back, np.eye(size) + 0.5, atol=1e-4)
    back = scales[:, None] * (inverse @ inverse.T) * scales
    np.testing.assert_allclose(back, np.linalg.inv(np.eye(size) + 0.5), atol=1e-3)


@pytest.mark.parametrize("size", [3, 8])
def test_log_densities_are_those_of_scipy(size):
    chance = np.random.default_rng(0)
    mean = chance.normal(size=(5, size))
    root = np.tril(chance.normal(size=(5, size, size)), -1) + np.eye(size)
    points = chance.normal(size=(7, size))
    found = log_densities(*(jnp.asarray(x, jnp.float32) for x in (points, mean, root)))
    for k in range(5):
        truth = stats.multivariate_normal(mean[k], root[k] @ root[k].T).logpdf(points)
        np.testing.assert_allclose(found[:, k], truth, rtol=1e-4, atol=1e-4)


def test_slopes_of_log_densities_are_those_of_the_formula():
    rng = np.random.default_rng(2)
    points, mean, weights = (rng.normal(size=shape) for shape in ((7, 3), (2, 3), (7, 2)))
    root = np.tril(0.3 * rng.normal(size=(2, 3, 3))) + np.eye(3)

    def plainly(points, mean, root):
        away = jnp.linalg.solve(root, jnp.swapaxes(points[:, None] - mean, 0, 2).swapaxes(0, 1))
        log_det = jnp.log(jnp.diagonal(root, axis1=1, axis2=2)).sum(1)
        return -0.5 * (away**2).sum(1).T - log_det

    given = [jnp.asarray(x, jnp.float32) for x in (points, mean, root)]
    found, truth = (
        jax.jit(jax.grad(lambda *x, f=f: (weights * f(*x)).sum(), (0, 1, 2)))(*given)
        for f in (log_densities, plainly)
    )
    for each, right in zip(found, truth, strict=True):
        np.testing.assert_allclose(jnp.tril(each), jnp.tril(right), rtol=1e-4, atol=1e-5)


# --- experts that are re-born

K, SIZE, POINTS = 16, 3, 128


def uneven(dead):
    """Experts of which some have no weight."""
    chance = np.random.default_rng(dead)
    root = np.tril(0.3 * chance.normal(size=(K, SIZE, SIZE)), -1)
    root = root + np.array([0.3, 1.0, 0.5]) * np.eye(SIZE)
    log_weights = chance.normal(size=K)
    log_weights[chance.permutation(K)[:dead]] = -60.0
    return society_of(chance.normal(size=(K, SIZE)), root, log_weights)


reborn = jax.jit(lambda *given: reborn_as_splits(*given)[0])


@pytest.mark.parametrize("dead", [0, 1, 5, 15])
def test_the_reborn_change_neither_mass_nor_mean_nor_covariance(dead):
    society, none = uneven(dead), jnp.zeros(K)
    after = reborn(society, jnp.asarray(1e-3), none)
    assert moments(after)[0] == pytest.approx(moments(society)[0], abs=1e-4)
    for one, other in zip(moments(after)[1:], moments(society)[1:], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    living = np.asarray(society.log_weights) > np.log(1e-3 / K)
    assert living.sum() == K - dead
    assert (np.asarray(after.log_weights) > np.log(1e-3 / K)).sum() >= K - dead
    assert np.asarray(after.log_weights).min() > -30


def test_none_are_reborn_below_a_threshold_of_zero():
    society = uneven(5)
    after = reborn(society, jnp.zeros(()), jnp.zeros(K))
    order = np.argsort(-np.asarray(society.log_weights), kind="stable")
    for one, other in zip(society, after, strict=True):
        np.testing.assert_array_equal(np.asarray(one)[order], other)


def test_a_policy_says_which_are_split():
    society = uneven(5)
    heavy = int(np.argsort(-np.asarray(society.log_weights))[3])
    after = reborn(society, jnp.asarray(1e-3), jnp.zeros(K).at[heavy].set(50.0))
    own = float(jnp.exp(society.log_weights[heavy]))
    assert np.isclose(np.exp(after.log_weights), own / 6, rtol=1e-4).sum() == 6
    np.testing.assert_allclose(moments(after)[2], moments(society)[2], atol=1e-4)


# --- refits to a Gaussian whose mass, mean and covariance are known

TRUE_MEAN = np.array([0.8, -0.5, 0.3])
TRUE_ROOT = np.array([[0.5, 0.0, 0.0], [0.4, 0.3, 0.0], [-0.2, 0.1, 0.6]])
LOG_MASS = -3.0


def gaussian(mean, root):
    """A log joint that integrates to e^-3."""
    mean, root = jnp.asarray(mean, jnp.float32), jnp.asarray(root, jnp.float32)

    def log_joint(points):
        return log_densities(points, mean[None], root[None])[:, 0] + LOG_MASS

    return log_joint


def refit(log_joint, society, rounds, key, points=POINTS):
    return refitted(log_joint, society, Untaught(), key, rounds, points)


@pytest.fixture(scope="module")
def prior():
    """Split among the experts."""
    return prior_society(Plan(np.eye(SIZE), "cloud"), K, SIZE)


@pytest.fixture(scope="module")
def by_mean_and_root():
    """Five refits, compiled once for all Gaussians."""

    @jax.jit
    def found(society, mean, root, key):
        return refit(gaussian(mean, root), society, 5, key)

    def of(society, mean, root, seed=0):
        arrays = (jnp.asarray(x, jnp.float32) for x in (mean, root))
        return found(society, *arrays, jax.random.key(seed))

    return of


def test_a_society_that_is_the_posterior_stays(by_mean_and_root):
    society = society_of(np.tile(TRUE_MEAN, (K, 1)), TRUE_ROOT)
    after, check = by_mean_and_root(society, TRUE_MEAN, TRUE_ROOT)
    for one, other in zip(after, society, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    error = 5 / np.sqrt(float(check.ess))
    assert check.log_evidence == pytest.approx(LOG_MASS, abs=error)
    assert check.divergence == pytest.approx(0.0, abs=error)


def test_a_refit_finds_a_correlated_gaussian(prior, by_mean_and_root):
    after, check = by_mean_and_root(prior, TRUE_MEAN, TRUE_ROOT)
    mass, mean, covariance = moments(after)
    truth = TRUE_ROOT @ TRUE_ROOT.T
    sd = np.sqrt(np.diag(truth))
    assert mass == pytest.approx(1.0, abs=1e-5)
    assert (np.abs(mean - TRUE_MEAN) < 0.02 * sd).all()
    np.testing.assert_allclose(covariance / np.outer(sd, sd), truth / np.outer(sd, sd), atol=0.02)
    assert check.log_evidence == pytest.approx(LOG_MASS, abs=5 / np.sqrt(float(check.ess)))
    assert abs(check.divergence) < 0.01


def test_a_posterior_narrow_and_far_gives_numbers(prior, by_mean_and_root):
    """In 6 standard deviations of the prior, a thousandth as wide."""
    for place in (TRUE_MEAN, [4.0, -4.0, 2.0], [30.0, 0.0, 0.0]):
        after, _ = by_mean_and_root(prior, place, 1e-3 * np.eye(SIZE))
        for x in after:
            assert np.isfinite(x).all()
        assert (np.diagonal(after.root, axis1=-2, axis2=-1) > 0).all()
        assert np.exp(after.log_weights).sum() == pytest.approx(1.0, abs=1e-4)


def test_a_log_joint_that_is_not_finite_gives_numbers(prior):
    """A support that ends: -inf beyond; and one that is nowhere."""
    for edge in (0.5, -100.0):

        def log_joint(points, edge=edge):
            return jnp.where(points[:, 0] < edge, -0.5 * (points**2).sum(-1), -jnp.inf)

        after, _ = jax.jit(lambda key, f=log_joint: refit(f, prior, 2, key))(jax.random.key(0))
        for x in after:
            assert np.isfinite(x).all()


@pytest.mark.parametrize("rounds", [0, 1, 5])
def test_the_log_evidence_is_nearly_unbiased(prior, rounds):
    """Over 20 seeds: a part of the error that it tells of itself, and small in the end.

    Points of exact moments are a quadrature, whose error is the same for all seeds: beyond the
    noise of 20 seeds it is there after refits, -.06 nats after one and .003 after five.
    """
    log_joint = gaussian(TRUE_MEAN, TRUE_ROOT)

    @jax.jit
    def checks(keys):
        return jax.lax.map(lambda key: refit(log_joint, prior, rounds, key, 32)[1], keys)

    check = checks(jax.random.split(jax.random.key(1), 20))
    errors = np.asarray(check.log_evidence, float) - LOG_MASS
    assert errors.std() > 0
    assert abs(errors.mean()) < (1 / np.sqrt(check.ess)).mean()
    if rounds == 0:
        assert abs(errors.mean()) < 5 * errors.std(ddof=1) / np.sqrt(20)
    if rounds == 5:
        assert abs(errors.mean()) < 0.01


# --- scouts, on y ~ N(z², .1): modes at both roots


def squared(x, y=None):
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z**2 + 0 * x, 0.1), obs=y)


@pytest.fixture(scope="module")
def searched():
    """A task with modes near 1 and -1, and scouts that set out for them from the prior."""
    program = bb.lift(squared, inputs=lambda key, t, s: {"x": jnp.zeros((t, s))})
    data = Data({"x": jnp.zeros((1, 5))}, {}, jnp.asarray([[1.02, 0.95, 1.1, 0.9, 1.0]]))
    mask, society = jnp.ones(5, bool), society_of(np.zeros((8, 1)), np.eye(1))
    log_joint, _ = log_joint_of(program, data, mask, jnp.ones(1))

    @jax.jit
    def sent(key):
        around = look_around(log_joint, society, POINTS, key)
        policy = Untaught()
        return around, send_scouts(program, policy, log_joint, society, data, mask, 8, key)

    around, scouts = sent(jax.random.key(0))
    height = np.asarray(log_joint(jnp.linspace(-3, 3, 20_001)[:, None]), float)
    return log_joint, around, scouts, jnp.asarray(np.log(np.exp(height).sum() * 6 / 20_000))


# Where the slope, 200 z (4.97 - 5 z²) - z, is zero, and one over the root of the curvature there.
MODE, SD = np.sqrt((4.97 - 0.005) / 5), 1 / np.sqrt(2000 * 0.993)


def test_experts_look_around_and_scouts_climb(searched):
    log_joint, around, scouts, _ = searched
    before = float(log_joint(jnp.zeros((1, 1)))[0])
    assert (np.asarray(log_joint(around)) > before).all()
    places = np.asarray(scouts.mean[:, 0])
    assert (np.abs(np.abs(places) - MODE) < 0.1 * SD).all()
    assert {-1.0, 1.0} == set(np.sign(places))


def test_an_uncovered_mode_takes_the_place_of_a_dead_expert(searched):
    log_joint, _, scouts, total = searched
    log_weights = np.array([0.0, *[-1.0] * 6, -50.0])
    society = society_of(np.full((8, 1), MODE), SD * np.eye(1), log_weights)
    # By these experts' own account there is half of the mass.
    after = jax.jit(lambda s: with_scouts(log_joint, s, scouts, total - jnp.log(2.0)))(society)
    changed = np.flatnonzero(np.asarray(after.mean != society.mean)[:, 0])
    assert changed.tolist() == [7]
    assert after.mean[7, 0] == pytest.approx(-MODE, abs=0.1 * SD)
    assert after.root[7, 0, 0] == pytest.approx(SD, rel=0.05)
    assert np.exp(after.log_weights[7]) == pytest.approx(0.5, abs=0.02)
    assert np.exp(after.log_weights).sum() == pytest.approx(1.0, abs=1e-5)


def test_a_society_that_covers_all_is_left_alone(searched):
    log_joint, _, scouts, total = searched
    both = np.repeat([MODE, -MODE], 4)[:, None]
    society = society_of(both, SD * np.eye(1))
    after = jax.jit(lambda s: with_scouts(log_joint, s, scouts, total))(society)
    for one, other in zip(after, society, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
