"""Programs that users may write, good ones and bad ones, for the tests of several rooms."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

TASKS = "task"


def counts(exposure, events=None):
    """Poisson counts: two latents of the task, one of the lifetime."""
    spread = numpyro.sample("spread", dist.HalfNormal(1.0))
    with numpyro.plate("task", exposure.shape[0], dim=-2):
        level = numpyro.sample("level", dist.Normal(0.0, 1.0))
        slope = numpyro.sample("slope", dist.Normal(0.0, spread))
        with numpyro.plate("step", exposure.shape[1], dim=-1):
            numpyro.sample("events", dist.Poisson(jnp.exp(level + slope * exposure)), obs=events)


def classes(x, kind=None):
    """A categorical outcome with three classes."""
    with numpyro.plate("task", x.shape[0], dim=-2):
        weights = numpyro.sample("weights", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("kind", dist.Categorical(logits=weights * x[..., None]), obs=kind)


def regression(X, y=None, *, scale=1.0):  # noqa: N803 - the usual name of a design matrix
    """Several predictors on one axis."""
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    with numpyro.plate("task", X.shape[0], dim=-2):
        w = numpyro.sample("w", dist.Normal(0.0, scale).expand([X.shape[-1]]).to_event(1))
        mean = (X * w).sum(-1)
        with numpyro.plate("step", X.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(mean, sigma), obs=y)


def rescorla_wagner(payoff, choice=None, state=None):
    """A learner with state: the value of two arms, moved by the payoff of the one chosen."""
    tasks = payoff.shape[0]
    with numpyro.plate("task", tasks, dim=-2):
        rate = numpyro.sample("rate", dist.Beta(2.0, 2.0), infer={"role": "algorithm"})
        heat = numpyro.sample("heat", dist.LogNormal(1.0, 0.5))
    start = jnp.zeros((tasks, 2)) if state is None else state

    def learn(value, seen):
        chosen, paid = seen
        one_hot = jax.nn.one_hot(chosen, 2)
        return value + rate * one_hot * (paid - value), value

    if choice is None:
        before = start[:, None]
    else:
        steps = (choice.T, jnp.moveaxis(payoff, 1, 0))
        before = jnp.moveaxis(jax.lax.scan(learn, start, steps)[1], 0, 1)
    with numpyro.plate("task", tasks, dim=-2), numpyro.plate("step", payoff.shape[1], dim=-1):
        gain = heat * (before[..., 1] - before[..., 0])
        choice = numpyro.sample("choice", dist.BernoulliLogits(gain), obs=choice)
    return jax.lax.scan(learn, start, (choice.T, jnp.moveaxis(payoff, 1, 0)))[0]


def network(x, y=None):
    """A feature network built inside the program, with a key of the program's own."""
    import equinox as eqx
    from numpyro.contrib.module import eqx_module

    net = eqx_module("net", eqx.nn.MLP(1, 2, 8, 1, key=numpyro.prng_key()))
    noise = numpyro.param("noise", 0.5, constraint=dist.constraints.positive)
    features = jax.vmap(jax.vmap(lambda x: net(x[None])))(x)
    with numpyro.plate("task", x.shape[0], dim=-2):
        w = numpyro.sample("w", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
        mean = (features * w).sum(-1)
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(mean, noise), obs=y)


def mixture(x, y=None):
    """A discrete latent of the task."""
    with numpyro.plate("task", x.shape[0], dim=-2):
        kind = numpyro.sample("kind", dist.Bernoulli(0.3))
        slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(kind + slope * x, 0.5), obs=y)


def rounded(x, y=None):
    """No gradient: the latent is rounded."""
    with numpyro.plate("task", x.shape[0], dim=-2):
        level = numpyro.sample("level", dist.Normal(0.0, 3.0))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(jnp.round(level) + x, 0.5), obs=y)


def many_plates(x, y=None):
    """Plates of its own everywhere, of the very sizes with which a program is tried."""
    with numpyro.plate("item", 5, dim=-2):
        item = numpyro.sample("item_level", dist.Normal(0.0, 1.0))
    with numpyro.plate("fold", 7):
        fold = numpyro.sample("fold_level", dist.Normal(0.0, 1.0))
    with numpyro.plate("task", x.shape[0], dim=-2):
        with numpyro.plate("kind", 3, dim=-3):
            kinds = numpyro.sample("kinds", dist.Normal(item.sum() + fold.sum(), 1.0))
        with numpyro.plate("half", 2, dim=-1):
            halves = numpyro.sample("halves", dist.Normal(0.0, 1.0))
        level = kinds.sum(0) + halves.sum(-1, keepdims=True)
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(level, 1.0), obs=y)


def astray(x, y=None):
    """Deterministics with no value for a task alone, and one that has."""
    with numpyro.plate("task", x.shape[0], dim=-2):
        t = numpyro.sample("t", dist.Normal(0.0, 1.0))
        numpyro.deterministic("twice", 2 * t)
        numpyro.deterministic("mean_of_rows", (t + x).mean(1, keepdims=True))
        numpyro.deterministic("contrast", t - t.mean())
        numpyro.deterministic("pairs", t - t.T)
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.deterministic("by_row", t + x)
            numpyro.sample("y", dist.Normal(t + x, 1.0), obs=y)


def below(x, y=None):
    """The support of the outcome depends on a latent."""
    with numpyro.plate("task", x.shape[0], dim=-2):
        top = numpyro.sample("top", dist.LogNormal(0.0, 1.0))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Uniform(0.0, top), obs=y)


def student(x, y=None):
    """An outcome in a heavy-sided family."""
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Gumbel(z * x, 0.7), obs=y)


def learned_levels(x, y=None):
    """Levels whose mean and spread are parameters, far from where they start."""
    mean = numpyro.param("mean", 0.0)
    spread = numpyro.param("spread", 1.0, constraint=dist.constraints.positive)
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(mean, spread))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z + 0 * x, 1.0), obs=y)


def simulated_levels(tasks, steps, mean=3.0, spread=0.5):
    """Tasks whose levels are around 3 with a spread of a half, read with noise 1."""
    rng = np.random.default_rng(0)
    y = mean + spread * rng.normal(size=(tasks, 1)) + rng.normal(size=(tasks, steps))
    return {"x": np.zeros_like(y), "y": y}
