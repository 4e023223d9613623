"""What `badger fit` says at its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bayes_badger.cli import advice, summary
from bayes_badger.cli.screen import Screen, told
from bayes_badger.runs.run import Run


def answer(screen: Screen, run: Run, out: Path, asked: Sequence[str]) -> None:
    """Shows a run, and what to do next.

    Args:
        screen: Where to.
        run: The run.
        out: The folder that holds it.
        asked: The words of the fit, after `badger fit`.
    """
    next_commands = advice.after_fit(run, out, asked)
    if screen.as_json:
        screen.answer_json({**summary.as_json(run), "next": next_commands})
    elif not screen.quiet:
        summary.show(screen, run, summary.TASKS_SHOWN, advice.show_all(run, out))
        screen.answer("", told("Next:", "bold"))
        for line in next_commands:
            # Never wrapped: it is there to be copied.
            screen.out.print(told(f"  {line}", "cyan"), soft_wrap=True)
