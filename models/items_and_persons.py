"""Who solves what? Persons crossed with items: each answer belongs to a person and to an item.

The Rasch model: log odds of a right answer are ability minus difficulty. Persons are the tasks;
items are crossed with them, so that their difficulties are shared by all tasks, one entry for each
item, and a column says which item a row is about. Data are simulated.

G. Rasch (1960), "Probabilistic Models for Some Intelligence and Attainment Tests".
"""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

ITEMS = 8


def model(item, right=None, *, items=ITEMS):
    """Abilities of persons and difficulties of items, their spreads to be inferred."""
    of_persons = numpyro.sample("of_persons", dist.HalfNormal(1.5))
    of_items = numpyro.sample("of_items", dist.HalfNormal(1.5))
    with numpyro.plate("item", items, dim=-3):
        difficulty = numpyro.sample("difficulty", dist.Normal(0, of_items))
    with numpyro.plate("task", item.shape[0], dim=-2):
        ability = numpyro.sample("ability", dist.Normal(0, of_persons))
        with numpyro.plate("step", item.shape[1], dim=-1):
            logits = ability - jnp.ravel(difficulty)[jnp.asarray(item, int)]
            numpyro.sample("right", dist.Bernoulli(logits=logits), obs=right)


def inputs(key, tasks, steps):
    """Each person gets items at random."""
    return {"item": jax.random.randint(key, (tasks, steps), 0, ITEMS)}
