"""Experts against closed forms, quadrature and themselves: offline, and row by row."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import programs
import pytest
from hierarchies import shelf_evidence
from jaxtyping import Array
from scipy import stats
from scipy.special import logsumexp

import bayes_badger as bb
from bayes_badger.belief import kl
from bayes_badger.errors import BadgerError
from bayes_badger.evidence import from_arrays
from bayes_badger.inner_loop import _stream, registry
from bayes_badger.inner_loop._plan import make_plan, prior_society
from bayes_badger.inner_loop._policy import (
    Advice,
    Counsel,
    Look,
    Policy,
    Survey,
    Untaught,
    no_counsel,
)
from bayes_badger.inner_loop.experts import Experts, Settings
from bayes_badger.program import Data, Step

TASKS, STEPS = 4, 6


def experts(k, **more):
    return Experts(Settings(experts=k, chains=1, draws=100, **more))


def table(program, columns, outcome):
    """Evidence from arrays `[task, step, ...]`."""
    columns = {name: np.asarray(x) for name, x in columns.items()}
    return from_arrays(program.signature, columns, np.asarray(outcome), {})


def simulated(program, columns, seed=1):
    """Evidence of columns `[task, step, ...]`, and the flat vectors that it came from."""
    data = Data({name: jnp.asarray(x) for name, x in columns.items()}, {})
    drawn = program.simulate(jax.random.key(seed), data)
    _, u = program.unconstrain(drawn.values, {}, data.tasks)
    return table(program, columns, drawn.outcome), np.asarray(u, float)


def followed(inner, program, columns, outcome):
    """The state after each row of one task, from none on, and what each row was worth."""
    states, infos = [inner.init(program)], []
    for i in range(len(outcome)):
        row = Step({name: x[i] for name, x in columns.items()}, {}, outcome[i])
        state, info = inner.step(program, states[-1], row)
        states.append(state)
        infos.append(info)
    return states, infos


def total(infos):
    return float(np.sum([info.log_score for info in infos], dtype=float))


def of_task(society, i):
    return jax.tree.map(lambda x: np.asarray(x[i], float), society)


def log_density(society, u):
    """Log density of one task's experts at points `[m, u]`, in double precision."""
    size = society.mean.shape[-1]
    each = []
    for mean, root in zip(society.mean, society.root, strict=True):
        noise = np.linalg.solve(np.asarray(root, float), (u - mean).T)
        each.append(-0.5 * (noise**2).sum(0) - np.log(np.diag(root)).sum())
    constant = -0.5 * size * np.log(2 * np.pi)
    return logsumexp(np.array(each).T + society.log_weights, axis=1) + constant


def moments(society):
    """Mean and covariance of one task's experts."""
    weights = np.exp(society.log_weights)
    mean = weights @ society.mean
    away = society.mean - mean
    inside = np.einsum("k,kij,klj->il", weights, society.root, society.root)
    return mean, inside + (weights[:, None] * away).T @ away


def on_a_line(log_joint, ends=7.0, n=20_001):
    """Log evidence, mean, sd and log density by quadrature, of one coordinate."""
    u = np.linspace(-ends, ends, n)
    height = stats.norm.logpdf(u) + log_joint(u)
    log_evidence = logsumexp(height) + np.log(u[1] - u[0])
    weight = np.exp(height - logsumexp(height))
    mean = weight @ u
    sd = np.sqrt(weight @ (u - mean) ** 2)
    return log_evidence, mean, sd, lambda at: np.interp(at, u, height - log_evidence)


# --- linear-Gaussian programs: w ~ N(0, I), y ~ N(X w, .5)


def linear(X, y=None):  # noqa: N803 - the usual name of a design matrix
    with numpyro.plate("task", X.shape[0], dim=-2):
        w = numpyro.sample("w", dist.Normal(0.0, 1.0).expand([X.shape[-1]]).to_event(1))
        with numpyro.plate("step", X.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal((X * w).sum(-1), 0.5), obs=y)


def lines(size, tasks, steps):
    """A linear program of some size, its evidence and the truth."""
    program = bb.lift(linear, inputs=lambda key, t, s: {"X": jax.random.normal(key, (t, s, size))})
    X = np.random.default_rng(0).normal(size=(tasks, steps, size)).astype(np.float32)
    evidence, w = simulated(program, {"X": X})
    return program, evidence, X, evidence.outcome.reshape(tasks, steps), w


