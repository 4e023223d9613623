"""Which learning algorithm does each subject use? Choices between two arms that pay with chance.

Each subject has one of five rules, and numbers of its own: how fast it learns, how decided it is,
how much it sticks to its last choice. How usual those are is given; with `--set group=1` it is
inferred from all subjects. The rules: Rescorla-Wagner; two rates, for better and for worse than
expected; Pearce-Hall, whose rate follows surprise; win-stay-lose-shift; and a Bayesian who counts.
Wilson & Collins (2019), "Ten simple rules for the computational modeling of behavioral data", eLife
8:e49547.
"""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

columns = {"payoff": ["payoff_0", "payoff_1"]}

RULES = [
    "Rescorla-Wagner",
    "two rates",
    "Pearce-Hall",
    "win-stay-lose-shift",
    "Bayesian",
]


def model(payoff, choice=None, state=None, *, group=False):
    """Choices 0 or 1; `payoff`, 0 or 1, is what either arm would pay: only the chosen is seen."""
    tasks, steps = payoff.shape[:2]
    usual = jnp.full(len(RULES), 1 / len(RULES))
    heat_middle, heat_spread, stick_middle, stick_spread = 1.0, 0.6, 0.0, 0.6
    if group:
        lean = numpyro.sample("lean", dist.Normal(jnp.zeros(len(RULES)), 1).to_event(1))
        usual = numpyro.deterministic("usual", jax.nn.softmax(lean))
        rate_middle = numpyro.sample("rate_middle", dist.Normal(0, 0.7))
        rate_spread = numpyro.sample("rate_spread", dist.HalfNormal(0.7))
        heat_middle = numpyro.sample("heat_middle", dist.Normal(1, 0.5))
        heat_spread = numpyro.sample("heat_spread", dist.HalfNormal(0.6))
        stick_middle = numpyro.sample("stick_middle", dist.Normal(0, 0.5))
        stick_spread = numpyro.sample("stick_spread", dist.HalfNormal(0.6))

    def rate_of_a_subject(name):
        if not group:
            return numpyro.sample(name, dist.Uniform(0, 1), infer={"role": "algorithm"})
        among = dist.Normal(rate_middle, rate_spread)
        score = numpyro.sample(f"{name}_score", among, infer={"role": "algorithm"})
        return numpyro.deterministic(name, jax.scipy.stats.norm.cdf(score))

    with numpyro.plate("task", tasks, dim=-2):
        rule = numpyro.sample(
            "rule", dist.Categorical(usual), infer={"role": "algorithm", "labels": RULES}
        )
        rate, other = rate_of_a_subject("rate"), rate_of_a_subject("other_rate")
        heat = numpyro.sample("heat", dist.LogNormal(heat_middle, heat_spread))
        stick = numpyro.sample("stick", dist.Normal(stick_middle, stick_spread))
    if state is None:
        state = jnp.broadcast_to(jnp.array([0.5, 0.5, 1.0, 1.0, 0.0]), (tasks, 5))

    def learn(state, seen):
        value, extra, last = state[:, :2], state[:, 2:4], state[:, 4:]
        chosen, paid = seen
        one_hot = jax.nn.one_hot(chosen, 2)
        paid = (paid * one_hot).sum(1, keepdims=True)
        error = one_hot * (paid - value)
        better = paid > (value * one_hot).sum(1, keepdims=True)
        # For the Bayesian `extra` counts each arm's payoffs and two more; for Pearce-Hall it is how
        # much attention either arm has.
        counts = extra + one_hot
        attention = jnp.where(one_hot > 0, (1 - other) * extra + other * jnp.abs(error), extra)
        values = jnp.stack(
            [
                value + rate * error,
                value + jnp.where(better, rate, other) * error,
                value + rate * extra * error,
                jnp.where(paid > 0, one_hot, 1 - one_hot),
                value + error / (counts + 1),
            ]
        )
        extras = jnp.stack([extra, extra, attention, extra, counts])
        pick = jax.nn.one_hot(rule[:, 0], len(RULES)).T[..., None]
        after = [(pick * values).sum(0), (pick * extras).sum(0), 2.0 * chosen[:, None] - 1]
        return jnp.concatenate(after, 1), jnp.concatenate([value, last], 1)

    if choice is None:
        before = jnp.concatenate([state[:, :2], state[:, 4:]], 1)[:, None]
    else:
        seen = choice.T, jnp.moveaxis(payoff, 1, 0)
        before = jnp.moveaxis(jax.lax.scan(learn, state, seen)[1], 0, 1)
    gain = heat * (before[..., 1] - before[..., 0]) + stick * before[..., 2]
    with numpyro.plate("task", tasks, dim=-2), numpyro.plate("step", steps, dim=-1):
        choice = numpyro.sample("choice", dist.Bernoulli(logits=gain), obs=choice)
    return jax.lax.scan(learn, state, (choice.T, jnp.moveaxis(payoff, 1, 0)))[0]


def inputs(key, tasks, steps):
    """Arms that pay with chances .3 and .7, which change places halfway."""
    early = (jnp.arange(steps) < steps / 2)[:, None]
    chance = jnp.where(early, jnp.array([0.3, 0.7]), jnp.array([0.7, 0.3]))
    return {"payoff": jax.random.bernoulli(key, chance, (tasks, steps, 2)).astype(float)}
