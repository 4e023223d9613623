"""Mistakes that the text of a program and of a table show: told before JAX is imported."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import bayes_badger as bb
from bayes_badger import shelves
from bayes_badger.errors import BadgerError
from bayes_badger.evidence import read, split_queries
from bayes_badger.inner_loop import registry
from bayes_badger.outer_loop import breeding, loop
from bayes_badger.policies import Shape
from bayes_badger.preflight import checks, index_style, settings, table, visible
from bayes_badger.preflight.source import read_source
from bayes_badger.signature import Signature, read_signature
from bayes_badger.tables.csv_text import CsvText

PROGRAM = """
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

def model(exposure, events=None, *, scale=1.0):
    spread = numpyro.sample("spread", dist.HalfNormal(scale))
    with numpyro.plate("task", exposure.shape[0], dim=-2):
        level = numpyro.sample("level", dist.Normal(0.0, spread))
        with numpyro.plate("step", exposure.shape[1], dim=-1):
            numpyro.sample("events", dist.Poisson(jnp.exp(level + exposure)), obs=events)
"""
FLAT = '''
import numpyro, numpyro.distributions as dist, jax.numpy as jnp
def model(patient, exposure, events=None):
    """One row for each visit of each task."""
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("patients", 3):
        a = numpyro.sample("a", dist.Normal(mu, 1))
    with numpyro.plate("N", exposure.shape[0]):
        numpyro.sample("events", dist.Poisson(jnp.exp(a[patient] + exposure)), obs=events)
'''
TABLE = "patient,exposure,events\nann,0.5,2\nbob,1.0,0\nann,1.5,4\nbob,-0.5,1\n"
SIGNATURE = Signature("visits", ("exposure",), "events", settings={"scale": 1.0})
DATA = ("--data", "visits.csv", "--task", "patient")

# The table instead of TABLE, and what is said of it.
TABLES = [
    ("", "visits.csv: is empty: it needs a header and a row for each step of a task"),
    ("patient,exposure,events\n", "visits.csv: has a header but no rows: add a row for each step"),
    (TABLE.replace(",", ";"), "separates its columns by semicolons (patient, exposure, events)"),
    (TABLE.replace(",", ";"), 'pandas.read_csv("visits.csv", sep=";", decimal=",").to_csv('),
    (TABLE.replace(",", "\t"), "separates its columns by tabs (patient, exposure, events): call"),
    (TABLE.replace(",", " "), "separates its columns by spaces (patient, exposure, events)"),
    (TABLE.replace("patient,exposure", "patient,events"), "has no column 'exposure', which the"),
    ("events," + TABLE.replace("\n", "\n1,")[:-2], "2 columns are called events: rename all but"),
    (TABLE.replace("ann", "zo\xeb").encode("latin-1"), "line 2: byte 0xeb is not UTF-8: save it"),
    (b"PK\x03\x04\0\0", "visits.csv: is not a text file in UTF-8"),
    (TABLE.replace("events", "evnts"), "no column 'events', which the program visits needs as its"),
    (TABLE.replace("events", "evnts"), "outcome (did you mean 'evnts'?): rename or add it; it has"),
    (TABLE.replace("patient", "patent"), "no column 'patient' for the task (did you mean 'patent'"),
    (TABLE.replace("0.5,2", "low,2"), "row 1 (line 2): exposure: 'low' is not a number: the other"),
    (TABLE.replace("0.5,2", '"0,5",2'), "exposure: '0,5' is not a number: write a decimal point"),
    (TABLE.replace("0.5,2", "inf,2"), "row 1 (line 2): exposure is infinite: correct it, or empty"),
    (TABLE.replace("0.5,2", "1e20,2"), "exposure is 1e+20, too large for single precision"),
    (TABLE.replace("0.5,2", ",2"), "exposure is missing: fill it in, or drop them with --missing"),
    (TABLE.replace("0.5,2", "0.5,"), "events is missing: fill it in, or drop them with --missing"),
    (TABLE.replace("ann,0.5", ",0.5"), "the label of the task (patient) is missing: fill it in"),
    (TABLE.replace("0.5,2", "0.5,2,3"), "line 2: has 4 cells where the header has 3"),
    (TABLE + 'cid,"1,2\n', "line 6: cannot be read as CSV"),
]
# What the full reading leaves to the program, for it has no distribution of its own.
OUTCOMES = [
    (
        "1.0,-3",
        "row 2 (line 3): patient 'bob': events = -3 is outside the support of Poisson (non-",
    ),
    ("1.0,0.5", "events = 0.5 is outside the support of Poisson (non-negative integers): mend the"),
]
WORDS = "patient,exposure,events\nann,town,2\nbob,farm,0\nann,town,4\n"
MANY = "patient,exposure,events\nann,town,2\nbob,farm,0\nann,lake,4\n"
TABLES += [
    (
        WORDS,
        "exposure: 'town' is not a number (3 such rows): exposure is text; write 0 where",
    ),
    (WORDS, "write 0 where it is 'farm' and 1 where it is 'town'"),
    (MANY, "exposure is text with 3 values ('farm', 'lake', 'town'); write a column of 0 and 1"),
]
# The program instead of PROGRAM, and what is said of it.
PROGRAMS = [
    (PROGRAM.replace("None, *", "None *"), "visits.py:6: invalid syntax, at the ^ in: def model("),
    (PROGRAM.replace("events=None", "events"), "as in def model(exposure, events=None)"),
    (
        PROGRAM.replace("exposure, events=None, *", "*exposure, events=None"),
        "'*exposure' hides which columns the program",
    ),
    (
        PROGRAM.replace("scale=1.0", "scale=None"),
        "2 parameters with default None (events, scale",
    ),
    (PROGRAM.replace("exposure, ev", "ev"), "visits has no column of evidence to take the sizes"),
    (PROGRAM.replace("def model", "def _model"), "visits.py defines no program: write def model("),
    (PROGRAM.replace("model", "a") + "def b(x, y=None): ...\n", "defines 2 functions (a, b): call"),
    ("columns = {'dose': ['a']}\n" + PROGRAM, "groups a column that the program does not have"),
    (FLAT, 'visits.py: model has no numpyro.plate("task", ...): it is in index style (a[patient])'),
    (FLAT, 'Write def model(exposure, events=None): without patient; with numpyro.plate("task", '),
    (
        FLAT,
        "exposure.shape[0], dim=-2): around a, in place of numpyro.plate('patients', 3); a",
    ),
    (
        FLAT,
        'inside that plate, with numpyro.plate("step", exposure.shape[1], dim=-1): around e',
    ),
    (PROGRAM.replace('"task"', '"patients"'), "so that nothing says what belongs to a task"),
]
# The words of a command, with everything else as it should be.
COMMANDS = [
    (["fit", "visits.py", "--data", "visit.csv"], "no file visit.csv (did you mean 'visits.csv'?)"),
    (["fit", "visits.py", "--data", "visits.xlsx"], "is of no known kind ('.xlsx'): save it from"),
    (["fit", "visit.py"], "there is no file visit.py (did you mean 'visits.py'?)"),
    (["fit", "visits.py:modl"], "visits.py has no function 'modl' (did you mean 'model'?)"),
    (["fit", "radn"], "no program is called 'radn' (did you mean 'radon'?)"),
    (
        ["fit", "visits.py"],
        "visits brings no data: give it some, --data FILE with columns",
    ),
    (["fit", "visits.py", "--data", "visits.csv"], "which column labels the task? say --task"),
    (["fit", "visits.py", *DATA, "--tasks", "3"], "there are data, so nothing is simulated"),
    (["fit", "visits.py", *DATA, "--set", "scal=2"], "no setting 'scal' (did you mean 'scale'?)"),
    (["fit", "visits.py", *DATA, "-i", "nutz"], "no recipe is called 'nutz' (did you mean 'nuts'"),
    (
        ["fit", "coin", "--set", "inference.draws=9"],
        "draws is not a setting of auto (it has",
    ),
    (["fit", "coin", "--set", "inference.nuts.drws=9"], "did you mean 'draws'?"),
    (["fit", "coin", "--set", "inference.nuts.draws=0"], "nuts.draws = 0: input should be greater"),
    (["fit", "coin", "--set", "outer.speed=9"], "the outer loop has no setting 'speed'"),
    (["breed", "wave", "--to", "p.safetensors", "--set", "policy.massage=0"], "'message'"),
    (
        ["breed", "visits.py", *DATA, "--to", "p.safetensors", "--set", "scal=2"],
        "no setting 'scal'",
    ),
    (["predict", "a_run", "--data", "visits.csv"], "this run was fitted with /my/visits.py, which"),
    (["predict", "a_run", "--data", "short.csv", "--model", "visits.py"], "no column 'exposure'"),
    (
        ["update", "a_run", "--data", "short.csv", "--model", "visits.py"],
        "has no column 'exposure'",
    ),
    (
        ["update", "a_run", "--data", "visits.csv", "--model", "other.py"],
        "other.py has changed",
    ),
    (["fit"], "missing argument 'MODEL'"),
]
FIT = ["fit", "visits.py", *DATA]
ALL = [
    *((FIT, {"visits.csv": text}, message) for text, message in TABLES),
    *((FIT, {"visits.csv": TABLE.replace("1.0,0", x)}, message) for x, message in OUTCOMES),
    *((FIT, {"visits.py": text}, message) for text, message in PROGRAMS),
    *((words, {}, message) for words, message in COMMANDS),
]
HEAVY = ("jax", "numpyro", "arviz", "arviz_stats", "xarray", "pandas", "equinox")
# Each mistake in turn, as a user makes it, in one process that must not import what is heavy.
RUN = f"""
import contextlib, io, json, pathlib, sys
from bayes_badger.cli import main
told = []
for words, files in json.load(sys.stdin):
    for name, text in files.items():
        pathlib.Path(name).write_bytes(text.encode("latin-1"))
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*words, "--json"])
    told.append([code, out.getvalue(), err.getvalue()])
    heavy = set({HEAVY!r}) & set(sys.modules)
    assert not heavy, (words, heavy, err.getvalue())
