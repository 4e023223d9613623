"""The outcome's distribution, where the text of a program shows it."""

from __future__ import annotations

import ast
from typing import NamedTuple

import numpy as np

from bayes_badger.preflight.libraries import full_name, imports_of
from bayes_badger.preflight.source import Source
from bayes_badger.signature import Signature

# Families by what their outcomes are for certain, whatever their parameters.
COUNTS = (
    "BetaBinomial",
    "Binomial",
    "BinomialLogits",
    "BinomialProbs",
    "Categorical",
    "CategoricalLogits",
    "CategoricalProbs",
    "GammaPoisson",
    "Geometric",
    "GeometricLogits",
    "GeometricProbs",
    "NegativeBinomial2",
    "NegativeBinomialLogits",
    "NegativeBinomialProbs",
    "OrderedLogistic",
    "Poisson",
    "ZeroInflatedNegativeBinomial2",
    "ZeroInflatedPoisson",
)
TRUTHS = ("Bernoulli", "BernoulliLogits", "BernoulliProbs")
POSITIVE = (
    "Chi2",
    "Exponential",
    "Gamma",
    "HalfCauchy",
    "HalfNormal",
    "InverseGamma",
    "LogNormal",
    "Pareto",
    "Weibull",
)
SHARES = ("Beta", "BetaProportion")
# Methods of a distribution that leave its support as it is.
HARMLESS = ("expand", "expand_by", "to_event")
DISTRIBUTIONS = "numpyro.distributions."


class Visible(NamedTuple):
    """A distribution that the text of a program shows.

    Attributes:
        family: Its name.
        support: What its outcomes are, as NumPyro calls it.
    """

    family: str
    support: str

    def outside(self, values: np.ndarray) -> np.ndarray:
        """Which values it cannot have for certain, `[rows]`."""
        fractional = values != np.round(values)
        if self.support == "boolean":
            return fractional | (values < 0) | (values > 1)
        if self.support == "integernonnegative":
            return fractional | (values < 0)
        if self.support == "unitinterval":
            return (values < 0) | (values > 1)
        return values < 0


def visible_outcome(source: Source, signature: Signature) -> Visible | None:
    """The distribution of a program's outcome; None where the text does not show it for certain.

    It does where one `sample` observes the outcome as it was given, by `obs=`, and its
    distribution is one of NumPyro's, called there and then.
    """
    function, outcome = source.function, signature.outcome
    if function is None or outcome in signature.groups:
        return None
    observing = []
    for node in ast.walk(function):
        if isinstance(node, ast.Call):
            keywords = {keyword.arg: keyword.value for keyword in node.keywords}
            given = keywords.get("obs")
            if isinstance(given, ast.Name) and given.id == outcome:
                observing.append((node, keywords))
    if len(observing) != 1:
        return None
    (call, keywords), imports = observing[0], imports_of(source.tree)
    if full_name(call.func, imports) != "numpyro.sample" or "obs_mask" in keywords:
        return None
    if _is_changed(function, outcome, call) or _is_masked(function, imports):
        return None
    fn = call.args[1] if len(call.args) > 1 else keywords.get("fn")
    while (
        isinstance(fn, ast.Call) and isinstance(fn.func, ast.Attribute) and fn.func.attr in HARMLESS
    ):
        fn = fn.func.value
    if not isinstance(fn, ast.Call):
        return None
    full = full_name(fn.func, imports) or ""
    family = full.removeprefix(DISTRIBUTIONS)
    if full == family:
        return None
    for families, support in (
        (COUNTS, "integernonnegative"),
        (TRUTHS, "boolean"),
        (POSITIVE, "positive"),
        (SHARES, "unitinterval"),
    ):
        if family in families:
            return Visible(family, support)
    return None


def _is_changed(function: ast.FunctionDef, name: str, call: ast.Call) -> bool:
    """Whether a function binds a parameter anew, but by the call that observes it."""
    own = [
        target
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and node.value is call
        for target in node.targets
    ]
    return any(
        isinstance(node, ast.Name)
        and node.id == name
        and not isinstance(node.ctx, ast.Load)
        and node not in own
        for node in ast.walk(function)
    )


def _is_masked(tree: ast.AST, imports: dict[str, str]) -> bool:
    """Whether some rows may not count, so that what they hold does not matter."""
    handlers = any("handlers" in full.split(".") for full in imports.values())
    named = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return handlers or bool(named & {"mask", "handlers"})