def closed_form(X, y):  # noqa: N803
    """Log evidence, posterior mean and covariance."""
    X, y = np.asarray(X, float), np.asarray(y, float)
    spread = X @ X.T + 0.25 * np.eye(len(y))
    log_evidence = stats.multivariate_normal(np.zeros(len(y)), spread).logpdf(y)
    covariance = np.linalg.inv(np.eye(X.shape[1]) + X.T @ X / 0.25)
    return log_evidence, covariance @ X.T @ y / 0.25, covariance


@pytest.fixture(scope="module")
def four():
    program, _, X, y, _ = lines(4, 1, 12)
    return program, X[0], y[0]


@pytest.mark.parametrize("size", [4, 50])
def test_one_expert_is_the_exact_filter(size, four):
    if size == 4:
        program, X, y = four
    else:
        program, _, X, y, _ = lines(size, 1, 30)
        X, y = X[0], y[0]
    inner = experts(1)
    states, infos = followed(inner, program, {"X": X}, y)
    log_evidence, mean, covariance = closed_form(X, y)
    assert total(infos) == pytest.approx(log_evidence, rel=1e-5)
    belief = inner.belief(program, states[-1])
    # Rounding, in single precision: of eight such tables of 50 columns 1.4e-5 to 3.5e-5.
    np.testing.assert_allclose(belief.mean(), mean, atol=2e-5 if size == 4 else 5e-5)
    np.testing.assert_allclose(belief.covariance(), covariance, atol=2e-5)
    for before, after, info in zip(states[:-1], states[1:], infos, strict=True):
        gain = kl(inner.belief(program, after), inner.belief(program, before)).lower
        assert info.information_gain == pytest.approx(float(gain), abs=2e-5)


def test_many_experts_are_one_where_all_is_gaussian(four):
    program, X, y = four
    (*_, one), infos = followed(experts(1), program, {"X": X}, y)
    (*_, many), others = followed(experts(64), program, {"X": X}, y)
    assert total(others) == pytest.approx(total(infos), rel=1e-6)
    np.testing.assert_allclose(many.society.log_weights, -np.log(64), atol=1e-5)
    np.testing.assert_allclose(many.society.mean - one.society.mean, 0.0, atol=1e-6)
    np.testing.assert_allclose(many.society.root - one.society.root, 0.0, atol=1e-6)


def test_any_order_gives_the_same_belief(four):
    program, X, y = four
    (*_, first), infos = followed(experts(1), program, {"X": X}, y)
    for seed in range(2):
        order = np.random.default_rng(seed).permutation(len(y))
        (*_, state), others = followed(experts(1), program, {"X": X[order]}, y[order])
        assert total(others) == pytest.approx(total(infos), rel=1e-5)
        np.testing.assert_allclose(state.society.mean, first.society.mean, atol=1e-5)
        np.testing.assert_allclose(state.society.root, first.society.root, atol=1e-5)
        # Were the order of no matter to the single scores, this would test nothing.
        assert not np.allclose([x.log_score for x in others], [x.log_score for x in infos])


