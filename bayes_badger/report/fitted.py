"""What was fitted: program, evidence, recipe, and with what."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from bayes_badger.report.contents import (
    group,
    is_independent,
    part,
    posterior,
    rows_by_task,
    task_unit,
    texts,
)
from bayes_badger.report.section import Bullets, Facts, Section, Table
from bayes_badger.report.text import label, many, number, plain
from bayes_badger.runs.run import Run

title = "What was fitted"

MOST_SETTINGS, MOST_LATENTS, MOST_NOTES = 30, 30, 20
LATENT_COLUMNS = ("latent", "belongs to", "role", "family", "support", "shape")


def build(run: Run) -> Section:
    """Always applies."""
    notes = [*texts(part(run.spec, "result").get("notes")), *_noted(run)]
    blocks: list[Any] = [Facts(caption="The fit", rows=_facts(run))]
    if notes:
        blocks.insert(0, Bullets(sentences=notes[:MOST_NOTES]))
    latents = _latents(run)
    if latents:
        blocks.append(
            Table(caption="The program's latents", columns=LATENT_COLUMNS, rows=latents, words=6)
        )
    return Section(title=title, lead=_lead(run), blocks=blocks)


def _lead(run: Run) -> str:
    spec = run.spec
    evidence, seconds = part(spec, "evidence"), _seconds(run)
    program = label(part(spec, "program").get("name", "a program without a name"))
    recipe = part(spec, "recipe").get("name")
    how = "by a recipe without a name" if recipe is None else f"by the recipe {label(recipe)}"
    rows, tasks = evidence.get("rows", "?"), evidence.get("tasks", "?")
    took = f", in {number(seconds, 1)} s" if math.isfinite(seconds) else ""
    return (
        f"The program {program} was fitted to {many(rows, 'row')} of "
        f"{many(tasks, 'task')}{task_unit(run)} {how}{took}."
    )


def _facts(run: Run) -> list[tuple[str, list[str]]]:
    spec = run.spec
    program, recipe, evidence = (part(spec, name) for name in ("program", "recipe", "evidence"))
    outcome = [str(program[name]) for name in ("outcome", "outcome_family") if name in program]
    digest = str(program.get("sha256") or "")[:16]
    facts = {
        "run": [run.name],
        "program": [program.get("name", "?"), *([f"sha256 {digest}…"] if digest else [])],
        "settings": _settings(part(program, "settings")),
        "outcome": [" ~ ".join(outcome)] if outcome else [],
        "evidence": [_sizes(run, evidence), *_digest(evidence)],
        "recipe": [recipe.get("name", "?"), *([recipe["about"]] if "about" in recipe else [])],
        "inner loop": _settings(part(recipe, "inner_loop")),
        "draws": _draws(run),
        "log evidence": _log_evidence(part(spec, "result")),
        "seed": [spec["seed"]] if "seed" in spec else [],
        "fitted": [spec["created"]] if "created" in spec else [],
        "device": [spec["device"]] if "device" in spec else [],
        "versions": [", ".join(f"{name} {x}" for name, x in part(spec, "versions").items())],
    }
    told = {name: [plain(x) for x in lines if x != ""] for name, lines in facts.items()}
    return [(name, lines) for name, lines in told.items() if lines]


def _settings(settings: Mapping[str, Any]) -> list[str]:
    found = [f"{name} = {value}" for name, value in _flat(settings)]
    rest = len(found) - MOST_SETTINGS
    return [*found[:MOST_SETTINGS], *([f"and {rest} more"] if rest > 0 else [])]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{label(name)}.")
        else:
            yield f"{prefix}{label(name)}", plain(value, 200)


def _sizes(run: Run, evidence: Mapping[str, Any]) -> str:
    tasks, rows = evidence.get("tasks", "?"), evidence.get("rows", "?")
    text = f"{many(tasks, 'task')}{task_unit(run)}, {many(rows, 'row')}"
    lengths = rows_by_task(run)
    if lengths is None:
        return text
    low, high = int(lengths.min()), int(lengths.max())
    return f"{text}, {low} to {high} of a task" if low != high else f"{text}, {low} of each"


def _digest(evidence: Mapping[str, Any]) -> list[str]:
    digest = str(evidence.get("digest") or "")[:16]
    return [f"sha256 {digest}…"] if digest else []


def _draws(run: Run) -> list[str]:
    sizes = posterior(run).sizes
    if not {"chain", "draw"} <= set(sizes):
        return ["none"]
    if is_independent(run):
        return [f"{sizes['chain'] * sizes['draw']:,} independent draws"]
    return [f"{many(sizes['chain'], 'chain')} of {many(sizes['draw'], 'draw')}"]


def _log_evidence(result: Mapping[str, Any]) -> list[str]:
    """The log of the probability of all outcomes under the program, in nats."""
    value, error = result.get("log_evidence"), result.get("log_evidence_error")
    if not _is_number(value):
        return []
    if not _is_number(error) or error == 0:
        return [f"{number(value)} nats"]
    return [f"{value:.4f} nats, error about {error:.1g} by its own estimate"]


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _noted(run: Run) -> list[str]:
    """What was noted of the evidence, and of what the tree keeps of it."""
    found = texts(part(run.spec, "evidence").get("notes"))
    thinned = group(run, "log_likelihood").attrs.get("thinned")
    return found + ([f"log likelihoods were kept for {thinned}"] if thinned else [])


def _latents(run: Run) -> list[list[str]]:
    latents = part(run.spec, "program").get("latents")
    rows = [x for x in latents if isinstance(x, Mapping)] if isinstance(latents, list) else []
    belongs = {"lifetime": "all tasks", "task": "each task"}
    found = []
    for row in rows[:MOST_LATENTS]:
        shape = row.get("shape")
        sizes = shape if isinstance(shape, list | tuple) else []
        found.append(
            [
                label(row.get("name", "?")),
                belongs.get(str(row.get("scope")), label(row.get("scope", "?"))),
                *(label(row.get(name, "?")) for name in ("role", "family", "support")),
                label(" × ".join(map(str, sizes))) or "scalar",
            ]
        )
    if len(rows) > MOST_LATENTS:
        found.append([f"and {len(rows) - MOST_LATENTS} more", *[""] * 5])
    return found


def _seconds(run: Run) -> float:
    seconds = part(run.spec, "result").get("seconds")
    return float(seconds) if _is_number(seconds) else math.nan
