"""The DataTree is complete, and ArviZ runs on it: on eight schools, and on ragged radon."""

import warnings

import arviz as az
import matplotlib as mpl
import numpy as np
import pytest

from bayes_badger.labels import safe_name

mpl.use("Agg")

GROUPS = {
    "posterior",
    "posterior_predictive",
    "log_likelihood",
    "log_prior",
    "sample_stats",
    "prior",
    "prior_predictive",
    "observed_data",
    "constant_data",
    "trust",
}


@pytest.fixture(params=["eight_schools", "radon"])
def run(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(autouse=True)
def _quiet_and_closed():
    """ArviZ warns of single influential rows; figures are not kept."""
    import matplotlib.pyplot as plt

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    plt.close("all")


def test_all_groups_in_long_form(run):
    tree, spec = run.tree, run.spec
    assert set(tree.children) == GROUPS
    # Independent draws have no divergences, nor other statistics of a sampler.
    assert ("diverging" in tree["sample_stats"]) is not spec["result"]["independent"]
    assert ("log_evidence" in spec["result"]) is spec["result"]["independent"]
    rows, task = spec["evidence"]["rows"], spec["evidence"]["task_name"]
    outcome = spec["program"]["outcome"]
    for group in ("posterior_predictive", "prior_predictive", "log_likelihood"):
        assert tree[group][outcome].dims == ("chain", "draw", "obs_id")
        assert tree[group].sizes["obs_id"] == rows
        assert tree[group].sizes["chain"] == 4
    assert tree["observed_data"][outcome].dims == ("obs_id",)
    assert tree["observed_data"][task].dims == ("obs_id",)
    for name, x in tree["log_prior"].data_vars.items():
        scope = {x["name"]: x["scope"] for x in spec["program"]["latents"]}[name]
        assert x.dims == (("chain", "draw", task) if scope == "task" else ("chain", "draw"))
    for group in tree.children.values():
        for name, x in group.data_vars.items():
            assert np.isfinite(x.values).all(), name


def test_summary(run):
    table = az.summary(run.tree)
    assert (table["r_hat"].astype(float) < 1.1).all()


def test_loo(run):
    loo = az.loo(run.tree)
    assert np.isfinite(loo.elpd)
    assert loo.n_data_points == run.spec["evidence"]["rows"]


def test_compare(run):
    other = run.tree.copy()
    table = az.compare({"one": run.tree, "two": other})
    assert len(table) == 2


def test_power_scaling_by_scope(run):
    table = az.psense_summary(run.tree)
    assert {"prior", "likelihood"} <= set(table.columns)
    lifetime = [x["name"] for x in run.spec["program"]["latents"] if x["scope"] == "lifetime"]
    by_level = az.psense_summary(run.tree, var_names=lifetime, prior_var_names=lifetime)
    assert len(by_level) == len(lifetime)


@pytest.mark.parametrize(
    "plot",
    [
        az.plot_forest,
        az.plot_rank,
        az.plot_prior_posterior,
        az.plot_ppc_dist,
        az.plot_ppc_pit,
        az.plot_loo_pit,
    ],
    ids=lambda plot: plot.__name__,
)
def test_plots(run, plot):
    lifetime = [x["name"] for x in run.spec["program"]["latents"] if x["scope"] == "lifetime"]
    by_variable = plot in (az.plot_forest, az.plot_rank, az.plot_prior_posterior)
    given = {"var_names": lifetime} if by_variable else {}
    assert plot(run.tree, backend="matplotlib", **given) is not None


def test_log_likelihood_is_that_of_the_draws(eight_schools):
    """Normal(theta, sigma) at y, from the tree's own groups."""
    tree = eight_schools.tree
    y, sigma = tree["observed_data"]["y"].values, tree["constant_data"]["sigma"].values
    theta = tree["posterior"]["theta"].values
    expected = -0.5 * ((y - theta) / sigma) ** 2 - np.log(sigma) - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(tree["log_likelihood"]["y"].values, expected, rtol=1e-4)
    prior = -0.5 * (tree["posterior"]["mu"] / 5) ** 2 - np.log(5) - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(tree["log_prior"]["mu"].values, prior.values, rtol=1e-4)


def test_rows_of_ragged_tasks_keep_their_labels(radon):
    tree = radon.tree
    by_county = tree["observed_data"]["log_radon"].groupby("county").count()
    assert by_county.sizes["county"] == 85
    assert int(by_county.max()) == 116
    one = tree["log_likelihood"].to_dataset()
    assert one["log_radon"].where(one["county"] == 70, drop=True).sizes["obs_id"] == 116


def test_predictives_have_the_right_spread(eight_schools):
    """Var y = var mu + E tau² + sigma² is infinite here; the median absolute deviation is not."""
    tree = eight_schools.tree
    sigma = tree["constant_data"]["sigma"].values
    residual = tree["posterior_predictive"]["y"] - tree["posterior"]["theta"].values
    spread = residual.std(("chain", "draw")).values / sigma
    assert np.abs(spread - 1).max() < 5 / np.sqrt(2 * 4000)


@pytest.mark.parametrize(
    ("name", "safe"),
    [("net/layers[0].weight", "net.layers.0.weight"), ("mu", "mu"), ("b[1]", "b.1")],
)
def test_names_that_netcdf_refuses(name, safe):
    assert safe_name(name) == safe
