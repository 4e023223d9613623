"""One list of doubts: whatever speaks against a run is said alike wherever it is said.

The runs are those of the session, with one thing spoilt in the stored data set.
"""

import dataclasses
import html
import json
import re

import arviz_stats
import numpy as np
import pytest
import xarray as xr

import bayes_badger as bb
from bayes_badger.cli import device, main, summary
from bayes_badger.doubts import FIT, HEADINGS, LEFT_OUT, NUMBERS, TASKS, left_out, predictive, truth
from bayes_badger.doubts.checks import look
from bayes_badger.report import page
from bayes_badger.runs import Run


def spoilt(run, change=None, result=None):
    """The same run, in which nobody has looked for doubts, with groups that are changed."""
    groups = {name: run.tree[name].to_dataset().copy(deep=True) for name in run.tree.children}
    if change is not None:
        change(groups)
    given = {k: x for k, x in run.spec["result"].items() if k not in ("doubts", "not_looked_at")}
    spec = {**run.spec, "result": {**given, "warnings": [], **(result or {})}}
    tree = xr.DataTree.from_dict({f"/{name}": x for name, x in groups.items()})
    return dataclasses.replace(run, spec=spec, tree=tree, path=None)


def chains_apart(groups):
    groups["posterior"]["mu"][0] += 50


def diverging(groups):
    groups["sample_stats"]["diverging"][:, :50] = True


def not_finite(groups):
    groups["posterior"]["theta"][0, 0, 2] = np.inf


def flagged(groups):
    table = groups["trust"]
    bad = np.arange(table["tail_of_outcomes"].size) == 3
    groups["trust"] = table.assign(flagged=("school", bad))


def unlike(groups):
    groups["trust"]["tail_of_outcomes"][1] = 1e-6


def heavy(groups):
    rng = np.random.default_rng(0)
    groups["log_likelihood"]["y"][..., 0] = 4 * rng.normal(size=(4, 1000))


def misfit(groups):
    groups["observed_data"]["y"][0] += 1000


def no_likelihood(groups):
    del groups["log_likelihood"]


def light(groups):
    """No row matters."""
    groups["log_likelihood"]["y"] *= 0.01


def all_missed(groups):
    groups["truth"] = groups["posterior"].max(("chain", "draw")) + 1


# What is spoilt in which run: what is then doubted, and by which check.
CASES = {
    "clean": ("readings", None, None, set()),
    "heavy row": ("eight_schools", heavy, None, {(LEFT_OUT, left_out.KIND)}),
    "misfit": ("eight_schools", misfit, None, {(FIT, predictive.KIND)}),
    "flagged": ("eight_schools", flagged, None, {(TASKS, "flagged tasks")}),
    "unlike": ("eight_schools", unlike, None, {(TASKS, "unlike tasks")}),
    "not finite": ("eight_schools", not_finite, None, {(NUMBERS, "draws")}),
    "apart": ("eight_schools", chains_apart, {"independent": False}, {(NUMBERS, "chains")}),
    "diverging": ("radon", diverging, None, {(NUMBERS, "divergences")}),
    "true values": ("readings", all_missed, None, {(NUMBERS, truth.KIND)}),
    "by inference": (
        "readings",
        None,
        {"warnings": ["the belief does not hold against its program: use recipe nuts"]},
        {(NUMBERS, "inference")},
    ),
}


def text_of(part):
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", part)).split())


def of_report(run):
    """The doubts of the report's table, and its banner."""
    made = page.trusted.build(run)
    rows = [x.rows for x in made.blocks if getattr(x, "caption", "").startswith("All that speaks")]
    return {(head, text) for head, texts in (rows[0] if rows else []) for text in texts}, made.lead


@pytest.fixture
def said(capsys, monkeypatch, tmp_path):
    """What `badger show` says of a run: as text on one line, and as JSON."""
    monkeypatch.setattr(device, "silence", lambda: None)
    monkeypatch.setenv("COLUMNS", "100")

    def show(run):
        path = run.save(tmp_path)
        capsys.readouterr()
        assert main(["show", str(path)]) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert main(["show", str(path), "--json"]) == 0
        return shown, json.loads(capsys.readouterr().out)

    return show


@pytest.mark.parametrize("case", CASES)
def test_every_place_says_the_same(case, request, said):
    name, change, result, expected = CASES[case]
    whole = request.getfixturevalue(name)
    run = spoilt(whole, change, result)
    doubts = run.doubts
    texts = {x.text for x in doubts}
    # The planted one is found; nothing else that was not there before.
    found = {(x.about, x.kind) for x in doubts}
    assert expected <= found
    assert found - expected <= {(x.about, x.kind) for x in spoilt(whole).doubts}
    assert set(run.warnings) == {x.text for x in doubts if x.about in (NUMBERS, TASKS)}
    in_table, banner = of_report(run)
    assert in_table == {(HEADINGS[x.about], f"{x.text.rstrip('.')}.") for x in doubts}
    assert ("Nothing speaks against" in banner) == (not doubts)
    assert banner.startswith("Not to be trusted") == bool(run.warnings)
    for doubt in run.findings.others:
        assert doubt.sentence[1:] in banner
    shown, as_json = said(run)
    for text in texts:
        assert " ".join(text.split()) in shown
    assert ("Not to be trusted:" in shown) == bool(run.warnings)
    for about in (FIT, LEFT_OUT):
        assert (HEADINGS[about] in shown) == any(x.about == about for x in doubts)
    assert {(x["about"], x["kind"]) for x in as_json["doubts"]} == found
    assert as_json["warnings"] == run.warnings
    assert as_json == {**as_json, **bb.load(run.path).findings.as_table()}
    for shown_by_python in (repr(run), text_of(run._repr_html_())):
        assert all(text in shown_by_python for text in texts)