json.dump(told, sys.stdout)
"""


def as_files(files):
    """The usual files, some of them replaced; as text in which each character is one byte."""
    usual = {
        "visits.py": PROGRAM,
        "other.py": PROGRAM + "# changed",
        "visits.csv": TABLE,
        "visits.xlsx": TABLE,
        "short.csv": "patient,events\ndan,1\n",
    }
    whole = {**usual, **files}
    return {
        name: (text if isinstance(text, bytes) else text.encode()).decode("latin-1")
        for name, text in whole.items()
    }


def refusal(check):
    """What a check says, or None where it finds nothing."""
    try:
        check()
    except BadgerError as error:
        return str(error)
    return None


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What the command line says of each mistake."""
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "visits.py").write_text(PROGRAM)
    run = folder / "runs" / "a_run"
    run.mkdir(parents=True)
    sha = read_source(folder / "visits.py").sha256
    (run / "spec.toml").write_text(
        '[evidence]\ntask_name = "patient"\n[program]\non_shelf = false\nname = "visits"\n'
        f'path = "/my/visits.py"\nsha256 = "{sha}"\n'
    )
    asked = json.dumps([(words, as_files(files)) for words, files, _ in ALL])
    done = subprocess.run(
        [sys.executable, "-c", RUN], cwd=folder, input=asked, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("place", range(len(ALL)), ids=lambda i: f"{i}: {ALL[i][2][:40]}")
def test_a_mistake_is_told_before_jax_is_imported(told, place):
    code, out, err = told[place]
    message = ALL[place][2]
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    error = json.loads(out)["error"]
    assert message in error["message"]
    assert error["kind"] == ("usage" if ALL[place][0] == ["fit"] else "mistake")


@pytest.mark.parametrize(("text", "message"), TABLES)
def test_the_full_reading_says_the_same(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    Path("visits.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    early = refusal(lambda: checks.check_table(Path("visits.csv"), SIGNATURE, "patient"))
    assert early == refusal(lambda: read(SIGNATURE, "visits.csv", task="patient"))
    assert message in early


CELLS = ["1", " 2 ", "-3", "+4", "1e5", "1E-3", ".5", "5.", "nan", "NA", "", "inf", "-Infinity"]
CELLS += ["True", "false", "1_000", "0x1F", "1d5", "1e", "--1", "1 2", "12%", "٣", "NULL", "#N/A"]
CELLS += ["1e400", "007", "1,5", "2020-01-01", "TRUE", "tRuE", "None", "n/a", "9" * 25]


@pytest.mark.parametrize("other", ["1", "1.5", "True", "", "x"])
@pytest.mark.parametrize("cell", CELLS)
def test_what_is_refused_early_is_refused_by_the_full_reading(tmp_path, cell, other):
    """In the same words; what is odd but not certain to be wrong is left to it."""
    path = tmp_path / "t.csv"
    path.write_text(f'task,x,y\na,"{cell}",1\na,"{other}",2\nb,2,3\n')
    signature = Signature("m", ("x",), "y")
    early = refusal(lambda: checks.check_table(path, signature))
    read_in_full = refusal(lambda: read(signature, path))
    if early is not None:
        assert read_in_full == early
    elif read_in_full is None:
        full = read(signature, path).columns["x"].tolist()
        assert CsvText.open(path).numbers(["x"])["x"].values.tolist() == full


def test_a_large_table_is_looked_at_in_part(tmp_path, monkeypatch):
    """Its first lines are, and nothing is said of them that the others might mend."""
    monkeypatch.setattr(table, "MOST_BYTES", 1000)
    path = tmp_path / "t.csv"
    path.write_text("task,x,y\n" + "a,,1\n" * 500 + 'a,1,"2\n')
    checks.check_table(path, Signature("m", ("x",), "y"))
    with pytest.raises(BadgerError, match="has no column 'w'"):
        checks.check_table(path, Signature("m", ("x",), "y", ("w",)))
    path.write_text("task,x,y\na,high,1\n" + "a,,1\n" * 500)
    with pytest.raises(BadgerError, match="x: 'high' is not a number"):
        checks.check_table(path, Signature("m", ("x",), "y"))


HELPED = """
import numpyro
import numpyro.distributions as dist
{}
def model(x, y=None):
    {}
        z = numpyro.sample("z", dist.Normal(0, 1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z, 1), obs=y)
"""
# Plates that a text does not rule out.
UNCERTAIN = [
    ("TASK = 'task'", "with numpyro.plate(TASK, x.shape[0], dim=-2):"),
    ("NAMES = ['task', 'step']", "with numpyro.plate(NAMES[0], x.shape[0], dim=-2):"),
    ("def of(name): return name.lower()", "with numpyro.plate(of('TASK'), x.shape[0], dim=-2):"),
    ("from mine import task_plate", "with task_plate(x):"),
    ("from numpyro import plate as over", "with over('ta' + 'sk', x.shape[0], dim=-2):"),
    ("over = numpyro.plate", "with over('ta' 'sk', x.shape[0], dim=-2):"),
    ("from mine import *", "with tasks(x):"),
    ("", "with getattr(numpyro, 'pl' + 'ate')('ta' + 'sk', x.shape[0], dim=-2):"),
    ("", "with numpyro.plate(name=f'{'ta'}sk', size=x.shape[0], dim=-2):"),
]


@pytest.mark.parametrize(("above", "plate"), UNCERTAIN)
def test_what_is_not_certain_is_not_refused(tmp_path, above, plate):
    path = tmp_path / "mine.py"
    path.write_text(HELPED.format(above, plate))
    assert index_style.may_have_task_plate(read_source(path).tree)


SIGNATURES = [
    ("NOTHING = None\ndef model(x, y=NOTHING): ...", ("x", "y")),
    ("NOTHING = made()\ndef model(x, y=NOTHING): ...", None),
    ("def model(x, y=None, n=len('ab')): ...", None),
    ("def wrap(f): return f\n@wrap\ndef model(x): ...", None),
    ("def model(x): ...\ndef model(x, y=None): ...", None),
    ("from other import model", None),
    ("from other import *", None),
    ("if True:\n    def model(x, y=None): ...", None),
    ("def real(x, y=None): ...\nmodel = real", None),
    ("columns = dict(X=['a'])\ndef model(X, y=None): ...", None),
    ("import math\ndef model(x, y=None, *, scale=math.pi, b=1 / 2): ...", ("x", "y")),
    ("columns = {'X': ['a', 'b']}\ndef model(X, y=None): ...", ("X", "y")),
]


@pytest.mark.parametrize(("text", "names"), SIGNATURES)
def test_a_signature_is_read_where_the_text_tells_it(tmp_path, text, names):
    path = tmp_path / "mine.py"
    path.write_text(text + "\n")
    found = read_source(path).signature()
    assert (None if found is None else found.names) == names


@pytest.mark.parametrize("name", [name for name, _ in shelves.names("models")])
def test_programs_of_the_shelf_pass(name):
    source = read_source(name)
    loaded = shelves.load_program(name)
    live = read_signature(loaded.model, loaded.name, loaded.optional("columns"))
    found = source.signature()
    assert found is not None
    assert (found.program, found.names, found.task_columns, found.stateful, found.groups) == (
        (live.program, live.names, live.task_columns, live.stateful, live.groups)
    )
    assert list(found.settings) == list(live.settings)
    assert source.sha256 == loaded.sha256
    assert index_style.may_have_task_plate(source.tree)
    checks.check_fit(name)


OBSERVED = [
    ("numpyro.sample('y', dist.Poisson(x), obs=y)", ("Poisson", "integernonnegative")),
    ("numpyro.sample('y', dist.Bernoulli(logits=x).to_event(1), obs=y)", ("Bernoulli", "boolean")),
    ("numpyro.sample('y', dist.Poisson(x).mask(x > 0), obs=y)", None),
    ("numpyro.sample('y', dist.Poisson(x), obs=y, obs_mask=x > 0)", None),
    ("numpyro.sample('y', dist.Poisson(x), obs=y - 1)", None),
    ("y = y - 1; numpyro.sample('y', dist.Poisson(x), obs=y)", None),
    ("y = numpyro.sample('y', dist.Poisson(x), obs=y)", ("Poisson", "integernonnegative")),
    ("numpyro.sample('y', own.Poisson(x), obs=y)", None),
    ("d = dist.Poisson(x); numpyro.sample('y', d, obs=y)", None),
    ("numpyro.sample('y', dist.Normal(x, 1), obs=y)", None),
]


@pytest.mark.parametrize(("line", "found"), OBSERVED)
def test_a_distribution_is_seen_where_it_is_certain(tmp_path, line, found):
    path = tmp_path / "mine.py"
    path.write_text(
        "import numpyro\nimport numpyro.distributions as dist\nimport own\n"
        f"def model(x, y=None):\n    {line}\n"
    )
    source = read_source(path)
    assert visible.visible_outcome(source, source.signature()) == found


def test_families_have_the_support_that_is_said_of_them():
    import numpyro.distributions as dist

    for families in (visible.COUNTS, visible.TRUTHS, visible.POSITIVE, visible.SHARES):
        assert all(hasattr(dist, family) for family in families)
    for name, support in (
        ("Poisson", "integernonnegative"),
        ("GammaPoisson", "integernonnegative"),
        ("BernoulliProbs", "boolean"),
        ("LogNormal", "positive"),
        ("Beta", "unitinterval"),
    ):
        assert type(getattr(dist, name).support).__name__.strip("_").lower() == support


def fields(model):
    """Names of settings, those of tables inside them too."""
    found = {}
    for name, info in model.model_fields.items():
        inner = info.annotation
        nested = isinstance(inner, type) and hasattr(inner, "model_fields")
        found[name] = fields(inner) if nested else (str(inner), sorted(map(str, info.metadata)))
    return found


@pytest.mark.parametrize("name", registry.inner_loops())
def test_settings_are_read_from_the_text_as_they_are(name):
    real = registry.module(name).Settings
    found = settings.settings_model(f"bayes_badger.inner_loop.{name}")
    assert fields(found) == fields(real)
    assert found.model_config.get("strict") == real.model_config.get("strict")


def test_settings_beside_a_recipe_are_read_from_the_text_too():
    for model, where in (
        (loop.Settings, ("bayes_badger.outer_loop.loop",)),
        (breeding.Settings, ("bayes_badger.outer_loop.breeding",)),
        (Shape, ("bayes_badger.policies", "Shape")),
    ):
        assert fields(settings.settings_model(*where)) == fields(model)


def flat(patient, exposure, events=None):
    import numpyro
    import numpyro.distributions as dist

    with numpyro.plate("patients", 3):
        a = numpyro.sample("a", dist.Normal(0, 1))
    with numpyro.plate("N", exposure.shape[0]):
        numpyro.sample("events", dist.Poisson(a[patient] + exposure), obs=events)


def test_a_function_in_index_style_is_told_too():
    table = {"patient": ["ann", "bob"], "exposure": [1.0, 2.0], "events": [1, 2]}
    with pytest.raises(BadgerError, match=r"it is in index style \(a\[patient\]\)"):
        bb.fit(flat, table, task="patient")


def test_text_that_labels_the_tasks_is_no_column():
    """Where the text of a program does not show that it has no plate."""
    signature = Signature("flat", ("patient", "exposure"), "events")
    table = {"patient": ["ann", "bob"], "exposure": [1.0, 2.0], "events": [1, 2]}
    with pytest.raises(BadgerError) as caught:
        read(signature, table, task="patient")
    assert str(caught.value) == (
        "the table: patient labels the tasks ('ann', ...), and the program flat asks for it as a "
        "column of numbers: leave patient out of its parameters, and write what each of them has "
        'of its own inside numpyro.plate("task", exposure.shape[0], dim=-2), not as entries picked '
        "by [patient]"
    )


def test_nothing_is_executed(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(f"open({str(tmp_path / 'made')!r}, 'w')\n" + PROGRAM)
    (tmp_path / "visits.csv").write_text(TABLE)
    checks.check_fit(path, tmp_path / "visits.csv", task="patient")
    assert ast.parse(path.read_text())
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "text",
    [
        "patient,exposure\nann,0.5\nbob,1.0\n",
        "patient,exposure,events\nann,0.5,2\nann,0.1,\nbob,1.0,NA\n",
        "patient\nann\nbob\n",
        "patient,exposure,events\nann,,\nbob,1.0,3\n",
        "patient,exposure,events\nann,,2\nbob,1.0,3\n",
        "patient,exposure,events\nann,high,2\n",
    ],
)
def test_new_data_may_lack_outcomes(tmp_path, text):
    """As the full reading for a prediction has it."""
    path = tmp_path / "new.csv"
    path.write_text(text)
    poisson = visible.Visible("Poisson", "integernonnegative")
    early = refusal(lambda: checks.check_table(path, SIGNATURE, "patient", "refuse", True, poisson))
    assert early == refusal(lambda: split_queries(SIGNATURE, path, task="patient"))
