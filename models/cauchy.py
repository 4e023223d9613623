"""A landscape that all tasks share, and a surface of each task's own: both are learned.

y = mean(x) + scale Σ_k weight_k feature_k(x) + noise, x in the plane. The mean is a network of
radial units; the features are the eigenfunctions of a squared-exponential kernel under N(0, 2.2²)
(Zhu et al. 1998, "Gaussian regression and optimal finite dimensional linear models"), times the
roots of their eigenvalues, so that weights from N(0, 1) make a Gaussian process, whose length,
scale and noise are learned. It is Bayesian in its last layer, whose prior is learned (Harrison et
al. 2018, "Meta-learning priors for efficient online Bayesian regression"): each task's posterior is
in closed form. The world is that of Rothfuss et al. (2021), "PACOH": two Cauchy bumps.
"""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.distributions.constraints import positive

columns = {"x": ["x1", "x2"]}

# The highest degree of a feature, and the spread of the places that features are made for.
DEGREE, EXTENT = 9, 2.2
# Where the radial units of the mean start.
CENTRES = ((-1.5, -1.5), (-1.5, 1.5), (1.5, -1.5), (1.5, 1.5))


def model(x, y=None):
    """Weights of each task; the mean's network, and length, scale and noise, are learned."""
    length = numpyro.param("length", 1.0, constraint=positive)
    scale = numpyro.param("scale", 0.5, constraint=positive)
    noise = numpyro.param("noise", 0.2, constraint=positive)
    centres = numpyro.param("centres", jnp.array(CENTRES))
    widths = numpyro.param("widths", jnp.full(len(CENTRES), 2.0), constraint=positive)
    heights = numpyro.param("heights", jnp.full(len(CENTRES), 0.1))
    level = numpyro.param("level", 0.0)
    apart = ((x[..., None, :] - centres) ** 2).sum(-1)
    mean = level + (heights * jnp.exp(-0.5 * apart / widths**2)).sum(-1)
    found = features(x, length, DEGREE)
    with numpyro.plate("task", x.shape[0], dim=-2):
        weights = numpyro.sample("weights", dist.Normal(0, 1).expand([found.shape[-1]]).to_event(1))
        surface = scale * (found * weights).sum(-1)
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(mean + surface, noise), obs=y)


def world(x, y=None):
    """How the tasks really are, but for .4% of the variance of their surfaces."""
    apart = [((x - place) ** 2).sum(-1) for place in (-1.0, 2.0)]
    mean = 1 + 6 / (jnp.pi * (1 + apart[0])) + 3 / (jnp.pi * (1 + apart[1]))
    found = features(x, 0.5**0.5, 30)
    with numpyro.plate("task", x.shape[0], dim=-2):
        surface = numpyro.sample(
            "surface", dist.Normal(0, 0.2).expand([found.shape[-1]]).to_event(1)
        )
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(mean + (found * surface).sum(-1), 0.05), obs=y)


def inputs(key, tasks, steps):
    """Places from N(0, 2.5²) in the plane, cut off at -7.5 and 5."""
    return {"x": 2.5 * jax.random.truncated_normal(key, -3.0, 2.0, (tasks, steps, 2))}


def features(x, length, degree):
    """Eigenfunctions times roots of eigenvalues, up to a total degree: `[..., 2]` to `[..., k]`."""
    a, b = 0.25 / EXTENT**2, 0.5 / length**2
    c = jnp.sqrt(a**2 + 2 * a * b)
    ratio = jnp.sqrt(b / (a + b + c))
    t = jnp.sqrt(2 * c) * x
    first = (c / a) ** 0.25 * (2 * a / (a + b + c)) ** 0.25
    found = [first * jnp.exp(-(c - a) * x**2)]
    found.append(ratio * jnp.sqrt(2.0) * t * found[0])
    for k in range(1, degree):
        up, down = (2 / (k + 1)) ** 0.5, (k / (k + 1)) ** 0.5
        found.append(ratio * (up * t * found[k] - ratio * down * found[k - 1]))
    along = jnp.stack(found, -1)
    pairs = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    i, j = jnp.array(pairs).T
    return along[..., 0, i] * along[..., 1, j]
