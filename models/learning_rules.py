"""Which learning algorithm is at work? Answers of one learner, on several tasks it learned anew.

A learning algorithm is a predictor with a state: from what it has seen it predicts the next
outcome, and then it learns from that outcome. Here all tasks of a lifetime were met by one learner,
with one `rule`, `rate`, `decay` and `noise`; each task starts it afresh. `answer` is what it
predicts, plus noise, and it learns from its own answers: with nothing else known its predictions
are the program's likelihood, and the rule can be inferred like any latent.

A rule is one row of `RULES`: what it starts from, what it predicts, and how it learns. A state is
an array of at most `WIDTH` numbers in a few rows; hyperparameters are rate, decay and noise.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

columns = {"x": ["x1", "x2"]}

# Features of a row: two inputs and a constant.
FEATURES = 3
# Rows that a rule remembers, where it remembers rows; numbers that a state has.
ROWS, POOL = 32, 8
SHAPE = (ROWS + 1, FEATURES + 1)
# Units of the network of a learned rule, its weights, and where they start.
HIDDEN = 6
NETWORK = 6 * HIDDEN
START = 0.5 * np.random.default_rng(1).normal(size=NETWORK).astype(np.float32)
ALL_WEIGHTS = np.random.default_rng(0).normal(size=(POOL, FEATURES)).astype(np.float32)


def line(state, x, h):
    """A linear prediction, from weights in the first row of the state."""
    return state[0, :FEATURES] @ x


def descend(state, x, y, h):
    """Gradient descent on the squared error."""
    return state.at[0, :FEATURES].add(h["rate"] * (y - line(state, x, h)) * x)


def momentum(state, x, y, h):
    """Gradient descent with a velocity, in the second row, that decays."""
    velocity = h["decay"] * state[1, :FEATURES] + (y - line(state, x, h)) * x
    state = state.at[1, :FEATURES].set(velocity)
    return state.at[0, :FEATURES].add(h["rate"] * velocity)


def adam(state, x, y, h):
    """Kingma and Ba (2015): steps of one size, by means of slopes and of their squares."""
    slope, count = (y - line(state, x, h)) * x, state[0, FEATURES] + 1
    first = h["decay"] * state[1, :FEATURES] + (1 - h["decay"]) * slope
    second = 0.99 * state[2, :FEATURES] + 0.01 * slope**2
    mean = first / (1 - h["decay"] ** count)
    step = mean / (jnp.sqrt(second / (1 - 0.99**count)) + 1e-3)
    state = state.at[1, :FEATURES].set(first).at[2, :FEATURES].set(second)
    return state.at[0, :FEATURES].add(h["rate"] * step).at[0, FEATURES].set(count)


def bayes_start():
    """Weights 0 with covariance I."""
    return jnp.zeros(SHAPE).at[1 : 1 + FEATURES, :FEATURES].set(jnp.eye(FEATURES))


def bayes(state, x, y, h):
    """Bayesian linear regression, row by row: the Kalman filter of constant weights."""
    covariance = state[1 : 1 + FEATURES, :FEATURES]
    along = covariance @ x
    gain = along / (x @ along + h["noise"] ** 2)
    state = state.at[0, :FEATURES].add(gain * (y - line(state, x, h)))
    return state.at[1 : 1 + FEATURES, :FEATURES].set(covariance - gain[:, None] * along)


def remember(state, x, y, h):
    """Keeps rows as they come, the oldest overwritten; the last row of the state counts them."""
    count = state[ROWS, 0]
    at = jnp.mod(count, ROWS).astype(int)
    return state.at[at].set(jnp.append(x, y)).at[ROWS, 0].set(count + 1)


def nearest(state, x, h):
    """The outcome of the nearest row; 0 before there is any."""
    known = jnp.arange(ROWS) < state[ROWS, 0]
    far = jnp.where(known, ((state[:ROWS, :FEATURES] - x) ** 2).sum(1), jnp.inf)
    return jnp.where(known.any(), state[jnp.argmin(far), FEATURES], 0.0)


def kernel(state, x, h):
    """Kernel regression towards 0; how far a row reaches is set by `decay`."""
    known = jnp.arange(ROWS) < state[ROWS, 0]
    far = ((state[:ROWS, :FEATURES] - x) ** 2).sum(1)
    near = jnp.where(known, jnp.exp(-0.5 * far / (0.2 + h["decay"]) ** 2), 0.0)
    return near @ state[:ROWS, FEATURES] / (near.sum() + h["noise"] ** 2)


def hebb(state, x, y, h):
    """Weights grow where input and outcome agree, and decay."""
    weights = h["decay"] * state[0, :FEATURES] + h["rate"] * y * x
    return state.at[0, :FEATURES].set(weights)


def average(state, x, y, h):
    """A recency-weighted average of outcomes, whatever the inputs."""
    old = state[0, FEATURES - 1]
    return state.at[0, FEATURES - 1].set(h["decay"] * old + (1 - h["decay"]) * y)


def pool_says(state, x, h):
    """The posterior mean over a finite pool of weights that it has memorised."""
    return jax.nn.softmax(state[:POOL, FEATURES]) @ (ALL_WEIGHTS @ x)


def recognise(state, x, y, h):
    """The log posterior of each member of the pool, in the last column."""
    off = (y - ALL_WEIGHTS @ x) / h["noise"]
    return state.at[:POOL, FEATURES].add(-0.5 * off**2)


def improve(state, x, y, h):
    """How far each weight moves is said by a small network, which an outer loop has learned."""
    into, bias, out = np.split(np.arange(NETWORK), [4 * HIDDEN, 5 * HIDDEN])
    network, weights = h["network"], state[0, :FEATURES]
    error = y - line(state, x, h)
    seen = jnp.stack([error * x, jnp.full(FEATURES, error), x, weights], -1)
    hidden = jnp.tanh(seen @ network[into].reshape(4, HIDDEN) + network[bias])
    return state.at[0, :FEATURES].add(h["rate"] * (hidden @ network[out]))


def nothing():
    """All numbers 0."""
    return jnp.zeros(SHAPE)


# Name: what it starts from, what it predicts for x, and its state after (x, y).
RULES = {
    "gradient descent": (nothing, line, descend),
    "momentum": (nothing, line, momentum),
    "Adam": (nothing, line, adam),
    "Bayesian linear": (bayes_start, line, bayes),
    "nearest neighbour": (nothing, nearest, remember),
    "kernel": (nothing, kernel, remember),
    "Hebbian": (nothing, line, hebb),
    "recency average": (nothing, line, average),
    "memoriser": (nothing, pool_says, recognise),
}

# One that is on no shelf before an outer loop has learned it.
LEARNED = {"learned": (nothing, line, improve)}


def model(x, answer=None, state=None, *, learned=False, rules="listed"):
    """Answers of a learner of one rule; `x` has two inputs.

    With `--set learned=1` how usual each rule is is a parameter, for an outer loop over lifetimes.
    With `rules=learned` the only rule is a network, whose weights are parameters; with `rules=both`
    it is one more.
    """
    tasks, steps = x.shape[:2]
    shelf = {"listed": RULES, "learned": LEARNED, "both": RULES | LEARNED}[rules]
    usual = jnp.full(len(shelf), 1 / len(shelf))
    if learned:
        usual = numpyro.param("usual", usual, constraint=dist.constraints.simplex)
    rule = numpyro.sample("rule", dist.Categorical(usual), infer={"labels": list(shelf)})
    rate = numpyro.sample("rate", dist.LogNormal(-1.5, 0.7))
    decay = numpyro.sample("decay", dist.Uniform(0, 1))
    noise = numpyro.sample("noise", dist.LogNormal(-1.5, 0.5))
    h = {"rate": rate, "decay": decay, "noise": noise}
    if rules != "listed":
        h["network"] = numpyro.param("network", jnp.asarray(START))
    inputs = jnp.concatenate([x, jnp.ones((tasks, steps, 1))], -1)
    starts = [start() for start, _, _ in shelf.values()]
    if state is None:
        state = jnp.broadcast_to(jax.lax.select_n(rule, *starts), (tasks, *SHAPE))

    def predict(state, x):
        each = [lambda s, x, say=say: say(s, x, h) for _, say, _ in shelf.values()]
        return jax.lax.switch(rule, each, state, x)

    def learn(state, seen):
        x, y = seen
        each = [lambda s, x, y, f=f: f(s, x, y, h) for _, _, f in shelf.values()]
        after = jax.vmap(lambda s, x, y: jax.lax.switch(rule, each, s, x, y))(state, x, y)
        return after, jax.vmap(predict)(state, x)

    def through(state, answer):
        return jax.lax.scan(learn, state, (jnp.swapaxes(inputs, 0, 1), answer.T))

    if answer is None:
        expected = jax.vmap(predict)(state, inputs[:, 0])[:, None]
    else:
        expected = through(state, answer)[1].T
    with numpyro.plate("task", tasks, dim=-2), numpyro.plate("step", steps, dim=-1):
        answer = numpyro.sample("answer", dist.Normal(expected, noise), obs=answer)
    return through(state, answer)[0]


def inputs(key, tasks, steps):
    """Two inputs of each row, standard normal."""
    return {"x": jax.random.normal(key, (tasks, steps, 2))}
