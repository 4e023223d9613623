"""Writes plain values as TOML, which the standard library only reads."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

BARE = re.compile(r"[A-Za-z0-9_-]+")
ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def to_toml(table: Mapping[str, Any]) -> str:
    r"""Writes a table of text, numbers, truth values, lists and tables as TOML.

    Entries that are None are left out, for TOML has no such value; arrays become lists; of
    anything else (a function as a default, say) the text is kept, for it is a record.

    Example:
        >>> print(to_toml({"seed": 1, "program": {"name": "a \"b\"", "scale": float("inf")}}))
        seed = 1
        <BLANKLINE>
        [program]
        name = "a \"b\""
        scale = inf
        <BLANKLINE>
    """
    return "\n".join(_table(table, ())).lstrip("\n") + "\n"


def _table(table: Mapping[str, Any], place: tuple[str, ...]) -> list[str]:
    entries = {str(key): _plain(value) for key, value in table.items() if value is not None}
    values = {key: value for key, value in entries.items() if not isinstance(value, dict)}
    lines = ["", f"[{'.'.join(map(_key, place))}]"] if place else []
    lines += [f"{_key(key)} = {_value(value)}" for key, value in values.items()]
    for key, value in entries.items():
        if isinstance(value, dict):
            lines += _table(value, (*place, key))
    return lines


def _plain(value: Any) -> Any:
    """Numpy's and JAX's values as Python's, tuples as lists, the rest as text."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value if item is not None]
    return value if isinstance(value, str | bool | int | float) else str(value)


def _key(key: str) -> str:
    return key if BARE.fullmatch(key) else _text(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return float.__repr__(value) if math.isfinite(value) else _not_finite(value)
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_key(key)} = {_value(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        items = [_value(item) for item in value]
        if any(isinstance(item, dict) for item in value):
            return "[\n" + "".join(f"    {item},\n" for item in items) + "]"
        return f"[{', '.join(items)}]"
    return _text(value)


def _not_finite(value: float) -> str:
    return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"


def _text(text: str) -> str:
    return f'"{"".join(map(_character, str.__str__(text)))}"'


def _character(character: str) -> str:
    code = ord(character)
    if character in ESCAPES:
        return ESCAPES[character]
    if 0xD800 <= code <= 0xDFFF:  # half of a pair, which no UTF-8 file can hold
        return "\\uFFFD"
    return f"\\u{code:04X}" if code < 0x20 or code == 0x7F else character
