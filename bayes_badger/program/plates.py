"""Refuses plates that do not follow the data, and priors that no latent can have.

NumPyro would broadcast, or lose an atom, in silence.
"""

from __future__ import annotations

from typing import Any

from numpyro.distributions import ImproperUniform
from numpyro.primitives import Messenger

from bayes_badger.errors import BadgerError
from bayes_badger.program.priors import why_no_prior
from bayes_badger.signature import Signature

TASK, STEP = "task", "step"
DIMS = {TASK: -2, STEP: -1}


class PlateGuard(Messenger):
    """Looks at every plate and at every site, as the program runs.

    Args:
        signature: Names the program and its columns.
        tasks: How many tasks the data have.
        steps: How many steps each has.
    """

    def __init__(self, signature: Signature, tasks: int, steps: int) -> None:
        super().__init__()
        self.signature = signature
        self.sizes = {TASK: tasks, STEP: steps}

    def process_message(self, msg: Any) -> None:
        """Raises BadgerError at the first plate of a wrong size or dim, or prior that cannot be."""
        frames = msg.get("cond_indep_stack") or ()
        if msg["type"] == "param" and frames:
            raise BadgerError(
                f"{self.signature.program}: parameter '{msg['name']}' is inside plate "
                f"'{frames[0].name}': move numpyro.param above the plates"
            )
        for frame in frames:
            if frame.name in DIMS and frame.dim != DIMS[frame.name]:
                raise BadgerError(
                    f"{self.signature.program}: plate '{frame.name}' is at dim {frame.dim}: "
                    f"write {self.mended(frame.name)}"
                )
        if msg["type"] == "sample" and not msg["is_observed"]:
            self._check_prior(msg["name"], msg["fn"], any(frame.name == STEP for frame in frames))
        if msg["type"] == "plate" and msg["name"] in self.sizes:
            self._check_size(msg["name"], *msg["args"])

    def _check_prior(self, name: str, fn: Any, outcome: bool) -> None:
        # Outcomes may be censored; but they have to be drawn, too.
        reason = why_no_prior(name, fn)
        if outcome and not isinstance(fn, ImproperUniform):
            return
        if reason is not None:
            raise BadgerError(f"{self.signature.program}: {reason}")

    def mended(self, plate: str) -> str:
        """How the plate should be written."""
        axis = 0 if plate == TASK else 1
        return f"plate('{plate}', {self.signature.columns[0]}.shape[{axis}], dim={DIMS[plate]})"

    def _check_size(self, name: str, size: int, subsample: int | None) -> None:
        if size != self.sizes[name]:
            raise BadgerError(
                f"{self.signature.program}: plate '{name}' has size {size} for "
                f"{self.sizes[name]} {name}s: write {self.mended(name)}"
            )
        if subsample is not None and subsample != size:
            raise BadgerError(
                f"{self.signature.program}: plate '{name}' is subsampled: write {self.mended(name)}"
            )
