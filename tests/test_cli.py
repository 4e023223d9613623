"""The command line: what it answers, what it says of mistakes, and what it must not import."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import typer
import xarray as xr

from bayes_badger import comparison, fitting, prediction
from bayes_badger.cli import advice, checks, completion, device, main
from bayes_badger.cli.app import app
from bayes_badger.cli.progress import Meter, Pace
from bayes_badger.cli.scalars import scalars
from bayes_badger.cli.screen import Screen
from bayes_badger.errors import BadgerError
from bayes_badger.named_values import chances
from bayes_badger.runs import Run, find_run, list_runs, read_run, write_run
from bayes_badger.tables.kinds import check_file

FEW = [word for n in ("warmup", "draws") for word in ("--set", f"inference.{n}=50")]
HOSTILE = ["[red]x[/red]", "a\x1b[31mb\nc", "Ünïcode\u202eevil", "long " * 40, "[/]"]
HEAVY = ("jax", "numpyro", "arviz", "arviz_stats", "xarray", "pandas", "equinox")


def spec(**changes):
    return {
        "name": "radon",
        "seed": 3,
        "program": {
            "name": "radon",
            "settings": {},
            "latents": [
                {"name": "mu", "scope": "lifetime", "shape": []},
                {"name": "alpha", "scope": "task", "shape": []},
            ],
        },
        "recipe": {
            "name": "auto",
            "inner_loop": {
                "name": "auto",
                "nuts": {"chains": 4, "draws": 50, "warmup": 70, "target_accept": 0.9},
            },
        },
        "evidence": {
            "tasks": len(HOSTILE),
            "rows": 7,
            "task_name": "county",
            "digest": "ab",
            "notes": ["2 rows [bold]dropped[/bold]"],
        },
        "device": "1 x cpu",
        "result": {"seconds": 1.5, "notes": ["auto picked nuts: \x1b[2J"], "doubts": []},
        **changes,
    }


def tree(truth=False):
    rng = np.random.default_rng(0)
    posterior = xr.Dataset(
        {
            "alpha": (("chain", "draw", "county"), rng.normal(3, 0.5, (4, 50, len(HOSTILE)))),
            "mu": (("chain", "draw"), rng.normal(size=(4, 50))),
            "stuck": (("chain", "draw"), np.full((4, 50), 2.0)),
            "net": (("chain", "draw", "weight"), rng.normal(size=(4, 50, 65))),
        },
        {"county": HOSTILE, "chain": range(4), "draw": range(50)},
    )
    groups = {"/posterior": posterior}
    if truth:
        groups["/truth"] = xr.Dataset({"mu": 0.25, "alpha": ("county", np.full(len(HOSTILE), 9.0))})
    return xr.DataTree.from_dict(groups)


def a_run(truth=False, **changes):
    evidence = xr.Dataset({"y": ("obs_id", np.arange(7.0))})
    return Run(spec=spec(**changes), tree=tree(truth), evidence=evidence)


@pytest.fixture
def stored(tmp_path):
    run = a_run()
    return write_run(
        tmp_path / "runs",
        "radon",
        spec=run.spec,
        tree=run.tree,
        evidence=run.evidence,
        parameters={},
        metrics=[],
    )


@pytest.fixture(autouse=True)
def _narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    # In a test JAX runs already, and must stay as the other tests expect it.
    monkeypatch.setattr(device, "prepare", lambda debug=False: None)


@pytest.fixture
def badger(capsys):
    def run(*words):
        capsys.readouterr()
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def no_fit(monkeypatch):
    """Replaces the fit by something instant; returns what it was called with."""
    calls = []

    def fit(*args, **kwargs):
        calls.append((args, kwargs))
        return a_run(truth=True)

    monkeypatch.setattr(fitting, "fit", fit)
    return calls


MISTAKES = [
    (["fit", "radn"], "did you mean 'radon'"),
    (["fit", "coin", "--set", "scale"], "'scale' is not a setting: write KEY=VALUE"),
    (["fit", "coin", "--set", "a=1", "--set", "a=2"], "--set a is given twice"),
    (["fit", "coin", "-i", "nutz"], "no recipe is called 'nutz' (did you mean 'nuts'?)"),
    (["fit", "coin", "--set", "inference.nuts.drws=3"], "did you mean 'draws'?"),
    (["fit", "coin", "--set", "inference.draws=3"], "draws is not a setting of auto"),
    (["fit", "coin", "--data", "nope.csv"], "there is no file nope.csv"),
    (["fit", "coin", "--seed", "x"], "invalid value for '--seed'"),
    (["fit", "coin", "--seed", "-1"], "-1 is not between 0 and"),
    (["fit", "coin", "--tasks", "-3"], "invalid value for '--tasks': -3"),
    (["fit", "coin", "--steps", "0"], "invalid value for '--steps': 0"),
    (["fit", "coin", "--missing", "maybe"], "'maybe' is not one of 'refuse', 'drop'"),
    (["fit", "coin", "--out", "/proc/nowhere/at/all"], "nothing can be written to --out /proc"),
    (["fit"], "missing argument 'MODEL' (badger fit --help)"),
    (["fitt"], "no such command 'fitt'"),
    (["fit", "coin", "--bogus"], "no such option: --bogus"),
    (["fit", "[red]x"], "no program is called '[red]x'"),
    (["fit", "x\x1b[31my"], "'x\\x1b[31my'"),
    (["show", "nothing"], "no run in runs is called 'nothing'"),
    (["show"], "there is no complete run in runs yet: fit one first"),
    (["show", "/nowhere/at/all"], "there is no run at '/nowhere/at/all'"),
    (["show", "--tasks", "0"], "0 is not a number of things"),
    (["compare", "nothing", "else"], "no run in runs is called 'nothing'"),
    (["predict", "nothing"], "missing option '--data'"),
    (["predict", "nothing", "--data", "new.csv"], "no run in runs is called 'nothing'"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES)
def test_mistake_is_one_line(badger, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = badger(*words)
    lines = [line for line in err.splitlines() if not re.match(r" +\d+\.\d s  ", line)]
    assert code == 2
    assert out == ""
    assert message in err
    assert len(lines) == 1
    assert lines[0].startswith("badger: ")
    assert "\x1b" not in err
    assert not (tmp_path / "runs").exists()


def test_mistakes_in_data(badger, tmp_path):
    (tmp_path / "table.csv").write_text("coin,toss,heads\na,0,1\na,1,0\n")
    for words, message in [
        ((), "--task"),
        (("--task", "coyn"), "coyn"),
    ]:
        data = ("--data", tmp_path / "table.csv", "--out", tmp_path / "runs")
        code, out, err = badger("fit", "coin", *data, *words)
        assert (code, out) == (2, "")
        assert message in err
        assert "Traceback" not in err


def test_close_names_of_files(tmp_path):
    (tmp_path / "table.csv").write_text("")
    with pytest.raises(BadgerError, match=r"did you mean 'table\.csv'"):
        check_file(tmp_path / "tabel.csv")


def test_trial_of_a_folder_leaves_nothing(tmp_path):
    checks.check_folder(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    for folder in ("file", "file/inside"):
        with pytest.raises(BadgerError, match="nothing can be written to --out"):
            checks.check_folder(tmp_path / folder)


def test_defect_is_one_line_and_debug_shows_where(badger, monkeypatch, tmp_path):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("oh\nno")

    monkeypatch.setattr(fitting, "fit", broken)
    code, out, err = badger("fit", "coin", "--quiet", "--out", tmp_path)
    assert (code, out) == (1, "")
    assert "defect of bayes-badger" in err
    assert "ZeroDivisionError: oh; --debug shows where" in err
    assert err.count("\n") == 1
    code, _, err = badger("fit", "coin", "--debug", "--out", tmp_path)
    assert code == 1
    assert "Traceback" in err


def test_debug_shows_where_a_mistake_was_found(badger):
    code, _, err = badger("fit", "radn", "--debug")
    assert code == 2
    assert "Traceback" in err


def test_interrupted_fit(badger, monkeypatch, tmp_path):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "fit", interrupted)
    for flag in ("--json", "--quiet"):
        code, out, err = badger("fit", "coin", flag, "--out", tmp_path / "runs")
        told = {"message": "interrupted: nothing was stored", "kind": "interrupted"}
        assert (code, json.loads(out) if out else None) == (
            130,
            {"error": told} if flag == "--json" else None,
        )
        assert "badger: interrupted: nothing was stored" in err


def test_interrupted_fit_that_kept_its_draws(badger, monkeypatch, tmp_path):
    def heard(*args, **kwargs):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        except KeyboardInterrupt:
            pass
        run = a_run(
            result={"warnings": ["interrupted after 50 of 90 draws per chain"], "doubts": []}
        )
        run.path = tmp_path / "radon-1"
        return run

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(fitting, "fit", heard)
    code, out, err = badger("fit", "radon", "--out", tmp_path)
    assert code == 130
    assert "interrupted after 50 of 90 draws per chain" in out
    assert "is kept in" in err
    assert "radon-1" in err
    assert signal.getsignal(signal.SIGINT) is before


def test_fit_passes_on_what_was_asked(badger, no_fit, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("county,dose,y\nA,1,2\n")
    (tmp_path / "mine.py").write_text(
        "import numpyro\ncolumns = make_columns()\n"
        "def model(dose, y=None, *, rule='sgd'): numpyro.plate('task', 2)\n"
    )
    words = ["--set", "inference.draws=7", "--set", "rule=adam", "--seed", 5]
    words += ["--data", table, "--task", "county", "--missing", "drop", "-i", "nuts"]
    words += ["--trust", "refine", "--outer-steps", 9, "--resume", tmp_path]
    words += ["--budget", "2m"]
    code, _, err = badger("fit", tmp_path / "mine.py", *words, "--out", tmp_path)
    ((args, kwargs),) = no_fit
    assert code == 0, err
    assert args == (str(tmp_path / "mine.py"), table)
    assert kwargs.pop("report")
    assert kwargs == {
        "task": "county",
        "inference": "nuts",
        "settings": {"inference.draws": 7, "rule": "adam"},
        "missing": "drop",
        "seed": 5,
        "trust": "refine",
        "outer_steps": 9,
        "out": tmp_path,
        "resume": tmp_path,
        "budget": "2m",
    }
    badger("fit", "coin", "--out", tmp_path, "--tasks", 3, "--steps", 4)
    assert (no_fit[1][1]["tasks"], no_fit[1][1]["steps"]) == (3, 4)


def test_sizes_of_nothing_simulated_are_refused(badger, tmp_path):
    (tmp_path / "table.csv").write_text("task,toss,heads\na,0,1\na,1,0\n")
    data = ("--data", tmp_path / "table.csv")
    for words, why in [
        (("rats", "--tasks", 6, "--steps", 5), "rats brings its own data"),
        (("rats", "--steps", 5), "rats brings its own data"),
        (("coin", "--tasks", 6, *data), "there are data"),
    ]:
        code, out, err = badger("fit", *words, "--quiet", "--out", tmp_path / "runs")
        assert (code, out) == (2, "")
        assert f"{why}, so nothing is simulated: leave out tasks and steps" in err
        assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_quiet_shows_nothing(badger, no_fit, tmp_path):
    assert badger("fit", "radon", "--quiet", "--out", tmp_path) == (0, "", "")


def test_what_a_program_prints_is_not_on_stdout(badger, monkeypatch, tmp_path):
    def chatty(*args, **kwargs):
        sys.stdout.write("hello from a program\n")
        return a_run()

    monkeypatch.setattr(fitting, "fit", chatty)
    code, out, err = badger("fit", "radon", "--json", "--out", tmp_path)
    assert code == 0
    assert json.loads(out)["model"] == "radon"
    assert "hello" in err


def test_summary_shows_the_truth_beside_the_belief(badger, no_fit, tmp_path):
    _, out, _ = badger("fit", "radon", "--out", tmp_path)
    assert "true" in out
    assert "the interval holds the true value in 1 of 6 rows" in out
    assert re.search(r"mu .* 0\.2[0-9]? ", out)


def test_warnings_are_prominent_and_come_with_a_mending_command(badger, monkeypatch, tmp_path):
    said = ["r_hat of mu is 1.1", "3 of 9 transitions diverged", "mu has 9 effective draws"]
    run = a_run(result={"warnings": said, "doubts": []})
    monkeypatch.setattr(fitting, "fit", lambda *args, **kwargs: run)
    code, out, _ = badger("fit", "radon", "--set", "inference.nuts.draws=50", "--out", tmp_path)
    assert code == 0
    assert "Not to be trusted:" in out
    command = out.splitlines()[-1]
    assert command == (
        f"  badger fit radon --out {tmp_path} --set inference.nuts.target_accept=0.98 "
        "--set inference.nuts.warmup=280 --set inference.nuts.draws=200"
    )


def test_what_was_picked_is_mended(tmp_path):
    """Every inner loop that auto picks from has draws; only those of the one picked matter."""
    names = ("exact", "enumerate", "grid", "nuts")
    tables = {name: {"chains": 4, "draws": 50, "warmup": 70} for name in names}
    result = {
        "notes": ["auto picked nuts: it fits (passed over: grid: no)"],
        "warnings": ["mu has 9 effective draws"],
        "doubts": [],
    }
    recipe = {"name": "auto", "inner_loop": {"name": "auto", **tables}}
    run = a_run(recipe=recipe, result=result)
    assert list(advice.mending(run)) == ["inference.nuts.draws=200"]


def test_next_commands_name_the_folder_and_the_file(tmp_path):
    run = a_run(program={"name": "mine", "path": "/my files/mine.py"})
    shown, predicted, compared = advice.after_fit(run, tmp_path, ["mine.py"])
    assert shown == f"badger show radon --out {tmp_path}"
    assert "--model '/my files/mine.py'" in predicted
    assert f"--runs {tmp_path}" in predicted
    assert compared == f"badger compare radon OTHER_RUN --out {tmp_path}"


def test_show(badger, stored):
    code, out, err = badger("show", "radon", "--out", stored.parent)
    assert (code, err) == (0, "")
    assert stored.name in out
    assert "2 rows [bold]dropped[/bold]" in out
    assert "too many entries to show: net" in out
    assert "89% equal-tailed" in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_hostile_labels_are_text(badger, stored):
    _, out, _ = badger("show", "--out", stored.parent)
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "[red]x[/red]" in out
    assert "a\\x1b[31mb\\nc" in out
    assert "\\x1b[2J" in out
    assert "[/]" in out
    assert "…" in out


def test_show_leaves_tasks_out_and_says_so(badger, stored):
    _, out, _ = badger("show", "--tasks", 2, "--out", stored.parent)
    assert "3 more tasks (county): badger show" in out
    assert "[/]" not in out
    _, out, _ = badger("show", "--tasks", 2, "--out", stored.parent, "--json")
    assert json.loads(out)["tasks_left_out"] == 3


def test_show_json_is_finite_and_complete(badger, stored):
    code, out, err = badger("show", stored, "--json")
    found = json.loads(out, parse_constant=lambda x: pytest.fail(x))
    assert (code, err) == (0, "")
    assert [row["label"] for row in found["tasks"]] == [label.strip("\0") for label in HOSTILE]
    stuck = next(row for row in found["lifetime"] if row["name"] == "stuck")
    assert stuck["r_hat"] is None
    assert stuck["mean"] == 2.0
    alpha = tree()["posterior"]["alpha"].values[..., 0]
    row = found["tasks"][0]
    assert math.isclose(row["mean"], alpha.mean())
    assert math.isclose(row["eti89_lb"], np.quantile(alpha, 0.055))
    assert found["path"] == str(stored)


def test_runs_tells_states(badger, stored):
    parent = stored.parent
    (parent / "broken-1").mkdir()
    (parent / "broken-1" / "spec.toml").write_text("")
    (stored / "metrics.jsonl").write_text("longer than it was")
    code, out, _ = badger("runs", "--out", parent)
    assert code == 0
    assert "unfinished: it has no manifest.json" in " ".join(out.split())
    assert "damaged: metrics.jsonl was changed" in " ".join(out.split())
    _, out, _ = badger("runs", "--out", parent, "--json")
    assert {row["state"] for row in json.loads(out)["runs"]} == {"unfinished", "damaged"}
    code, _, err = badger("show", stored)
    assert code == 2
    assert "metrics.jsonl was changed" in err


def test_no_runs(badger, tmp_path):
    code, out, _ = badger("runs", "--out", tmp_path / "none")
    assert code == 0
    assert "no runs in" in out
    assert json.loads(badger("runs", "--out", tmp_path, "--json")[1]) == {"runs": []}


@pytest.mark.parametrize(("command", "known"), [("models", "eight_schools"), ("recipes", "nuts")])
def test_shelves(badger, command, known):
    code, out, _ = badger(command)
    assert code == 0
    assert known in out
    found = json.loads(badger(command, "--json")[1])[command]
    assert known in [row["name"] for row in found]
    assert all(row["about"] for row in found)


def test_help_and_version(badger):
    code, out, _ = badger()
    assert code == 0
    assert "Exit codes" in out
    assert badger("--help")[1].split() == out.split()
    assert re.fullmatch(r"badger \d+\.\d+.*\n", badger("--version")[1])
    for command in ("fit", "predict", "compare", "show", "report", "runs", "models", "recipes"):
        code, out, _ = badger(command, "--help")
        assert code == 0
        assert f"Example: badger {command}" in out


def test_completion(stored):
    assert [name for name, _ in completion.model_names("eight")] == ["eight_schools"]
    assert [name for name, _ in completion.recipe_names("nu")] == ["nuts"]
    context = typer.Context(typer.main.get_command(app))
    context.params = {"out": stored.parent}
    assert [name for name, _ in completion.run_names(context, "")] == [stored.name, "last"]
    context.params = {"out": "/nowhere/at/all"}
    assert completion.run_names(context, "") == []


@pytest.mark.parametrize(
    "words", [["--help"], ["fit", "--help"], ["models"], ["recipes"], ["runs"], ["fit", "radn"]]
)
def test_nothing_heavy_is_imported(words, tmp_path):
    code = (
        "import sys; from bayes_badger.cli import main; main(sys.argv[1:]); "
        f"sys.exit(','.join(sorted(set({HEAVY!r}) & set(sys.modules))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True
    )
    last = done.stderr.splitlines()[-1] if done.stderr else ""
    assert last in ("", *[line for line in [last] if line.startswith("badger: ")]), done.stderr


def test_pace_leaves_the_compilation_out():
    pace = Pace()
    assert pace.add(0, 0.0) is None
    assert pace.add(50, 10.0) == 5.0
    assert pace.add(100, 10.5) == 100.0


def test_progress_elsewhere_is_a_line_for_each_stage(capsys):
    screen = Screen()
    with Meter(screen.err) as meter:
        for done in range(0, 150, 50):
            meter("warm-up", done, 100, "3 leapfrog [red]steps")
        meter("sampling", 0, 100)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("s  ")[1] for line in lines] == [
        "warm-up (100 draws)",
        "sampling (100 draws)",
    ]


def test_fit_end_to_end(badger, tmp_path):
    words = ["--out", tmp_path, "--tasks", 3, "--steps", 4, "--seed", 1, "--inference", "nuts"]
    code, out, err = badger("fit", "coin", *FEW, *words, "--json")
    found = json.loads(out, parse_constant=lambda x: pytest.fail(x))
    assert code == 0
    assert "sampling (50 draws)" in err
    assert found["log_evidence"] is None
    assert [row["label"] for row in found["tasks"]] == ["0", "1", "2"]
    assert all(0 < row["truth"] < 1 for row in found["tasks"])
    assert [entry.name for entry in list_runs(tmp_path)] == [found["run"]]
    code, out, _ = badger("show", "last", "--out", tmp_path)
    assert code == 0
    assert "simulated 3 tasks of 4 steps" in out


def test_fit_by_what_auto_picks(badger, tmp_path):
    """Independent draws, and the log evidence, here of coins: in closed form."""
    words = ["--out", tmp_path, "--tasks", 3, "--steps", 4, "--set", "inference.grid.draws=50"]
    code, out, err = badger("fit", "coin", *words, "--json")
    assert code == 0, err
    found = json.loads(out, parse_constant=lambda x: pytest.fail(x))
    assert "integrating" in err
    assert found["notes"][0].startswith("auto picked grid: ")
    run = read_run(find_run("last", tmp_path))
    assert not run.tree["sample_stats"].data_vars
    assert run.posterior.sizes["draw"] == 50
    h = run.observed_data["heads"].groupby("task").sum().values
    closed = [beta(1 + x, 5 - x) for x in h]
    assert found["log_evidence"] == pytest.approx(sum(closed), abs=3 * 1e-4)
    _, out, _ = badger("show", "last", "--out", tmp_path)
    assert "200 independent draws" in out
    assert re.search(rf"log evidence +{found['log_evidence']:.4f} nats, error about", out)


def beta(a, b):
    """Log of the beta function."""
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def predicted(rows=25):
    rng = np.random.default_rng(1)
    draws = {"chain": range(2), "draw": range(30)}
    labels = ("obs_id", [HOSTILE[i % 5] for i in range(rows)])
    groups = {
        "/posterior": tree()["posterior"].to_dataset()[["alpha", "mu"]],
        "/posterior_predictive": xr.Dataset(
            {"y": (("chain", "draw", "obs_id"), rng.normal(size=(2, 30, rows)))},
            {**draws, "obs_id": range(1, rows + 1), "county": labels},
        ),
    }
    if not rows:
        del groups["/posterior_predictive"]
    found = xr.DataTree.from_dict(groups)
    found.attrs["notes"] = json.dumps(["drew [b]", "not to be trusted: r_hat is 2"])
    return found


@pytest.fixture
def new_data(stored, tmp_path, monkeypatch):
    """Replaces the prediction by something instant; the words of a command that asks for it."""
    (tmp_path / "new.csv").write_text("x")
    monkeypatch.setattr(prediction, "predict", lambda *args, **kwargs: predicted())
    return ["predict", stored, "--data", tmp_path / "new.csv"]


def test_predict(badger, new_data, tmp_path):
    code, out, _ = badger(*new_data, "--out", tmp_path / "deep" / "p.csv")
    assert code == 0
    assert "- drew [b]" in out
    assert "Not to be trusted:" in out
    assert "- r_hat is 2" in out
    assert "5 more rows" in out
    assert "row 20, [/]" in out
    assert "\x1b" not in out
    table = pd.read_csv(tmp_path / "deep" / "p.csv")
    assert list(table.columns) == ["obs_id", "task", "mean", "sd", "eti89_lb", "eti89_ub"]
    assert list(table.obs_id) == list(range(1, 26))
    assert list(table.task[:5]) == HOSTILE
    y = predicted()["posterior_predictive"]["y"].values
    np.testing.assert_allclose(table["mean"], y.mean((0, 1)))
    np.testing.assert_allclose(table["eti89_ub"], np.quantile(y, 0.945, axis=(0, 1)))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["p.csv"]


def test_predict_whole_tree(badger, new_data, tmp_path):
    code, out, _ = badger(*new_data, "--out", tmp_path / "p.nc", "--quiet")
    assert (code, out) == (0, "")
    assert set(xr.load_datatree(tmp_path / "p.nc").children) == {
        "posterior",
        "posterior_predictive",
    }


def test_predict_json(badger, new_data):
    code, out, _ = badger(*new_data, "--json")
    found = json.loads(out, parse_constant=lambda x: pytest.fail(x))
    assert code == 0
    assert len(found["rows"]) == 25
    assert found["rows"][0]["obs_id"] == 1
    assert found["warnings"] == ["r_hat is 2"]


def test_predict_nothing(badger, new_data, monkeypatch, tmp_path):
    monkeypatch.setattr(prediction, "predict", lambda *args, **kwargs: predicted(0))
    code, out, _ = badger(*new_data, "--out", tmp_path / "p.csv")
    assert code == 0
    assert "alpha, by county" in out
    assert "predicted" not in out.partition("stored")[0]
    assert (tmp_path / "p.csv").read_text() == "obs_id,task,mean,sd,eti89_lb,eti89_ub\n"


def test_predict_refuses_a_bad_target(badger, new_data, tmp_path):
    for name, message in [("p.txt", "should end in .csv or .nc"), ("", "is a folder")]:
        (tmp_path / "x.csv").mkdir(exist_ok=True)
        code, out, err = badger(*new_data, "--out", tmp_path / (name or "x.csv"))
        assert (code, out) == (2, "")
        assert message in err


def test_compare(badger, stored, monkeypatch):
    second = stored.rename(stored.with_name("radon-2"))
    stored = write_run(
        second.parent,
        "radon",
        spec=spec(result={"warnings": ["r_hat [x]"], "doubts": []}),
        tree=tree(),
        evidence=xr.Dataset(),
        parameters={},
        metrics=[],
    )

    def compared(runs):
        rows = {"elpd": [-30.05, np.nan], "se": [1.0, 2.0], "elpd_diff": [0.0, 3.25]}
        table = pd.DataFrame({**rows, "weight": [1.0, 0.0]}, index=[run.name for run in runs])
        table.attrs["notes"] = json.dumps(["k is high [y]"])
        return table

    monkeypatch.setattr(comparison, "compare", compared)
    code, out, err = badger("compare", "radon-2", stored.name, "--out", second.parent)
    assert (code, err) == (0, "")
    assert re.search(r"radon-2 .* -30\.1|radon-2 .* -30\.0", out)
    assert "- k is high [y]" in out
    assert "r_hat [x]" in out
    _, out, _ = badger("compare", "radon-2", stored.name, "--out", second.parent, "--json")
    found = json.loads(out, parse_constant=lambda x: pytest.fail(x))
    assert [row["run"] for row in found["rows"]] == ["radon-2", stored.name]
    assert found["rows"][1]["elpd"] is None
    code, _, err = badger("compare", "radon-2", "radon-2", "--out", second.parent)
    assert code == 2
    assert "two or more runs" in err


@pytest.mark.slow
def test_all_eight_schools_on_a_narrow_terminal(tmp_path):
    command = [
        sys.executable,
        "-c",
        "import sys; from bayes_badger.cli import main; sys.exit(main())",
    ]
    # As a user has it: no folder for compilations is named.
    own = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment = {**own, "COLUMNS": "80", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [*command, "fit", "eight_schools"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^  ([A-H]) ", done.stdout, re.MULTILINE) == list("ABCDEFGH")
    table = done.stdout.partition("Next:")[0]
    assert all(len(line) <= 80 for line in table.splitlines())
    assert list((tmp_path / "cache" / "bayes-badger" / "jax").iterdir())
    assert "Warning" not in done.stderr


def test_values_with_names_have_a_probability_each():
    named = xr.DataArray([[0, 1, 1, 1]], dims=("chain", "draw"), name="rule")
    named.attrs["labels"] = '["ridge", "pool"]'
    found = scalars(chances(named), diagnostics=False)
    assert [(x.name, x.index, x.mean) for x in found] == [
        ("rule", "ridge", 0.25),
        ("rule", "pool", 0.75),
    ]
    assert all(np.isnan([x.sd, x.eti89_lb, x.eti89_ub]).all() for x in found)
    for broken in ("[", "1", "[]", 3):
        named.attrs["labels"] = broken
        assert chances(named) is named
