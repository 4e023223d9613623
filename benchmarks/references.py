"""NUTS against references: eight schools (10,000 draws of posteriordb), sleepstudy (lme4).

Columns: what was estimated, the reference, their difference, the Monte Carlo standard error of both
sides together (none for lme4, which gives no draws), and the difference in standard errors.
"""

from __future__ import annotations

import arviz as az
import numpy as np
import pandas as pd

import bayes_badger as bb

REFERENCE_DRAWS = 10_000
SCHOOLS = {
    "mu": [(4.411, 3.309)],
    "tau": [(3.602, 3.198)],
    "theta": [
        (6.151, 5.616),
        (4.940, 4.645),
        (3.906, 5.280),
        (4.796, 4.771),
        (3.614, 4.614),
        (4.051, 4.796),
        (6.317, 5.003),
        (4.884, 5.317),
    ],
}
SLEEPSTUDY = {"intercept": 251.405, "slope": 10.467}


def run() -> pd.DataFrame:
    """Fits both by the default recipe, seed 0."""
    return pd.DataFrame([*_schools(), *_sleepstudy()])


def _schools() -> list[dict[str, object]]:
    posterior = bb.fit("eight_schools").posterior
    rows = []
    for name, references in SCHOOLS.items():
        draws = posterior[[name]]
        mean = np.atleast_1d(posterior[name].mean(("chain", "draw")))
        error = np.atleast_1d(az.mcse(draws, method="mean")[name])
        for i, (reference, sd) in enumerate(references):
            both = np.hypot(error[i], sd / np.sqrt(REFERENCE_DRAWS))
            label = f"{name}[{i}]" if len(references) > 1 else name
            rows.append(_row("eight_schools", label, mean[i], reference, both))
    return rows


def _sleepstudy() -> list[dict[str, object]]:
    posterior = bb.fit("sleepstudy").posterior
    return [
        _row("sleepstudy", name, float(posterior[name].mean()), reference, np.nan)
        for name, reference in SLEEPSTUDY.items()
    ]


def _row(program: str, what: str, mean: float, reference: float, error: float) -> dict[str, object]:
    difference = mean - reference
    return {
        "program": program,
        "mean of": what,
        "estimate": mean,
        "reference": reference,
        "difference": difference,
        "standard error": error,
        "in errors": difference / error,
    }
