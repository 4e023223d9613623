"""How long a fit may take, as it is given: a number of seconds, or words such as 2m."""

from __future__ import annotations

import math
import re

from bayes_badger.errors import BadgerError

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def seconds_of(budget: float | int | str) -> float:
    """Seconds of a budget.

    Args:
        budget: Seconds, or a number with a unit: "90s", "2m", "1.5h".

    Raises:
        BadgerError: Where it is not a time above zero.

    Example:
        >>> print(seconds_of("2m"), seconds_of(90))
        120.0 90.0
    """
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:e[0-9]+)?)\s*([a-z]*)\s*", str(budget))
    unit = None if found is None else UNITS.get(found[2])
    seconds = math.nan if found is None or unit is None else float(found[1]) * unit
    if not 0 < seconds < math.inf:
        raise BadgerError(f"budget = '{budget}': give seconds, or a time such as 90s, 2m or 1h")
    return seconds
