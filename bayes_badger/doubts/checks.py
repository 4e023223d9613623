"""Looks at a run once, with every check there is: diagnostics, tasks, truth, fit, leave-one-out.

That takes a fraction of a second, so that it is done when a run is made, and what was found is
stored with it. A run that nobody looked at, of a stranger's or of an older release, is looked at
when it is asked for its doubts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from bayes_badger.doubts import left_out, predictive, truth
from bayes_badger.doubts.doubt import (
    INFERENCE,
    NUMBERS,
    TASKS,
    Doubt,
    Findings,
    gathered,
    told_warnings,
)
from bayes_badger.doubts.reading import SAMPLE, drawn, group, independent, task_name, tried
from bayes_badger.errors import listed

# The share of transitions that may diverge; NUTS warns beyond the same.
DIVERGED = 1e-3
# What sentences of inference hold that say what a check would say again.
MISJUDGED = ("may be misjudged", "stay doubtful", "were missed by their experts")

type Found = tuple[list[Doubt], list[str]]


def look(spec: Mapping[str, Any], tree: xr.DataTree) -> Findings:
    """All doubts of a run: those of its inference, and what every check of its numbers finds.

    Args:
        spec: Its `result` has `warnings`, the sentences of inference, and `independent`.
        tree: The groups of the run; what a check needs and does not find is told.
    """
    given = told_warnings(spec)
    doubts: list[Doubt] = []
    missing: list[str] = []
    for words, check in CHECKS.items():
        found, failed = tried(words, lambda check=check: check(spec, tree, given))  # type: ignore[misc]
        doubts += found[0] if found else []
        missing += found[1] if found else [failed.rstrip(".")]
    known = {x.text: x for x in doubts}
    own = [known.get(x, Doubt(_about(x), INFERENCE, x)) for x in given]
    return gathered([*own, *doubts], missing)


def divergences(tree: xr.DataTree) -> tuple[int, int]:
    """How many transitions diverged, of how many; of none where the sampler has none."""
    stats = group(tree, "sample_stats")
    if "diverging" not in stats or stats["diverging"].dtype.kind not in "biu":
        return 0, 0
    return int((stats["diverging"].values != 0).sum()), stats["diverging"].size


def _about(sentence: str) -> str:
    return TASKS if any(words in sentence for words in MISJUDGED) else NUMBERS


def _of_draws(spec: Mapping[str, Any], tree: xr.DataTree, given: Sequence[str]) -> Found:
    posterior = drawn(tree)
    if not posterior.data_vars:
        return [Doubt(NUMBERS, "draws", "the run has no posterior draws", "fit again")], []
    broken, first = 0, ""
    for name, variable in posterior.data_vars.items():
        finite = xr.apply_ufunc(np.isfinite, variable).all(SAMPLE)
        bad = int((~finite).sum())
        first = first or (_name_of(finite, str(name)) if bad else "")
        broken += bad
    if not broken:
        return [], []
    unit = "scalar" if broken == 1 else "scalars"
    sentence = f"draws of {first} are not finite, {broken} {unit} in all"
    mend = "fit with another recipe, or look for what the program makes infinite"
    return [Doubt(NUMBERS, "draws", sentence, mend)], []


def _name_of(finite: xr.DataArray, name: str) -> str:
    """The first entry that is not finite, with its labels."""
    at = np.argwhere(~np.asarray(finite.values))[0]
    labels = [
        str(finite[dim].values[i]) if dim in finite.coords else str(i)
        for dim, i in zip(finite.dims, at, strict=True)
    ]
    return f"{name}[{', '.join(labels)}]" if labels else name


def _of_transitions(spec: Mapping[str, Any], tree: xr.DataTree, given: Sequence[str]) -> Found:
    diverged, transitions = divergences(tree)
    if diverged <= DIVERGED * transitions or _said(given, "diverged"):
        return [], []
    sentence = f"{diverged} of {transitions} transitions diverged"
    return [Doubt(NUMBERS, "divergences", sentence, "raise inference.target_accept")], []


def _of_chains(spec: Mapping[str, Any], tree: xr.DataTree, given: Sequence[str]) -> Found:
    posterior = drawn(tree)
    if independent(spec) or not posterior.data_vars:
        return [], []
    from bayes_badger.trust import doubts

    said = ("r_hat", "effective draws", "one chain")
    told = []
    for sentence in doubts(posterior):
        others = [x for x in given if x != sentence]
        if not any(words in sentence and _said(others, words) for words in said):
            told.append(sentence)
    return [Doubt(NUMBERS, "chains", x) for x in told], []


def _of_tasks(spec: Mapping[str, Any], tree: xr.DataTree, given: Sequence[str]) -> Found:
    table, name = group(tree, "trust"), task_name(spec)
    found = []
    if "flagged" in table and not any(_said(given, words) for words in MISJUDGED):
        bad = np.flatnonzero(np.asarray(table["flagged"].values))
        if len(bad):
            labels = _labels(table, name, table["flagged"].size)
            some = listed([f"'{labels[i]}'" for i in bad], 3)
            sentence = f"{len(bad)} of {len(labels)} tasks may be misjudged ({some})"
            mend = "fit with trust = refine, or recipe nuts"
            found.append(Doubt(TASKS, "flagged tasks", sentence, mend))
    if {"tail_of_outcomes", "tail_of_latents"} <= set(table):
        from bayes_badger.unlike import Unlike

        tails = (np.asarray(table[x].values) for x in ("tail_of_outcomes", "tail_of_latents"))
        strange = Unlike(*tails)
        told = strange.sentences(_labels(table, name, len(strange.outcomes)))
        found += [Doubt(TASKS, "unlike tasks", x) for x in told]
    return found, []


def _labels(table: xr.Dataset, name: str, count: int) -> list[str]:
    return [str(x) for x in (table[name].values if name in table.coords else range(count))]


def _of_truth(spec: Mapping[str, Any], tree: xr.DataTree, given: Sequence[str]) -> Found:
    found = truth.held(spec, tree)
    doubt = None if found is None else truth.doubt_of(found)
    return [doubt] if doubt else [], []


def _of_fit(spec: Mapping[str, Any], tree: xr.DataTree, given: Sequence[str]) -> Found:
    found = predictive.outcomes(spec, tree)
    if isinstance(found, str):
        return [], [f"{predictive.KIND}: {found}"]
    doubt = predictive.doubt_of(found, predictive.compared(found))
    return [doubt] if doubt else [], []


def _of_left_out(spec: Mapping[str, Any], tree: xr.DataTree, given: Sequence[str]) -> Found:
    found = left_out.left_out(spec, tree)
    if isinstance(found, str):
        return [], [f"{left_out.KIND}: {found}"]
    doubt = left_out.doubt_of(found)
    return [doubt] if doubt else [], []


def _said(given: Sequence[str], words: str) -> bool:
    return any(words in x for x in given)


CHECKS: dict[str, Callable[[Mapping[str, Any], xr.DataTree, Sequence[str]], Found]] = {
    "draws": _of_draws,
    "divergences": _of_transitions,
    "chains": _of_chains,
    "tasks": _of_tasks,
    truth.KIND: _of_truth,
    predictive.KIND: _of_fit,
    left_out.KIND: _of_left_out,
}
