"""Laplace's approximation: a Gaussian at the mode, as wide as the curvature there says.

In prior-normal coordinates, of a whole lifetime at once; the Hessian has the shape of an arrow, so
that a step of Newton's method costs linear time in the tasks. Its weakness: a mode is not a mean.
Where the posterior leans or has heavy tails, as those of scales do, it is off by much of a standard
deviation, and it says nothing of other modes. It is for starts and for comparison; importance
weights tell when it must not be trusted.
"""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from pydantic import Field

from bayes_badger.belief import Draws, Mixture, Posterior, in_chains
from bayes_badger.compilation import jit_lightly
from bayes_badger.errors import BadgerError, listed
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import task_columns_of
from bayes_badger.inner_loop._density import Part, log_density, parts_of
from bayes_badger.inner_loop._integrated import DrawSettings, constrained
from bayes_badger.inner_loop._quadratic import Arrow, Where, arrow, drawn, joint
from bayes_badger.inner_loop._split import unfit
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.program import Program

# The step is damped more after a failure, less after a success; it has converged when it is short.
HARDER, SOFTER, SHORT = 10.0, 0.2, 1e-7
# Draws whose importance weights judge the fit (Vehtari et al. 2024, "Pareto smoothed importance
# sampling", JMLR 25): above this k they cannot correct it.
JUDGED, PARETO_K = 1000, 0.7
WEAKNESS = "a Gaussian at the mode: leaning posteriors, as of scales, are misjudged"


class Settings(DrawSettings):
    """What a recipe may set."""

    steps: int = Field(200, ge=1)
    starts: int = Field(3, ge=1)


class Laplace(eqx.Module):
    """The mode of a whole lifetime, and the curvature there."""

    settings: Settings = eqx.field(static=True)

    def why_not(self, program: Program, evidence: Evidence) -> str | None:
        """It needs two derivatives in every latent."""
        if program.discrete:
            names = listed(latent.name for latent in program.discrete)
            return f"cannot climb in discrete latents ({names})"
        if program.without_gradient:
            return f"needs a gradient, and {listed(program.without_gradient)} has none"
        return unfit(program, evidence)

    def infer(
        self, program: Program, evidence: Evidence, key: PRNGKeyArray, report: Report = silent
    ) -> Posterior:
        """The Gaussian at the highest mode that was found."""
        reason = self.why_not(program, evidence)
        if reason is not None:
            raise BadgerError(f"laplace {reason}")
        parts, tasks, settings = parts_of(evidence), evidence.n_tasks, self.settings
        start_key, draw_key = jax.random.split(key)
        with jax.enable_x64(True):
            best: tuple[float, Array, Array] | None = None
            for i, one in enumerate(jax.random.split(start_key, settings.starts)):
                report("climbing", i, settings.starts)
                keys = jax.random.split(one)
                spread = 0.5 if i else 0.0
                lifetime = spread * jax.random.normal(keys[0], (program.lifetime_size,))
                task = spread * jax.random.normal(keys[1], (tasks, program.task_size))
                found = _climb(program, lifetime, task, parts, settings.steps)
                if found is not None and (best is None or found[0] > best[0]):
                    best = found
            report("climbing", settings.starts, settings.starts)
            if best is None:
                raise BadgerError(
                    f"{program.name}: laplace found no mode within {settings.steps} steps from "
                    f"{settings.starts} starts: raise steps, or use another recipe"
                )
            at, where = _expanded(program, *best[1:], parts, 0.0), _everywhere(program)
            shape = (settings.chains, settings.draws)
            keys = jax.random.split(draw_key, shape[0] * shape[1])
            lifetimes, all_tasks = _draws(keys, at, where)
            values = constrained(program, lifetimes, all_tasks, task_columns_of(evidence), {})
            some = slice(0, JUDGED)
            log_ratio = _log_ratios(program, lifetimes[some], all_tasks[some], parts, at)
            loc, scale = (jnp.asarray(x, jnp.float32)[:, None] for x in joint(at))
            one_each = jnp.zeros((tasks, 1), jnp.float32)
            mixture = Mixture(one_each, loc, scale, program.latents)
        return Posterior(
            Draws(
                {name: in_chains(x, shape) for name, x in values.items()},
                {},
                variables=program.variables,
            ),
            mixture=mixture,
            log_evidence=float(at.log_integral),
            independent=True,
            notes=(WEAKNESS,),
            warnings=_doubts(np.asarray(log_ratio)),
        )