def test_a_run_keeps_what_was_found_when_it_was_made(eight_schools, readings, radon):
    for run in (eight_schools, readings, radon):
        given = run.spec["result"]
        assert [x["sentence"] for x in given["doubts"]] == [x.sentence for x in run.doubts]
        assert look(run.spec, run.tree) == run.findings


def test_a_clean_run_has_nothing_against_it_and_says_so(readings):
    assert readings.doubts == []
    assert readings.findings.not_looked_at == ()
    made = page.trusted.build(readings)
    assert made.lead.startswith("Nothing speaks against these numbers")
    assert (made.alarming, made.wary, made.tone) == (False, False, "")


def test_what_concerns_comparisons_is_no_alarm(eight_schools):
    made = page.trusted.build(spoilt(eight_schools, heavy))
    assert (made.alarming, made.tone) == (False, "fair")
    assert made.lead.startswith("The numbers are the program's posterior, as far as")
    assert re.search(r"But: Leave-one-out is rough for \d of 8 rows", made.lead)


def test_what_could_not_be_looked_at_is_told(eight_schools, said):
    run = spoilt(eight_schools, no_likelihood)
    assert run.findings.not_looked_at == (
        "leave-one-out: the run holds no log likelihood for each row",
    )
    shown, as_json = said(run)
    assert "not looked at: leave-one-out: the run holds no log likelihood" in shown
    assert as_json["not_looked_at"] == list(run.findings.not_looked_at)
    assert any("Not looked at" in str(x) for x in page.trusted.build(run).blocks)


def test_a_check_that_fails_is_told(readings, monkeypatch):
    from bayes_badger.doubts import checks

    def fail(*args):
        raise KeyError("x")

    monkeypatch.setitem(checks.CHECKS, "chains", fail)
    assert spoilt(readings).findings.not_looked_at == ("chains: KeyError: 'x'",)


# ---- leave-one-out ------------------------------------------------------------------------------


def test_pareto_k_is_arvizs(eight_schools, radon):
    for run in (eight_schools, radon):
        left = left_out.left_out(run.spec, run.tree)
        tree = xr.DataTree.from_dict({"/log_likelihood": run.log_likelihood.astype(float)})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("warnings.warn", lambda *args, **kwargs: None)
            found = arviz_stats.loo(tree, pointwise=True, reff=left.efficiency)
        np.testing.assert_allclose(left.pareto_k, found.pareto_k)
        assert left.good_k == pytest.approx(found.good_k)
        assert float(left.scores()[0].elpd) == pytest.approx(float(found.elpd))


def test_comparing_says_of_a_row_what_the_report_says(eight_schools):
    heavy_run, light_run = spoilt(eight_schools, heavy), spoilt(eight_schools, light)
    (doubt,) = (x for x in heavy_run.doubts if x.about == LEFT_OUT)
    assert not any(x.about == LEFT_OUT for x in light_run.doubts)
    notes = json.loads(bb.compare([heavy_run, light_run]).attrs["notes"])
    assert notes == [f"eight_schools: {doubt.sentence}"]
    assert doubt.sentence in page.left_out.build(heavy_run).lead
    assert "sound for all rows" in page.left_out.build(light_run).lead
    with pytest.raises(bb.BadgerError, match="cannot be compared: the run holds no log"):
        bb.compare([heavy_run, spoilt(eight_schools, no_likelihood)])


# ---- the predictive check -----------------------------------------------------------------------


def outcomes_of(observed, drawn):
    tree = xr.DataTree.from_dict(
        {
            "/observed_data": xr.Dataset({"y": ("obs_id", observed)}),
            "/posterior_predictive": xr.Dataset({"y": (("chain", "draw", "obs_id"), drawn)}),
        }
    )
    return Run(spec={"result": {"independent": True}}, tree=tree, evidence=xr.Dataset())


