"""The divergence of two beliefs: closed form in float64, bounds beside Monte Carlo, limits."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_mixture import CONTINUOUS, EXTREME, LATENTS, as_numpy, latent, mixture

from bayes_badger.belief import Mixture, kl, standard_normal
from bayes_badger.belief.logs import normalised
from bayes_badger.belief.pairs import pairs
from bayes_badger.belief.sandwich import above, below
from bayes_badger.errors import BadgerError

PAIR = (latent("y", size=2),)


def reference_kl(p, q):
    """Of the first components, by inverse and determinants in float64."""
    _, loc, cov = (x[0] for x in as_numpy(p))
    _, other, other_cov = (x[0] for x in as_numpy(q))
    inverse, gap = np.linalg.inv(other_cov), other - loc
    log_det = np.linalg.slogdet(other_cov)[1] - np.linalg.slogdet(cov)[1]
    return 0.5 * (np.trace(inverse @ cov) - len(loc) + gap @ inverse @ gap + log_det)


def one(seed=0, **kwargs):
    return mixture(CONTINUOUS, (-3.0,), seed=seed, **kwargs)


def alive_kinds(belief):
    return np.asarray(belief.discrete["kind"])[np.asarray(belief.log_weights) > -np.inf]


@eqx.filter_jit
def log_ratios(p, q, u, discrete):
    def ratio(u, discrete):
        return p.log_prob(u, discrete) - q.log_prob(u, discrete)

    return jax.vmap(ratio)(u, discrete)


def monte_carlo(p, q, n=100_000):
    """E log p / q under p, and its standard error."""
    u, discrete = p.sample(jax.random.key(5), (n,))

    ratios = np.asarray(log_ratios(p, q, u, discrete), float)
    return ratios.mean(), ratios.std() / np.sqrt(n)


@pytest.mark.parametrize("seed", range(5))
def test_one_component_equals_the_closed_form(seed):
    p, q = one(seed), one(seed + 100)
    bounds = kl(p, q)
    assert bounds.lower == bounds.upper
    np.testing.assert_allclose(bounds.lower, reference_kl(p, q), rtol=1e-5)


@pytest.mark.parametrize("ratio", [1e-6, 1e-2, 0.89, 0.91, 1.0999, 1.1001, 3.0, 1e3])
def test_scales_of_any_ratio(ratio):
    z = standard_normal((latent("z"),))
    p = Mixture(z.log_weights, z.loc, z.scale_tril * ratio, z.latents)
    expected = 0.5 * (np.float32(ratio).astype(float) ** 2 - 1) - np.log(
        np.float32(ratio), dtype=float
    )
    np.testing.assert_allclose(kl(p, z).lower, expected, rtol=1e-5)


def test_nearly_equal_gaussians_lose_no_digits():
    """A planted fault, trace - d - log det, is off by 1e-6 and often negative."""
    q = one()
    for i, size in enumerate([0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2]):
        change = size * mixture(CONTINUOUS, (0.0,), seed=i).scale_tril
        p = Mixture(q.log_weights, q.loc, q.scale_tril + change, CONTINUOUS)
        ours, expected = float(kl(p, q).lower), reference_kl(p, q)
        assert ours >= 0
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-14)
    assert kl(q, q) == (0.0, 0.0)


@pytest.mark.parametrize(
    "log_weights", [(0.3, -1.0, 0.2, -0.5), EXTREME, [-1e3, -1e3, -1e3, -jnp.inf]]
)
@pytest.mark.parametrize("latents", [LATENTS, CONTINUOUS])
def test_of_a_belief_and_itself_is_zero(log_weights, latents):
    p = mixture(latents, log_weights)
    lower, upper = kl(p, p)
    assert lower == 0
    np.testing.assert_allclose(upper, 0.0, atol=1e-6)


CASES = {
    "overlapping": (1.0, 1.0, (0.3, -1.0, 0.2, -0.5), (0.0, 0.0, -1.0)),
    "apart": (6.0, 6.0, (0.3, -1.0, 0.2, -0.5), (0.0, 0.0, -1.0)),
    "close together": (0.1, 0.1, (0.3, -1.0, 0.2, -0.5), (0.0, 0.0, -3.0)),
    "extreme weights": (2.0, 1.0, EXTREME, (-1000.0, -1001.0, -2000.0)),
    "dead components": (1.0, 1.0, (0.0, -jnp.inf, 0.0, -1.0), (-jnp.inf, 0.0, 0.0)),
    "many in one": (1.0, 1.0, (0.3, -1.0, 0.2, -0.5), (0.0,)),
    "one in many": (1.0, 1.0, (0.0,), (0.0, -1.0, -2.0)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("latents", [LATENTS, PAIR])
def test_bounds_contain_monte_carlo(name, latents):
    spread, other, log_p, log_q = CASES[name]
    p = mixture(latents, log_p, seed=1, spread=spread, kinds=[0, 1, 0, 1])
    q = mixture(latents, log_q, seed=2, spread=other, kinds=[1, 0, 0])
    lower, upper = kl(p, q)
    if latents is LATENTS and not set(alive_kinds(p)) <= set(alive_kinds(q)):
        assert (lower, upper) == (jnp.inf, jnp.inf)
        return
    truth, error = monte_carlo(p, q)
    assert 0 <= lower <= truth + 5 * error
    assert upper >= truth - 5 * error
    assert np.isfinite(upper)


def test_each_side_of_the_sandwich():
    """E log q / f_a for each component of p, beside its bounds."""
    p, q = mixture(PAIR, seed=1, spread=2.0), mixture(PAIR, (0.0, -4.0, -1.0), seed=2, spread=2.0)
    across, log_q = pairs(p, q), normalised(q.log_weights)
    low, high = below(log_q, across), above(log_q, across)
    seen = []
    for a in range(4):
        own = jax.tree.map(lambda x, a=a: x[a : a + 1], p)
        mean, error = monte_carlo(own, q)
        assert low[a] <= -mean + 5 * error
        assert -mean - 5 * error <= high[a]
        seen.append((-mean, error))
    # A planted fault: without the weights of q an expectation is outside.
    unweighted = below(0 * log_q, across)
    assert any(unweighted[a] > mean + 5 * error for a, (mean, error) in enumerate(seen))


def matched_pair(spread, seed=0, components=3, latents=CONTINUOUS):
    """Two mixtures that nearly match component by component, and the sum over that matching."""
    p = mixture(latents, np.linspace(0, -1, components), seed, spread)
    q = mixture(latents, np.linspace(-1, 0.5, components), seed, spread)
    near = eqx.tree_at(lambda x: x.loc, q, q.loc + 0.3)
    near = eqx.tree_at(lambda x: x.scale_tril, near, near.scale_tril * 1.2)
    log_p, log_q = as_numpy(p)[0], as_numpy(near)[0]
    parts = [
        reference_kl(*(jax.tree.map(lambda x, k=k: x[k : k + 1], m) for m in (p, near)))
        for k in range(components)
    ]
    return p, near, (np.exp(log_p) * (log_p - log_q + parts)).sum()


def test_bounds_close_where_components_are_far_apart():
    widths = []
    for spread in (1.0, 2.0, 4.0, 1000.0):
        p, q, truth = matched_pair(spread)
        lower, upper = kl(p, q)
        widths.append(float(upper - lower))
    assert widths == sorted(widths, reverse=True)
    np.testing.assert_allclose([lower, upper], truth, rtol=1e-4)


def test_exact_where_only_one_component_is_alive():
    full_p, full_q = mixture(log_weights=EXTREME), mixture(log_weights=EXTREME, seed=7)
    p = eqx.tree_at(lambda x: x.log_weights, full_p, jnp.array([-jnp.inf, -jnp.inf, 3.0, -jnp.inf]))
    q = eqx.tree_at(
        lambda x: x.log_weights, full_q, jnp.array([-jnp.inf, -jnp.inf, -9.0, -jnp.inf])
    )
    truth = reference_kl(*(jax.tree.map(lambda x: x[2:3], m) for m in (p, q)))
    np.testing.assert_allclose(kl(p, q), truth, rtol=1e-4)


def test_of_assignments_alone_it_is_that_of_their_probabilities():
    p, q = (mixture(log_weights=(0.3, -1.0, 0.2, s), seed=2).marginal(site="kind") for s in (0, -3))
    truth = 0.0
    for kind in (0, 1, 2):
        log_p, log_q = (float(x.log_prob(jnp.zeros(0), {"kind": kind})) for x in (p, q))
        truth += np.exp(log_p) * (log_p - log_q)
    np.testing.assert_allclose(kl(p, q), truth, rtol=1e-4)


def test_an_assignment_that_q_lacks_is_infinitely_far():
    p, q = mixture(), mixture(kinds=[0, 1, 0, 1])
    assert kl(p, q) == (jnp.inf, jnp.inf)
    assert np.isfinite(kl(q, p)).all()
    # However small the weight; but not where there is none.
    rare = eqx.tree_at(lambda x: x.log_weights, p, jnp.array([0.0, 0.0, 0.0, -1000.0]))
    assert kl(rare, q) == (jnp.inf, jnp.inf)
    never = eqx.tree_at(lambda x: x.log_weights, p, jnp.array([0.0, 0.0, 0.0, -jnp.inf]))
    assert np.isfinite(kl(never, q)).all()
    absent = eqx.tree_at(lambda x: x.log_weights, p, jnp.array([0.0, -jnp.inf, 0.0, 0.0]))
    assert kl(p, absent) == (jnp.inf, jnp.inf)


def test_permuting_components_changes_nothing():
    p, q = mixture(seed=1), mixture(seed=2)
    order = np.array([2, 0, 3, 1])
    np.testing.assert_allclose(kl(jax.tree.map(lambda x: x[order], p), q), kl(p, q), rtol=1e-5)
    np.testing.assert_allclose(kl(p, jax.tree.map(lambda x: x[order], q)), kl(p, q), rtol=1e-5)


def test_the_marginal_is_never_farther():
    p, q = one(1), one(2)
    for name in ("y", "a", "z", "b"):
        assert kl(p.marginal(site=name), q.marginal(site=name)).upper <= kl(p, q).upper


@pytest.mark.parametrize(
    "log_weights", [(0.3, -1.0, 0.2, -0.5), EXTREME, (0.0, -jnp.inf, 0.0, 0.0)]
)
def test_gradients_are_finite(log_weights):
    p, q = mixture(CONTINUOUS, log_weights, 1), mixture(CONTINUOUS, log_weights, 2)
    for i in (0, 1):
        gradient = eqx.filter_grad(lambda pair, i=i: kl(*pair)[i])((p, q))
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))
    exact = eqx.filter_grad(lambda pair: kl(*pair).upper)((one(1), one(1)))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(exact))


def test_the_upper_bounds_gradient_is_its_slope():
    with jax.enable_x64(True):
        p, q = mixture(CONTINUOUS, (0.3, -1.0, 0.2), 1), mixture(CONTINUOUS, (0.0, 1.0), 2)

        def upper(loc):
            return kl(p, eqx.tree_at(lambda x: x.loc, q, loc)).upper

        slope, step = jax.grad(upper)(q.loc), 1e-5
        for k in range(3):
            change = jnp.zeros_like(q.loc).at[1, k].set(step)
            numerical = (upper(q.loc + change) - upper(q.loc - change)) / (2 * step)
            np.testing.assert_allclose(slope[1, k], numerical, rtol=1e-3, atol=1e-5)


def test_single_precision_equals_double():
    single = kl(mixture(seed=1, log_weights=EXTREME), mixture(seed=2, log_weights=EXTREME))
    with jax.enable_x64(True):
        double = kl(mixture(seed=1, log_weights=EXTREME), mixture(seed=2, log_weights=EXTREME))
        assert double.lower.dtype == jnp.float64
    np.testing.assert_allclose(single, double, rtol=1e-4)


def test_a_batch_of_tasks_compiled():
    many = [[mixture(seed=seed + side) for seed in range(3)] for side in (0, 50)]
    p, q = (jax.tree.map(lambda *x: jnp.stack(x), *side) for side in many)
    batch = eqx.filter_jit(eqx.filter_vmap(kl))(p, q)
    one_by_one = np.array([kl(*pair) for pair in zip(*many, strict=True)])
    np.testing.assert_allclose(np.stack(batch, 1), one_by_one, rtol=1e-4)


def test_other_latents_are_refused():
    with pytest.raises(BadgerError, match="p is over y, a, z, b, q over y"):
        kl(mixture(CONTINUOUS), mixture(PAIR))
    other = standard_normal((latent("y"),))
    z = latent("y")
    placed = type(z)(
        *[
            *list(z.__dict__.values())[:6],
            "unconstrained",
            (("unconstrained", (1,)),),
            0,
            False,
            True,
        ]
    )
    with pytest.raises(BadgerError, match="'y' is whitened in p and unconstrained in q"):
        kl(other, standard_normal((placed,)))
