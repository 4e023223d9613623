"""How much radon is in the houses of 85 Minnesota counties? Few measurements in most of them.

A county's level depends on the uranium in its soil; a basement (floor 0) has more than a first
floor. Data: Gelman & Hill (2006), "Data Analysis Using Regression and Multilevel/Hierarchical
Models", ch. 12, as distributed by posteriordb (BSD-3): 919 houses.
"""

from pathlib import Path

import numpyro
import numpyro.distributions as dist
import pandas as pd


def model(floor, log_radon=None, *, log_uranium):
    """Levels `alpha` of counties around a line in `log_uranium`; `floor` shifts a house."""
    tasks, steps = floor.shape
    intercept = numpyro.sample("intercept", dist.Normal(0, 10))
    uranium = numpyro.sample("uranium", dist.Normal(0, 10))
    basement = numpyro.sample("floor", dist.Normal(0, 10))
    between = numpyro.sample("between", dist.HalfNormal(1))
    within = numpyro.sample("within", dist.HalfNormal(1))
    with numpyro.plate("task", tasks, dim=-2):
        level = intercept + uranium * log_uranium
        alpha = numpyro.sample("alpha", dist.Normal(level, between))
        with numpyro.plate("step", steps, dim=-1):
            house = dist.Normal(alpha + basement * floor, within)
            numpyro.sample("log_radon", house, obs=log_radon)


def evidence():
    """One row per house: its county, floor, log radon, and its county's log uranium."""
    table = pd.read_csv(Path(__file__).parent / "data" / "radon.csv")
    return table.set_index("county")
