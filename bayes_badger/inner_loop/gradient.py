"""A few gradient steps from where the prior has its middle: model-agnostic meta-learning.

Every latent starts at the median of its prior and goes k steps up the mean log likelihood of its
task's rows, in prior-normal coordinates u. A normal latent whose mean m and spread s are learned,
z = m + s u, so starts at m and takes steps of rate · s²: a learned initialisation (Finn et al.
2017) with learned step sizes (Li et al. 2017, "Meta-SGD"). The outer loop learns both through the
steps.

What comes out is a point and no belief: it has no width, and it knows nothing of what it does not
know. It is here to be compared with.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray
from pydantic import Field

from bayes_badger.belief import Draws, Posterior
from bayes_badger.compilation import jit_lightly
from bayes_badger.errors import BadgerError, listed
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop._alone import in_user_space, why_not_alone
from bayes_badger.inner_loop._chunks import each_task, over_chunks
from bayes_badger.inner_loop._integrated import DrawSettings
from bayes_badger.inner_loop._portions import at_one_length
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.program import Data, Program

WEAKNESS = "a point after {steps} gradient steps, not a belief: its draws are all alike"


class Settings(DrawSettings):
    """What a recipe may set."""

    steps: int = Field(5, ge=0)
    rate: float = Field(0.1, gt=0, description="of a step, in prior-normal coordinates")


class Gradient(eqx.Module):
    """Where k gradient steps lead, for each task by itself."""

    settings: Settings = eqx.field(static=True)

    def why_not(self, program: Program, evidence: Evidence) -> str | None:
        """It needs coordinates, a gradient, and tasks that share nothing but what is learned."""
        reason = why_not_alone(program, evidence)
        if reason is None and program.without_gradient:
            names = listed(program.without_gradient)
            reason = f"needs a gradient, and {names} has none"
        return reason

    def infer(
        self, program: Program, evidence: Evidence, key: PRNGKeyArray, report: Report = silent
    ) -> Posterior:
        """The points of all tasks, each as draws that are all alike."""
        reason = self.why_not(program, evidence)
        if reason is not None:
            raise BadgerError(f"gradient {reason}")
        steps, rate = self.settings.steps, self.settings.rate

        def work(tasks: np.ndarray, data: Data, mask: np.ndarray) -> Array:
            data, seen = at_one_length(data, mask)
            return _of_tasks(program, data, jnp.asarray(seen), steps, rate)

        points = over_chunks(evidence, work, report, "gradient steps")
        shape = self.settings.chains, self.settings.draws
        one = in_user_space(program, evidence, points[:, None], (1, 1))
        values = {name: np.broadcast_to(x, (*shape, *x.shape[2:])) for name, x in one.items()}
        astray = int((~np.isfinite(points)).any(1).sum())
        doubt = f"gradient steps of {astray} of {len(points)} tasks went astray: lower rate"
        return Posterior(
            Draws(values, {}, variables=program.variables),
            independent=True,
            notes=(WEAKNESS.format(steps=steps),),
            warnings=(doubt,) if astray else (),
        )


def adapted(
    program: Program,
    data: Data,
    seen: Bool[Array, " step"],
    steps: int,
    rate: float,
    start: Float[Array, " u"] | None = None,
) -> Float[Array, " u"]:
    """Where the steps lead one task; differentiable in the program's parameters.

    Args:
        program: The lifted program.
        data: Of the task, `[1, step, ...]`.
        seen: Which rows to learn from.
        steps: How many.
        rate: Of each, in units of u, for the mean over rows.
        start: Where from; by default the middle of the prior.
    """
    first = jnp.zeros(program.size) if start is None else start

    def loss(u: Array) -> Array:
        rows, factors = program.rows_and_factors(u, data)
        return -(jnp.where(seen, rows, 0.0).sum() + factors) / jnp.maximum(seen.sum(), 1)

    def one(u: Array, _: None) -> tuple[Array, None]:
        return u - rate * jax.grad(loss)(u), None

    return jax.lax.scan(one, first, None, length=steps)[0]


@jit_lightly
def _of_tasks(program: Program, data: Data, seen: Array, steps: int, rate: float) -> Array:
    def one(xs: tuple[Data, Array]) -> Array:
        data, seen = xs
        return adapted(program, jax.tree.map(lambda x: x[None], data), seen, steps, rate)

    return each_task(one, (data, seen))


def make(settings: Settings) -> Gradient:
    """An inner loop from its validated settings."""
    return Gradient(settings)
