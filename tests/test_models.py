"""The shelf: each program against its densities written by hand, its shapes and its own data.

A new program is one function and one row in `SHELF`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from bayes_badger.evidence import read
from bayes_badger.fitting import example_of
from bayes_badger.program import Data, Program, from_inputs, lift, read_signature
from bayes_badger.shelves import load_program, names

TASKS, STEPS = 5, 7
# Of the features of `cauchy`.
DEGREE = 9


class Case(NamedTuple):
    """A program at a draw from its prior, on 5 tasks of 7 steps."""

    program: Program
    data: Data
    values: dict[str, np.ndarray]
    table: object  # its own evidence, or None
    row: tuple


def normal(x, mean, scale):
    return stats.norm.logpdf(x, mean, scale)


def half_normal(x, scale):
    return stats.halfnorm.logpdf(x, scale=scale)


# Log density of every site, by name. `v` holds the latents, those of a task as [task, 1, ...];
# `x` holds columns and outcome, [task, step, ...].


def bump(v, x):
    away = (x["x"] - v["place"]) / np.exp(v["log_width"])
    return {
        "place": normal(v["place"], 0, 1.5),
        "log_width": normal(v["log_width"], -0.5, 0.3),
        "height": normal(v["height"], 2, 0.5),
        "y": normal(x["y"], v["height"] * np.exp(-0.5 * away**2), 0.2),
    }


def cauchy(v, x):
    """With its parameters where they start: a kernel of length 1, by its eigenfunctions."""
    a, b = 0.25 / 2.2**2, 0.5
    c = np.sqrt(a**2 + 2 * a * b)
    total, t = a + b + c, np.sqrt(2 * c) * x["x"][..., None]
    order = np.arange(DEGREE + 1)
    size = np.sqrt(np.sqrt(2 * a / total) * (b / total) ** order) * (c / a) ** 0.25
    size = size / np.sqrt(2.0**order * special.factorial(order))
    bell = np.exp(-(c - a) * x["x"][..., None] ** 2)
    along = size * special.eval_hermite(order, t) * bell
    pairs = [(i, j) for i in order for j in order if i + j <= DEGREE]
    found = np.stack([along[..., 0, i] * along[..., 1, j] for i, j in pairs], -1)
    corners = [(i, j) for i in (-1.5, 1.5) for j in (-1.5, 1.5)]
    mean = sum(0.1 * np.exp(-((x["x"] - corner) ** 2).sum(-1) / 8) for corner in corners)
    return {
        "weights": normal(v["weights"], 0, 1).sum(-1),
        "y": normal(x["y"], mean + 0.5 * (found * v["weights"]).sum(-1), 0.2),
    }


def bandit_learners(v, x):
    """Subject by subject, with the five rules written out."""
    gains = np.zeros((TASKS, STEPS))
    for i in range(TASKS):
        rule = int(v["rule"][i, 0])
        rate, other, heat, stick = (v[n][i, 0] for n in ("rate", "other_rate", "heat", "stick"))
        value, attention, paid, last = np.full(2, 0.5), np.ones(2), [[], []], None
        for t in range(STEPS):
            before = 0 if last is None else 2 * last - 1
            gains[i, t] = heat * (value[1] - value[0]) + stick * before
            last = int(x["choice"][i, t])
            r = x["payoff"][i, t, last]
            paid[last].append(r)
            error = r - value[last]
            if rule == 0:
                value[last] += rate * error
            elif rule == 1:
                value[last] += (rate if error > 0 else other) * error
            elif rule == 2:
                value[last] += rate * attention[last] * error
                attention[last] += other * (abs(error) - attention[last])
            elif rule == 3:
                value = np.eye(2)[last if r > 0 else 1 - last]
            else:
                value = np.array([(1 + sum(p)) / (2 + len(p)) for p in paid])
    return {
        "rule": np.full((TASKS, 1), -np.log(5)),
        "rate": stats.uniform.logpdf(v["rate"]),
        "other_rate": stats.uniform.logpdf(v["other_rate"]),
        "heat": stats.lognorm.logpdf(v["heat"], 0.6, scale=np.e),
        "stick": normal(v["stick"], 0, 0.6),
        "choice": stats.bernoulli.logpmf(x["choice"], special.expit(gains)),
    }


def learner(rule, h, x, y):
    """What a learner says before each row of one task: rules from their definitions."""
    n, x = len(y), np.concatenate([x, np.ones((len(y), 1))], 1)
    rate, decay, noise = h
    pool = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    said, w, velocity, first, second = np.zeros(n), np.zeros(3), np.zeros(3), 0.0, 0.0
    for t in range(n):
        known, seen = x[:t], y[:t]
        far = ((known - x[t]) ** 2).sum(1)
        if rule == 3:
            mean = np.linalg.solve(np.eye(3) + known.T @ known / noise**2, known.T @ seen)
            said[t] = x[t] @ mean / noise**2
        elif rule == 4:
            said[t] = seen[far.argmin()] if t else 0.0
        elif rule == 5:
            near = np.exp(-0.5 * far / (0.2 + decay) ** 2)
            said[t] = near @ seen / (near.sum() + noise**2)
        elif rule == 7:
            said[t] = (1 - decay) * (decay ** np.arange(t)[::-1] @ seen)
        elif rule == 8:
            off = ((seen[:, None] - known @ pool.T) / noise) ** 2
            said[t] = special.softmax(-0.5 * off.sum(0)) @ pool @ x[t]
        else:
            said[t] = w @ x[t]
        slope = (y[t] - w @ x[t]) * x[t]
        if rule == 0:
            w = w + rate * slope
        elif rule == 1:
            velocity = decay * velocity + slope
            w = w + rate * velocity
        elif rule == 2:
            first = decay * first + (1 - decay) * slope
            second = 0.99 * second + 0.01 * slope**2
            mean, square = first / (1 - decay ** (t + 1)), second / (1 - 0.99 ** (t + 1))
            w = w + rate * mean / (np.sqrt(square) + 1e-3)
        elif rule == 6:
            w = decay * w + rate * y[t] * x[t]
    return said


def learning_rules(v, x):
    h = v["rate"], v["decay"], v["noise"]
    each = [learner(int(v["rule"]), h, *xy) for xy in zip(x["x"], x["answer"], strict=True)]
    return {
        "rule": -np.log(9),
        "rate": stats.lognorm.logpdf(v["rate"], 0.7, scale=np.exp(-1.5)),
        "decay": stats.uniform.logpdf(v["decay"]),
        "noise": stats.lognorm.logpdf(v["noise"], 0.5, scale=np.exp(-1.5)),
        "answer": normal(x["answer"], np.stack(each), v["noise"]),
    }


def ridge_or_memoriser(v, x):
    pool = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    said = np.zeros((TASKS, STEPS))
    for i, t in np.ndindex(TASKS, STEPS):
        known, seen, here = x["x"][i, :t], x["target"][i, :t], x["x"][i, t]
        if v["strategy"] == 1:
            said[i, t] = here @ np.linalg.solve(np.eye(4) / 4 + known.T @ known, known.T @ seen)
        else:
            off = ((seen[:, None] - known @ pool.T) / 0.5) ** 2
            said[i, t] = special.softmax(-0.5 * off.sum(0)) @ pool @ here
    return {
        "strategy": -np.log(2),
        "noise": half_normal(v["noise"], 0.5),
        "answer": normal(x["answer"], said, v["noise"]),
    }


def items_and_persons(v, x):
    difficulty = np.ravel(v["difficulty"])[x["item"].astype(int)]
    return {
        "of_persons": half_normal(v["of_persons"], 1.5),
        "of_items": half_normal(v["of_items"], 1.5),
        "difficulty": normal(v["difficulty"], 0, v["of_items"]).sum(),
        "ability": normal(v["ability"], 0, v["of_persons"]),
        "right": stats.bernoulli.logpmf(x["right"], special.expit(v["ability"] - difficulty)),
    }


def schools_in_districts(v, x):
    level = v["mean"] + np.ravel(v["offset"])[x["district"].astype(int)]
    return {
        "mean": normal(v["mean"], 0, 2),
        "slope": normal(v["slope"], 0, 1),
        **{name: half_normal(v[name], 1) for name in ("between", "within", "noise")},
        "offset": normal(v["offset"], 0, v["between"]).sum(),
        "school_level": normal(v["school_level"], level, v["within"]),
        "score": normal(x["score"], v["school_level"] + v["slope"] * x["hours"], v["noise"]),
    }


def coin(v, x):
    return {
        "p": stats.beta.logpdf(v["p"], 1, 1),
        "heads": stats.bernoulli.logpmf(x["heads"], v["p"]),
    }


def counts(v, x):
    return {
        "level": normal(v["level"], 0, 1),
        "slope": normal(v["slope"], 0, 0.5),
        "count": stats.poisson.logpmf(x["count"], np.exp(v["level"] + v["slope"] * x["x"])),
    }


def decay(v, x):
    return {
        "amount": stats.lognorm.logpdf(v["amount"], 1),
        "rate": stats.lognorm.logpdf(v["rate"], 1),
        "y": normal(x["y"], v["amount"] * np.exp(-v["rate"] * x["t"]), 0.1),
    }


def eight_schools(v, x):
    return {
        "mu": normal(v["mu"], 0, 5),
        "tau": stats.halfcauchy.logpdf(v["tau"], scale=5),
        "theta": normal(v["theta"], v["mu"], v["tau"]),
        "y": normal(x["y"], v["theta"], x["sigma"]),
    }


def gaussian(v, x):
    return {
        "a": normal(v["a"], 0, 1),
        "z": normal(v["z"], v["a"], 1),
        "y": normal(x["y"], v["z"], 1),
    }


def gp(v, x):
    frequency = np.pi * np.arange(1, 65) / 6.4
    sines = np.sin(frequency * (x["x"][..., None] + 3.2)) / np.sqrt(3.2)
    length = v["length"][..., None]
    density = np.sqrt(2 * np.pi) * length * np.exp(-0.5 * (length * frequency) ** 2)
    curve = v["scale"] * (sines * np.sqrt(density) * v["weights"]).sum(-1)
    return {
        "length": stats.uniform.logpdf(v["length"], 0.1, 0.5),
        "scale": stats.uniform.logpdf(v["scale"], 0.1, 0.9),
        "weights": normal(v["weights"], 0, 1).sum(-1),
        "y": normal(x["y"], curve, 0.02),
    }


def linear(v, x):
    return {
        "mu": normal(v["mu"], 0, np.sqrt(64 / 3)).sum(),
        "w": normal(v["w"], v["mu"], 1).sum(-1),
        "y": normal(x["y"], np.einsum("tsf,tuf->ts", x["X"], v["w"]), 0.5),
    }


def logistic(v, x):
    logits = v["weights"][..., 0] + np.einsum("tsf,tuf->ts", x["X"], v["weights"][..., 1:])
    return {
        "weights": normal(v["weights"], 0, 1.5).sum(-1),
        "y": stats.bernoulli.logpmf(x["y"], 1 / (1 + np.exp(-logits))),
    }


def radon(v, x):
    level = v["intercept"] + v["uranium"] * x["log_uranium"]
    return {
        **{name: normal(v[name], 0, 10) for name in ("intercept", "uranium", "floor")},
        **{name: half_normal(v[name], 1) for name in ("between", "within")},
        "alpha": normal(v["alpha"], level, v["between"]),
        "log_radon": normal(x["log_radon"], v["alpha"] + v["floor"] * x["floor"], v["within"]),
    }


def rats(v, x):
    line = v["level"] + v["growth"] * (x["day"] - 22)
    return {
        "mean_level": normal(v["mean_level"], 250, 100),
        "mean_growth": normal(v["mean_growth"], 5, 5),
        "level_spread": half_normal(v["level_spread"], 50),
        "growth_spread": half_normal(v["growth_spread"], 5),
        "within": half_normal(v["within"], 25),
        "level": normal(v["level"], v["mean_level"], v["level_spread"]),
        "growth": normal(v["growth"], v["mean_growth"], v["growth_spread"]),
        "weight": normal(x["weight"], line, v["within"]),
    }


def sinusoid(v, x):
    sine = v["amplitude"] * np.sin(1.5 * (x["x"] - v["shift"]))
    return {
        "slope": normal(v["slope"], 0.5, 0.2),
        "amplitude": stats.uniform.logpdf(v["amplitude"], 0.7, 0.6),
        "shift": normal(v["shift"], 0, 0.1),
        "level": normal(v["level"], 5, 0.1),
        "y": normal(x["y"], v["slope"] * x["x"] + sine + v["level"], 0.1),
    }


def sinusoid_prior(v, x):
    """With its parameters where they start."""
    sine = v["amplitude"] * np.sin(x["x"] - v["shift"])
    return {
        "slope": normal(v["slope"], 0, 1),
        "amplitude": normal(v["amplitude"], 1, 1),
        "shift": normal(v["shift"], 0, 1),
        "level": normal(v["level"], 0, 1),
        "y": normal(x["y"], v["slope"] * x["x"] + sine + v["level"], 0.5),
    }


def sinusoid_maml(v, x):
    """With its parameters where they start."""
    sine = v["amplitude"] * np.sin(0.7 * x["x"] - v["phase"])
    return {
        "amplitude": normal(v["amplitude"], 1, 1),
        "phase": normal(v["phase"], 0, 1),
        "y": normal(x["y"], sine, 0.5),
    }


def sleepstudy(v, x):
    mean = np.array([v["intercept"], v["slope"]])
    root = v["spread"][:, None] * v["chol"]
    effects = stats.multivariate_normal(mean, root @ root.T).logpdf(v["effects"])
    line = v["effects"][..., 0] + v["effects"][..., 1] * x["days"]
    return {
        "intercept": normal(v["intercept"], 250, 100),
        "slope": normal(v["slope"], 0, 50),
        "spread": half_normal(v["spread"], [100, 25]).sum(),
        "chol": np.log(0.5),  # of two effects, the correlation is uniform between -1 and 1
        "sigma": half_normal(v["sigma"], 50),
        "effects": effects,
        "reaction": normal(x["reaction"], line, v["sigma"]),
    }


def wave(v, x):
    mean = np.exp(v["log_amplitude"]) * np.sin(v["frequency"] * x["x"] + v["phase"])
    return {
        "log_amplitude": normal(v["log_amplitude"], 0, 0.5),
        "frequency": normal(v["frequency"], 1, 0.3),
        "phase": normal(v["phase"], 0, 1),
        "y": normal(x["y"], mean, 0.3),
    }


# Entries of a lifetime's latents and of a task's; and of the program's own table, if it has one,
# the name of a task, the tasks and the rows.
SHELF = {
    "bandit_learners": (bandit_learners, 0, 4, None),
    "bump": (bump, 0, 3, None),
    "cauchy": (cauchy, 0, 55, None),
    "coin": (coin, 0, 1, None),
    "counts": (counts, 0, 2, None),
    "decay": (decay, 0, 2, None),
    "eight_schools": (eight_schools, 2, 1, ("school", 8, 8)),
    "gaussian": (gaussian, 1, 1, None),
    "gp": (gp, 0, 66, None),
    "items_and_persons": (items_and_persons, 10, 1, None),
    "learning_rules": (learning_rules, 3, 0, None),
    "linear": (linear, 8, 8, None),
    "logistic": (logistic, 0, 3, None),
    "radon": (radon, 5, 1, ("county", 85, 919)),
    "rats": (rats, 5, 2, ("rat", 30, 150)),
    "ridge_or_memoriser": (ridge_or_memoriser, 1, 0, None),
    "schools_in_districts": (schools_in_districts, 11, 1, None),
    "sinusoid": (sinusoid, 0, 4, None),
    "sinusoid_prior": (sinusoid_prior, 0, 4, None),
    "sinusoid_maml": (sinusoid_maml, 0, 2, None),
    "sleepstudy": (sleepstudy, 6, 2, ("subject", 18, 180)),
    "wave": (wave, 0, 3, None),
}


@pytest.fixture(scope="module", params=[name for name, _ in names("models")])
def case(request):
    loaded = load_program(request.param)
    signature = read_signature(loaded.model, loaded.name, loaded.optional("columns"))
    table, inputs = (loaded.optional(name) for name in ("evidence", "inputs"))
    key, draw = jax.random.split(jax.random.key(0))
    if table is None:
        example = from_inputs(signature, inputs, key, TASKS, STEPS)
    else:
        table = read(signature, table())
        example = example_of(table)
    program = lift(loaded.model, example=example, name=loaded.name)
    drawn = program.simulate(draw, example)
    data = example._replace(outcome=drawn.outcome)
    return Case(program, data, drawn.values, table, SHELF[request.param])


def in_double(x):
    x = np.asarray(x)
    return x.astype(np.float64) if x.dtype.kind == "f" else x


def by_hand(case):
    """The log density of every site, in double precision."""

    def latent(name, x):
        x = np.asarray(x, np.float64)
        return x[:, None] if case.program.latent(name).scope == "task" else x

    values = {x.name: latent(x.name, case.values[x.name]) for x in case.program.latents}
    columns = {**case.data.columns, **case.data.task_columns}
    columns[case.program.signature.outcome] = case.data.outcome
    columns = {name: np.asarray(x, np.float64) for name, x in columns.items()}
    density, *_ = case.row
    return density(values, columns)


def test_its_latents_and_the_shapes_that_it_simulates(case):
    _, lifetime, task, _ = case.row
    assert (case.program.lifetime_size, case.program.task_size) == (lifetime, task)
    assert case.program.prior_normal or case.program.discrete
    assert case.program.information == "expected"
    assert case.data.outcome.shape == (TASKS, STEPS)
    for latent in case.program.latents:
        lead = (TASKS,) if latent.scope == "task" else ()
        assert case.values[latent.name].shape == (*lead, *latent.shape), latent.name
        assert np.isfinite(case.values[latent.name]).all(), latent.name


def test_its_densities_are_those_written_by_hand(case):
    expected = by_hand(case)
    given = {x.name: case.values[x.name] for x in case.program.latents}
    with jax.enable_x64(True):
        # Where outcomes are precise, rounding of a curve in float32 shows in their density.
        rows = case.program.log_likelihood_of(*jax.tree.map(in_double, (given, case.data)))
    sites = case.program.log_prior_by_site(given, case.data.task_columns, TASKS)
    outcome = expected.pop(case.program.outcome.site)
    np.testing.assert_allclose(rows, outcome, rtol=1e-5, atol=1e-5)
    assert set(sites) == set(expected)
    for name, x in expected.items():
        np.testing.assert_allclose(sites[name], np.squeeze(x), rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("case", ["learning_rules", "ridge_or_memoriser"], indirect=True)
def test_every_rule_is_as_written_by_hand(case):
    name = next(latent.name for latent in case.program.discrete)
    latent = case.program.latent(name)
    assert len(set(latent.labels)) == len(case.program.enumerate_support(name))
    for rule in case.program.enumerate_support(name):
        one = case._replace(values={**case.values, name: np.int32(rule)})
        given = {x.name: one.values[x.name] for x in case.program.latents}
        with jax.enable_x64(True):
            rows = case.program.log_likelihood_of(*jax.tree.map(in_double, (given, case.data)))
        expected = by_hand(one)[case.program.outcome.site]
        np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-5, err_msg=str(rule))


def test_a_learned_rule_moves_weights_as_written_by_hand():
    module, rng = load_program("learning_rules").module, np.random.default_rng(0)
    weights, x, y, network = (rng.normal(size=n) for n in (3, 3, (), module.NETWORK))
    state = jnp.zeros(module.SHAPE).at[0, :3].set(weights)
    after = module.improve(state, jnp.asarray(x), y, {"rate": 0.3, "network": jnp.asarray(network)})
    error, into = y - weights @ x, network[:24].reshape(4, 6)
    for i in range(3):
        seen = np.array([error * x[i], error, x[i], weights[i]])
        moved = np.tanh(seen @ into + network[24:30]) @ network[30:]
        np.testing.assert_allclose(after[0, i], weights[i] + 0.3 * moved, rtol=1e-5)
    assert not after[1:].any()


def test_its_own_table(case):
    *_, expected = case.row
    if expected is None:
        assert case.table is None
    else:
        assert (case.table.task_name, case.table.n_tasks, case.table.n_rows) == expected