def test_sentence_and_table_of_the_predictive_check_agree():
    """For data at all distances, one by one: those outside are those that are named."""
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(4, 250, 40))
    named = 0
    for shift in np.linspace(0, 1, 11):
        run = outcomes_of(rng.normal(shift, 1 + shift, size=40), drawn)
        made = page.predictive.build(run)
        (table,) = (x for x in made.blocks if x.kind == "table")
        assert "99% interval" in table.caption
        outside = [row[0] for row in table.rows if row[-1] == "outside"]
        assert ("look like the real ones, and" in made.lead) == (not outside)
        assert made.wary == bool(outside)
        told = [x for x in run.doubts if x.kind == predictive.KIND]
        assert bool(told) == bool(outside)
        for row in table.rows:
            assert (row[0] in made.lead.partition("lie")[0]) == (row[0] in outside)
        if told:
            assert told[0].sentence[1:] in made.lead
            named += 1
    assert 2 < named < 11


def test_of_right_programs_few_are_named():
    """Data drawn as the replicates are: of 300, some 2 in 100 at each of few numbers."""
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(4, 100, 30))
    named = [
        any(x.outside for x in predictive.compared(predictive.outcomes(run.spec, run.tree)))
        for run in (outcomes_of(rng.normal(size=30), drawn) for _ in range(300))
    ]
    assert np.mean(named) < 0.08


# ---- true values --------------------------------------------------------------------------------


def simulated(true, draws, prior, notes=()):
    """A run of one vector of latents `[chain, draw, k]`, of an own prior."""
    groups = {
        "/posterior": xr.Dataset({"x": (("chain", "draw", "k"), draws)}),
        "/prior": xr.Dataset({"x": (("chain", "draw", "k"), prior)}),
        "/truth": xr.Dataset({"x": ("k", true)}),
    }
    spec = {"evidence": {"notes": list(notes)}, "result": {"independent": True}}
    return Run(spec=spec, tree=xr.DataTree.from_dict(groups), evidence=xr.Dataset())


def test_one_of_three_is_no_contradiction_and_one_of_nine_is():
    rng = np.random.default_rng(0)
    for count, doubted in ((3, False), (9, True)):
        true = np.where(np.arange(count) == 0, 0.0, 3.0)
        run = simulated(true, rng.normal(size=(4, 500, count)), 9 * rng.normal(size=(4, 99, count)))
        found = truth.held(run.spec, run.tree)
        assert found.sentence == (
            f"the interval holds the true value in 1 of {count} rows (about 89% expected)"
        )
        assert any(x.kind == truth.KIND for x in run.doubts) == doubted
        world = dataclasses.replace(run, spec={**run.spec, "evidence": {"notes": [truth.WORLD]}})
        assert "expected" not in truth.held(world.spec, world.tree).sentence
        assert not any(x.kind == truth.KIND for x in world.doubts)


def test_latents_that_hang_together_are_counted_together():
    """Nine that are all but one number: if it is missed, as is 1 in 9 times, all are."""
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(4, 500, 1)) + 1e-3 * rng.normal(size=(4, 500, 9))
    run = simulated(np.full(9, 1.8), draws, 9 * rng.normal(size=(4, 99, 9)))
    found = truth.held(run.spec, run.tree)
    assert (found.count, found.of) == (0, 9)
    assert 0.05 < found.tail < 0.15
    assert not any(x.kind == truth.KIND for x in run.doubts)


def test_a_latent_that_the_evidence_leaves_as_it_was_is_not_counted():
    """As the rate of a learner whose rule has none."""
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(4, 500, 2))
    draws[..., 1] *= 9
    run = simulated(np.array([0.1, 80.0]), draws, 9 * rng.normal(size=(4, 250, 2)))
    assert truth.held(run.spec, run.tree).sentence == (
        "the interval holds the true value in 1 of 1 rows (about 89% expected); 1 row of which "
        "the evidence says nothing is not counted (x)"
    )


def test_of_right_intervals_few_are_doubted():
    """Truth drawn as the posterior is: a tail below 1% comes in fewer than 1 of 100."""
    rng = np.random.default_rng(0)
    prior = 9 * rng.normal(size=(4, 99, 6))
    tails = []
    for _ in range(400):
        centre = rng.normal(size=6)
        run = simulated(centre + rng.normal(size=6), centre + rng.normal(size=(4, 125, 6)), prior)
        tails.append(truth.held(run.spec, run.tree).tail)
    assert np.mean(np.array(tails) < truth.TAIL) < 0.03
    assert np.mean(np.array(tails) < 0.2) > 0.05


def test_what_is_rounded_does_not_contradict_what_is_counted():
    """A true value just beyond the end of its interval is shown beyond it."""
    draws = np.linspace(0, 1, 4000).reshape(4, 1000, 1)
    upper = np.quantile(draws, 0.945)
    run = simulated(np.array([upper + 2e-4]), draws, 9 * draws)
    (scalar,) = summary.summarise(run, None).lifetime
    from bayes_badger.cli.tables import _cells

    _, _, lower, shown, true = _cells([scalar])[0]
    assert float(lower) < float(shown) < float(true)
    table = page.lifetime.table(page.lifetime.scalars(run).lifetime)
    assert float(table.rows[0][4]) < float(table.rows[0][5])
    assert "in 0 of 1 rows" in truth.held(run.spec, run.tree).sentence
