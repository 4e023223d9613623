"""A recipe: how to fit a program, as a TOML file whose settings are validated once.

    about = "NUTS over a whole lifetime: the reference"

    [inner_loop]
    name = "nuts"
    chains = 4

The inner loop is one of the toolkit's (`name`), or a Python file of the user's own
(`file = "mine.py"`, relative to the recipe). Either is a module with `make(settings)` and, where
it has settings, `class Settings(pydantic.BaseModel)`.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from bayes_badger import shelves
from bayes_badger.errors import BadgerError, did_you_mean, listed
from bayes_badger.inner_loop import registry

TOP_LEVEL = ("name", "about", "inner_loop")


class NoSettings(BaseModel):
    """The settings of an inner loop that has none."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


@dataclass(frozen=True)
class Recipe:
    """A validated recipe.

    Attributes:
        name: The name of its file, unless the file gives another.
        about: One line about it.
        path: Its file.
        settings: The validated settings, defaults filled in.
        source: What says which inner loop it is: `{"name": "nuts"}` or `{"file": "/mine.py"}`.
    """

    name: str
    about: str
    path: Path
    settings: BaseModel
    source: Mapping[str, str]
    _module: ModuleType = field(repr=False, compare=False)

    def make(self) -> Any:
        """Makes the inner loop."""
        return self._module.make(self.settings)

    def resolved(self) -> dict[str, Any]:
        """Everything filled in, as plain values: written as TOML it is itself a recipe."""
        settings = self.settings.model_dump(mode="json", exclude_none=True)
        return {
            "name": self.name,
            "about": self.about,
            "inner_loop": {**self.source, **settings},
        }