def test_beliefs_of_two_halves_multiply(four):
    """Natural parameters of both halves, less those of the prior, are those of all."""
    program, X, y = four

    def natural(rows):
        (*_, state), _ = followed(experts(1), program, {"X": X[rows]}, y[rows])
        root = np.asarray(state.society.root[0], float)
        precision = np.linalg.inv(root @ root.T)
        return precision, precision @ np.asarray(state.society.mean[0], float)

    first, second, whole = natural(slice(0, 6)), natural(slice(6, 12)), natural(slice(0, 12))
    np.testing.assert_allclose(first[0] + second[0] - np.eye(4), whole[0], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(first[1] + second[1], whole[1], rtol=1e-3, atol=1e-3)


def test_all_evidence_at_once_is_exact_in_50_dimensions():
    program, evidence, X, y, w = lines(50, 2, 30)
    inner = experts(64)
    assert inner.plan(program, evidence).straight
    found = inner.societies(program, evidence, jax.random.key(0))
    for i in range(2):
        log_evidence, mean, covariance = closed_form(X[i], y[i])
        society = of_task(found.society, i)
        exact = stats.multivariate_normal(mean, covariance).logpdf(w[i])
        assert log_density(society, w[i : i + 1])[0] == pytest.approx(exact, abs=1e-3)
        assert found.log_evidence[i] == pytest.approx(log_evidence, rel=1e-3)
        np.testing.assert_allclose(society.mean - society.mean[0], 0.0, atol=1e-3)
        np.testing.assert_allclose(society.root - society.root[0], 0.0, atol=1e-3)


def test_a_stream_starts_from_its_first_rows_all_at_once():
    program, evidence, X, y, _ = lines(2, 3, 100)
    found = experts(8, stream=True).societies(program, evidence, jax.random.key(0))
    for i in range(3):
        log_evidence, mean, covariance = closed_form(X[i], y[i])
        own_mean, own_covariance = moments(of_task(found.society, i))
        assert found.log_evidence[i] == pytest.approx(log_evidence, rel=1e-4)
        np.testing.assert_allclose(own_mean, mean, atol=1e-3)
        np.testing.assert_allclose(own_covariance, covariance, atol=1e-4)
    short = lines(2, 3, 64)[1]
    streamed, swept = (
        experts(8, stream=stream).societies(program, short, jax.random.key(0))
        for stream in (True, False)
    )
    np.testing.assert_array_equal(streamed.society.mean, swept.society.mean)


def test_the_order_and_the_names_of_latents_do_not_matter():
    """The shelf's wave, and the same with its sites in another order under other names."""

    def renamed(x, y=None):
        with numpyro.plate("task", x.shape[0], dim=-2):
            b = numpyro.sample("b", dist.Normal(0.0, 1.0))
            a = numpyro.sample("a", dist.Normal(1.0, 0.3))
            c = numpyro.sample("c", dist.Normal(0.0, 0.5))
            with numpyro.plate("step", x.shape[1], dim=-1):
                numpyro.sample("y", dist.Normal(jnp.exp(c) * jnp.sin(a * x + b), 0.3), obs=y)

    program, evidence = shelf_evidence("wave", TASKS, STEPS)
    x, y = evidence.columns["x"][:STEPS], evidence.outcome[:STEPS]
    other = bb.lift(renamed, inputs=lambda key, t, s: {"x": jax.random.normal(key, (t, s))})
    (*_, one), infos = followed(experts(1), program, {"x": x}, y)
    (*_, two), others = followed(experts(1), other, {"x": x}, y)
    places = {"c": "log_amplitude", "a": "frequency", "b": "phase"}
    # A climb ends where it promises 1e-6 nats: within 1.4e-3 standard deviations.
    names = [latent.name for latent in program.latents]
    order = np.array([names.index(places[latent.name]) for latent in other.latents])
    np.testing.assert_allclose(two.society.mean[0], one.society.mean[0][order], atol=2e-3)
    covariance = np.asarray(one.society.root[0] @ one.society.root[0].T)[np.ix_(order, order)]
    np.testing.assert_allclose(two.society.root[0] @ two.society.root[0].T, covariance, atol=2e-3)
    np.testing.assert_allclose(
        [x.log_score for x in others], [x.log_score for x in infos], atol=2e-3
    )


# --- great surprises


TRACED = []


def events(x, count=None):
    """Poisson counts, their log rate N(0, 4); says when it is traced."""
    TRACED.append(1)
    with numpyro.plate("task", x.shape[0], dim=-2):
        log_rate = numpyro.sample("log_rate", dist.Normal(0.0, 2.0))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("count", dist.Poisson(jnp.exp(log_rate + 0 * x)), obs=count)


@pytest.fixture(scope="module")
def counted():
    return bb.lift(events, inputs=lambda key, t, s: {"x": jnp.zeros((t, s))})


def test_an_undamped_step_would_overshoot(counted):
    """After a count of 100: a step of Newton's from 0 goes to 79; the mode is at log 98.9."""
    inner = experts(1)
    (_, state), _ = followed(inner, counted, {"x": np.zeros(1)}, np.array([100]))
    assert 2 * float(state.society.mean[0, 0]) == pytest.approx(np.log(98.85), abs=0.05)
    evidence = table(counted, {"x": np.zeros((1, 1))}, np.array([[100]]))
    found = experts(16).societies(counted, evidence, jax.random.key(0))
    mean, _ = moments(of_task(found.society, 0))
    truth = on_a_line(lambda u: stats.poisson.logpmf(100, np.exp(2 * u)))
    assert 2 * mean[0] == pytest.approx(2 * truth[1], abs=0.05)
    assert found.log_evidence[0] == pytest.approx(truth[0], abs=0.01)


def test_memory_does_not_grow_and_nothing_is_compiled_again(counted):
    inner = experts(1)
    (_, state), _ = followed(inner, counted, {"x": np.zeros(1)}, np.array([3]))
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), state)
    times = len(TRACED)
    for count in range(20):
        state, _ = inner.step(counted, state, Step({"x": np.float64(0)}, {}, np.int64(count)))
    assert len(TRACED) == times
    assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == shapes
    assert int(state.steps) == 21


