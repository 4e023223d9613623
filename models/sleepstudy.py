"""How fast do people slow down when they may not sleep? Reaction times of 18 subjects, 10 days.

Each subject has an intercept and a slope of its own, which may be correlated. Data: Belenky et al.
(2003), Journal of Sleep Research 12(1), as distributed with lme4.
"""

from pathlib import Path

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import pandas as pd


def model(days, reaction=None):
    """Milliseconds: `effects` holds each subject's intercept and slope per day."""
    tasks, steps = days.shape
    intercept = numpyro.sample("intercept", dist.Normal(250, 100))
    slope = numpyro.sample("slope", dist.Normal(0, 50))
    spread = numpyro.sample("spread", dist.HalfNormal(jnp.array([100.0, 25.0])).to_event(1))
    chol = numpyro.sample("chol", dist.LKJCholesky(2, concentration=1.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(50))
    numpyro.deterministic("correlation", chol[1, 0])
    mean, scale_tril = jnp.stack([intercept, slope]), spread[:, None] * chol
    with numpyro.plate("task", tasks, dim=-2):
        effects = numpyro.sample("effects", dist.MultivariateNormal(mean, scale_tril=scale_tril))
        line = effects[..., 0] + effects[..., 1] * days
        with numpyro.plate("step", steps, dim=-1):
            numpyro.sample("reaction", dist.Normal(line, sigma), obs=reaction)


def evidence():
    """One row per subject and day of deprivation: the mean reaction time in milliseconds."""
    table = pd.read_csv(Path(__file__).parent / "data" / "sleepstudy.csv")
    return table.set_index("subject")
