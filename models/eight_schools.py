"""Does coaching raise test scores? Eight schools, one estimate and standard error each.

Each school's effect is drawn from a common distribution whose mean and spread are unknown: the
textbook case of partial pooling. Data: Rubin (1981), "Estimation in parallel randomized
experiments", Journal of Educational Statistics 6(4).
"""

import numpyro
import numpyro.distributions as dist
import pandas as pd


def model(sigma, y=None):
    """Effects `theta` of schools, around `mu` with spread `tau`; `sigma` are known errors."""
    tasks, steps = sigma.shape
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    with numpyro.plate("task", tasks, dim=-2):
        theta = numpyro.sample("theta", dist.Normal(mu, tau))
        with numpyro.plate("step", steps, dim=-1):
            numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def evidence():
    """The estimated effect `y` of each school, in points, and its standard error `sigma`."""
    return pd.DataFrame(
        {
            "y": [28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0],
            "sigma": [15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0],
        },
        index=pd.Index(list("ABCDEFGH"), name="school"),
    )