# --- the wave, row by row: 4 tasks, 16 experts, up to 2,000 rows in one compilation

LONG = 2000


@pytest.fixture(scope="module")
def wave():
    program, _ = shelf_evidence("wave", 1, 1)
    x = jax.random.uniform(jax.random.key(1), (TASKS, LONG), minval=-3.0, maxval=3.0)
    drawn = program.simulate(jax.random.key(2), Data({"x": x}, {}))
    return program, Data({"x": x}, {}, drawn.outcome)


def start_of(program, data, k=16, width=0):
    plan = make_plan(program, jax.tree.map(lambda x: x[:1, :64], data))
    prior = prior_society(plan, k, program.size, width)
    many = jax.tree.map(lambda x: jnp.broadcast_to(x, (TASKS, *x.shape)), prior)
    return plan.predictive, many


def passed(wave, rows, policy=None, through=_stream.through):
    """The society before, after some rows, and what each row told."""
    program, data = wave
    policy = Untaught() if policy is None else policy
    kind, before = start_of(program, data, width=policy.width)
    mask = jnp.broadcast_to(jnp.arange(data.steps) < rows, (TASKS, data.steps))
    return before, *through(program, kind, policy, before, data, mask)


def is_sound(society):
    root, weights = np.asarray(society.root, float), np.exp(np.asarray(society.log_weights, float))
    assert np.isfinite(society.mean).all()
    assert np.isfinite(root).all()
    np.testing.assert_array_equal(root, np.tril(root))
    assert (np.diagonal(root, axis1=-2, axis2=-1) > 0).all()
    assert (np.linalg.eigvalsh(root @ np.swapaxes(root, -1, -2)) > 0).all()
    np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-5)


def test_roots_stay_roots(wave):
    _, society, infos = passed(wave, LONG)
    is_sound(society)
    assert np.isfinite(infos.log_score).all()
    assert np.isfinite(infos.information_gain).all()


def test_a_row_that_is_not_there_changes_nothing(wave):
    before, society, infos = passed(wave, 0)
    for old, new in zip(before, society, strict=True):
        np.testing.assert_allclose(new, old, atol=1e-6)
    assert not np.any(infos.log_score)
    assert not np.any(infos.information_gain)


def test_one_number_is_enough(wave, monkeypatch):
    """The fast path and the general one, on 50 rows from the prior and 50 more.

    From the prior, an expert that is far off may be left at another height after 16 moves, for the
    two are not damped in the same units. Once all have settled each row is the same.
    """
    program, data = wave
    kind, start = start_of(program, data)
    monkeypatch.setattr(_stream, "one_number", lambda predictive: False)
    mask = jnp.ones((TASKS, 50), bool)

    @eqx.filter_jit
    def general(*given):
        # A function of its own: what is compiled for `through` is the fast path.
        return _stream.through.__wrapped__(*given)

    def both(society, rows):
        given = program, kind, Untaught(), society, jax.tree.map(lambda x: x[:, rows], data), mask
        found = general(*given)
        monkeypatch.undo()
        return found, _stream.through(*given)

    (slow, others), (quick, infos) = both(start, slice(0, 50))
    np.testing.assert_allclose(infos.log_score.sum(1), others.log_score.sum(1), atol=0.3)
    for i in range(TASKS):
        (mean, spread), (other, its) = (moments(of_task(x, i)) for x in (quick, slow))
        np.testing.assert_allclose(mean, other, atol=0.01)
        np.testing.assert_allclose(spread, its, atol=0.01)
    (slow, others), (quick, infos) = both(slow, slice(50, 100))
    np.testing.assert_allclose(infos.log_score, others.log_score, atol=3e-3)
    np.testing.assert_allclose(infos.information_gain, others.information_gain, atol=3e-3)
    np.testing.assert_allclose(np.exp(quick.log_weights), np.exp(slow.log_weights), atol=3e-3)
    sd = np.sqrt((np.asarray(slow.root) ** 2).sum(-1))
    away = np.abs(quick.mean - slow.mean) / sd * np.exp(slow.log_weights)[..., None]
    # A move that is worth 1e-6 nats is 1.4e-3 standard deviations, and there were 50 rows.
    assert away.max() < 2e-2


