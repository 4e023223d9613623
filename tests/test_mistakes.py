"""Programs that NumPyro runs in silence, and that mean something else: each is refused by name."""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers

from bayes_badger.errors import BadgerError
from bayes_badger.program import Data, lift


def schools_without_dim(sigma, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    with numpyro.plate("task", sigma.shape[0]):
        theta = numpyro.sample("theta", dist.Normal(mu, 1.0))
        with numpyro.plate("step", sigma.shape[1]):
            numpyro.sample("y", dist.Normal(theta, 1.0), obs=y)


def plates_at_once(sigma, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    with numpyro.plate("task", sigma.shape[0]), numpyro.plate("step", sigma.shape[1]):
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def uranium_per_row(log_uranium, y=None):
    with numpyro.plate("task", log_uranium.shape[0], dim=-2):
        alpha = numpyro.sample("alpha", dist.Normal(0.5 * log_uranium, 1.0))
        with numpyro.plate("step", log_uranium.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(alpha, 1.0), obs=y)


def mean_over_steps(x, y=None):
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(0, 1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            centred = x - x.mean(1, keepdims=True)
            numpyro.sample("y", dist.Normal(z * centred, 1.0), obs=y)


def lagged_column(x, y=None):
    before = jnp.concatenate([x[:, :1] * 0, x[:, :-1]], 1)
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(0, 1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z + before, 1.0), obs=y)


def lagged_outcome(x, y=None):
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(0, 1))
        before = x if y is None else jnp.concatenate([y[:, :1] * 0, y[:, :-1]], 1)
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z + before, 1.0), obs=y)


def grand_mean(x, y=None):
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(0, 1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z * (x - x.mean()), 1.0), obs=y)


def fixed_size(x, y=None):
    with numpyro.plate("task", 8, dim=-2):
        z = numpyro.sample("z", dist.Normal(0, 1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z, 1.0), obs=y)


def parameter_in_plate(x, y=None):
    with numpyro.plate("task", x.shape[0], dim=-2):
        shift = numpyro.param("shift", 0.0)
        z = numpyro.sample("z", dist.Normal(shift, 1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z, 1.0), obs=y)


SEVEN = [
    (schools_without_dim, "plate 'task' is at dim -1: write plate('task', sigma.shape[0], dim=-2)"),
    (
        uranium_per_row,
        "alpha has 5 x 7 values for 5 tasks: make log_uranium keyword-only",
    ),
    (mean_over_steps, "depends on 'x' in other rows of the same task"),
    (lagged_column, "depends on 'x' in other rows of the same task"),
    (grand_mean, "depends on 'x' in other rows of other tasks"),
    (fixed_size, "plate 'task' has size 8 for 5 tasks: write plate('task', x.shape[0], dim=-2)"),
    (
        parameter_in_plate,
        "parameter 'shift' is inside plate 'task': move numpyro.param above the plates",
    ),
]


@pytest.mark.parametrize(("program", "message"), SEVEN, ids=lambda x: getattr(x, "__name__", ""))
def test_the_seven_silent_mistakes(program, message):
    with pytest.raises(BadgerError) as error:
        lift(program)
    text = str(error.value)
    assert message in text
    assert text.startswith(program.__name__)
    assert "\n" not in text


def step_latent(x, y=None):
    with numpyro.plate("task", x.shape[0], dim=-2), numpyro.plate("step", x.shape[1], dim=-1):
        z = numpyro.sample("z", dist.Normal(0, 1))
        numpyro.sample("y", dist.Normal(z, 1.0), obs=y)


def unnamed_value(x, y=None):
    which = numpyro.sample("which", dist.Bernoulli(0.5), infer={"labels": ["low"]})
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(which, 1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z, 1.0), obs=y)


def factor_per_row(x, y=None):
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(0, 1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.factor("extra", -(x**2))
            numpyro.sample("y", dist.Normal(z, 1.0), obs=y)


def two_outcomes(x, y=None):
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(0, 1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("x_too", dist.Normal(z, 1.0), obs=x)
            numpyro.sample("y", dist.Normal(z, 1.0), obs=y)


def never_observed(x, y=None):
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(0, 1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z, 1.0))


def no_step_plate(x, y=None):
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(0, 1))
        numpyro.sample("y", dist.Normal(z * jnp.ones_like(x), 1.0), obs=y)


def prior_from_rows(x, y=None):
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(x.mean(1, keepdims=True), 1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z, 1.0), obs=y)


def centred_task_column(x, y=None, *, size):
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(size - size.mean(), 1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z, 1.0), obs=y)


def lifetime_per_task(x, y=None):
    z = numpyro.sample("z", dist.Normal(jnp.zeros((x.shape[0], 1)), 1))
    with numpyro.plate("task", x.shape[0], dim=-2), numpyro.plate("step", x.shape[1], dim=-1):
        numpyro.sample("y", dist.Normal(z, 1.0), obs=y)


def branches(x, y=None):
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(0, 1))
        if z.sum() > 0:
            z = -z
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z, 1.0), obs=y)


def crashes(x, y=None):
    raise KeyError("oops")


def never_finite(x, y=None):
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(0, 1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(jnp.log(-jnp.exp(z)), 1.0), obs=y)


def masked_latents(x, y=None):
    with handlers.mask(mask=x > 0), numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(0, 1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z, 1.0), obs=y)


def scaled_latent(x, y=None):
    with handlers.scale(scale=4.0):
        c = numpyro.sample("c", dist.Normal(0, 1))
    with numpyro.plate("task", x.shape[0], dim=-2), numpyro.plate("step", x.shape[1], dim=-1):
        numpyro.sample("y", dist.Normal(c, 1.0), obs=y)


