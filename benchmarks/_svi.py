"""NumPyro's own SVI on a program as its user wrote it: a Gaussian of all latents together."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoMultivariateNormal
from numpyro.primitives import Messenger

from bayes_badger.belief import Draws, Posterior
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.program import Program

STEPS, PARTICLES, RATE, DRAWS = 5000, 8, 0.02, 4000


class _RealRows(Messenger):
    """Counts the outcomes of real rows alone."""

    def __init__(self, model: Any, site: str, mask: np.ndarray) -> None:
        super().__init__(model)
        self.site, self.mask = site, jnp.asarray(mask)

    def process_message(self, msg: Any) -> None:
        if msg["type"] == "sample" and msg["name"] == self.site:
            fn: dist.Distribution = msg["fn"]
            msg["fn"] = fn.mask(self.mask)


class MultivariateNormal:
    """AutoMultivariateNormal in the latents' own unconstrained space: mean and full covariance."""

    def infer(
        self, program: Program, evidence: Evidence, key: Any, report: Report = silent
    ) -> Posterior:
        """Draws from the guide after a fixed number of steps of Adam."""
        block, signature = evidence.padded(), program.signature
        columns = [jnp.asarray(block.columns[name]) for name in signature.columns]
        more = {name: jnp.asarray(x) for name, x in block.task_columns.items()}
        more[signature.outcome] = jnp.asarray(block.outcome)
        model = _RealRows(program.model, program.outcome.site, block.mask)
        guide = AutoMultivariateNormal(model)
        optimiser = optax.adam(optax.cosine_decay_schedule(RATE, STEPS))
        svi = SVI(model, guide, optimiser, Trace_ELBO(num_particles=PARTICLES))
        keys = jax.random.split(key)
        fitted = svi.run(keys[0], STEPS, *columns, progress_bar=False, **more)
        drawn = guide.sample_posterior(keys[1], fitted.params, sample_shape=(DRAWS,))
        latents = {x.name: jax.vmap(x.task_first)(drawn[x.name]) for x in program.latents}
        return Posterior(Draws({n: np.asarray(x)[None] for n, x in latents.items()}, {}))
