"""Mixtures over the flat vector: identities to rounding, float64 beside float32, then draws."""

import contextlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import bayes_badger as bb
from bayes_badger.belief import Mixture, log_prob_by_site, standard_normal
from bayes_badger.errors import BadgerError
from bayes_badger.program import Latent


def latent(name, scope="task", size=1, role=None, discrete=()):
    """A latent of some entries; `discrete` names those that have none."""
    kind = "none" if name in discrete else "whitened"
    shapes = () if name in discrete else (("whitened", (size,)),)
    axis = 0 if scope == "task" else None
    role = role or {"lifetime": "algorithm"}.get(scope, scope)
    return Latent(name, scope, role, (), "Normal", "real", kind, shapes, axis, False, True)


# In the program's order, so that u = [a, b, y, z] stands in another order than the sites.
LATENTS = (
    latent("y", size=2, role="style"),
    latent("a", "lifetime"),
    latent("kind", discrete=("kind",)),
    latent("z"),
    latent("b", "lifetime", size=2),
)
CONTINUOUS = tuple(x for x in LATENTS if x.name != "kind")
KINDS = [0, 1, 0, 2]
EXTREME = [0.0, -1000.0, -3.0, -1.0]


def mixture(latents=LATENTS, log_weights=(0.3, -1.0, 0.2, -0.5), seed=0, spread=1.0, kinds=KINDS):
    """A random mixture of as many components as there are log weights, made in float64."""
    rng = np.random.default_rng(seed)
    n, d = len(log_weights), sum(x.size for x in latents)
    loc = spread * rng.normal(size=(n, d))
    scale_tril = 0.4 * np.tril(rng.normal(size=(n, d, d)), -1)
    scale_tril += np.eye(d) * rng.uniform(0.5, 1.5, size=(n, 1, d))
    own = [x.name for x in latents if x.discrete]
    discrete = {name: jnp.asarray(kinds[:n]) for name in own}
    return Mixture(jnp.array(log_weights), loc, scale_tril, latents, discrete)


def point(belief, seed=1):
    return jnp.asarray(np.random.default_rng(seed).normal(size=belief.size))


def as_numpy(belief):
    """Log weights, means and covariances in float64."""
    loc, scale_tril = np.asarray(belief.loc, float), np.asarray(belief.scale_tril, float)
    log_weights = np.asarray(belief.log_weights, float)
    return log_weights - logsumexp(log_weights), loc, scale_tril @ scale_tril.mT


def reference_log_prob(belief, u, kept=None, same=True):
    """By scipy, in float64, of some entries of u."""
    log_weights, loc, cov = as_numpy(belief)
    kept = np.arange(loc.shape[1]) if kept is None else np.asarray(kept)
    each = [
        multivariate_normal(m[kept], c[np.ix_(kept, kept)]).logpdf(np.asarray(u, float))
        for m, c in zip(loc, cov, strict=True)
    ]
    return logsumexp(np.where(same, log_weights + each, -np.inf))


@pytest.mark.parametrize(
    "log_weights", [(0.3, -1.0, 0.2, -0.5), EXTREME, (-1e3, -1001, -1e3, -2e3)]
)
def test_log_prob_equals_scipy(log_weights):
    belief = mixture(log_weights=log_weights)
    u = point(belief)
    np.testing.assert_allclose(belief.log_prob(u), reference_log_prob(belief, u), rtol=1e-5)
    for kind in (0, 1, 2):
        same = np.asarray(KINDS) == kind
        expected = reference_log_prob(belief, u, same=same)
        np.testing.assert_allclose(belief.log_prob(u, {"kind": kind}), expected, rtol=1e-5)
    assert belief.log_prob(u, {"kind": 7}) == -jnp.inf


def test_summed_over_assignments_the_joint_is_the_marginal():
    belief = mixture()
    u = point(belief)
    joint = [belief.log_prob(u, {"kind": kind}) for kind in (0, 1, 2)]
    np.testing.assert_allclose(logsumexp(joint), belief.log_prob(u), rtol=1e-6)
    np.testing.assert_allclose(
        belief.marginal(site=("y", "a", "z", "b")).log_prob(u), belief.log_prob(u), rtol=1e-6
    )
    only = belief.marginal(site="kind")
    weights = [np.exp(only.log_prob(jnp.zeros(0), {"kind": kind})) for kind in (0, 1, 2)]
    np.testing.assert_allclose(sum(weights), 1.0, rtol=1e-6)


