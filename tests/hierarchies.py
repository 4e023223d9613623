"""Programs of the shelf with evidence of them, and closed forms of the normal hierarchy.

a ~ N(0, 1), z_i ~ N(a, 1), y ~ N(z_i, 1).
"""

import jax
import numpy as np

import bayes_badger as bb
from bayes_badger import shelves
from bayes_badger.evidence import from_arrays, read
from bayes_badger.fitting import example_of
from bayes_badger.program import from_inputs, read_signature


def shelf_evidence(name, tasks=3, steps=4, seed=0):
    """A program on the shelf, lifted, and its own evidence, or else simulated."""
    loaded = shelves.load_program(name)
    groups = loaded.optional("columns")
    signature = read_signature(loaded.model, name, groups)
    table, inputs = loaded.optional("evidence"), loaded.optional("inputs")
    if table is not None:
        evidence = read(signature, table())
        return bb.lift(loaded.model, example=example_of(evidence), name=name), evidence
    program = bb.lift(loaded.model, inputs=inputs, groups=groups, name=name)
    data = from_inputs(signature, inputs, jax.random.key(seed), tasks, steps)
    drawn = program.simulate(jax.random.key(seed + 1), data)
    columns = {name: np.asarray(x) for name, x in data.columns.items()}
    return program, from_arrays(signature, columns, np.asarray(drawn.outcome), {})


def gaussian_evidence(tasks, steps):
    """The normal hierarchy with evidence of it."""
    return shelf_evidence("gaussian", tasks, steps)


def joint_covariance(tasks, steps):
    """Of all outcomes of a lifetime of the normal hierarchy, task by task."""
    same_task = np.kron(np.eye(tasks), np.ones((steps, steps)))
    return 1.0 + same_task + np.eye(tasks * steps)
