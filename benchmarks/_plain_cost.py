"""One fit, in the process that runs this file: what it cost, as JSON. See `nuts_cost`."""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from typing import Any

import jax
import numpy as np

COMPILED = "/jax/core/compile/backend_compile_duration"
CHAINS, WARMUP, DRAWS = 4, 1000, 1000


def main(how: str, name: str) -> None:
    """Fits, and prints a line of JSON."""
    compilations = [0]

    def heard(event: str, seconds: float, **more: Any) -> None:
        compilations[0] += event == COMPILED

    jax.monitoring.register_event_duration_secs_listener(heard)
    kind, _, recipe = how.partition(":")
    found: dict[str, Any] = plain(name) if kind == "plain" else badger(name, recipe or "nuts")
    found |= {"seconds": time.process_time(), "compilations": compilations[0]}
    print(json.dumps(found))


def plain(name: str) -> dict[str, Any]:
    """Plain NumPyro."""
    from numpyro.diagnostics import effective_sample_size
    from numpyro.infer import MCMC, NUTS

    from benchmarks._plain import CASES

    case = CASES[name]
    sampler = MCMC(
        NUTS(case.plain),
        num_warmup=WARMUP,
        num_samples=DRAWS,
        num_chains=CHAINS,
        chain_method="vectorized",
        progress_bar=False,
    )
    sampler.run(jax.random.key(0), **case.arguments(case.table()))
    draws = sampler.get_samples(group_by_chain=True)
    least = min(effective_sample_size(np.asarray(draws[n])).min() for n in case.shared)
    return {"least ess": float(least), "stages": {}} | moments(draws, case)


def badger(name: str, recipe: str) -> dict[str, Any]:
    """This library."""
    import bayes_badger as bb
    from benchmarks._plain import CASES

    case, stages = CASES[name], defaultdict[str, float](float)
    at: list[Any] = ["imports", 0.0]

    def report(stage: str, done: int, total: int, note: str = "") -> None:
        now = time.process_time()
        stages[at[0]] += now - at[1]
        at[:] = [stage, now]

    run = bb.fit(case.program, case.table(), task=case.task, inference=recipe, report=report)
    report("end", 0, 1)
    from numpyro.diagnostics import effective_sample_size

    draws = {n: run.posterior[n].values for n in case.shared}
    least = min(effective_sample_size(x).min() for x in draws.values())
    told = {"warnings": run.warnings, "notes": run.spec["result"]["notes"]}
    found = {"least ess": float(least), "stages": {k: round(v, 2) for k, v in stages.items()}}
    return found | told | moments(draws, case)


def moments(draws: Any, case: Any) -> dict[str, Any]:
    """Mean and standard deviation of what tasks share."""
    values = {n: np.asarray(draws[n], float) for n in case.shared}
    each = {n: [x.mean((0, 1)).tolist(), x.std((0, 1)).tolist()] for n, x in values.items()}
    return {"moments": each}


main(*sys.argv[1:])