def load_recipe(name_or_path: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Loads and validates a recipe.

    Args:
        name_or_path: A name on the shelf `inference/`, or the path of a TOML file.
        overrides: Settings by dotted key relative to `[inner_loop]`, `{"nuts.draws": 500}`.

    Raises:
        BadgerError: All that is wrong with it, in one line.
    """
    path, table, inner_loop, problems = _opened(name_or_path)
    module, source = _module(path, inner_loop)
    model = _settings_model(module, path)
    settings = _settled(path, inner_loop, overrides or {}, source, model, problems)
    return Recipe(
        name=str(table.get("name", path.stem)),
        about=str(table.get("about", "")),
        path=path,
        settings=settings,
        source=source,
        _module=module,
    )


def check_recipe(
    name_or_path: str | Path,
    overrides: Mapping[str, Any],
    model_of: Callable[[str], type[BaseModel]],
) -> None:
    """Validates a recipe as `load_recipe` does, but without importing its inner loop.

    Args:
        name_or_path: A name on the shelf `inference/`, or the path of a TOML file.
        overrides: Settings by dotted key relative to `[inner_loop]`.
        model_of: Gives the model of the settings of an inner loop, by the loop's name. What a
            file of the user's may set is known once that is executed, and not asked here.

    Raises:
        BadgerError: All that is wrong with it, in one line.
    """
    path, _, inner_loop, problems = _opened(name_or_path)
    source = _named(path, inner_loop)
    if "name" in source:
        with _in_recipe(path):
            model = model_of(registry.known(source["name"]))
        _settled(path, inner_loop, overrides, source, model, problems)


def validated[M: BaseModel](model: type[M], prefix: str, given: Mapping[str, Any], whose: str) -> M:
    """Settings that stand beside a recipe, as those of the outer loop.

    Args:
        model: What validates them.
        prefix: What stands before each name, "outer.".
        given: Settings without the prefix.
        whose: Whose settings they are, for messages.

    Raises:
        BadgerError: For the first that is unknown or out of its range.
    """
    known = list(model.model_fields)
    for name in given:
        if name not in known:
            raise BadgerError(
                f"{whose} has no setting '{name}'{did_you_mean(name, known)}: it has "
                f"{listed(known, 12)}"
            )
    try:
        return model(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise BadgerError(f"{prefix}{name} = {first['input']}: {first['msg'].lower()}") from None


def recipe_schema(name: str | Path) -> dict[str, Any]:
    """The JSON schema of a recipe's settings, for editors and for `--help`."""
    path, table = _read(name)
    inner_loop = table.get("inner_loop")
    if not isinstance(inner_loop, dict):
        raise BadgerError(f"recipe {path}: {'; '.join(_top_level_problems(table))}")
    module, _ = _module(path, inner_loop)
    return _settings_model(module, path).model_json_schema()


def parse_setting(text: str) -> tuple[str, Any]:
    """Reads `key=value`: the value as TOML if it is TOML, else as text.

    Dates stay text: no setting is a date. Nothing is evaluated.

    Raises:
        BadgerError: Where there is no `=`, or nothing before it.

    Example:
        >>> parse_setting("scale=2"), parse_setting("rule=adam")
        (('scale', 2), ('rule', 'adam'))
        >>> parse_setting("nuts.steps=[1, 2.5]")
        ('nuts.steps', [1, 2.5])
    """
    key, equals, value = text.partition("=")
    key, value = key.strip(), value.strip()
    if not equals or not key:
        raise BadgerError(f"'{text}' is not a setting: write KEY=VALUE, as in scale=2")
    try:
        parsed = tomllib.loads(f"value = {value}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return key, value
    # "1\nother = 2" is TOML too, but not one value.
    dates = (datetime.date, datetime.time)
    if list(parsed) != ["value"] or isinstance(parsed["value"], dates):
        return key, value
    return key, parsed["value"]


def _read(name_or_path: str | Path) -> tuple[Path, dict[str, Any]]:
    path = shelves.find("inference", name_or_path)
    try:
        # tomllib says "(at line 3, column 7)" itself.
        return path, tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadgerError(f"{path} is not TOML: {error}") from error
    except RecursionError as error:
        raise BadgerError(f"{path} is nested too deeply to be a recipe") from error
    except OSError as error:
        raise BadgerError(f"{path} cannot be read: {error.strerror or error}") from error


def _top_level_problems(table: Mapping[str, Any]) -> list[str]:
    problems = [
        f"'{key}' has no meaning in a recipe{did_you_mean(key, TOP_LEVEL)}: "
        f"it has {listed(TOP_LEVEL)}"
        for key in table
        if key not in TOP_LEVEL
    ]
    problems += [
        f"{key} = {_shown(table[key])} should be text"
        for key in ("name", "about")
        if key in table and not isinstance(table[key], str)
    ]
    if "inner_loop" not in table:
        problems.append('a table [inner_loop] with name = "..." is missing')
    elif not isinstance(table["inner_loop"], dict):
        problems.append(f"inner_loop = {_shown(table['inner_loop'])} should be a table")
    return problems


def _opened(
    name_or_path: str | Path,
) -> tuple[Path, dict[str, Any], dict[str, Any], list[str]]:
    """A recipe's file, its table, its inner loop, and what is wrong above that."""
    path, table = _read(name_or_path)
    problems = _top_level_problems(table)
    inner_loop = table.get("inner_loop")
    if not isinstance(inner_loop, dict):
        raise BadgerError(f"recipe {path}: {'; '.join(problems)}")
    return path, table, inner_loop, problems


@contextlib.contextmanager
def _in_recipe(path: Path) -> Iterator[None]:
    """Names the recipe in what is said of its inner loop."""
    try:
        yield
    except BadgerError as error:
        raise BadgerError(f"recipe {path.name}: {error}") from error


def _settled(
    path: Path,
    inner_loop: Mapping[str, Any],
    overrides: Mapping[str, Any],
    source: Mapping[str, str],
    model: type[BaseModel],
    problems: list[str],
) -> BaseModel:
    """The validated settings of an inner loop, as a recipe has them and as they are set."""
    given = {key: value for key, value in inner_loop.items() if key not in source}
    for key, value in overrides.items():
        problems += _override(given, key, value, source)
    settings, invalid = _validated(model, given, next(iter(source.values())))
    if settings is None or problems:
        raise BadgerError(f"recipe {path.name}: {'; '.join([*problems, *invalid])}")
    return settings


def _named(path: Path, inner_loop: Mapping[str, Any]) -> dict[str, str]:
    """The one entry that names an inner loop: one of the toolkit's, or a file."""
    named = [key for key in ("name", "file") if key in inner_loop]
    if len(named) != 1:
        raise BadgerError(
            f"recipe {path.name}: [inner_loop] needs one of name (one of "
            f"{listed(registry.inner_loops(), 20)}) and file (a Python file of your own), "
            f"and has {'both' if named else 'neither'}"
        )
    key = named[0]
    value = inner_loop[key]
    if not isinstance(value, str):
        raise BadgerError(f"recipe {path.name}: {key} = {_shown(value)} should be text")
    if key == "name":
        return {key: value}
    file = (path.parent / Path(value).expanduser()).resolve()
    if not file.is_file():
        raise BadgerError(f"recipe {path.name}: file = '{value}': there is no file {file}")
    return {key: str(file)}


def _module(path: Path, inner_loop: Mapping[str, Any]) -> tuple[ModuleType, dict[str, str]]:
    """The module of an inner loop, and the one entry that names it."""
    source = _named(path, inner_loop)
    if "name" in source:
        with _in_recipe(path):
            return registry.module(source["name"]), source
    module = shelves.load_python(Path(source["file"]))
    if not callable(getattr(module, "make", None)):
        raise BadgerError(f"{source['file']} is no inner loop: it lacks def make(settings)")
    return module, source


def _settings_model(module: ModuleType, path: Path) -> type[BaseModel]:
    model = getattr(module, "Settings", NoSettings)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise BadgerError(
            f"recipe {path.name}: Settings in {module.__file__} should be a pydantic.BaseModel"
        )
    return model


def _override(
    given: dict[str, Any], key: str, value: Any, source: Mapping[str, str]
) -> Iterator[str]:
    """Sets one dotted key, copying what it changes; yields what is wrong with the key."""
    *parents, last = key.split(".")
    if not all([*parents, last]):
        yield f"'{key}' is not a dotted key, as in draws or nuts.draws"
        return
    if key in ("name", "file"):
        yield f"{key} cannot be set, it is what the recipe is about: give another recipe"
        return
    table = given
    for depth, parent in enumerate(parents, start=1):
        inner = table.get(parent, {})
        if not isinstance(inner, dict):
            yield f"{key}: {'.'.join(parents[:depth])} = {_shown(inner)} is not a table"
            return
        table[parent] = dict(inner)
        table = table[parent]
    table[last] = value


def _validated(
    model: type[BaseModel], given: Mapping[str, Any], label: str
) -> tuple[BaseModel | None, list[str]]:
    """The settings, or everything that is wrong with them."""
    try:
        text = json.dumps(given, default=_plain)
    except (TypeError, ValueError) as error:
        return None, [f"settings are text, numbers, lists and tables: {error}"]
    try:
        # As JSON, where strict means what it means for TOML: a list may be a tuple.
        # A key that no field takes is a mistake, even where a model of the user's own allows it.
        return model.model_validate_json(text, extra="forbid"), []
    except ValidationError as error:
        return None, [_told(detail, model, label) for detail in error.errors()]


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path | datetime.date | datetime.time):
        return str(value)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{_shown(value)} is not one of them")


def _told(detail: ErrorDetails, model: type[BaseModel], label: str) -> str:
    place = detail["loc"]
    dotted = ".".join(str(part) for part in place) or "the settings"
    if detail["type"] == "extra_forbidden":
        known = _fields(model, place[:-1])
        inside = ".".join([label, *map(str, place[:-1])])
        deeper = [f"{name}.{place[-1]}" for name in known if place[-1] in _fields(model, (name,))]
        hint = did_you_mean(str(place[-1]), known)
        if len(place) == 1 and deeper:
            hint = f" (it has {listed(deeper)})"
        return (
            f"{dotted} is not a setting of {inside}{hint}, which has {listed(known, 20) or 'none'}"
        )
    if detail["type"] == "missing":
        return f"{dotted} is missing"
    said = detail["msg"].removeprefix("Value error, ").partition("\n")[0]
    return f"{dotted} = {_shown(detail['input'])}: {said[:1].lower()}{said[1:]}"


def _fields(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """The settings of the table at a place, as far as its type says them."""
    for part in place:
        info = model.model_fields.get(str(part))
        inner = info.annotation if info else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
