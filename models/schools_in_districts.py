"""Pupils in schools in districts: groups that are nested.

Schools are the tasks, pupils their rows. A district has several schools, so that its level is
shared by tasks, one entry for each district, and a column of the school says which is its own. Data
are simulated.

Gelman & Hill (2006), "Data Analysis Using Regression and Multilevel/Hierarchical Models", ch. 11.
"""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

DISTRICTS = 6


def model(hours, score=None, *, district, districts=DISTRICTS):
    """Levels of districts, of schools in them, and one slope on a pupil's hours of study."""
    mean = numpyro.sample("mean", dist.Normal(0, 2))
    slope = numpyro.sample("slope", dist.Normal(0, 1))
    between = numpyro.sample("between", dist.HalfNormal(1))
    within = numpyro.sample("within", dist.HalfNormal(1))
    noise = numpyro.sample("noise", dist.HalfNormal(1))
    with numpyro.plate("district", districts, dim=-3):
        offset = numpyro.sample("offset", dist.Normal(0, between))
    with numpyro.plate("task", hours.shape[0], dim=-2):
        level = mean + jnp.ravel(offset)[jnp.asarray(district, int)]
        school = numpyro.sample("school_level", dist.Normal(level, within))
        with numpyro.plate("step", hours.shape[1], dim=-1):
            numpyro.sample("score", dist.Normal(school + slope * hours, noise), obs=score)


def inputs(key, tasks, steps):
    """Schools of each district in turn; standardised hours."""
    district = jnp.arange(tasks)[:, None] % DISTRICTS
    return {"hours": jax.random.normal(key, (tasks, steps)), "district": district}