def test_an_outcome_of_a_million(wave):
    program, data = wave
    hostile = data._replace(outcome=data.outcome.at[1:3, 5].set(jnp.array([1e6, -1e6])))
    _, society, infos = passed((program, hostile), 50)
    is_sound(society)
    assert np.isfinite(infos.log_score).all()
    x, y = (np.asarray(z[:, :STEPS]) for z in (hostile.columns["x"], hostile.outcome))
    found = experts(16).societies(program, table(program, {"x": x}, y), jax.random.key(0))
    is_sound(found.society)
    assert np.isfinite(found.log_evidence).all()


# --- where a policy acts


class Constant(eqx.Module):
    """The same advice to all."""

    damping: Array
    tempering: Array
    stopping: Array
    width: int = eqx.field(static=True, default=0)

    def __call__(self, look: Look) -> tuple[Advice, Array]:
        one = jnp.ones_like(look.score)
        return Advice(self.damping * one, self.tempering * one, self.stopping), look.hidden

    def counsel(self, survey: Survey) -> tuple[Counsel, Array]:
        return no_counsel(survey), survey.hidden


def constant(damping=1.0, tempering=1.0, stopping=False):
    return Constant(jnp.asarray(damping), jnp.asarray(tempering), jnp.asarray(stopping))


def stepped(wave, policy):
    """The same as `passed` for one row of one task, by `step`: the general path."""
    program, data = wave
    inner = Experts(experts(16).settings, policy)
    before = inner.init(program)
    row = Step({"x": data.columns["x"][0, 0]}, {}, data.outcome[0, 0])
    after, info = inner.step(program, before, row)
    return before.society, after.society, info


ADVICE = {
    "tempering 0": constant(tempering=0.0),
    "damping 0": constant(damping=0.0),
    "stopping": constant(stopping=True),
}


@pytest.fixture(scope="module", params=["fast", "general"])
def advised(request, wave):
    """The society before one row, after it, and what it told, by either path."""
    program, data = wave
    short = program, jax.tree.map(lambda x: x[:, :50], data)

    def of(policy):
        return passed(short, 1, policy) if request.param == "fast" else stepped(wave, policy)

    return of, of(Untaught())


def test_a_policy_may_advise_the_identity(advised):
    of, (before, plain, info) = advised
    assert isinstance(constant(), Policy)
    assert np.abs(plain.mean - before.mean).max() > 0.1
    _, after, same = of(constant())
    for one, other in zip(plain, after, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    np.testing.assert_allclose(same.log_score, info.log_score, atol=1e-5)


@pytest.mark.parametrize("advice", ADVICE)
def test_advice_is_no_matter_of_what_was_expected(advised, advice):
    """The score of a row, and so the weights, rest on the belief before it: it is a code."""
    of, (_, plain, info) = advised
    _, after, told = of(ADVICE[advice])
    np.testing.assert_allclose(told.log_score, info.log_score, atol=1e-5)
    np.testing.assert_allclose(after.log_weights, plain.log_weights, atol=1e-5)


@pytest.mark.parametrize("advice", ADVICE)
def test_what_advice_leaves_where_it_is(advised, advice):
    of, _ = advised
    before, after, _ = of(ADVICE[advice])
    np.testing.assert_allclose(after.mean, before.mean, atol=1e-5)
    if advice == "tempering 0":
        np.testing.assert_allclose(after.root, before.root, atol=1e-5)
    else:
        assert np.abs(after.root - before.root).max() > 0.1


def test_what_an_untaught_policy_remembers_changes_nothing(wave):
    program, data = wave
    short = program, jax.tree.map(lambda x: x[:, :50], data)
    _, narrow, infos = passed(short, 50)
    _, wide, others = passed(short, 50, Untaught(2))
    assert wide.hidden.shape == (TASKS, 16, 3, 2)
    for name in ("log_weights", "mean", "root"):
        np.testing.assert_array_equal(getattr(narrow, name), getattr(wide, name))
    np.testing.assert_array_equal(infos.log_score, others.log_score)


# --- without a gradient, with factors, with two modes: against quadrature


def threshold(x, y=None):
    """Mostly 1 above a place and mostly 0 below: no gradient anywhere."""
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Bernoulli(probs=jnp.where(z > x, 0.9, 0.1)), obs=y)


