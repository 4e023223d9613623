"""Scalars as columns of numbers that fit a narrow terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from bayes_badger.cli.scalars import Scalar
from bayes_badger.cli.screen import told
from bayes_badger.doubts.truth import decimals_apart

LABEL_WIDTH = 30
HEADING = "bold"


def scalar_table(groups: Sequence[tuple[str, Sequence[Scalar]]]) -> Table:
    """One table for groups of scalars under a heading each, so that all columns are aligned.

    Args:
        groups: A heading, and its scalars; a label is the name for what has no other.
    """
    everything = [scalar for _, group in groups for scalar in group]
    checked = any(math.isfinite(scalar.ess_bulk) for scalar in everything)
    simulated = any(math.isfinite(scalar.truth) for scalar in everything)
    titles = ["mean", "sd", "89% interval"]
    titles += ["true"] if simulated else []
    titles += ["ess", "r_hat"] if checked else []
    table = grid(["", *titles])
    cells_of = [_cells(group) for _, group in groups]
    bounds = [cells[2:4] for group in cells_of for cells in group]
    widths = [max((len(pair[i]) for pair in bounds), default=0) for i in (0, 1)]
    for i, (heading, group) in enumerate(groups):
        if i:
            table.add_row()
        if heading:
            table.add_row(told(heading, HEADING))
        for scalar, (mean, sd, lower, upper, true) in zip(group, cells_of[i], strict=True):
            interval = f"{lower:>{widths[0]}} to {upper:>{widths[1]}}"
            interval = "-" if (lower, upper) == ("-", "-") else interval
            cells = [mean, sd, interval]
            cells += [true] if simulated else []
            cells += [_count(scalar), _number(scalar.r_hat, 2)] if checked else []
            table.add_row(told(f"  {_label(scalar)}"), *map(told, cells))
    return table


def grid(titles: Sequence[str], text_columns: int = 1) -> Table:
    """A table without lines: some columns of text, which may be cut, then columns of numbers.

    Args:
        titles: Of all columns.
        text_columns: How many of them hold text.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style=HEADING)
    for i, title in enumerate(titles):
        if i < text_columns:
            table.add_column(told(title), no_wrap=True, overflow="ellipsis", max_width=LABEL_WIDTH)
        else:
            table.add_column(told(title), no_wrap=True, justify="right")
    return table


def facts(rows: Sequence[tuple[str, str]], style: str = "") -> Table:
    """Names with a text each, which is wrapped and never cut."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(told(f"  {name}"), told(text, style))
    return table


def bullets(lines: Sequence[str], style: str = "") -> Table:
    """Sentences, each wrapped and indented."""
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for line in lines:
        table.add_row(Text("  -", style=style), told(line, style))
    return table


def _label(scalar: Scalar) -> str:
    index = f"[{scalar.index}]" if scalar.index else ""
    return f"{scalar.label or scalar.name}{index}"


def _cells(group: Sequence[Scalar]) -> list[list[str]]:
    """Mean, sd, interval and truth; the scalars of one variable have as many decimals."""
    wanted: dict[tuple[str, str], list[int]] = {}
    for scalar in group:
        wanted.setdefault((scalar.name, scalar.index), []).append(_decimals(scalar.sd))
    found = []
    for scalar in group:
        decimals = wanted[scalar.name, scalar.index]
        # One task that is known far better than the rest must not fill the table with digits.
        places = min(max(decimals), min(decimals) + 2)
        ends = scalar.eti89_lb, scalar.eti89_ub
        places = decimals_apart(*ends, scalar.truth, places)
        numbers = (scalar.mean, scalar.sd, *ends, scalar.truth)
        found.append([_number(x, places) for x in numbers])
    return found


def _decimals(sd: float) -> int:
    """Decimals that show two digits of a standard deviation."""
    if not math.isfinite(sd) or sd <= 0:
        return 2
    return max(0, 1 - math.floor(math.log10(sd)))


def _number(x: float, decimals: int) -> str:
    if not math.isfinite(x):
        return "-" if math.isnan(x) else str(x)
    if abs(x) >= 1e7 or decimals > 5:
        return f"{x:.2e}"
    text = f"{x:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _count(scalar: Scalar) -> str:
    """Effective draws; of what never moves there is nothing to say."""
    known = math.isfinite(scalar.ess_bulk) and scalar.sd > 0
    return f"{scalar.ess_bulk:.0f}" if known else "-"
