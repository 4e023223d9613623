"""The surface of losses: planted coefficients come back, with intervals that are honest."""

import jax
import numpy as np
import pytest

import bayes_badger as bb
from bayes_badger.errors import BadgerError
from bayes_badger.measures.surface import (
    ADDITIVE,
    MODELS,
    WASHED,
    Losses,
    fit_many,
    fit_surfaces,
    gains,
    parts,
    value,
)
from bayes_badger.outer_loop import Settings, learn
from bayes_badger.program.parameters import as_table, at_start

M, T = 2.0 ** np.arange(2, 8), 2.0 ** np.arange(6)
TRUE = {"E": 1.4, "A": 0.8, "alpha": 1.0, "B": 0.5, "beta": 1.0, "gamma": 0.0, "t0": 1.0}
INNER, OUTER = TRUE | {"A": 0.02}, TRUE | {"A": 2.0, "alpha": 0.5, "B": 0.05}
WASH = TRUE | {"A": 3.0, "gamma": 1.5}
NOISE = 2e-3


def planted(true, repetitions, rng):
    exact = value(true, M[:, None], T)
    return exact + NOISE * rng.normal(size=(repetitions, *exact.shape))


def alone(loss, error):
    """Of cells that were each scored on tasks of their own."""
    *sets, m, t = loss.shape
    return np.broadcast_to(error**2 * np.eye(m * t).reshape(m, t, m, t), (*sets, m, t, m, t))


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    loss = np.stack([planted(true, 4, rng) for true in (INNER, OUTER, WASH)])
    told = Losses(M, T, loss, alone(loss, 1e-5))
    return fit_many(told, None, jax.random.split(jax.random.key(0), 3), 300, 400)


def test_the_right_loop_is_short(fitted):
    for i, outer_is_short in enumerate((False, True)):
        for model in MODELS:
            more = gains(fitted[model][i].draws, M[-1], T[-1])
            p = float((more[0] > more[1]).mean())
            assert (p > 0.95) if outer_is_short else (p < 0.05), (i, model)


def test_the_longest_cell_is_predicted_and_chooses(fitted):
    for i, true in enumerate((INNER, OUTER, WASH)):
        best = max(MODELS, key=lambda model, i=i: fitted[model][i].held_out)
        ahead = value(fitted[best][i].draws, M[-1], T[-1])
        assert abs(ahead.mean() / value(true, M[-1], T[-1]) - 1) < 0.01
        assert fitted[best][i].r_hat < 1.1
    assert fitted[WASHED][2].held_out > fitted[ADDITIVE][2].held_out + 1


def test_planted_coefficients_come_back(fitted):
    for model, i, true, names in (
        (ADDITIVE, 1, OUTER, ("E", "A", "alpha")),
        (WASHED, 2, WASH, ("E", "A", "alpha", "gamma", "B", "beta")),
    ):
        for name in names:
            x = fitted[model][i].draws[name]
            assert abs(x.mean() - true[name]) < 4 * x.std(), name
    assert fitted[WASHED][2].draws["gamma"].std() < 0.2


def test_losses_are_summed_and_not_averaged(fitted):
    """Intervals are as wide as those of least squares; a mean of the losses would be 10 times."""
    draws, m, t = fitted[WASHED][2].draws, M[:-1, None], T[:-1]
    names = [name for name in TRUE if name != "E"]
    slopes = [np.ones(m.size * t.size)]
    for name in names:
        more, less = (value(WASH | {name: WASH[name] + h}, m, t) for h in (1e-5, -1e-5))
        slopes.append((more - less).ravel() / 2e-5)
    covariance = NOISE**2 / 4 * np.linalg.inv(np.stack(slopes) @ np.stack(slopes).T)
    for name, variance in zip(["E", *names], np.diag(covariance), strict=True):
        if name == "A":  # how far trainings differ is in it too
            continue
        assert 0.5 < draws[name].std() / np.sqrt(variance) < 2, name


def test_gains_are_the_slopes_of_the_surface():
    true = {name: np.array([x]) for name, x in WASH.items()}
    step = 1e-5
    of_outer, of_inner = gains(true, 8.0, 4.0)
    for gain, ahead, behind in (
        (of_outer, (8 * np.exp(step), 4.0), (8 * np.exp(-step), 4.0)),
        (of_inner, (8.0, 4 * np.exp(step)), (8.0, 4 * np.exp(-step))),
    ):
        assert gain == pytest.approx(-(value(true, *ahead) - value(true, *behind)) / (2 * step))
    per_step = gains(true, 8.0, 4.0, 2.0, 5.0)
    assert per_step[0] == pytest.approx(of_outer / 16)
    assert per_step[1] == pytest.approx(of_inner / 20)
    assert sum(parts(true, 8.0, 4.0)) + 1.4 == pytest.approx(value(true, 8.0, 4.0))


def test_too_few_cells_are_refused():
    for m, t, loss, said in (
        (M[:3], T, np.ones((1, 3, 6)), "4 outer and 4 inner"),
        (M, T, np.full((1, 6, 6), np.nan), "not finite"),
    ):
        with pytest.raises(BadgerError, match=said):
            fit_surfaces(Losses(m, t, loss, alone(loss, 1.0)), jax.random.key(0))


def test_a_training_shows_its_steps(learned, key):
    shown = {}
    from bayes_badger.evidence import Evidence

    evidence = Evidence.from_dataset(learned.evidence)
    start = at_start(learned.program)
    assert as_table(start)["mean"] == 0
    found = learn(
        start, evidence, key, Settings(steps=4, scoring=0), watch=lambda i, p: shown.update({i: p})
    )
    assert list(shown) == [1, 2, 3, 4]
    means = [float(as_table(p)["mean"]) for p in shown.values()]
    assert means == sorted(means)
    assert float(as_table(found.program)["mean"]) == pytest.approx(means[-1], abs=0.02)


def test_of_a_run_that_is_too_short():
    from tests.programs import learned_levels, simulated_levels

    run = bb.fit(learned_levels, simulated_levels(4, 8), inference="exact", outer_steps=0)
    said = "its tasks have 8 rows at most, and bottleneck needs 9: 8 to learn from and one"
    with pytest.raises(BadgerError, match=said):
        bb.measures.bottleneck(run)
    assert "9 rows or more" in bb.measures.bottleneck.__doc__
