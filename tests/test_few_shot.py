"""What `few_shot` measures with: scores against scipy, kernels against their closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmarks import few_shot
from benchmarks.few_shot import baselines, cauchy, scores
from benchmarks.few_shot.programs import lifted

RNG = np.random.default_rng(0)


def test_a_mixture_of_gaussians_is_scored_as_by_scipy():
    means, roots = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4, 4))
    covariances, y = roots @ np.swapaxes(roots, 1, 2) + np.eye(4), RNG.normal(size=4)
    weights = np.array([0.5, 0.3, 0.2])
    found = scores.of_gaussians(np.log(weights), means, covariances, y)
    pairs = list(zip(weights, means, covariances, strict=True))
    joint = sum(w * stats.multivariate_normal(m, c).pdf(y) for w, m, c in pairs)
    each = sum(w * stats.norm.pdf(y, m, np.sqrt(np.diag(c))) for w, m, c in pairs)
    assert found.square == pytest.approx(((y - weights @ means) ** 2).mean())
    assert found.joint == pytest.approx(np.log(joint) / 4)
    assert found.marginal == pytest.approx(np.log(each).mean())


def test_draws_are_scored_as_written_by_hand():
    x, y = RNG.uniform(-5, 5, 6), RNG.normal(5, 1, 6)
    draws = {name: RNG.normal(size=3) for name in ("slope", "amplitude", "shift", "level")}
    sine = draws["amplitude"][:, None] * np.sin(1.5 * (x - draws["shift"][:, None]))
    curve = draws["slope"][:, None] * x + sine + draws["level"][:, None]
    found = scores.of_draws(lifted("sinusoid"), draws, x, y)
    rows = stats.norm.logpdf(y, curve, 0.1)
    assert found.square == pytest.approx(((y - curve.mean(0)) ** 2).mean(), rel=1e-5)
    joint = (np.logaddexp.reduce(rows.sum(1)) - np.log(3)) / 6
    assert found.joint == pytest.approx(joint, rel=1e-4)
    marginal = (np.logaddexp.reduce(rows, axis=0) - np.log(3)).mean()
    assert found.marginal == pytest.approx(marginal, rel=1e-4)


@pytest.mark.parametrize("length", [0.12, 0.3, 0.6])
def test_sines_make_the_kernel(length):
    x = np.linspace(-2, 2, 50)
    others = {"length": np.array([length]), "scale": np.array([0.8])}
    location, slopes, noise = scores.lines(lifted("gp"), "weights", others, x)
    kernel = 0.64 * np.exp(-0.5 * ((x[:, None] - x) / length) ** 2)
    np.testing.assert_allclose(slopes[0] @ slopes[0].T, kernel, atol=5e-4)
    np.testing.assert_array_equal(location, 0)
    np.testing.assert_allclose(noise, 0.02)


def test_eigenfunctions_make_the_kernel():
    x = np.clip(2.2 * RNG.normal(size=(50, 2)), -4, 4)
    _, slopes, _ = scores.lines(lifted("cauchy", world=True), "surface", {}, x)
    apart = ((x[:, None] - x) ** 2).sum(-1)
    np.testing.assert_allclose(slopes[0] @ slopes[0].T, np.exp(-apart), atol=0.03)


def test_a_known_kernel_is_conditioned_on_as_by_hand():
    x, y, seen = RNG.uniform(-2, 2, 9), RNG.normal(size=9), 6
    kernel = np.exp(-0.5 * ((x[:, None] - x) / 0.3) ** 2) + 0.1 * np.eye(9)
    found = scores.conditioned(kernel[None], np.zeros((1, 9)), y, seen, weigh=True)
    whole = stats.multivariate_normal(np.zeros(9), kernel).logpdf(y)
    part = stats.multivariate_normal(np.zeros(6), kernel[:6, :6]).logpdf(y[:6])
    assert found.joint == pytest.approx((whole - part) / 3)


def test_a_closed_form_predicts_as_conditioning_does():
    program = lifted("cauchy")
    x, y = cauchy.tasks_of(RNG, 2, cauchy.CONTEXT + 5)
    for i, found in enumerate(cauchy.by_exact(program, x, y)):
        location, slopes, noise = scores.lines(program, "weights", {}, x[i])
        kernel = slopes @ np.swapaxes(slopes, 1, 2) + noise[..., None] ** 2 * np.eye(x.shape[1])
        expected = scores.conditioned(kernel, location, y[i], cauchy.CONTEXT, weigh=False)
        np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_differences_to_the_ceiling_are_paired():
    rows = [
        {"seed": seed, "prior": prior, "rmse": value}
        for seed, pair in enumerate([(1.0, 1.5), (3.0, 3.7)])
        for prior, value in zip(("known", "learned"), pair, strict=True)
    ]
    found = few_shot.summary(pd.DataFrame(rows)).set_index("prior")
    assert found.loc["learned less known", "rmse"] == pytest.approx(0.6)
    assert found.loc["learned less known", "rmse se"] == pytest.approx(0.1)


def test_a_world_that_is_lifted_draws_what_it_says():
    program = lifted("sinusoid_maml", world=True)
    x = jnp.zeros((500, 2))
    drawn = program.simulate(jax.random.key(0), program.example._replace(columns={"x": x}))
    assert 0.1 <= drawn.values["amplitude"].min() <= drawn.values["amplitude"].max() <= 5
    assert 0 <= drawn.values["phase"].min() <= drawn.values["phase"].max() <= np.pi


def test_layers_are_those_of_a_network_written_by_hand():
    sizes, rng = (2, 3, 3, 1), np.random.default_rng(0)
    weights = baselines._weights(jax.random.key(0), sizes)
    assert weights.shape == (2 * 3 + 3 + 3 * 3 + 3 + 3 * 1 + 1,)
    own, x = rng.normal(size=(4, len(weights))), rng.normal(size=(4, 5, 2))
    found = baselines._layers(jnp.asarray(own), jnp.asarray(x), sizes)
    for i, w in enumerate(own):
        first = np.tanh(x[i] @ w[:6].reshape(2, 3) + w[6:9])
        second = np.tanh(first @ w[9:18].reshape(3, 3) + w[18:21])
        np.testing.assert_allclose(found[i], second @ w[21:24].reshape(3, 1) + w[24], atol=1e-5)


@pytest.mark.parametrize("model", [baselines.network, baselines.features])
def test_baselines_are_programs_in_the_line_and_in_the_plane(model):
    for shape in ((6, 9), (6, 9, 2)):
        program = baselines.lifted(model, np.random.default_rng(0).normal(size=shape), np.zeros(54))
        assert [latent.name for latent in program.latents] == ["weights"]
        assert "noise" in program.parameters