def masked_prior(x, y=None):
    c = numpyro.sample("c", dist.Normal(0, 1).mask(False))
    with numpyro.plate("task", x.shape[0], dim=-2), numpyro.plate("step", x.shape[1], dim=-1):
        numpyro.sample("y", dist.Normal(c, 1.0), obs=y)


def times(x, y=None):
    with numpyro.plate("time", x.shape[1], dim=-1):
        trend = numpyro.sample("trend", dist.Normal(0, 1))
    with numpyro.plate("task", x.shape[0], dim=-2), numpyro.plate("step", x.shape[1], dim=-1):
        numpyro.sample("y", dist.Normal(trend, 1.0), obs=y)


def walks(x, y=None):
    with numpyro.plate("task", x.shape[0], dim=-2):
        walk = numpyro.sample("walk", dist.GaussianRandomWalk(1.0, x.shape[1]))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(walk[:, 0], 1.0), obs=y)


def third_plate(x, y=None):
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(0, 1))
        with numpyro.plate("step", x.shape[1], dim=-1), numpyro.plate("out", 2, dim=-3):
            numpyro.sample("y", dist.Normal(z, 1.0), obs=y)


def two_defaults(x, y=None, w=None):
    pass


def no_outcome(x):
    pass


def no_column(y=None):
    pass


def starred(*columns, y=None):
    pass


def negative_rate(x, y=None):
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(0, 1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Poisson(z), obs=y)


def negative_scale_of_a_latent(x, y=None):
    spread = numpyro.sample("spread", dist.Normal(0, 1))
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(0, spread))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z, 1.0), obs=y)


def improbable_probability(x, y=None):
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(2, 1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.ZeroInflatedPoisson(z, 1.0), obs=y)


OTHERS = [
    (negative_rate, "the rate of 'y' (Poisson) is -"),
    (negative_rate, "draws from the prior, and must be positive: write rate = jnp.exp(...), or"),
    (negative_scale_of_a_latent, "the scale of 'z' (Normal) is -"),
    (improbable_probability, "and must be from 0 to 1: write gate = jax.nn.sigmoid(...)"),
    (unnamed_value, "which has 2 values and 1 labels: give each a name"),
    (plates_at_once, "plate 'task' is at dim -1"),
    (step_latent, "latent 'z' is inside plate 'step'"),
    (factor_per_row, "site 'extra' is a factor for each row"),
    (two_outcomes, "site 'x_too' is observed for each row"),
    (lagged_outcome, "depends on 'y' in other rows of the same task"),
    (never_observed, "no site is observed with 'y'"),
    (no_step_plate, "write with numpyro.plate('step', x.shape[1], dim=-1)"),
    (prior_from_rows, "the prior of 'z' depends on the rows of 'x'"),
    (centred_task_column, "centre size in the table"),
    (lifetime_per_task, "z has 5 x 1 values outside plate 'task'"),
    (branches, "write jnp.where instead of if"),
    (crashes, "fails on 5 tasks of 7 steps: KeyError: 'oops'"),
    (never_finite, "is not finite, 3 times of 3"),
    (masked_latents, "latent 'z' is inside handlers.scale or .mask"),
    (scaled_latent, "latent 'c' is inside handlers.scale or .mask"),
    (masked_prior, "latent 'c' is inside handlers.scale or .mask"),
    (times, "latent 'trend' has as many values as there are steps"),
    (walks, "latent 'walk' has as many values as there are steps"),
    (third_plate, "the outcome 'y' is in plate 'out' beside task and step"),
    (two_defaults, "has 2 parameters with default None (y, w)"),
    (no_outcome, "has no outcome"),
    (no_column, "has no column of evidence"),
    (starred, "'*columns' hides which columns"),
]


@pytest.mark.parametrize(("program", "message"), OTHERS, ids=lambda x: getattr(x, "__name__", ""))
def test_other_mistakes(program, message):
    with pytest.raises(BadgerError) as error:
        lift(program)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_column_that_is_a_negative_scale_is_told_from_a_latent():
    def scaled(x, y=None):
        with numpyro.plate("task", x.shape[0], dim=-2):
            z = numpyro.sample("z", dist.Normal(0, 1))
            with numpyro.plate("step", x.shape[1], dim=-1):
                numpyro.sample("y", dist.Normal(z, x), obs=y)

    with pytest.raises(BadgerError) as error:
        lift(scaled, example=Data({"x": jnp.full((5, 7), -0.5)}, {}))
    assert "the scale of 'y' (Normal) is -0.5 whatever the latents are, and must be positive: " in (
        str(error.value)
    )


def test_a_prior_may_touch_a_bound_in_its_far_tail():
    """A scale that is negative once in 44 draws is left to the inner loop."""

    def far(x, y=None):
        spread = numpyro.sample("spread", dist.Normal(2.0, 1.0))
        with numpyro.plate("task", x.shape[0], dim=-2), numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(0.0, spread), obs=y)

    assert lift(far).size == 1


def test_a_setting_that_does_not_exist():
    def scaled(x, y=None, *, scale=1.0):
        pass

    with pytest.raises(BadgerError, match=r"has no setting 'scal' \(did you mean 'scale'\?\)"):
        lift(scaled, settings={"scal": 2})


def test_a_group_of_a_column_that_does_not_exist():
    with pytest.raises(BadgerError, match=r"groups a column that the program does not have"):
        lift(grand_mean, groups={"Z": ["x1", "x2"]})
