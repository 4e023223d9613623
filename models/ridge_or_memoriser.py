"""Has it learned to regress, or does it recognise the tasks that it was bred on?

A learner was bred on a finite pool of linear regressions. Before each `target` it gave an `answer`.
One strategy keeps the posterior over the members of the pool; the other is ridge regression, the
posterior over all weights there are. With few tasks in the pool learners behave like the first,
with many like the second: Raventos, Paul, Chen & Ganguli (2023), "Pretraining task diversity and
the emergence of non-Bayesian in-context learning for regression", NeurIPS. `--set pool=64` sets how
many there were; the larger the pool, the less the strategies differ.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

columns = {"x": ["x1", "x2", "x3", "x4"]}

SIZE = 4
STRATEGIES = ["memoriser", "ridge"]
# The sd of targets around their line.
SIGMA = 0.5


def members(pool):
    """The weights of the pool's tasks, `[pool, SIZE]`."""
    return np.random.default_rng(0).normal(size=(pool, SIZE)).astype(np.float32)


def model(x, target, answer=None, state=None, *, pool=16):
    """Answers by one of two strategies, with noise of their own."""
    tasks, steps = target.shape
    strategy = numpyro.sample("strategy", dist.Bernoulli(0.5), infer={"labels": STRATEGIES})
    noise = numpyro.sample("noise", dist.HalfNormal(0.5))
    weights = members(pool)
    if state is None:
        start = jnp.zeros(pool), jnp.zeros(SIZE), jnp.eye(SIZE)
        state = jax.tree.map(lambda s: jnp.broadcast_to(s, (tasks, *s.shape)), start)

    def predict(state, x):
        log_weights, mean, _ = state
        known = jax.nn.softmax(log_weights) @ (weights @ x)
        return jnp.where(strategy == 1, mean @ x, known)

    def learn(state, seen):
        log_weights, mean, covariance = state
        x, y = seen
        along = covariance @ x
        gain = along / (x @ along + SIGMA**2)
        after = (
            log_weights - 0.5 * ((y - weights @ x) / SIGMA) ** 2,
            mean + gain * (y - mean @ x),
            covariance - gain[:, None] * along,
        )
        return after, predict(state, x)

    rows = jnp.swapaxes(x, 0, 1), target.T
    after, expected = jax.lax.scan(jax.vmap(learn), state, rows)
    with numpyro.plate("task", tasks, dim=-2), numpyro.plate("step", steps, dim=-1):
        numpyro.sample("answer", dist.Normal(expected.T, noise), obs=answer)
    return after


def inputs(key, tasks, steps):
    """Inputs that are standard normal, and targets of weights from the prior of all tasks."""
    keys = jax.random.split(key, 3)
    x = jax.random.normal(keys[0], (tasks, steps, SIZE))
    weights = jax.random.normal(keys[1], (tasks, SIZE))
    noise = SIGMA * jax.random.normal(keys[2], (tasks, steps))
    return {"x": x, "target": jnp.einsum("tsi,ti->ts", x, weights) + noise}
