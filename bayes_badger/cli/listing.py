"""`badger runs`, `badger models` and `badger recipes`: what there is."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from bayes_badger.cli import options
from bayes_badger.cli.screen import Screen, told

STYLES = {"complete": "green", "unfinished": "yellow", "damaged": "red"}


def runs(
    out: options.Out = Path(options.DEFAULT_OUT),
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """List the stored runs, the newest first.

    Example: `badger runs --out my_runs`
    """
    from bayes_badger.runs.listing import list_runs

    screen = Screen(as_json=as_json)
    found = list_runs(out)
    rows = [
        {
            "run": entry.name,
            "state": entry.state,
            "reason": entry.reason,
            "created": entry.created.isoformat(timespec="seconds"),
            "path": str(entry.path),
        }
        for entry in found
    ]
    if as_json:
        screen.answer_json({"runs": rows})
        return
    if not found:
        screen.answer(told(f"no runs in {out}"), "", told("  badger fit eight_schools", "cyan"))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    # A name that is cut could not be given to another command.
    table.add_column("run", overflow="fold")
    table.add_column("written", no_wrap=True)
    table.add_column("state", overflow="fold", ratio=1)
    for entry in found:
        state = f"{entry.state}: {entry.reason}" if entry.reason else entry.state
        created = f"{entry.created:%Y-%m-%d %H:%M}"
        table.add_row(told(entry.name), told(created), told(state, STYLES.get(entry.state, "")))
    screen.answer(table)


def models(as_json: options.AsJson = False, debug: options.Debug = False) -> None:
    """List the programs that can be fitted by name.

    Example: `badger models`
    """
    from bayes_badger import shelves

    _shelf(Screen(as_json=as_json), "models", shelves.names("models"))


def recipes(as_json: options.AsJson = False, debug: options.Debug = False) -> None:
    """List the recipes that say how to infer.

    Example: `badger recipes`
    """
    from bayes_badger import shelves

    _shelf(Screen(as_json=as_json), "recipes", shelves.names("inference"))


def _shelf(screen: Screen, kind: str, names: list[tuple[str, str]]) -> None:
    screen.answer_json({kind: [{"name": name, "about": about} for name, about in names]})
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, about in names:
        table.add_row(told(name), told(about))
    screen.answer(table if names else told(f"no {kind} on the shelf"))
