"""How fast does a young rat grow? Weights of 30 rats, each at five ages.

Each rat has its own line: a level, which is its weight at 22 days, and a growth per day. Data:
Gelfand, Hills, Racine-Poon & Smith (1990), "Illustration of Bayesian inference in normal data
models using Gibbs sampling", Journal of the American Statistical Association 85(412), as
distributed by posteriordb (BSD-3).
"""

from pathlib import Path

import numpyro
import numpyro.distributions as dist
import pandas as pd


def model(day, weight=None):
    """Grams: `level` at 22 days and `growth` per day of each rat, around those of all rats."""
    rats, ages = day.shape
    mean_level = numpyro.sample("mean_level", dist.Normal(250, 100))
    mean_growth = numpyro.sample("mean_growth", dist.Normal(5, 5))
    level_spread = numpyro.sample("level_spread", dist.HalfNormal(50))
    growth_spread = numpyro.sample("growth_spread", dist.HalfNormal(5))
    within = numpyro.sample("within", dist.HalfNormal(25))
    with numpyro.plate("task", rats, dim=-2):
        level = numpyro.sample("level", dist.Normal(mean_level, level_spread))
        growth = numpyro.sample("growth", dist.Normal(mean_growth, growth_spread))
        line = level + growth * (day - 22)
        with numpyro.plate("step", ages, dim=-1):
            numpyro.sample("weight", dist.Normal(line, within), obs=weight)


def evidence():
    """One row per rat and age: the age in days and the weight in grams."""
    table = pd.read_csv(Path(__file__).parent / "data" / "rats.csv")
    return table.set_index("rat")
