"""A run as one HTML page that can be mailed: no scripts, nothing fetched from elsewhere.

Each section is one file with `title` and `build(run)`; `page.SECTIONS` has their order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bayes_badger.report.page import write_report

__all__ = ["write_report"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Not before: it waits for matplotlib.
    from bayes_badger.report.page import write_report

    return write_report
