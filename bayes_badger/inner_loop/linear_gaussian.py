"""What evidence says of a linear-Gaussian program's latents, whatever the outcomes are.

There a task's Fisher information is the same at every point and for every outcome, so that it tells
how narrow any posterior will be before anything was observed.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayes_badger.compilation import jit_by_work
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop import _quadratic as quadratic
from bayes_badger.inner_loop import exact
from bayes_badger.inner_loop._density import Part, parts_of
from bayes_badger.program import Program


def is_linear_gaussian(program: Program, evidence: Evidence) -> bool:
    """Whether the log density is quadratic in all latents together, with a prior N(0, I).

    Proved from the traced program (`program.quadratic`), so that it holds for other rows too.
    """
    whole = program.prior_normal and not program.factors
    return whole and exact.make(exact.Settings()).why_not(program, evidence) is None


def task_information(program: Program, evidence: Evidence) -> Float[np.ndarray, "task size size"]:
    """Fisher information of each task's rows about its flat vector (a, z), in double precision.

    Args:
        program: Linear-Gaussian.
        evidence: With outcomes, whatever they are.
    """
    found = np.empty((evidence.n_tasks, program.size, program.size))
    for part in parts_of(evidence):
        with jax.enable_x64(True):
            found[np.asarray(part.tasks)] = _of_part(program, jax.tree.map(_double, part))
    return found


def _double(x: Array) -> Array:
    return x.astype(float) if jnp.issubdtype(x.dtype, jnp.floating) else x


@jit_by_work
def _of_part(program: Program, part: Part) -> Array:
    k = program.lifetime_size

    def one(xs: Part) -> Array:
        data = jax.tree.map(lambda x: x[None], xs.data)

        def density(u: Array) -> Array:
            return quadratic.task_density(program, u[:k], u[k:], data, xs.mask, {})

        return quadratic.expanded(density, jnp.zeros(program.size))[2]

    # Less the precision of z, which its prior has.
    prior = jnp.diag((jnp.arange(program.size) >= k).astype(float))
    return jax.lax.map(one, part, batch_size=64) - prior
