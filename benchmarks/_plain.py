"""Programs as one writes them in plain NumPyro, with the data and the contract's program beside.

Rows are indexed by their task, as one does who knows nothing of tasks and steps; hierarchies with
few data for each task are written without centring, those with many with it, as the manuals of
NumPyro and Stan advise. So a benchmark compares with what a careful user has without this library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd

from bayes_badger.shelves import load_program

CLINICS, WEEKS = 40, 26
# What the clinics were simulated with.
TRUTH = {"alpha": 1.5, "beta": 0.4, "gamma": -0.2, "delta": 0.3, "phi": 5.5, "a": 0.5, "b": 0.25}


class Case(NamedTuple):
    """One model, twice.

    Attributes:
        program: What `bb.fit` takes: a name on the shelf, or a function.
        task: The column that tells tasks apart.
        table: Makes the data frame.
        plain: The same model in plain NumPyro.
        arguments: What `plain` is called with, from the data frame.
        shared: The names of the latents that all tasks share, in both.
    """

    program: Any
    task: str
    table: Callable[[], pd.DataFrame]
    plain: Callable[..., Any]
    arguments: Callable[[pd.DataFrame], Mapping[str, Any]]
    shared: tuple[str, ...]


# --- visits of clinics: counts with more spread than Poisson's, and rows that are missing


def clinics(temperature, staff, visits=None, *, setting):  # type: ignore[no-untyped-def]
    """Visits in a week: a clinic has a level and an effect of temperature of its own."""
    alpha = numpyro.sample("alpha", dist.Normal(1.5, 1.0))
    beta = numpyro.sample("beta", dist.Normal(0.0, 1.0))
    gamma = numpyro.sample("gamma", dist.Normal(0.0, 1.0))
    delta = numpyro.sample("delta", dist.Normal(0.0, 1.0))
    sd_level = numpyro.sample("sd_level", dist.HalfNormal(1.0))
    sd_slope = numpyro.sample("sd_slope", dist.HalfNormal(1.0))
    phi = numpyro.sample("phi", dist.Gamma(2.0, 0.2))
    warmth, hands = (temperature - 12.0) / 7.0, (staff - 6.5) / 3.0
    with numpyro.plate("task", temperature.shape[0], dim=-2):
        a = numpyro.sample("a", dist.Normal(alpha + delta * setting, sd_level))
        b = numpyro.sample("b", dist.Normal(beta, sd_slope))
        mean = jnp.exp(a + b * warmth + gamma * hands)
        with numpyro.plate("step", temperature.shape[1], dim=-1):
            numpyro.sample("visits", dist.NegativeBinomial2(mean, phi), obs=visits)


def clinics_plain(clinic, temperature, staff, setting, visits):  # type: ignore[no-untyped-def]
    """The same; `setting` is of each clinic."""
    alpha = numpyro.sample("alpha", dist.Normal(1.5, 1.0))
    beta = numpyro.sample("beta", dist.Normal(0.0, 1.0))
    gamma = numpyro.sample("gamma", dist.Normal(0.0, 1.0))
    delta = numpyro.sample("delta", dist.Normal(0.0, 1.0))
    sd_level = numpyro.sample("sd_level", dist.HalfNormal(1.0))
    sd_slope = numpyro.sample("sd_slope", dist.HalfNormal(1.0))
    phi = numpyro.sample("phi", dist.Gamma(2.0, 0.2))
    with numpyro.plate("clinics", len(setting)):
        a = numpyro.sample("a", dist.Normal(alpha + delta * setting, sd_level))
        b = numpyro.sample("b", dist.Normal(beta, sd_slope))
    warmth, hands = (temperature - 12.0) / 7.0, (staff - 6.5) / 3.0
    mean = jnp.exp(a[clinic] + b[clinic] * warmth + gamma * hands)
    with numpyro.plate("rows", len(visits)):
        numpyro.sample("visits", dist.NegativeBinomial2(mean, phi), obs=visits)


def clinics_table(seed: int = 0) -> pd.DataFrame:
    """About 700 weeks of 40 clinics, simulated."""
    chance, rows = np.random.default_rng(seed), []
    for clinic in range(CLINICS):
        setting = int(clinic % 2)
        level = chance.normal(TRUTH["alpha"] + TRUTH["delta"] * setting, TRUTH["a"])
        slope = chance.normal(TRUTH["beta"], TRUTH["b"])
        for _ in range(chance.integers(9, WEEKS + 1)):
            temperature, staff = np.round(chance.normal(12, 7), 1), chance.integers(2, 12)
            hands = (staff - 6.5) / 3
            mean = np.exp(level + slope * (temperature - 12) / 7 + TRUTH["gamma"] * hands)
            visits = chance.poisson(chance.gamma(TRUTH["phi"], mean / TRUTH["phi"]))
            rows.append((f"clinic {clinic:02}", temperature, staff, setting, visits))
    return pd.DataFrame(rows, columns=["clinic", "temperature", "staff", "setting", "visits"])


def _clinics_arguments(table: pd.DataFrame) -> dict[str, Any]:
    _, clinic = np.unique(table["clinic"], return_inverse=True)
    return {
        "clinic": clinic,
        "temperature": table["temperature"].to_numpy(np.float32),
        "staff": table["staff"].to_numpy(np.float32),
        "setting": table.groupby("clinic")["setting"].first().to_numpy(np.float32),
        "visits": table["visits"].to_numpy(),
    }


# --- programs of the shelf


def eight_schools_plain(sigma, y):  # type: ignore[no-untyped-def]
    """Few data for each school: without centring."""
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    with numpyro.plate("schools", len(y)):
        z = numpyro.sample("z", dist.Normal(0, 1))
        theta = numpyro.deterministic("theta", mu + tau * z)
        numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def sleepstudy_plain(subject, days, reaction):  # type: ignore[no-untyped-def]
    """Ten days of each subject: with a Cholesky factor times standard normals."""
    intercept = numpyro.sample("intercept", dist.Normal(250, 100))
    slope = numpyro.sample("slope", dist.Normal(0, 50))
    spread = numpyro.sample("spread", dist.HalfNormal(jnp.array([100.0, 25.0])).to_event(1))
    chol = numpyro.sample("chol", dist.LKJCholesky(2, concentration=1.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(50))
    with numpyro.plate("subjects", int(subject.max()) + 1):
        z = numpyro.sample("z", dist.Normal(0, 1).expand([2]).to_event(1))
    own = jnp.stack([intercept, slope]) + z @ (spread[:, None] * chol).T
    effects = numpyro.deterministic("effects", own)
    line = effects[subject, 0] + effects[subject, 1] * days
    with numpyro.plate("rows", len(reaction)):
        numpyro.sample("reaction", dist.Normal(line, sigma), obs=reaction)


def radon_plain(county, floor, log_uranium, log_radon):  # type: ignore[no-untyped-def]
    """Few houses in most counties: without centring."""
    intercept = numpyro.sample("intercept", dist.Normal(0, 10))
    uranium = numpyro.sample("uranium", dist.Normal(0, 10))
    basement = numpyro.sample("floor", dist.Normal(0, 10))
    between = numpyro.sample("between", dist.HalfNormal(1))
    within = numpyro.sample("within", dist.HalfNormal(1))
    with numpyro.plate("counties", len(log_uranium)):
        z = numpyro.sample("z", dist.Normal(0, 1))
    alpha = intercept + uranium * log_uranium + between * z
    alpha = numpyro.deterministic("alpha", alpha)
    with numpyro.plate("rows", len(log_radon)):
        house = dist.Normal(alpha[county] + basement * floor, within)
        numpyro.sample("log_radon", house, obs=log_radon)


def rats_plain(rat, day, weight):  # type: ignore[no-untyped-def]
    """Five ages say much of a rat: centred."""
    mean_level = numpyro.sample("mean_level", dist.Normal(250, 100))
    mean_growth = numpyro.sample("mean_growth", dist.Normal(5, 5))
    level_spread = numpyro.sample("level_spread", dist.HalfNormal(50))
    growth_spread = numpyro.sample("growth_spread", dist.HalfNormal(5))
    within = numpyro.sample("within", dist.HalfNormal(25))
    with numpyro.plate("rats", int(rat.max()) + 1):
        level = numpyro.sample("level", dist.Normal(mean_level, level_spread))
        growth = numpyro.sample("growth", dist.Normal(mean_growth, growth_spread))
    with numpyro.plate("rows", len(weight)):
        line = level[rat] + growth[rat] * (day - 22)
        numpyro.sample("weight", dist.Normal(line, within), obs=weight)


def _shelf_table(name: str) -> Callable[[], pd.DataFrame]:
    def table() -> pd.DataFrame:
        frame: pd.DataFrame = load_program(name).optional("evidence")()
        return frame.reset_index()

    return table


def _by_row(task: str, *columns: str) -> Callable[[pd.DataFrame], dict[str, Any]]:
    def arguments(table: pd.DataFrame) -> dict[str, Any]:
        index = np.unique(table[task], return_inverse=True)[1]
        return {task: index} | {name: table[name].to_numpy(np.float32) for name in columns}

    return arguments


def _schools_arguments(table: pd.DataFrame) -> dict[str, Any]:
    return {name: table[name].to_numpy(np.float32) for name in ("sigma", "y")}


def _radon_arguments(table: pd.DataFrame) -> dict[str, Any]:
    own = _by_row("county", "floor", "log_radon")(table)
    uranium = table.groupby("county")["log_uranium"].first().to_numpy(np.float32)
    return {**own, "log_uranium": uranium}


CASES = {
    "clinics": Case(
        clinics,
        "clinic",
        clinics_table,
        clinics_plain,
        _clinics_arguments,
        ("alpha", "beta", "gamma", "delta", "sd_level", "sd_slope", "phi"),
    ),
    "sleepstudy": Case(
        "sleepstudy",
        "subject",
        _shelf_table("sleepstudy"),
        sleepstudy_plain,
        _by_row("subject", "days", "reaction"),
        ("intercept", "slope", "spread", "sigma"),
    ),
    "eight_schools": Case(
        "eight_schools",
        "school",
        _shelf_table("eight_schools"),
        eight_schools_plain,
        _schools_arguments,
        ("mu", "tau"),
    ),
    "radon": Case(
        "radon",
        "county",
        _shelf_table("radon"),
        radon_plain,
        _radon_arguments,
        ("intercept", "uranium", "floor", "between", "within"),
    ),
    "rats": Case(
        "rats",
        "rat",
        _shelf_table("rats"),
        rats_plain,
        _by_row("rat", "day", "weight"),
        ("mean_level", "mean_growth", "level_spread", "growth_spread", "within"),
    ),
}