SELECTIONS = {
    "lifetime": ({"scope": "lifetime"}, [0, 1, 2], ("a", "b")),
    "task": ({"scope": "task"}, [3, 4, 5], ("y", "kind", "z")),
    "role": ({"role": "style"}, [3, 4], ("y",)),
    "scope and role": ({"scope": "task", "role": "task"}, [5], ("kind", "z")),
    "one site": ({"site": "b"}, [1, 2], ("b",)),
    "sites": ({"site": ["z", "a"]}, [0, 5], ("a", "z")),
}


@pytest.mark.parametrize("name", SELECTIONS)
def test_marginal_equals_scipy(name):
    how, rows, names = SELECTIONS[name]
    belief = mixture(log_weights=EXTREME)
    part = belief.marginal(**how)
    u = point(belief)[np.array(rows)]
    assert tuple(x.name for x in part.latents) == names
    np.testing.assert_allclose(part.log_prob(u), reference_log_prob(belief, u, rows), rtol=1e-5)
    np.testing.assert_allclose(part.mean(), belief.mean()[np.array(rows)], rtol=1e-5)
    expected = belief.covariance()[np.ix_(rows, rows)]
    np.testing.assert_allclose(part.covariance(), expected, atol=1e-5)
    assert (jnp.diagonal(part.scale_tril, axis1=1, axis2=2) > 0).all()


@pytest.mark.parametrize("name", SELECTIONS)
@pytest.mark.parametrize("log_weights", [(0.3, -1.0, 0.2, -0.5), EXTREME])
def test_marginal_and_conditional_make_the_joint(name, log_weights):
    how, rows, _ = SELECTIONS[name]
    belief = mixture(log_weights=log_weights).marginal(site=["y", "a", "z", "b"])
    u = point(belief)
    others = np.setdiff1d(np.arange(belief.size), rows)
    at = u[np.array(rows)]
    first = belief.marginal(**how).log_prob(at)
    second = belief.condition(at, **how).log_prob(u[others])
    np.testing.assert_allclose(first + second, belief.log_prob(u), rtol=3e-6)


def test_the_identity_sees_weights_that_stay_and_rows_that_are_cut():
    """Planted faults: weights not moved by what is given, a block of the factor for its rows."""
    belief = mixture(CONTINUOUS)
    u = point(belief)
    given, part = belief.condition(u[3:], scope="task"), belief.marginal(scope="task")
    joint = belief.log_prob(u)
    stayed = eqx.tree_at(lambda x: x.log_weights, given, belief.log_weights)
    assert abs(part.log_prob(u[3:]) + stayed.log_prob(u[:3]) - joint) > 0.01
    cut = eqx.tree_at(lambda x: x.scale_tril, part, belief.scale_tril[:, 3:, 3:])
    assert abs(cut.log_prob(u[3:]) + given.log_prob(u[:3]) - joint) > 0.01


def test_condition_on_an_assignment_and_on_coordinates():
    belief = mixture()
    u = point(belief)
    for kind in (0, 1, 2):
        marginal = belief.marginal(site="kind").log_prob(jnp.zeros(0), {"kind": kind})
        given = belief.condition(discrete={"kind": kind})
        assert "kind" not in {x.name for x in given.latents}
        joint = belief.log_prob(u, {"kind": kind})
        np.testing.assert_allclose(marginal + given.log_prob(u), joint, rtol=1e-6)
        both = belief.condition(u[:3], scope="lifetime", discrete={"kind": kind})
        in_turn = given.condition(u[:3], scope="lifetime")
        np.testing.assert_allclose(both.log_prob(u[3:]), in_turn.log_prob(u[3:]), rtol=1e-6)
    # Far out, the nearest component takes all the weight, and the rest keeps its digits.
    far = belief.condition(jnp.full(3, 300.0), scope="lifetime")
    assert np.isfinite(far.mean()).all()
    everything = belief.condition(u, site=["a", "b", "y", "z"])
    assert everything.size == 0
    np.testing.assert_allclose(everything.log_prob(jnp.zeros(0)), 0.0, atol=1e-6)