def tilted(x, y=None):
    """A factor of each task beside its evidence: e^z, so that the prior is N(1, 1) times √e."""
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        numpyro.factor("tilt", z)
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Bernoulli(logits=z - x), obs=y)


def squared(x, y=None):
    """Nothing tells z from -z."""
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z**2 + 0 * x, 0.1), obs=y)


def normals(key, tasks, steps):
    return {"x": jax.random.normal(key, (tasks, steps))}


ROWS = 20  # two portions


@pytest.fixture(scope="module")
def thresholds():
    """32 tasks, and for each its log evidence and mean."""
    program, many = bb.lift(threshold, inputs=normals), 32
    evidence, _ = simulated(program, normals(jax.random.key(3), many, ROWS))
    x, y = (z.reshape(many, ROWS) for z in (evidence.columns["x"], evidence.outcome))

    def truth(i):
        def log_joint(u):
            p = np.where(u[:, None] > x[i], 0.9, 0.1)
            return np.log(np.where(y[i] == 1, p, 1 - p)).sum(1)

        return on_a_line(log_joint)[:2]

    return program, evidence, np.array([truth(i) for i in range(many)]).T


def off_by(found, truth):
    """Errors of log evidence and mean, `[task]`."""
    means = [moments(of_task(found.society, i))[0][0] for i in range(len(truth[0]))]
    return found.log_evidence - truth[0], np.array(means) - truth[1]


def test_without_a_gradient_all_at_once(thresholds):
    program, evidence, truth = thresholds
    assert program.information == "sigma points"
    found = experts(64).societies(program, evidence, jax.random.key(0))
    height, place = off_by(found, truth)
    assert np.abs(height).max() < 0.05
    assert np.abs(place).max() < 0.1


def test_without_a_gradient_row_by_row(thresholds):
    """A filter of Gaussians is rough where all are steps, but neither too sure nor too unsure."""
    program, evidence, truth = thresholds
    found = experts(64, sweeps=0).societies(program, evidence, jax.random.key(0))
    height, place = off_by(found, truth)
    assert abs(height.mean()) < 0.05
    assert np.abs(height).mean() < 0.15
    assert np.sqrt((place**2).mean()) < 0.1


def test_factors_count_once():
    """Whatever the number of rows and of portions."""
    program = bb.lift(tilted, inputs=normals)
    evidence, _ = simulated(program, normals(jax.random.key(4), TASKS, ROWS))
    some = evidence.select_rows(evidence.rows <= 3 * ROWS)
    found = experts(16).societies(program, some, jax.random.key(0))
    x, y = (z.reshape(TASKS, ROWS) for z in (evidence.columns["x"], evidence.outcome))
    sign = 2 * y - 1
    for i in range(TASKS):
        seen = some.lengths[i]

        def log_joint(u, i=i, seen=seen):
            logits = (u[:, None] - x[i, :seen]) * sign[i, :seen]
            return u - np.log1p(np.exp(-logits)).sum(1)

        truth = on_a_line(log_joint, 12.0)
        assert found.log_evidence[i] == pytest.approx(truth[0], abs=0.01)
        assert moments(of_task(found.society, i))[0][0] == pytest.approx(truth[1], abs=0.05)
    assert some.lengths[3] == 0
    assert found.log_evidence[3] == pytest.approx(0.5, abs=0.01)
    with pytest.raises(BadgerError, match=r"cannot take in factors \(tilt\) row by row: sweep"):
        experts(16).init(program)
    reason = experts(16, sweeps=0).why_not(program, evidence)
    assert reason == "cannot take in factors (tilt) row by row: sweep instead"


def test_two_modes():
    program = bb.lift(squared, inputs=normals)
    evidence, z = simulated(program, normals(jax.random.key(5), 8, ROWS))
    found = experts(64).societies(program, evidence, jax.random.key(0))
    y = evidence.outcome.reshape(8, ROWS)
    missed = []
    for i in range(8):
        society = of_task(found.society, i)
        above = np.exp(society.log_weights)[society.mean[:, 0] > 0].sum()
        truth = on_a_line(lambda u, i=i: stats.norm.logpdf(y[i], u[:, None] ** 2, 0.1).sum(1))
        assert above == pytest.approx(0.5, abs=0.05)
        assert found.log_evidence[i] == pytest.approx(truth[0], abs=0.05)
        missed.append(truth[3](z[i, 0]) - log_density(society, z[i : i + 1])[0])
    assert np.mean(missed) == pytest.approx(0.0, abs=0.05)


