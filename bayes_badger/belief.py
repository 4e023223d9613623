"""What is believed after the evidence: here as draws."""

from __future__ import annotations

from collections.abc import Mapping

import equinox as eqx
import numpy as np


class Draws(eqx.Module):
    """A belief as draws of every latent, in the user's own space, kept on the host.

    Attributes:
        values: Latents and deterministics by name: `[chain, draw, *shape]` in a lifetime,
            `[chain, draw, task, *shape]` in a task.
        stats: Statistics of the sampler by name, `[chain, draw]`.
        notes: What was chosen, and why, one sentence each.
        warnings: Why the draws are not to be trusted, one sentence each; empty when they are.
    """

    values: Mapping[str, np.ndarray]
    stats: Mapping[str, np.ndarray]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def chains(self) -> int:
        """Number of chains."""
        return next(iter(self.values.values())).shape[0]

    @property
    def draws(self) -> int:
        """Draws of each chain."""
        return next(iter(self.values.values())).shape[1]
