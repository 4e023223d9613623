"""Which of two classes is it? A logistic regression for each task, and nothing shared between them.

Tasks have no latent in common, so each learns alone: what one task says cannot help another.
"""

import jax
import numpyro
import numpyro.distributions as dist

columns = {"X": ["x1", "x2"]}


def model(X, y=None, *, scale=1.5):  # noqa: N803 - the usual name of a design matrix
    """Weights of each task, the intercept first, then one per feature; `y` is 1 or 0."""
    with numpyro.plate("task", X.shape[0], dim=-2):
        prior = dist.Normal(0, scale).expand([1 + X.shape[-1]]).to_event(1)
        weights = numpyro.sample("weights", prior)
        logits = weights[..., 0] + (X * weights[..., 1:]).sum(-1)
        with numpyro.plate("step", X.shape[1], dim=-1):
            numpyro.sample("y", dist.Bernoulli(logits=logits), obs=y)


def inputs(key, tasks, steps):
    """Two features of each row, from N(0, 1)."""
    return {"X": jax.random.normal(key, (tasks, steps, 2))}