# --- what is refused, and what is the same whatever the order and the seed


def a_lifetime(x, y=None):
    a = numpyro.sample("a", dist.Normal(0.0, 1.0))
    with numpyro.plate("task", x.shape[0], dim=-2), numpyro.plate("step", x.shape[1], dim=-1):
        numpyro.sample("y", dist.Normal(a * x, 1.0), obs=y)


def payoffs(key, tasks, steps):
    return {"payoff": jax.random.uniform(key, (tasks, steps, 2))}


@pytest.mark.parametrize(
    ("model", "inputs", "reason"),
    [
        (programs.mixture, normals, "cannot carry discrete latents (kind) through a filter"),
        (programs.rescorla_wagner, payoffs, "cannot carry a program's state through a filter"),
        (a_lifetime, normals, "cannot carry what tasks share (a) through a filter"),
    ],
)
def test_what_is_refused(model, inputs, reason):
    program = bb.lift(model, inputs=inputs)
    evidence = table(program, inputs(jax.random.key(0), 2, 3), np.zeros((2, 3), int))
    with pytest.raises(BadgerError) as error:
        experts(16, stream=True).infer(program, evidence, jax.random.key(0))
    assert str(error.value) == f"experts {reason}: sweep instead"
    if model is a_lifetime:
        inner = experts(1)
        with pytest.raises(BadgerError, match=r"what tasks share \(a\)"):
            inner.new_task(program, inner.init(program))
    else:
        with pytest.raises(BadgerError, match="cannot yet"):
            experts(1).init(program)
    with pytest.raises(BadgerError, match="nothing to infer from: the evidence has no tasks"):
        experts(16).infer(program, evidence.select([]), jax.random.key(0))


def test_one_task_may_have_a_lifetime():
    program, evidence = shelf_evidence("gaussian", 1, STEPS)
    module = registry.module("exact")
    exact = module.make(module.Settings(chains=1, draws=10)).infer(
        program, evidence, jax.random.key(0)
    )
    found = Experts(Settings(experts=16, chains=1, draws=4000)).infer(
        program, evidence, jax.random.key(0)
    )
    assert found.log_evidence == pytest.approx(exact.log_evidence, abs=1e-3)
    np.testing.assert_allclose(
        jax.vmap(lambda one: one.mean())(found.mixture)[0], exact.mixture.loc[0, 0], atol=1e-3
    )
    for name, mean in exact.means.items():
        draws = found.draws.values[name][0]
        assert (np.abs(draws.mean(0) - mean) < 5 * draws.std(0) / np.sqrt(4000)).all()


@pytest.fixture(scope="module")
def logistic():
    return shelf_evidence("logistic", TASKS, STEPS)


def test_the_same_key_gives_the_same_and_another_nearly(logistic):
    """And the order of tasks does not matter, beyond the error of Monte Carlo."""
    program, evidence = logistic
    inner = experts(16)
    one, same = (inner.societies(program, evidence, jax.random.key(0)) for _ in range(2))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(same), strict=True):
        np.testing.assert_array_equal(a, b)
    order = np.array([2, 0, 3, 1])
    other = inner.societies(program, evidence.select(order), jax.random.key(1))
    for i, j in enumerate(order):
        error = np.sqrt(1 / one.ess[j] + 1 / other.ess[i])
        assert abs(other.log_evidence[i] - one.log_evidence[j]) < 5 * error
        (mean, spread), (its, _) = (
            moments(of_task(x, k)) for x, k in ((one.society, j), (other.society, i))
        )
        assert (np.abs(mean - its) < 5 * error * np.sqrt(np.diag(spread))).all()


def test_a_task_without_rows_keeps_its_prior(logistic):
    program, evidence = logistic
    some = evidence.select_rows(evidence.task_index != 2)
    assert some.lengths[2] == 0
    found = experts(16).societies(program, some, jax.random.key(0))
    mean, spread = moments(of_task(found.society, 2))
    np.testing.assert_allclose(mean, 0.0, atol=0.1)
    np.testing.assert_allclose(spread, np.eye(3), atol=0.2)
    np.testing.assert_allclose(np.sqrt(np.diag(spread)), 1.0, atol=0.1)
    assert found.log_evidence[2] == pytest.approx(0.0, abs=0.05)
