"""Can it be trusted: every doubt of the run, what was not looked at, and the numbers behind it."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayes_badger.doubts import Findings
from bayes_badger.doubts.checks import divergences
from bayes_badger.doubts.truth import held
from bayes_badger.report.contents import group, is_independent, posterior, tried
from bayes_badger.report.diagnostics import Diagnostics, diagnose
from bayes_badger.report.section import Block, Bullets, Facts, Section, Table
from bayes_badger.report.text import label, many, number, plain
from bayes_badger.runs.run import Run
from bayes_badger.trust import ESS_PER_CHAIN, R_HAT

title = "Can it be trusted?"

MOST_REASONS = 50


def build(run: Run) -> Section:
    """Always applies."""
    findings = run.findings
    blocks: list[Block] = []
    if findings.doubts:
        blocks.append(_doubts(findings))
    told = [f"Not looked at: {plain(x)}." for x in findings.not_looked_at]
    if not posterior(run).data_vars:
        blocks += [Bullets(sentences=told)] if told else []
        return Section(title=title, alarming=True, lead=_lead(findings, ""), blocks=blocks)
    found = diagnose(run)
    rows = _rows(run, found)
    if rows:
        blocks.append(
            Table(
                caption="The worst of all scalars",
                columns=("", "of", "worst", "wanted"),
                rows=rows,
                words=2,
            )
        )
    flagged = _flagged(run)
    if flagged:
        blocks.append(
            Table(
                caption="Tasks that may be misjudged",
                columns=("task", "missed", "Pareto k", "draws that count", "what was done"),
                rows=flagged,
                words=1,
            )
        )
    rough = _rough(run, found)
    told = [*([rough] if rough else []), *_of_truth(run), *told]
    if found.total > len(found.names):
        told.append(f"Of {found.total:,} scalars, {len(found.names):,} were looked at here.")
    if told:
        blocks.append(Bullets(sentences=told))
    lead = _lead(findings, _why_fine(run, found))
    return Section(
        title=title,
        lead=lead,
        blocks=blocks,
        alarming=bool(findings.warnings),
        wary=bool(findings.others),
    )


def _lead(findings: Findings, fine: str) -> str:
    """The one sentence above the page: of the numbers first, then of all else that is doubted."""
    warnings = findings.warnings
    others = [f"{_capital(x.sentence)}." for x in findings.others]
    if warnings:
        more = f" And {many(len(warnings) - 1, 'more reason')}." if len(warnings) > 1 else ""
        first = f"Not to be trusted: {plain(warnings[0]).rstrip('.')}.{more}"
        return " ".join([first, *([f"Besides: {' '.join(others)}"] if others else [])])
    if not others:
        return f"Nothing speaks against these numbers: {fine}."
    return f"The numbers are the program's posterior, as far as it was looked at: {fine}. But: " + (
        " ".join(others)
    )


def _capital(text: str) -> str:
    text = plain(text).rstrip(".")
    return text[:1].upper() + text[1:]


def _doubts(findings: Findings) -> Facts:
    """All doubts, as they are told everywhere else."""
    left = len(findings.doubts) - MOST_REASONS
    shown = Findings(findings.doubts[:MOST_REASONS]).by_heading()
    rows = [(heading, [f"{plain(x).rstrip('.')}." for x in texts]) for heading, texts in shown]
    caption = "All that speaks against this run" + (f"; {left:,} more are left out" * (left > 0))
    return Facts(caption=caption, rows=rows)


def _of_truth(run: Run) -> list[str]:
    """How many true values the intervals hold, where the evidence was simulated."""
    found, _ = tried("", lambda: held(run.spec, run.tree))
    return [f"{_capital(found.sentence)}."] if found else []


def _flagged(run: Run) -> list[list[str]]:
    """The tasks that were flagged when the belief was judged, the worst first."""
    table = group(run, "trust")
    if "flagged" not in table:
        return []
    bad = np.flatnonzero(table["flagged"].values)
    missed = table["missed"].values if "missed" in table else np.zeros(table["flagged"].size)
    worst = bad[np.argsort(-missed[bad], kind="stable")][:MOST_REASONS]
    labels = table[run.task_name].values if run.task_name in table.coords else None
    return [
        [
            label(str(i if labels is None else labels[i])),
            _known(table, "missed", int(i), 1, 100.0, "%"),
            _known(table, "pareto_k", int(i), 2),
            _known(table, "ess", int(i), 0),
            plain(str(table["done"].values[i])) if "done" in table else "",
        ]
        for i in worst
    ]


def _known(table: Any, name: str, i: int, places: int, times: float = 1.0, unit: str = "") -> str:
    """A number of a task's verdict; nothing where it was not looked for."""
    value = float(table[name].values[i]) if name in table else np.nan
    return "" if np.isnan(value) else number(times * value, places) + unit


def _why_fine(run: Run, found: Diagnostics) -> str:
    """What speaks for the numbers."""
    if "ess" in (judged := group(run, "trust")):
        return (
            "draws were weighed by the true density, task by task, and at least "
            f"{float(judged['ess'].min()):,.0f} of each task's count"
        )
    if is_independent(run):
        return "the draws are independent, not from chains"
    worst, _ = _extreme(found, found.r_hat, np.nanargmax)
    least, _ = _extreme(found, found.bulk, np.nanargmin)
    if not (np.isfinite(worst) and np.isfinite(least)):
        return "but no scalar of theirs could be diagnosed"
    diverged, transitions = divergences(run.tree)
    but = f"; {diverged} of {transitions:,} transitions diverged, which is few" if diverged else ""
    looked = " that was looked at" if found.total > len(found.names) else ""
    return (
        f"{many(len(found.draws), 'chain')} agree (r_hat at most {worst:.3f}), and each "
        f"scalar{looked} has {least:,.0f} effective draws or more{but}"
    )


def _rows(run: Run, found: Diagnostics) -> list[list[str]]:
    rows: list[list[str]] = []
    if not is_independent(run):
        for what, values, pick, places, wanted in (
            ("r_hat", found.r_hat, np.nanargmax, 3, f"at most {R_HAT}"),
            ("effective draws, bulk", found.bulk, np.nanargmin, 0, f"at least {_wanted(found)}"),
            ("effective draws, tail", found.tail, np.nanargmin, 0, f"at least {_wanted(found)}"),
        ):
            worst, name = _extreme(found, values, pick)
            if name:
                rows.append([what, label(name), number(worst, places), wanted])
    diverged, transitions = divergences(run.tree)
    if transitions:
        rows.append(
            ["divergences", "all transitions", f"{diverged:,} of {transitions:,}", "next to none"]
        )
    return rows


def _rough(run: Run, found: Diagnostics) -> str:
    """What the tails lack, which says nothing against means."""
    least, name = _extreme(found, found.tail, np.nanargmin)
    if is_independent(run) or not least < _wanted(found):
        return ""
    return (
        f"The ends of the interval of {name} are rough: {least:.0f} effective draws in the tails, "
        f"fewer than {_wanted(found)}."
    )


def _extreme(found: Diagnostics, values: np.ndarray, pick: Any) -> tuple[float, str]:
    """The worst number and whose it is; NaN and nobody where there is none."""
    if not np.isfinite(values).any():
        return np.nan, ""
    at = int(pick(np.where(np.isfinite(values), values, np.nan)))
    return float(values[at]), found.names[at]


def _wanted(found: Diagnostics) -> int:
    return ESS_PER_CHAIN * len(found.draws)