def test_an_assignment_that_no_component_has():
    belief = mixture()
    with pytest.raises(BadgerError, match="no component has the assignment"):
        belief.condition(discrete={"kind": 9})
    given = jax.jit(lambda kind: belief.condition(discrete={"kind": kind}))(9)
    assert given.log_prob(jnp.zeros(6)) == -jnp.inf
    assert np.isnan(given.mean()).all()
    assert np.isnan(given.sample(jax.random.key(0))[0]).all()


def test_permuting_components_changes_nothing():
    belief, order = mixture(log_weights=EXTREME), np.array([2, 0, 3, 1])
    other = jax.tree.map(lambda x: x[order], belief)
    u = point(belief)
    np.testing.assert_allclose(other.log_prob(u), belief.log_prob(u), rtol=1e-6)
    np.testing.assert_allclose(other.mean(), belief.mean(), rtol=1e-5)
    np.testing.assert_allclose(other.covariance(), belief.covariance(), rtol=1e-5, atol=1e-6)
    given, again = (x.condition(u[3:], scope="task") for x in (belief, other))
    np.testing.assert_allclose(again.log_prob(u[:3]), given.log_prob(u[:3]), rtol=1e-5)


def everything(belief, u):
    """One array of all that a mixture says."""
    given = belief.condition(u[:3], scope="lifetime")
    numbers = [
        belief.log_prob(u)[None],
        belief.log_prob(u, {"kind": 1})[None],
        belief.mean(),
        belief.covariance().ravel(),
        belief.marginal(site=["z", "y"]).log_prob(u[3:])[None],
        given.log_prob(u[3:])[None],
        given.mean(),
    ]
    return jnp.concatenate(numbers)


@pytest.mark.parametrize("log_weights", [EXTREME, [-1000.0, -1e4, -1001.0, -1000.5]])
def test_single_precision_equals_double(log_weights):
    results = []
    for double in (False, True):
        with jax.enable_x64(True) if double else contextlib.nullcontext():
            belief = mixture(log_weights=log_weights)
            results.append(np.asarray(everything(belief, point(belief))))
    assert results[0].dtype == np.float32
    assert results[1].dtype == np.float64
    np.testing.assert_allclose(results[0], results[1], rtol=2e-5, atol=2e-5)


def test_the_test_of_precision_sees_weights_that_are_exponentiated():
    """A planted fault: with exp of the log weights, all would be zero in single precision."""
    belief = mixture(log_weights=[-1000.0, -1000.0, -1001.0, -1000.5])
    faulty = jnp.log(jnp.exp(belief.log_weights))
    assert not np.isfinite(faulty).any()
    assert np.isfinite(belief.log_prob(point(belief)))


@pytest.mark.parametrize("log_weights", [EXTREME, [-1e3, -1e3, -jnp.inf, -1e4], [0.0, 0.0, 5.0, 0]])
def test_gradients_are_finite_and_right(log_weights):
    belief = mixture(log_weights=log_weights)
    u = point(belief)

    def total(belief, u):
        return everything(belief, u).clip(-1e4).sum()

    own = eqx.filter_grad(total)(belief, u)
    gradients = [*jax.tree.leaves(own), jax.grad(total, 1)(belief, u)]
    assert all(np.isfinite(x).all() for x in gradients)
    missing = jax.grad(lambda u: belief.log_prob(u, {"kind": 7}))(u)
    np.testing.assert_array_equal(missing, 0.0)
    with jax.enable_x64(True):
        fine = mixture(log_weights=log_weights)
        at, step = point(fine), 1e-5 * jnp.eye(6)
        slope = [(fine.log_prob(at + s) - fine.log_prob(at - s)) / 2e-5 for s in step]
    np.testing.assert_allclose(jax.grad(belief.log_prob)(u), slope, rtol=1e-3, atol=1e-3)


