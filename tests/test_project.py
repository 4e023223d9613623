"""The project as a whole: rooms know only those before them, imports cost nothing, words hold."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.stats import norm

import bayes_badger as bb

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "bayes_badger"

# In the order in which data flow; rooms of one line do not know each other.
ROOMS = [
    ["errors", "whole_process", "compilation"],
    ["signature"],
    ["tables"],
    ["program"],
    ["evidence"],
    ["belief"],
    ["inner_loop"],
    ["trust"],
    ["outer_loop"],
    ["shelves", "named_values"],
    ["recipe", "labels", "pointwise"],
    ["preflight"],
    ["datatree", "unlike"],
    ["doubts"],
    ["runs"],
    ["outcomes", "learning"],
    ["assembling"],
    ["fitting"],
    ["many_lifetimes", "policies", "reopening"],
    ["updating", "prediction", "comparison", "left_out_tasks"],
    ["measures"],
    ["report"],
    ["cli"],
]
RANK = {room: i for i, rooms in enumerate(ROOMS) for room in rooms}


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_no_room_reaches_back(path):
    room = room_of(path)
    if room == "__init__":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{x.name}" for x in node.names]
        elif isinstance(node, ast.Import):
            names = [x.name for x in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] != "bayes_badger" or len(parts) < 2 or parts[1] not in RANK:
                continue
            known = parts[1]
            assert known == room or RANK[known] < RANK[room], f"{room} knows {known}"


def test_every_room_has_its_place():
    assert {room_of(path) for path in PACKAGE.rglob("*.py")} - {"__init__"} == set(RANK)


def test_importing_allocates_no_array():
    modules = [
        "bayes_badger." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py"
    ]
    code = f"import importlib, jax\nfor m in {modules}: importlib.import_module(m)\n"
    code += "assert not jax.live_arrays(), jax.live_arrays()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_everything_public_is_there():
    for name in bb.__all__:
        assert callable(getattr(bb, name)) or name == "measures", name
    with pytest.raises(AttributeError, match="has no attribute 'fitt'"):
        bb.fitt  # noqa: B018 - the access is what fails


def code_blocks(kind):
    return re.findall(rf"```{kind}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def test_the_readmes_own_program_and_table(tmp_path):
    """The example as a stranger would copy it: two files, and the two commands below them."""
    (tmp_path / "visits.py").write_text(code_blocks("python")[0])
    (tmp_path / "visits.csv").write_text(code_blocks("csv")[0])
    few = {"inference.grid.draws": 100}
    run = bb.fit(
        tmp_path / "visits.py", tmp_path / "visits.csv", task="patient", settings=few, out=tmp_path
    )
    assert run.spec["result"]["notes"][0].startswith("auto picked grid")
    assert list(run.posterior["patient"].values) == ["ann", "bob", "cid"]
    new = pd.DataFrame({"patient": ["dan"], "exposure": [0.2]})
    tree = bb.predict(bb.load(run.path), new, program=tmp_path / "visits.py")
    assert tree["posterior_predictive"]["events"].sizes["obs_id"] == 1


def test_the_readmes_program_that_learns(tmp_path):
    """Its parameters are told, and where the likelihood has its maximum."""
    (tmp_path / "levels.py").write_text(code_blocks("python")[1])
    (tmp_path / "levels.csv").write_text(code_blocks("csv")[1])
    run = bb.fit(tmp_path / "levels.py", tmp_path / "levels.csv", task="group")
    table = pd.read_csv(tmp_path / "levels.csv").assign(weight=lambda rows: rows.sigma**-2)
    table["weighted"] = table.weight * table.y
    sums = table.groupby("group")[["weight", "weighted"]].sum()
    means, errors = sums.weighted / sums.weight, sums.weight**-0.5

    def code_length(free):
        return -norm.logpdf(means, free[0], np.hypot(np.exp(free[1]), errors)).sum()

    best = minimize(code_length, np.zeros(2)).x
    assert run.parameters["mu"] == pytest.approx(best[0], abs=0.05)
    assert run.parameters["tau"] == pytest.approx(np.exp(best[1]), abs=0.05)
    assert run.spec["result"]["notes"][1].startswith("learned mu = ")


def test_nothing_reads_what_a_stranger_has_not():
    """No file names a folder beside the project, or a host of a registry."""
    folders = [
        "bayes_badger",
        "models",
        "inference",
        "analyses",
        "tests",
        "benchmarks",
        "docs",
        ".ci",
    ]
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    paths += [ROOT / "README.md", ROOT / "pyproject.toml"]
    texts = {path: path.read_text() for path in paths if path.suffix in (".py", ".md", ".toml", "")}
    assert len(texts) > 50
    for path, text in texts.items():
        if path.name != Path(__file__).name:
            assert "../shared" not in text, path
            assert "pypi.org" not in text, path