def _everywhere(program: Program) -> Where:
    return Where(tuple(range(program.lifetime_size)), tuple(range(program.task_size)))


def _climb(
    program: Program, lifetime: Array, task: Array, parts: Sequence[Part], steps: int
) -> tuple[float, Array, Array] | None:
    """Newton's method, damped after Levenberg and Marquardt; None where it does not converge."""
    height, damping = float(_height(program, lifetime, task, parts)), 1.0
    for _ in range(steps):
        at = _expanded(program, lifetime, task, parts, damping)
        move = float(jnp.abs(at.mean - lifetime).max(initial=0.0))
        move = max(move, float(jnp.abs(at.task_mean - task).max(initial=0.0)))
        higher = float(_height(program, at.mean, at.task_mean, parts))
        if not higher >= height - 1e-9 * abs(height):
            damping = max(damping, 1e-3) * HARDER
            if damping > 1e12:
                return None
            continue
        lifetime, task, height = at.mean, at.task_mean, higher
        if move < SHORT and damping < 1e-3:
            return height, lifetime, task
        damping *= SOFTER
    return None


@jit_lightly
def _height(program: Program, lifetime: Array, task: Array, parts: Sequence[Part]) -> Array:
    zero = [jnp.zeros(part.mask.shape) for part in parts]
    return log_density(program, lifetime, task, parts, zero)


@jit_lightly
def _expanded(
    program: Program, lifetime: Array, task: Array, parts: Sequence[Part], damping: float | Array
) -> Arrow:
    return arrow(program, lifetime, task, parts, _everywhere(program), {}, damping)


@jit_lightly
def _draws(keys: Array, at: Arrow, where: Where) -> tuple[Array, Array]:
    def one(key: Array) -> tuple[Array, Array]:
        return drawn(key, at, at.mean, at.task_mean, where)

    return jax.lax.map(one, keys, batch_size=100)


@jit_lightly
def _log_ratios(
    program: Program, lifetimes: Array, tasks: Array, parts: Sequence[Part], at: Arrow
) -> Array:
    """Log importance weights of draws: the density over the Gaussian's."""

    def one(xs: tuple[Array, Array]) -> Array:
        lifetime, task = xs
        away = lifetime - at.mean
        noise = jnp.linalg.solve(at.scale_tril, away) if len(away) else away
        rest = task - at.task_mean - at.slope @ away
        own = jnp.linalg.solve(at.task_scale_tril, rest[..., None]) if rest.shape[1] else rest
        log_normal = -0.5 * (noise**2).sum() - 0.5 * (own**2).sum()
        return _height(program, lifetime, task, parts) - log_normal

    return jax.lax.map(one, (lifetimes, tasks), batch_size=10)


def _doubts(log_ratio: np.ndarray) -> tuple[str, ...]:
    from arviz_stats.base import array_stats

    if np.ptp(log_ratio) < SHORT:
        return ()
    finite = np.where(np.isfinite(log_ratio), log_ratio, log_ratio.min(initial=-1e3) - 100.0)
    k = float(array_stats.psislw(-finite)[1])
    if k <= PARETO_K:
        return ()
    return (
        f"the Gaussian at the mode misses the posterior (Pareto k of its importance weights is "
        f"{k:.2f}, above {PARETO_K}): use recipe auto, grid or nuts",
    )


def make(settings: Settings) -> Laplace:
    """An inner loop from its validated settings."""
    return Laplace(settings)
