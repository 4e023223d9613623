"""Which coordinates suit a sampler: the prior's (whitened), or the latents' own (centred).

In whitened coordinates a hierarchy has no funnel, but data that say more about a task than its
prior does make them long and curved; there the latents' own coordinates mix better (on dense data
about three times). So a Gaussian with independent coordinates is fitted first. Where it fits best,
its precision in each whitened coordinate is 1, the prior's, plus what the data say. (A mode will
not do: that of eight schools has a spread between schools far above the posterior's.)

The fit is driven from the host, by a gradient that others use too: nothing is compiled for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bayes_badger.inner_loop._density import BATCH, Part, values_and_slopes
from bayes_badger.program import LIFETIME, UNCONSTRAINED, WHITENED, Program

# Steps of the fit, its first rate, the first log standard deviation, the longest gradient.
STEPS, RATE, FIRST, LONGEST = 600, 0.05, -1.0, 100.0
# Adam's: memories of slope and of its square, and what keeps a division finite.
MEMORY, MEMORY_OF_SQUARE, TINY = 0.9, 0.999, 1e-8


class Pilot(NamedTuple):
    """A rough Gaussian fit: mean and standard deviation of each coordinate, `[tasks, size]` last.

    Attributes:
        lifetime: Mean and standard deviation of what tasks share, `[2, lifetime]`.
        task: Of what each task has, `[2, task, size]`.
    """

    lifetime: Float[np.ndarray, "2 lifetime"]
    task: Float[np.ndarray, "2 task size"]

    @property
    def centre(self) -> tuple[np.ndarray, np.ndarray]:
        """Its mean."""
        return self.lifetime[0], self.task[0]

    def draws(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Points drawn from it, `[count, lifetime]` and `[count, task, size]`."""
        drawn = [
            mean + sd * rng.normal(size=(count, *mean.shape))
            for mean, sd in (self.lifetime, self.task)
        ]
        return drawn[0], drawn[1]


def pilot(program: Program, tasks: int, parts: Sequence[Part], rng: np.random.Generator) -> Pilot:
    """Fits a Gaussian by a fixed number of steps up the evidence lower bound.

    Each step averages the gradient over points that come in pairs, one on either side of the mean.
    Kucukelbir et al. (2017), "Automatic differentiation variational inference", JMLR 18.

    Args:
        program: The lifted program.
        tasks: How many there are.
        parts: All evidence.
        rng: For the points.
    """
    shared, size = program.lifetime_size, (tasks, program.task_size)
    count = shared + tasks * program.task_size
    # Only slopes are looked at, which do not depend on references.
    zero = [jnp.zeros(part.mask.shape) for part in parts]
    flat = np.stack([np.zeros(count), np.full(count, FIRST)])
    slow, square = np.zeros_like(flat), np.zeros_like(flat)
    for step in range(STEPS):
        noise = rng.normal(size=(BATCH // 2, count))
        noise = np.concatenate([noise, -noise])
        sd = np.exp(flat[1])
        points = flat[0] + sd * noise
        at = points[:, :shared], points[:, shared:].reshape(BATCH, *size)
        _, of_lifetime, of_task = values_and_slopes(program, *at, parts, zero)
        slopes = np.concatenate([of_lifetime, of_task.reshape(BATCH, -1)], 1).astype(float)
        # The bound rises with the mean log density and with the entropy, the sum of log sds.
        slope = np.stack([slopes.mean(0), (slopes * noise * sd).mean(0) + 1.0])
        slope = np.nan_to_num(slope, nan=0.0, posinf=0.0, neginf=0.0)
        slope *= min(1.0, LONGEST / max(float(np.linalg.norm(slope)), TINY))
        slow = MEMORY * slow + (1 - MEMORY) * slope
        square = MEMORY_OF_SQUARE * square + (1 - MEMORY_OF_SQUARE) * slope**2
        first, second = 1 - MEMORY ** (step + 1), 1 - MEMORY_OF_SQUARE ** (step + 1)
        rate = RATE * 0.5 * (1 + np.cos(np.pi * step / STEPS))
        flat = flat + rate * (slow / first) / (np.sqrt(square / second) + TINY)
    fitted = np.stack([flat[0], np.exp(flat[1])])
    return Pilot(fitted[:, :shared], fitted[:, shared:].reshape(2, *size))


def suited(program: Program, fitted: Pilot) -> tuple[dict[str, str], str]:
    """The coordinates that suit each latent, and why, in one sentence.

    A task's latent is centred where the data of the median task say more about it than its prior.
    A lifetime's latent is whitened where its map is a cheap closed form.
    """
    information = np.median(fitted.task[1] ** -2.0 - 1.0, axis=0)
    kinds: dict[str, str] = {}
    at, told = 0, []
    for latent in program.latents:
        available = dict(latent.shapes)
        if latent.scope == LIFETIME:
            kind = WHITENED if latent.closed_form else UNCONSTRAINED
        else:
            own = max(float(information[at : at + latent.size].mean()), 0.0)
            at += latent.size
            kind = UNCONSTRAINED if own > 1 else WHITENED
            name = "centred" if kind == UNCONSTRAINED else "whitened"
            told.append(f"{latent.name} {name} (data / prior information {own:.2g})")
        kinds[latent.name] = kind if kind in available else next(iter(available))
    return kinds, "coordinates: " + ", ".join(told) if told else ""
