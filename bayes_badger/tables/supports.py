"""Outcomes that a distribution cannot have, in words."""

from __future__ import annotations

from typing import Any

from bayes_badger.tables.origin import show, such_rows

# Supports as one reads them; others are called as NumPyro does.
SUPPORTS = {
    "boolean": "0 or 1",
    "greaterthan": "numbers above a bound",
    "greaterthaneq": "numbers from a bound upwards",
    "integergreaterthan": "integers from a bound upwards",
    "integerinterval": "integers from one bound to another",
    "integernonnegative": "non-negative integers",
    "integerpositive": "positive integers",
    "interval": "numbers from one bound to another",
    "lessthan": "numbers below a bound",
    "lessthaneq": "numbers up to a bound",
    "multinomial": "non-negative integers with a given sum",
    "nonnegative": "non-negative numbers",
    "openinterval": "numbers between two bounds",
    "positive": "positive numbers",
    "real": "real numbers",
    "realvector": "vectors of real numbers",
    "simplex": "non-negative numbers with sum 1",
    "softpluspositive": "positive numbers",
    "unitinterval": "numbers from 0 to 1",
}


def outside(name: str, value: Any, family: str, support: str, rows: int) -> str:
    """Says that an outcome is none that its distribution can have.

    Args:
        name: The outcome.
        value: What it is.
        family: The distribution's name.
        support: Its support, as NumPyro calls it.
        rows: How many such rows there are.

    Example:
        >>> outside("events", -1, "Poisson", "integernonnegative", 2)[:69]
        'events = -1 is outside the support of Poisson (non-negative integers)'
    """
    return (
        f"{name} = {show(value)} is outside the support of {family} "
        f"({SUPPORTS.get(support, support)}){such_rows(rows)}: "
        "mend the table, or choose another distribution"
    )
