"""The shelves: found by name or path, listed without being run, loaded without side effects."""

import subprocess
import sys
from pathlib import Path

import pytest

from bayes_badger import shelves
from bayes_badger.errors import BadgerError
from bayes_badger.shelves import find, load_program, load_python, names, shelf

PROGRAM = '"""One line.\n\nMore."""\n\ndef model(x, y=None):\n    return x\n'


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout of its own, with one program and two recipes."""
    (tmp_path / "bayes_badger").mkdir()
    (tmp_path / "pyproject.toml").write_text("")
    for kind in ("models", "inference"):
        (tmp_path / kind).mkdir()
    (tmp_path / "models" / "wave.py").write_text(PROGRAM)
    (tmp_path / "models" / "_helper.py").write_text("raise SystemExit")
    (tmp_path / "inference" / "nuts.toml").write_text('about = "NUTS"\n')
    (tmp_path / "inference" / "auto.toml").write_text("about = \n")
    monkeypatch.setattr(shelves, "PACKAGE", tmp_path / "bayes_badger")
    return tmp_path


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


def refused(match: str):
    return pytest.raises(BadgerError, match=match)


def test_the_shelf_is_the_checkouts(checkout):
    assert shelf("models") == checkout / "models"


def test_the_packed_shelf_comes_first(checkout):
    packed = checkout / "bayes_badger" / "_shelves" / "models"
    packed.mkdir(parents=True)
    assert shelf("models") == packed
    with refused("does not exist: install"):
        shelf("inference")


def test_nothing_beside_site_packages_is_a_shelf(tmp_path, monkeypatch):
    site = tmp_path / "site-packages"
    (site / "bayes_badger").mkdir(parents=True)
    (site / "models").mkdir()
    monkeypatch.setattr(shelves, "PACKAGE", site / "bayes_badger")
    with refused("lacks its shelf models/"):
        shelf("models")
    (site / "pyproject.toml").write_text("")
    with refused("lacks its shelf models/"):
        shelf("models")


def test_a_folder_without_a_project_is_no_checkout(checkout):
    (checkout / "pyproject.toml").unlink()
    with refused("lacks its shelf"):
        shelf("inference")
    mine = written(checkout, "mine.py", PROGRAM)
    assert not load_program(mine).on_shelf


def test_names_are_read_and_not_run(checkout):
    written(checkout / "models", "bad.py", "def (:\n")
    written(checkout / "models", "loud.py", '"""Loud."""\nraise RuntimeError\n')
    listing = dict(names("models"))
    assert list(listing) == ["bad", "loud", "wave"]
    assert listing["wave"] == "One line."
    assert listing["loud"] == "Loud."
    assert listing["bad"].startswith("(cannot be read: ")
    assert dict(names("inference"))["nuts"] == "NUTS"
    assert dict(names("inference"))["auto"].startswith("(cannot be read: ")


def test_listing_imports_nothing_heavy():
    code = (
        "import sys, bayes_badger.shelves as s; s.names('models'); s.names('inference');"
        "print([m for m in ('jax', 'numpyro', 'arviz', 'xarray', 'numpy') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_find_by_name_and_by_path(checkout, monkeypatch):
    monkeypatch.chdir(checkout)
    mine = written(checkout, "mine.py", PROGRAM)
    wave = checkout / "models" / "wave.py"
    assert find("models", "wave") == wave
    assert find("models", "models/wave.py") == wave
    assert find("models", "mine.py") == mine
    assert find("models", mine) == mine
    written(checkout, "wave", "something else")
    assert find("models", "wave") == wave


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("wvae", r"no program is called 'wvae' \(did you mean 'wave'\?\); the shelf models/ has"),
        ("wave.py", "no file wave.py; a name on the shelf is given without .py"),
        ("nowhere/mine.py", "no file nowhere/mine.py"),
        ("_helper", "no program is called '_helper'"),
        ("..", "no program is called"),
        ("models/", "is a folder"),
        ("", "is not the name"),
        ("a\0b", "is not the name"),
        ("./data.csv", "not a program: its name would end in .py"),
        ("inference/nuts.toml", "not a program: its name would end in .py"),
    ],
)
def test_what_cannot_be_found_is_told(checkout, monkeypatch, given, told):
    monkeypatch.chdir(checkout)
    written(checkout, "data.csv", "")
    with refused(told) as caught:
        find("models", given)
    assert "\n" not in str(caught.value)


def test_the_program_is_the_function_model(checkout):
    wave = load_program("wave")
    assert (wave.name, wave.model.__name__, wave.on_shelf) == ("wave", "model", True)
    assert wave.model(3) == 3
    assert len(wave.sha256) == 64
    assert wave.optional("columns") is None


def test_the_only_public_function_will_do(tmp_path):
    path = written(
        tmp_path,
        "mine.py",
        "from math import sqrt\ncolumns = {'X': ['a']}\n"
        "def _help(): ...\ndef inputs(key, tasks, steps): ...\ndef radon(x, y=None): ...\n",
    )
    program = load_program(str(path))
    assert program.model.__name__ == "radon"
    assert program.name == "mine"
    assert program.optional("columns") == {"X": ["a"]}
    assert program.optional("inputs").__name__ == "inputs"
    assert program.optional("world") is None


def test_a_colon_names_the_function(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "mine.py", "def flat(x, y=None): ...\ndef deep(x, y=None): ...\n")
    program = load_program("mine.py:deep")
    assert (program.name, program.model.__name__) == ("mine:deep", "deep")
    with refused(r"2 functions \(flat, deep\): .* as in mine.py:flat"):
        load_program("mine.py")
    with refused(r"no function 'dep' \(did you mean 'deep'\?\)"):
        load_program("mine.py:dep")
    with refused("after the colon"):
        load_program("mine.py:")
    with refused("after the colon"):
        load_program(":deep")


def test_a_decorated_program_counts_and_an_imported_one_does_not(tmp_path):
    path = written(
        tmp_path,
        "mine.py",
        "from functools import lru_cache, partial\n@lru_cache\ndef radon(x, y=None): ...\n",
    )
    assert load_program(path).model.__name__ == "radon"
    path = written(tmp_path, "none.py", "from functools import partial\n")
    with refused("none.py defines no program"):
        load_program(path)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("x = 1\ndef model(:\n", r"mine.py:2: invalid syntax"),
        ("\nimport nothing_like_it\n", r"mine.py:2: No module named 'nothing_like_it'"),
        ("def f():\n    return 1 / 0\nf()\n", r"mine.py:2: ZeroDivisionError: division by zero"),
        ("raise ValueError('a\\nb')\n", r"mine.py:1: ValueError: a$"),
        ("import sys\nsys.exit(3)\n", r"mine.py:2: SystemExit: 3"),
        ("x = '\0'\n", r"null bytes"),
        ("# coding: nonsense\n", r"mine.py:.*nonsense"),
        ("assert False\n", r"mine.py:1: AssertionError"),
    ],
)
def test_a_broken_file_is_told_in_one_line(tmp_path, source, told):
    before = set(sys.modules)
    with refused(told) as caught:
        load_python(written(tmp_path, "mine.py", source))
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in sys.path
    assert not {name for name in set(sys.modules) - before if "mine" in name}


def test_a_broken_sibling_is_named(tmp_path):
    written(tmp_path, "help_me.py", "x = (\n")
    with refused(r"help_me.py:1: "):
        load_python(written(tmp_path, "mine.py", "import help_me\n"))
    written(tmp_path, "help_me.py", "x = 1\ny = x.nothing\n")
    with refused(r"help_me.py:2: AttributeError"):
        load_python(written(tmp_path, "mine.py", "import help_me\n"))


def test_siblings_of_two_folders_never_meet(tmp_path):
    path = list(sys.path)
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        written(folder, "help_me.py", f"which = '{name}'\n")
        written(folder, "mine.py", "import help_me\nwhich = help_me.which\n")
    modules = [load_python(tmp_path / name / "mine.py") for name in ("one", "two")]
    assert [module.which for module in modules] == ["one", "two"]
    assert modules[0].__name__ != modules[1].__name__
    assert sys.path == path
    assert "help_me" not in sys.modules


def test_a_package_beside_the_file_is_a_sibling_too(tmp_path):
    for package in ("help_me", "bare_me"):
        (tmp_path / package).mkdir()
        written(tmp_path / package, "deep.py", "which = 3\n")
    written(tmp_path / "help_me", "__init__.py", "")
    source = "import json\nfrom help_me import deep\nfrom bare_me import deep as bare\n"
    module = load_python(written(tmp_path, "mine.py", source))
    assert module.deep.which == module.bare.which == 3
    assert not {name for name in sys.modules if name.startswith(("help_me", "bare_me"))}
    assert "json" in sys.modules


def test_dataclasses_with_text_annotations_work(tmp_path):
    source = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "from typing import ClassVar\n@dataclass\n"
        "class A:\n    k: ClassVar[int] = 1\n    b: int = 2\n"
    )
    module = load_python(written(tmp_path, "mine.py", source))
    assert module.A().b == 2
    assert sys.modules[module.__name__] is module


def test_an_edited_file_is_loaded_anew(tmp_path):
    first = load_program(written(tmp_path, "mine.py", "def model(x, y=None): return 1\n"))
    again = load_program(written(tmp_path, "mine.py", "def model(x, y=None): return 2\n"))
    assert (first.model(0), again.model(0)) == (1, 2)
    assert first.sha256 != again.sha256


def test_a_file_of_the_shelf_is_executed_once_until_it_changes(checkout):
    first, again = load_program("wave"), load_program("wave")
    assert first.model is again.model
    (checkout / "models" / "wave.py").write_text(PROGRAM + "\n# changed\n")
    assert load_program("wave").model is not first.model


def test_a_file_of_the_users_is_executed_each_time(tmp_path):
    """It may read another, which has changed."""
    written(
        tmp_path,
        "mine.py",
        "from pathlib import Path\n"
        "number = Path(__file__).with_suffix('.txt').read_text()\n"
        "def model(x, y=None): return number\n",
    )
    told = []
    for number in "12":
        written(tmp_path, "mine.txt", number)
        told.append(load_program(tmp_path / "mine.py").model(0))
    assert told == ["1", "2"]


def test_an_unreadable_file_is_told(tmp_path, monkeypatch):
    path = written(tmp_path, "mine.py", PROGRAM)

    def deny(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", deny)
    with refused("mine.py cannot be read: Permission denied"):
        load_program(path)
