"""`badger compare`: which of several runs predicts better."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from bayes_badger.cli import device, options
from bayes_badger.cli.completion import run_names
from bayes_badger.cli.screen import SESSION, Screen, told
from bayes_badger.errors import BadgerError

# ArviZ's columns that are shown, and how.
COLUMNS = {
    "elpd": ("elpd", "{:.1f}"),
    "se": ("se", "{:.1f}"),
    "elpd_diff": ("difference", "{:.1f}"),
    "dse": ("its se", "{:.1f}"),
    "p": ("p", "{:.1f}"),
    "weight": ("weight", "{:.2f}"),
}


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN",
            help="Two or more runs on the same evidence.",
            autocompletion=run_names,
            show_default=False,
        ),
    ],
    out: options.Out = Path(options.DEFAULT_OUT),
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Rank runs on the same evidence by how well they predict a left-out row.

    Example: `badger compare radon-20260101 radon-20260102`
    """
    from bayes_badger.runs.listing import find_run

    screen = Screen(as_json=as_json)
    paths = [find_run(run, out) for run in runs]
    if len(set(paths)) < 2:
        raise BadgerError("badger compare takes two or more runs: badger runs lists them")
    device.prepare(SESSION.get().debug)
    from bayes_badger import comparison
    from bayes_badger.cli.summary import distrust
    from bayes_badger.cli.tables import bullets, grid
    from bayes_badger.runs.store import read_run

    read = [read_run(path) for path in paths]
    table = comparison.compare(read)
    notes = json.loads(table.attrs.get("notes", "[]"))
    warnings = {run.name: run.warnings for run in read if run.warnings}
    rows = [{"run": str(name), **row} for name, row in table.to_dict("index").items()]
    if as_json:
        content = {"unit": "nats", "rows": rows, "notes": notes, "warnings": warnings}
        screen.answer_json(content)
        return
    shown = {name: how for name, how in COLUMNS.items() if name in table.columns}
    grid_ = grid(["run", *(title for title, _ in shown.values())])
    for row in rows:
        cells = [_cell(row[name], form) for name, (_, form) in shown.items()]
        grid_.add_row(told(row["run"]), *map(told, cells))
    screen.answer(grid_)
    screen.answer(
        told("  elpd: log density of left-out rows, in nats, summed; higher is better", "dim")
    )
    if notes:
        screen.answer(bullets([str(note) for note in notes], "yellow"))
    doubts = [f"{name}: {text}" for name, texts in warnings.items() for text in texts]
    if doubts:
        screen.answer("", *distrust(doubts))


def _cell(value: Any, form: str) -> str:
    try:
        return form.format(float(value))
    except (TypeError, ValueError):
        return str(value)
