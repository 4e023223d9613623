"""Recipes: everything filled in, everything wrong with them told at once, nothing evaluated."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from bayes_badger import recipe, shelves
from bayes_badger.errors import BadgerError
from bayes_badger.inner_loop import registry
from bayes_badger.recipe import load_recipe, parse_setting, recipe_schema
from bayes_badger.runs.spec_toml import to_toml

LOOP = """
from __future__ import annotations
from typing import Literal
from pydantic import BaseModel, ConfigDict, Field, model_validator

STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)

class Inner(BaseModel):
    model_config = STRICT
    draws: int = Field(1000, ge=1)

class Settings(BaseModel):
    model_config = STRICT
    chains: int = Field(4, ge=1)
    target: float = Field(0.9, gt=0, lt=1)
    rule: Literal["adam", "sgd"] = "adam"
    steps: tuple[float, ...] = (1.0, 2.0)
    ceiling: float = float("inf")
    nothing: int | None = None
    nuts: Inner = Inner()

    @model_validator(mode="after")
    def _odd(self):
        if self.chains == 13:
            raise ValueError("Thirteen chains bring bad luck")
        return self

def make(settings):
    return ("made", settings)
"""


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(LOOP)
    return written(tmp_path, 'about = "Mine"\n[inner_loop]\nfile = "mine.py"\n')


def written(folder: Path, text: str) -> Path:
    path = folder / "own.toml"
    path.write_text(text)
    return path


def refused(match: str):
    return pytest.raises(BadgerError, match=match)


def test_defaults_are_filled_in(mine):
    loaded = load_recipe(mine)
    assert (loaded.name, loaded.about, loaded.path) == ("own", "Mine", mine.resolve())
    assert loaded.settings.nuts.draws == 1000
    assert loaded.make() == ("made", loaded.settings)
    assert loaded.resolved()["inner_loop"] == {
        "file": str(mine.parent / "mine.py"),
        "chains": 4,
        "target": 0.9,
        "rule": "adam",
        "steps": [1.0, 2.0],
        "ceiling": math.inf,
        "nuts": {"draws": 1000},
    }


def test_what_is_resolved_is_itself_a_recipe(mine, tmp_path):
    loaded = load_recipe(mine, {"nuts.draws": 7, "steps": [3]})
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    again = load_recipe(written(folder, to_toml(loaded.resolved())))
    assert again.resolved() == loaded.resolved()
    assert again.name == "own"


def test_overrides_come_last(mine):
    mine.write_text(mine.read_text() + "chains = 2\n[inner_loop.nuts]\ndraws = 3\n")
    overrides = {"chains": 5, "nuts.draws": np.int64(6), "target": 0.5, "steps": (1, 2)}
    settings = load_recipe(mine, overrides).settings
    assert (settings.chains, settings.nuts.draws, settings.target) == (5, 6, 0.5)
    assert settings.steps == (1.0, 2.0)
    assert load_recipe(mine).settings.nuts.draws == 3


def test_everything_wrong_is_told_in_one_line(mine):
    mine.write_text(
        "abot = 1\n" + mine.read_text() + 'chains = 0\ntarget = 2.0\nrule = "adm"\n'
        "drws = 1\n[inner_loop.nuts]\ndrawz = 3\n"
    )
    with refused("recipe own.toml: ") as caught:
        load_recipe(mine, {"a..b": 1, "chains.x": 1, "file": "x.py"})
    told = str(caught.value)
    assert "\n" not in told
    for part in (
        "'abot' has no meaning in a recipe (did you mean 'about'?)",
        "'a..b' is not a dotted key",
        "chains.x: chains = 0 is not a table",
        "file cannot be set",
        "chains = 0: input should be greater than or equal to 1",
        "target = 2.0: input should be less than 1",
        "rule = 'adm': input should be 'adam' or 'sgd'",
        "drws is not a setting of",
        "nuts.drawz is not a setting of",
        "(did you mean 'draws'?), which has draws",
    ):
        assert part in told


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"chains": "4"}, "chains = '4': input should be a valid integer"),
        ({"chains": 4.5}, "chains = 4.5: input should be a valid integer"),
        ({"chains": True}, "chains = True: input should be a valid integer"),
        ({"chains": 13}, "thirteen chains bring bad luck"),
        ({"nuts": 3}, "nuts = 3: "),
        ({"chains": object()}, "settings are text, numbers, lists and tables"),
    ],
)
def test_a_wrong_override_is_told(mine, overrides, told):
    with refused(told):
        load_recipe(mine, overrides)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("about = \n", r"own.toml is not TOML: .*line 1"),
        ("x = 1\nx = 2\n", r"not TOML: .*line 2"),
        ("", r"a table \[inner_loop\] with name"),
        ("inner_loop = 3\n", r"inner_loop = 3 should be a table"),
        ("about = 3\n[inner_loop]\nfile = 'mine.py'\n", "about = 3 should be text"),
        ("[inner_loop]\n", "and has neither"),
        ("[inner_loop]\nname = 'a'\nfile = 'b'\n", "and has both"),
        ("[inner_loop]\nname = 3\n", "name = 3 should be text"),
        ("[inner_loop]\nname = '../nuts'\n", "no inner loop '../nuts'"),
        ("[inner_loop]\nname = 'registry'\n", "no inner loop 'registry'"),
        ("[inner_loop]\nfile = 'gone.py'\n", "file = 'gone.py': there is no file"),
        ("x = " + "[" * 5000 + "]" * 5000, "nested too deeply|not TOML"),
    ],
)
def test_a_broken_recipe_is_told(mine, text, told):
    with refused(told) as caught:
        load_recipe(written(mine.parent, text))
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_told(tmp_path):
    (tmp_path / "own.toml").write_bytes(b"about = '\xff'\n")
    with refused("own.toml is not TOML"):
        load_recipe(tmp_path / "own.toml")


def test_an_inner_loop_without_settings_takes_none(mine):
    (mine.parent / "mine.py").write_text("def make(settings):\n    return 'made'\n")
    assert load_recipe(mine).make() == "made"
    with refused("draws is not a setting of .*mine.py, which has none"):
        load_recipe(mine, {"draws": 3})


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("x = 1\n", "mine.py is no inner loop: it lacks def make"),
        ("def make(s): ...\nSettings = {}\n", "should be a pydantic.BaseModel"),
        ("1/0\n", "mine.py:1: ZeroDivisionError"),
    ],
)
def test_a_broken_inner_loop_is_told(mine, source, told):
    (mine.parent / "mine.py").write_text(source)
    with refused(told):
        load_recipe(mine)


def test_a_named_inner_loop_comes_from_the_registry(tmp_path, mine, monkeypatch):
    module = shelves.load_python(tmp_path / "mine.py")
    monkeypatch.setattr(recipe.registry, "module", lambda name: module)
    path = written(tmp_path, '[inner_loop]\nname = "tiny"\nchains = 2\n')
    loaded = load_recipe(path)
    assert loaded.source == {"name": "tiny"}
    assert loaded.settings.chains == 2


def test_the_registry_lists_without_importing(tmp_path, monkeypatch):
    for name in ("__init__", "protocol", "registry", "_help", "nuts", "auto"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError\n")
    monkeypatch.setattr(registry, "PACKAGE", tmp_path)
    assert registry.inner_loops() == ("auto", "nuts")
    with refused(r"no inner loop 'nutz' \(did you mean 'nuts'\?\); there are auto, nuts"):
        registry.module("nutz")


def test_the_schema_is_json(mine):
    schema = recipe_schema(mine)
    assert json.loads(json.dumps(schema["properties"]["chains"]))["minimum"] == 1


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("scale=2", ("scale", 2)),
        ("scale = 2.5 ", ("scale", 2.5)),
        ("rule=adam", ("rule", "adam")),
        ('rule="adam"', ("rule", "adam")),
        ("on=true", ("on", True)),
        ("a.b=[1, 2]", ("a.b", [1, 2])),
        ("a={b = 1}", ("a", {"b": 1})),
        ("x=inf", ("x", math.inf)),
        ("x=1e-3", ("x", 1e-3)),
        ("x=", ("x", "")),
        ("x=a=b", ("x", "a=b")),
        ("x=2024-01-01", ("x", "2024-01-01")),
        ("x=1\ny = 2", ("x", "1\ny = 2")),
        ("x=__import__('os')", ("x", "__import__('os')")),
        ("x=" + "[" * 5000, ("x", "[" * 5000)),
    ],
)
def test_a_setting_is_toml_or_text(text, setting):
    assert parse_setting(text) == setting


@pytest.mark.parametrize("text", ["scale", "=2", " = 2", ""])
def test_no_setting(text):
    with refused("is not a setting: write KEY=VALUE"):
        parse_setting(text)


def test_the_shelf_has_nuts():
    loaded = load_recipe("nuts", {"draws": 500})
    assert loaded.resolved()["inner_loop"] == {
        "name": "nuts",
        "chains": 4,
        "warmup": 1000,
        "draws": 500,
        "target_accept": 0.95,
        "max_tree_depth": 10,
        "parametrisation": "auto",
    }
    with refused("target_accept = 1.5: .*; draws = 0: |draws = 0: .*; target_accept = 1.5: "):
        load_recipe("nuts", {"target_accept": 1.5, "draws": 0})


def test_the_shelf_has_auto():
    assert load_recipe("auto", {"nuts.draws": 500}).settings.nuts.draws == 500


def test_every_recipe_on_the_shelf_loads():
    for name, about in shelves.names("inference"):
        assert about
        assert load_recipe(name).resolved()