def test_draws_have_the_mixtures_moments(key):
    belief = mixture(log_weights=(0.3, -1.0, 0.2, -jnp.inf))
    n = 40_000
    u, discrete = belief.sample(key, (2, n // 2))
    assert u.shape == (2, n // 2, 6)
    assert discrete["kind"].shape == (2, n // 2)
    u, cov = np.asarray(u, float).reshape(n, 6), np.asarray(belief.covariance())
    assert (np.abs(u.mean(0) - belief.mean()) < 5 * np.sqrt(np.diag(cov) / n)).all()
    products = (u - u.mean(0))[:, :, None] * (u - u.mean(0))[:, None]
    assert (np.abs(products.mean(0) - cov) < 5 * products.std(0) / np.sqrt(n)).all()
    for kind in (0, 1, 2):
        p = float(np.exp(belief.marginal(site="kind").log_prob(jnp.zeros(0), {"kind": kind})))
        assert abs((discrete["kind"] == kind).mean() - p) <= 5 * np.sqrt(p * (1 - p) / n)
    assert belief.sample(key)[0].shape == (6,)


def test_assignments_go_with_their_components(key):
    """Draws of u and of its assignment are of one component, not of two."""
    belief = mixture(spread=50.0)
    u, discrete = belief.sample(key, (200,))
    nearest = jnp.argmin(((u[:, None] - belief.loc) ** 2).sum(-1), 1)
    np.testing.assert_array_equal(belief.discrete["kind"][nearest], discrete["kind"])


def test_a_batch_of_tasks_compiled():
    seeds = range(3)
    many = [mixture(log_weights=EXTREME, seed=seed) for seed in seeds]
    batch = jax.tree.map(lambda *x: jnp.stack(x), *many)
    us = jnp.stack([point(many[0], seed) for seed in seeds])
    compiled = eqx.filter_jit(eqx.filter_vmap(everything))(batch, us)
    one_by_one = [everything(belief, u) for belief, u in zip(many, us, strict=True)]
    np.testing.assert_allclose(compiled, jnp.stack(one_by_one), rtol=2e-5, atol=2e-5)
    moved = eqx.filter_jit(eqx.filter_vmap(lambda x, u: x.condition(u[:3], scope="lifetime")))
    assert moved(batch, us).loc.shape == (3, 4, 3)


def test_nearly_singular_stays_positive_in_single_precision():
    """Correlation 1 - 5e-9: the covariance has no Cholesky factor in float32, its rows have."""
    scale_tril = jnp.array([[[1.0, 0.0], [1.0, 1e-4]]])
    pair = (latent("y"), latent("z"))
    belief = Mixture(jnp.zeros(1), jnp.zeros((1, 2)), scale_tril, pair)
    assert np.isnan(jnp.linalg.cholesky(belief.covariance())).any()
    given = belief.condition(jnp.array([1.0]), site="z")
    np.testing.assert_allclose(given.mean(), 1.0, rtol=1e-6)
    np.testing.assert_allclose(given.scale_tril[0, 0], 1e-4, rtol=1e-3)
    joint = belief.marginal(site="z").log_prob(jnp.ones(1)) + given.log_prob(jnp.ones(1))
    np.testing.assert_allclose(joint, belief.log_prob(jnp.ones(2)), rtol=1e-4)


MISTAKES = {
    "site": (lambda b: b.marginal(site="zz"), r"no site 'zz' \(did you mean 'z'\?\)"),
    "scope": (lambda b: b.marginal(scope="tasks"), r"no scope 'tasks' \(did you mean 'task'\?\)"),
    "role": (lambda b: b.marginal(role="stile"), r"did you mean 'style'"),
    "nothing": (lambda b: b.marginal(scope="lifetime", site="z"), "nothing is scope 'lifetime'"),
    "length of u": (lambda b: b.log_prob(jnp.zeros(1)), r"u has shape \(1,\)"),
    "discrete": (lambda b: b.log_prob(jnp.zeros(6), {"kid": 1}), "did you mean 'kind'"),
    "shape": (lambda b: b.log_prob(jnp.zeros(6), {"kind": jnp.zeros(2)}), r"shape \(2,\), not"),
    "at": (lambda b: b.condition(jnp.zeros(2), site="z"), r"z have 1 coordinates"),
    "no selection": (lambda b: b.condition(jnp.zeros(2)), "needs which latents"),
    "no at": (lambda b: b.condition(site="z"), "needs `at`"),
    "discrete by site": (lambda b: b.condition(jnp.zeros(1), site="kind"), "'kind' is discrete"),
    "no assignment": (
        lambda b: Mixture(b.log_weights, b.loc, b.scale_tril, LATENTS),
        "the discrete latents are kind, but the components assign none",
    ),
    "sizes": (
        lambda b: Mixture(b.log_weights, b.loc[:, 1:], b.scale_tril, LATENTS, b.discrete),
        r"loc has shape \(4, 5\), but ends in \(4, 6\)",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(name):
    do, message = MISTAKES[name]
    with pytest.raises(BadgerError, match=message):
        do(mixture())


# --- in the user's own space


def schools_program(sigma, y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    with numpyro.plate("task", sigma.shape[0], dim=-2):
        theta = numpyro.sample("theta", dist.Normal(mu, tau))
        with numpyro.plate("step", sigma.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(theta, 1.0 + sigma**2), obs=y)


def labelled(x, y=None, *, age):
    """A discrete latent, and a prior that a column of the task widens."""
    with numpyro.plate("task", x.shape[0], dim=-2):
        kind = numpyro.sample("kind", dist.Categorical(probs=jnp.array([0.2, 0.3, 0.5])))
        prior = dist.Normal(0.0, 1.0 + age[..., None] ** 2 / 3).expand([*age.shape, 2]).to_event(1)
        slope = numpyro.sample("slope", prior)
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(kind + slope[..., 0] * x + slope[..., 1], 0.5), obs=y)


@pytest.fixture(scope="module")
def schools():
    program = bb.lift(schools_program)
    return program, mixture(program.latents, (0.0, -1.0), seed=3)


def user_values(program, belief, u):
    """The user's own values of one task at a point of its flat vector."""
    split = program.lifetime_size
    values = program.constrain(u[:split], u[None, split:], {}, None)
    names = {x.name: x.scope for x in belief.latents}
    return {k: v[0] if names[k] == "task" else v for k, v in values.items() if k in names}


def test_the_priors_density_by_site_is_the_programs_own(schools):
    program, _ = schools
    belief = standard_normal(program.latents)
    values = user_values(program, belief, jnp.array([0.3, -0.8, 1.2]))
    ours = log_prob_by_site(belief, program, values)
    given = {**values, "theta": values["theta"][None]}
    theirs = program.log_prior_by_site(given, {}, 1)
    assert list(ours) == ["mu", "tau", "theta"]
    for name, density in ours.items():
        np.testing.assert_allclose(density, theirs[name].sum(), rtol=2e-5)


@pytest.mark.parametrize("kinds", [{}, {"tau": "unconstrained", "theta": "unconstrained"}])
def test_sites_sum_to_the_joint(schools, kinds):
    program = schools[0].with_coordinates(kinds)
    belief = mixture(program.latents, (0.0, -1.0, -1000.0), seed=3)
    u = jnp.array([0.3, -0.8, 1.2])
    values = user_values(program, belief, u)
    by_site = log_prob_by_site(belief, program, values)

    def user_space(u):
        values = user_values(program, belief, u)
        return jnp.stack([values["mu"], values["tau"], values["theta"]])

    log_det = jnp.linalg.slogdet(jax.jacfwd(user_space)(u))[1]
    np.testing.assert_allclose(sum(by_site.values()), belief.log_prob(u) - log_det, rtol=2e-5)


def test_each_site_integrates_to_one(schools):
    program, belief = schools
    belief = eqx.tree_at(lambda x: x.loc, belief, 0.3 * belief.loc)
    values = {"mu": jnp.array(2.0), "tau": jnp.array(3.0), "theta": jnp.array(1.0)}
    # Grids in the user's own space; the half Cauchy's has long sides, so it is laid out in logs.
    t, s = np.linspace(-150, 150, 4001), np.linspace(-30, 14, 4001)
    grids = {"mu": (t, t, 1.0), "tau": (s, np.exp(s), np.exp(s)), "theta": (t, t, 1.0)}
    for name, (t, grid, slope) in grids.items():

        def at(x, name=name):
            return log_prob_by_site(belief, program, values | {name: x})[name]

        density = np.exp(np.asarray(jax.jit(jax.vmap(at))(jnp.asarray(grid, jnp.float32)), float))
        np.testing.assert_allclose(np.trapezoid(density * slope, t), 1.0, atol=2e-4)


def test_a_site_is_given_those_before_it(schools):
    """A planted fault would be to give each site's marginal: the last one is conditional here."""
    program, belief = schools
    u = jnp.array([0.3, -0.8, 1.2])
    values = user_values(program, belief, u)
    log_jacobian = program.coordinates_and_log_jacobian(
        {**values, "theta": values["theta"][None]}, {}, 1
    )[2]
    conditional = belief.condition(u[:2], scope="lifetime").log_prob(u[2:])
    marginal = belief.marginal(site="theta").log_prob(u[2:])
    ours = log_prob_by_site(belief, program, values)["theta"] - log_jacobian["theta"][0]
    np.testing.assert_allclose(ours, conditional, rtol=1e-4)
    assert abs(ours - marginal) > 0.01


def test_discrete_sites_and_columns_of_the_task_and_batches():
    program = bb.lift(labelled)
    belief = mixture(program.latents, (0.0, -1.0, -0.5), seed=4)
    values = {"kind": jnp.array(0), "slope": jnp.array([0.3, -2.0])}
    columns = {"age": jnp.array(3.0)}
    by_site = log_prob_by_site(belief, program, values, columns)
    sd = 4.0  # of the slope, 1 + age² / 3
    u = values["slope"] / sd
    expected = belief.log_prob(u, {"kind": 0}) - 2 * np.log(sd)
    np.testing.assert_allclose(sum(by_site.values()), expected, rtol=1e-5)
    nowhere = log_prob_by_site(belief, program, {**values, "kind": jnp.array(1)}, columns)
    assert sum(nowhere.values()) > -jnp.inf
    only = jax.tree.map(lambda x: x[:1], belief)
    assert sum(log_prob_by_site(only, program, values | {"kind": 1}, columns).values()) == -jnp.inf

    many = {name: jnp.stack([x, x]) for name, x in values.items()}
    ages = {"age": jnp.array([3.0, 1.0])}
    tasks = eqx.filter_jit(eqx.filter_vmap(log_prob_by_site, in_axes=(None, None, 0, 0)))
    batch = tasks(belief, program, many, ages)
    np.testing.assert_allclose(batch["slope"][0], by_site["slope"], rtol=1e-5)
    assert batch["slope"][1] != batch["slope"][0]


def test_a_belief_about_the_lifetime_alone(schools):
    program, belief = schools
    values = {"mu": jnp.array(2.0), "tau": jnp.array(3.0)}
    part = log_prob_by_site(belief.marginal(scope="lifetime"), program, values)
    whole = log_prob_by_site(belief, program, {**values, "theta": jnp.array(1.0)})
    for name in values:
        np.testing.assert_allclose(part[name], whole[name], rtol=1e-5)


def test_mistakes_in_the_users_own_space(schools):
    program, belief = schools
    values = {"mu": jnp.array(2.0), "tau": jnp.array(3.0), "theta": jnp.array(1.0)}
    with pytest.raises(BadgerError, match=r"over theta, but .* begins with mu"):
        log_prob_by_site(belief.marginal(site="theta"), program, values)
    placed = program.with_coordinates({"tau": "unconstrained"})
    with pytest.raises(BadgerError, match=r"program.with_coordinates\({'tau': 'whitened'}\)"):
        log_prob_by_site(belief, placed, values)
    with pytest.raises(BadgerError, match="no value of 'tau'"):
        log_prob_by_site(belief, program, {"mu": values["mu"]})
    with pytest.raises(BadgerError, match=r"'theta' has shape \(8,\), but \(\) for one task"):
        log_prob_by_site(belief, program, values | {"theta": jnp.zeros(8)})
