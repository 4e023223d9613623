"""The page: all sections in order, as one HTML file."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from importlib.metadata import version
from pathlib import Path

import jinja2
from markupsafe import Markup

from bayes_badger.report import (
    chains,
    fitted,
    left_out,
    lifetime,
    named,
    predictive,
    sensitivity,
    tasks,
    trusted,
)
from bayes_badger.report.once import one_page
from bayes_badger.report.section import Section, SectionMaker
from bayes_badger.report.target import check_target, write_whole
from bayes_badger.report.text import label, plain
from bayes_badger.runs.run import Run

SECTIONS: tuple[SectionMaker, ...] = (
    fitted,
    trusted,
    named,
    lifetime,
    tasks,
    chains,
    predictive,
    left_out,
    sensitivity,
)


def write_report(
    run: Run, path: str | Path | None = None, *, report: Callable[..., None] | None = None
) -> Path:
    """Writes one HTML page about a run: it needs no other file, runs no script, fetches nothing.

    What was fitted, whether it can be trusted, what the tasks share and what each has of its own,
    with ArviZ's diagnostics. Intervals are 89 % equal-tailed, log densities in nats. The same run
    makes the same page, byte for byte.

    Args:
        run: The run.
        path: The file, `.html`; a file that is there is replaced, once the new one is whole. By
            default `report.html` in the folder where the run is stored.
        report: Is told how far the work has come: stage, steps done, steps in all, and a note.

    Returns:
        The file.

    Raises:
        BadgerError: Where the file cannot be written, or a run that is not stored has no path.

    Example:
        >>> import tempfile, xarray as xr
        >>> from bayes_badger import Run, write_report
        >>> run = Run(spec={"name": "empty"}, tree=xr.DataTree(), evidence=xr.Dataset())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_report(run, f"{folder}/page.html").name
        'page.html'
    """
    target = check_target(run.path, path)
    write_whole(target, render(run, report))
    return target


def render(run: Run, report: Callable[..., None] | None = None) -> str:
    """The page as HTML."""
    told = report or (lambda *_: None)
    sections: list[Section] = []
    with one_page():
        for i, maker in enumerate(SECTIONS):
            told("writing the report", i, len(SECTIONS), maker.title)
            section = _built(maker, run)
            sections += [section] if section is not None else []
        told("writing the report", len(SECTIONS), len(SECTIONS))
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # The one place where all text is cleaned, whatever it was made of.
        finalize=lambda value: value if isinstance(value, Markup) else plain(value, 4_000),
    )
    here = resources.files("bayes_badger.report")
    template = environment.from_string((here / "page.html").read_text("utf-8"))
    verdict = next((x for x in sections if x.title == trusted.title), None)
    return template.render(
        name=label(run.name),
        sections=sections,
        verdict=verdict,
        style=Markup((here / "page.css").read_text("utf-8")),  # noqa: S704 - a file of the package
        version=version("bayes-badger"),
    )


def _built(maker: SectionMaker, run: Run) -> Section | None:
    """A section, or one that says why it could not be made: a stored run may hold anything."""
    try:
        return maker.build(run)
    except Exception as error:
        first = str(error).strip().partition("\n")[0]
        lead = f"This section could not be made: {type(error).__name__}: {plain(first, 300)}"
        return Section(title=maker.title, lead=lead, alarming=True)
