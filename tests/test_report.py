"""The report: what it says of a run, what it makes of a hostile one, and where it goes."""

import dataclasses
import itertools
import json
import re
import subprocess
import sys
import webbrowser
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pytest
import xarray as xr

import bayes_badger as bb
from bayes_badger.cli import device, main
from bayes_badger.errors import BadgerError
from bayes_badger.report import figure, page, target
from bayes_badger.report.contents import evenly, scalars
from bayes_badger.report.diagnostics import diagnose
from bayes_badger.report.tasks import pooling
from bayes_badger.runs import Run, read_run, write_run

TASKS, ROWS, DRAWS = 6, 18, 200
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "\u202egnp.exe",
    "long " * 60,
    r"$\frac{1}{2}$ \alpha_{x}^$",
    "two\nlines\x1b[31m</text></svg><b>",
]


def spec(**changes):
    latent = {"role": "task", "family": "Normal", "support": "real", "shape": []}
    return {
        "name": "visits",
        "seed": 3,
        "created": "2026-11-22T10:00:00+00:00",
        "device": "1 x cpu",
        "program": {
            "name": "visits",
            "outcome": "y",
            "outcome_family": "Normal",
            "outcome_discrete": False,
            "latents": [
                {**latent, "name": "mu", "scope": "lifetime"},
                {**latent, "name": "theta", "scope": "task"},
            ],
        },
        "recipe": {"name": "auto", "inner_loop": {"name": "auto", "nuts": {"draws": DRAWS}}},
        "evidence": {"tasks": TASKS, "rows": ROWS, "task_name": "who", "notes": ["2 rows dropped"]},
        "versions": {"jax": "0.12.0"},
        "result": {"seconds": 1.5, "notes": ["auto picked nuts: fits"], "warnings": []},
        **changes,
    }


def groups(names=None, draws=DRAWS):
    """A conjugate posterior, drawn without any chain."""
    rng = np.random.default_rng(0)
    names = [f"t{i}" for i in range(TASKS)] if names is None else names
    index = np.sort(np.arange(ROWS) % TASKS)
    index[:3] = TASKS - 1  # so that they have different numbers of rows
    sample = {"chain": range(4), "draw": range(draws)}
    rows = {"obs_id": np.arange(ROWS), "who": ("obs_id", np.array(names, object)[index])}
    level = rng.normal(size=TASKS)
    y = level[index] + rng.normal(size=ROWS)
    mu = rng.normal(0, 0.3, (4, draws))
    theta = level + rng.normal(0, 0.4, (4, draws, TASKS))
    mean = theta[..., index]
    values = {"mu": (("chain", "draw"), mu), "theta": (("chain", "draw", "who"), theta)}
    coords = {**sample, "who": np.array(names, object)}
    pointwise = ("chain", "draw", "obs_id")
    found = {
        "posterior": xr.Dataset(values, coords),
        "prior": xr.Dataset(
            {
                "mu": (("chain", "draw"), rng.normal(0, 3, (4, draws))),
                "theta": (("chain", "draw", "who"), rng.normal(0, 4, (4, draws, TASKS))),
            },
            coords,
        ),
        "log_likelihood": xr.Dataset(
            {"y": (pointwise, -0.5 * (y - mean) ** 2 - 0.92)}, {**sample, **rows}
        ),
        "log_prior": xr.Dataset(
            {
                "mu": (("chain", "draw"), -0.5 * (mu / 3) ** 2),
                "theta": (("chain", "draw", "who"), -0.5 * (theta - mu[..., None]) ** 2),
            },
            coords,
        ),
        "posterior_predictive": xr.Dataset(
            {"y": (pointwise, rng.normal(mean, 1.0))}, {**sample, **rows}
        ),
        "observed_data": xr.Dataset({"y": ("obs_id", y)}, rows),
        "sample_stats": xr.Dataset(
            {"diverging": (("chain", "draw"), np.zeros((4, draws), bool))}, sample
        ),
    }
    return found, xr.Dataset({"task_index": ("obs_id", index), "y": ("obs_id", y)})


def a_run(change=None, names=None, **changes):
    found, evidence = groups(names)
    if change is not None:
        change(found)
    tree = xr.DataTree.from_dict({f"/{name}": x for name, x in found.items()})
    return Run(spec=spec(**changes), tree=tree, evidence=evidence)


@pytest.fixture(scope="module", autouse=True)
def few_traces():
    """Most of a page's time goes into them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page.chains, "MOST_TRACES", 1)
        yield


@pytest.fixture(scope="module")
def whole(few_traces):
    return page.render(a_run())


def section(html, title):
    """The text of one section, without its tags."""
    part = re.search(rf"<h2[^>]*>{re.escape(title)}</h2>(.*?)</section>", html, re.DOTALL)
    assert part, title
    return " ".join(re.sub(r"<[^>]+>", " ", part[1]).split())


def built(name, run):
    return getattr(page, name).build(run)


# ---- the page -----------------------------------------------------------------------------------


class Outline(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.text = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append((tag, found))
        self.ids += [found["id"]] if "id" in found else []
        links = (found.get(name) for name in ("href", "src", "xlink:href", "action", "data"))
        self.links += [link for link in links if link is not None]

    def handle_data(self, data):
        self.text.append(data)


def test_all_sections_are_there_in_order(whole):
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", whole)
    assert titles == [x.title for x in page.SECTIONS if x is not page.named]  # here nothing is
    assert "could not" not in whole
    assert re.findall(r'<li><a href="#([a-z-]+)">', whole) == re.findall(
        r'<section id="([a-z-]+)"', whole
    )


def test_every_section_is_led_by_a_sentence_of_this_run(whole):
    for title, words in {
        "What was fitted": "visits was fitted to 18 rows of 6 tasks (who) by the recipe auto",
        "Can it be trusted?": "Nothing speaks against these numbers: 4 chains agree",
        "What all tasks share": "All 6 tasks (who) share 1 number: mu is",
        "What each task has of its own": "theta of 6 tasks (who) is",
        "Do the chains agree?": "Of 7 scalars,",
        "Does it predict its own data?": "Data drawn from the posterior look like the real ones",
        "Does it predict rows it has not seen?": "would be predicted with a log density of",
        "Do the answers rest on the prior?": "No: were the prior of what all tasks share",
    }.items():
        assert words in section(whole, title)


def test_the_page_needs_nothing_else(whole):
    outline = Outline(whole)
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in whole
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in outline.links)
    assert {tag for tag, _ in outline.tags} & {"script", "iframe", "link", "object", "img"} == set()
    assert not any(name.startswith("on") for _, attrs in outline.tags for name in attrs)
    assert "@import" not in whole
    assert "http://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", whole)
    assert "https://" not in whole
    assert all(target.startswith("#f") for target in re.findall(r"url\((.*?)\)", whole))


def test_ids_do_not_clash_and_all_that_is_used_is_there(whole):
    outline = Outline(whole)
    assert len(outline.ids) == len(set(outline.ids))
    used = [link[1:] for link in outline.links if link.startswith("#")]
    used += re.findall(r"url\(#([^)]+)\)", whole)
    assert set(used) <= set(outline.ids)


def test_it_can_be_read_by_those_who_do_not_see_it(whole):
    outline = Outline(whole)
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    svgs = [attrs for tag, attrs in outline.tags if tag == "svg"]
    assert svgs
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in svgs)
    assert all(attrs.get("scope") in ("row", "col") for tag, attrs in outline.tags if tag == "th")
    count = [tag for tag, _ in outline.tags].count
    assert count("table") == count("caption") > 5
    assert count("figure") == count("figcaption") > 3
    assert ("html", {"lang": "en"}) in outline.tags


def test_the_same_run_makes_the_same_page(whole):
    assert page.render(a_run()) == whole


def test_a_users_own_settings_of_matplotlib_change_nothing(whole):
    with matplotlib.rc_context({"font.size": 30, "text.usetex": True, "axes.facecolor": "red"}):
        assert page.render(a_run()) == whole
        assert matplotlib.rcParams["font.size"] == 30


def test_numbers_are_those_of_the_draws(whole):
    mu = groups()[0]["posterior"]["mu"].values
    lower, upper = np.quantile(mu, (0.055, 0.945))
    told = section(whole, "What all tasks share")
    assert f"mu is {mu.mean():.2f} (89% interval {lower:.2f} to {upper:.2f})" in told
    assert "89% equal-tailed" in told


# ---- what a section finds -----------------------------------------------------------------------


def test_divergences_are_told():
    def diverge(found):
        found["sample_stats"]["diverging"][:, :50] = True

    html = page.render(a_run(diverge))
    assert "Not to be trusted: 200 of 800 transitions diverged: raise" in section(
        html, "Can it be trusted?"
    )
    assert re.search(r'<p class="verdict bad">Not to be trusted: 200 of 800', html)


def test_a_few_divergences_are_told_without_alarm():
    def diverge(found):
        found["sample_stats"] = xr.Dataset(
            {"diverging": (("chain", "draw"), np.eye(4, 2000, dtype=bool))}
        ).isel(chain=slice(0, 1))

    told = built("trusted", a_run(diverge))
    assert not told.alarming
    assert "1 of 2,000 transitions diverged, which is few" in told.lead


def test_chains_that_disagree_are_told():
    def apart(found):
        found["posterior"]["mu"][0] += 5

    run = a_run(apart)
    told = built("trusted", run)
    assert told.alarming
    assert re.match(r"Not to be trusted: r_hat of mu is \d\.\d+, above 1\.01", told.lead)
    assert "Of 7 scalars, mu mixes worst" in built("chains", run).lead


def test_few_effective_draws_are_told():
    def slow(found):
        found["posterior"]["mu"][:] = np.cumsum(found["posterior"]["mu"].values, axis=1)

    told = built("trusted", a_run(slow))
    assert told.alarming
    assert any("effective draws" in x for b in told.blocks for x in getattr(b, "sentences", ()))


def test_the_runs_own_warnings_are_all_told():
    result = {"warnings": ["r_hat of mu is 1.2: warm up longer", "<b>second</b>"]}
    html = page.render(a_run(result=result))
    told = section(html, "Can it be trusted?")
    assert "Not to be trusted: r_hat of mu is 1.2: warm up longer. And 1 more reason." in told
    assert "&lt;b&gt;second&lt;/b&gt;." in told


def test_draws_that_are_not_finite_are_told_and_the_rest_is_shown():
    def broken(found):
        found["posterior"]["theta"][0, 0, 0] = np.nan
        found["posterior"]["mu"][0, 3] = np.inf

    html = page.render(a_run(broken))
    assert "draws of mu are not finite, 2 scalars in all" in section(html, "Can it be trusted?")
    assert "Some of its draws are not finite" in section(html, "What each task has of its own")
    assert "could not be made" not in html


def test_one_chain_is_told():
    run = a_run()
    run.tree = run.tree.isel(chain=[0])
    told = built("trusted", run)
    assert "one chain alone" in section(page.render(run), "Can it be trusted?")
    assert told.alarming
    assert built("chains", run).lead.startswith("One chain alone has nothing to agree with")


def test_independent_draws_have_no_chains_to_diagnose():
    def exact(found):
        found["posterior"]["mu"][0] += 5  # would be an r_hat beyond all bounds
        del found["sample_stats"]

    result = {"independent": True, "log_evidence": -31.2251, "log_evidence_error": 0.01}
    html = page.render(a_run(exact, result=result))
    assert "the draws are independent" in section(html, "Can it be trusted?")
    assert "r_hat and traces say nothing here" in section(html, "Do the chains agree?")
    assert "-31.2251 nats, error about 0.01 by its own estimate" in section(html, "What was fitted")
    assert "800 independent draws" in html


def test_pooling_is_one_without_differences_and_none_without_doubt():
    rng = np.random.default_rng(0)
    noise, apart = rng.normal(size=(4, 500, 8)), np.arange(8.0)

    def factor(draws):
        run = a_run(lambda found: None)
        scalar = scalars(run).tasks[0]
        return pooling(dataclasses.replace(scalar, draws=draws))

    assert factor(noise) > 0.99
    assert factor(apart + 1e-3 * noise) < 0.01
    # By hand: the spread expected is that of the means and that of the noise.
    assert abs(factor(apart + noise) - 1 / (1 + apart.var() / (7 / 8))) < 0.02
    assert np.isnan(factor(noise[..., :1]))


def test_narrowing_is_a_log_ratio_of_intervals():
    run = a_run(lambda found: found.update(prior=found["posterior"] * np.e))
    for scalar in (*scalars(run).lifetime, *scalars(run).tasks):
        np.testing.assert_allclose(scalar.narrowing, 1)
    run = a_run(lambda found: found.pop("prior"))
    assert np.isnan(scalars(run).tasks[0].narrowing).all()
    assert "Its prior was not kept" in section(page.render(run), "What each task has of its own")


def test_tasks_that_share_nothing_are_not_called_pooled():
    told = section(
        page.render(a_run(lambda found: found["posterior"].__delitem__("mu"))),
        "What each task has of its own",
    )
    assert "Of the spread of theta of 6 tasks (who), which share nothing," in told
    assert "Its evidence made the 89% interval of a task" in told
    assert "pooled" not in told


def test_each_vector_of_a_task_is_shown_by_entries():
    def double(found):
        theta = found["posterior"]["theta"]
        found["posterior"]["theta"] = xr.concat([theta, 2 * theta], "theta_dim_0").transpose(
            "chain", "draw", "who", ...
        )

    run = a_run(double)
    html = page.render(run)
    assert re.findall("<h3><bdi>(.*?)</bdi></h3>", html) == ["theta[0]", "theta[1]"]
    assert "theta[t0, 1]" in diagnose(run).names
    assert "apart equally well in all" in section(html, "What each task has of its own")


def test_known_truth_is_shown_beside_the_belief():
    def known(found):
        posterior = found["posterior"]
        found["truth"] = posterior.mean(("chain", "draw"))
        found["truth"]["theta"][0] = 99

    told = section(page.render(a_run(known)), "What each task has of its own")
    assert "holds the true value of 5 of 6 tasks" in told
    assert "99.0" in told


def test_values_with_names_have_a_probability_each():
    def change(found):
        rng = np.random.default_rng(0)
        labels = json.dumps(["ridge", HOSTILE[0]])
        rule, which = rng.random((4, DRAWS)) < 0.2, rng.random((4, DRAWS, TASKS)) < 0.9
        found["posterior"] = found["posterior"].assign(
            rule=(("chain", "draw"), rule.astype(int), {"labels": labels}),
            which=(("chain", "draw", "who"), which.astype(int), {"labels": labels}),
        )
        found["truth"] = xr.Dataset({"rule": 0, "which": ("who", [1, 0, 1, 1, 1, 1])})

    run = a_run(change)
    html = page.render(run)
    text = section(html, page.named.title)
    share = float((run.posterior["rule"] == 0).mean())
    assert f"rule is ridge with a probability of {100 * share:.0f}%." in text
    assert f"ridge {share:.3f} true" in text
    assert "Probability of each which, by task" in text
    assert HOSTILE[0] not in html
    # Its mean is nowhere told as if it were a number.
    assert {x.variable for x in (*scalars(run).lifetime, *scalars(run).tasks)} == {"mu", "theta"}


def test_data_unlike_the_posterior_are_told():
    def far(found):
        found["observed_data"]["y"][:] = 50 + np.arange(ROWS)

    told = built("predictive", a_run(far)).lead
    assert "do not look like the real ones" in told
    assert "mean" in told


def test_counts_are_compared_value_by_value():
    def counts(found):
        rng = np.random.default_rng(0)
        for name in ("observed_data", "posterior_predictive"):
            found[name]["y"] = found[name]["y"].astype(int) * 0 + rng.poisson(
                1.0, found[name]["y"].shape
            )

    program = {**spec()["program"], "outcome_discrete": True}
    html = page.render(a_run(counts, program=program))
    assert "share of rows" in section(html, "Does it predict its own data?")
    assert "log probability" in section(html, "Does it predict rows it has not seen?")


def test_rows_that_carry_too_much_are_named():
    def heavy(found):
        found["log_likelihood"]["y"][..., 4] = 4 * np.random.default_rng(0).normal(size=(4, DRAWS))

    told = section(page.render(a_run(heavy)), "Does it predict rows it has not seen?")
    assert "leave-one-out is rough for 1 of 18 rows (Pareto k above" in told
    assert re.search(r"The rows on which the posterior hangs most row task Pareto k 4 t\d", told)


def test_a_prior_that_matters_is_told():
    def strong(found):
        mu = found["posterior"]["mu"].values
        found["log_prior"]["mu"][:] = -0.5 * (mu / 0.3) ** 2
        noise = np.random.default_rng(0).normal(size=(4, DRAWS, ROWS))
        found["log_likelihood"]["y"][:] = 1e-3 * noise

    told = built("sensitivity", a_run(strong)).lead
    assert told.startswith("mu would move, were the prior somewhat weaker or stronger")


# ---- what a run may lack ------------------------------------------------------------------------

GROUPS = sorted(groups()[0])


@pytest.mark.parametrize("gone", GROUPS)
def test_a_run_may_lack_any_group(gone):
    html = page.render(a_run(lambda found: found.pop(gone)))
    assert "could not be made" not in html
    if gone in ("observed_data", "posterior_predictive"):
        assert "This cannot be told" in section(html, "Does it predict its own data?")
    if gone == "log_likelihood":
        assert "This cannot be told" in section(html, "Does it predict rows it has not seen?")
    if gone in ("log_prior", "log_likelihood"):
        assert "This cannot be told" in section(html, "Do the answers rest on the prior?")


@pytest.mark.parametrize(
    "given",
    [
        {"spec": {}},
        {"spec": {"program": 3, "result": {"warnings": 3, "notes": 1}, "evidence": {"tasks": []}}},
        {"spec": {"program": {"latents": [3, {"name": 4, "shape": "x"}]}, "versions": [1]}},
        {"tree": xr.DataTree()},
        {"evidence": xr.Dataset({"task_index": ("x", [-1.5])})},
        {"tree": xr.DataTree.from_dict({"/posterior": xr.Dataset({"mu": ("x", ["a"])})})},
        {"tree": xr.DataTree.from_dict({"/posterior": xr.Dataset({"mu": ("draw", [1.0])})})},
    ],
)
def test_a_stranger_s_run_still_makes_a_page(given):
    run = a_run()
    html = page.render(
        Run(**{"spec": run.spec, "tree": run.tree, "evidence": run.evidence, **given})
    )
    assert "could not be made" not in html
    assert "What was fitted" in html


def test_a_failure_of_arviz_is_a_sentence(monkeypatch):
    import arviz_stats

    def fail(*args, **kwargs):
        raise ValueError("no <b>luck</b>\nmore")

    monkeypatch.setattr(arviz_stats, "loo", fail)
    monkeypatch.setattr(arviz_stats, "psense", fail)
    html = page.render(a_run())
    assert "ArviZ could not leave out a row: ValueError: no &lt;b&gt;luck&lt;/b&gt;." in html
    assert "ArviZ could not scale the prior and the likelihood: ValueError" in html


def test_a_failure_of_a_section_is_a_sentence(monkeypatch):
    def fail(run):
        raise KeyError("x")

    monkeypatch.setattr(page.lifetime, "build", fail)
    html = page.render(a_run())
    assert "This section could not be made: KeyError" in section(html, "What all tasks share")
    assert "theta of 6 tasks" in html


def test_what_does_not_apply_is_left_out():
    html = page.render(a_run(lambda found: found["posterior"].__delitem__("mu")))
    assert "What all tasks share" not in html
    assert "Do the answers rest on the prior?" not in html


# ---- hostile and large --------------------------------------------------------------------------


def hostile_run():
    evil = HOSTILE[0]
    words = dict.fromkeys(("name", "outcome", "sha256", "outcome_family"), evil)

    def rename(found):
        for name in ("posterior", "prior", "log_prior"):
            found[name] = found[name].rename(theta=HOSTILE[1], mu=HOSTILE[4])

    return a_run(
        rename,
        names=HOSTILE,
        name=HOSTILE[5],
        seed=evil,
        created=evil,
        device=evil,
        program={**words, "settings": {evil: HOSTILE}, "latents": [dict.fromkeys(words, evil)]},
        recipe={"name": evil, "about": evil, "inner_loop": {evil: {evil: evil}}},
        evidence={"tasks": evil, "rows": evil, "task_name": "who", "notes": HOSTILE},
        versions={evil: evil},
        result={"seconds": evil, "notes": HOSTILE, "warnings": HOSTILE},
    )


def test_hostile_text_is_text():
    html = page.render(hostile_run())
    outline = Outline(html)
    known = {tag for tag, _ in Outline(page.render(a_run())).tags}
    assert {tag for tag, _ in outline.tags} <= known
    assert not any(name.startswith("on") for _, attrs in outline.tags for name in attrs)
    assert "\u202e" not in html
    assert "\x1b" not in html
    text = "".join(outline.text)
    assert "<script>alert(1)</script>" in text
    assert r"\u202egnp.exe" in text
    assert r"$\frac{1}{2}$ \alp" in text
    assert "long " * 13 not in "".join(re.findall(r"<bdi>(.*?)</bdi>", html))
    assert "could not" not in html


def test_a_label_may_look_like_what_is_replaced_in_a_figure():
    label = 'id="x" url(#y) #020202 1.23456'
    svg = figure.picture(lambda axes: axes.set_xlabel(label), label)
    assert 'id="x" url(#y) #020202 1.23456</text>' in svg
    assert 'aria-label="id=&quot;x&quot; url(#y) #020202 1.23456"' in svg


def test_a_large_run_makes_a_small_page(tmp_path):
    rng = np.random.default_rng(0)
    sample, count = ("chain", "draw"), 2_000
    rows = {"who": ("obs_id", np.arange(count).astype(str))}
    pointwise = rng.normal(size=(4, 25, count))
    found = {
        "posterior": xr.Dataset(
            {
                "theta": ((*sample, "who"), pointwise),
                "net": ((*sample, "w"), rng.normal(size=(4, 25, 5_000))),
                **{f"s{i}": (sample, rng.normal(size=(4, 25))) for i in range(60)},
            },
            {"who": np.arange(count).astype(str)},
        ),
        "posterior_predictive": xr.Dataset({"y": ((*sample, "obs_id"), pointwise)}, rows),
        "observed_data": xr.Dataset({"y": ("obs_id", pointwise[0, 0])}, rows),
    }
    tree = xr.DataTree.from_dict({f"/{name}": x for name, x in found.items()})
    index = np.repeat(np.arange(count), 2)[rng.integers(0, 2 * count, 3 * count)]
    seen = spec(result={"doubts": []})
    run = Run(spec=seen, tree=tree, evidence=xr.Dataset({"task_index": ("r", index)}))
    written = bb.write_report(run, tmp_path / "large.html")
    assert written.stat().st_size < 3_000_000
    html = written.read_text()
    assert "16 of 2,000 tasks, evenly spread over their means" in html
    assert "1,984 of 2,000 tasks are left out" in html
    assert "Of 2,060 scalars, 1,000 were looked at" in html
    assert "they have too many entries: net" in html
    assert "12 more scalars are not shown" in html


def test_what_is_shown_is_spread_evenly():
    assert list(evenly(100, 4)) == [0, 33, 66, 99]
    assert list(evenly(1, 16)) == [0]
    assert len(diagnose(a_run()).names) == 1 + TASKS


# ---- where it goes ------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path):
    run = a_run()
    return write_run(
        tmp_path / "runs",
        "visits",
        spec=run.spec,
        tree=run.tree,
        evidence=run.evidence,
        parameters={},
        metrics=[],
    )


def test_a_page_beside_a_run_does_not_damage_it(stored):
    run = read_run(stored)
    assert bb.write_report(run) == stored / target.FILE
    first = (stored / target.FILE).read_bytes()
    assert bb.write_report(read_run(stored)).read_bytes() == first
    assert sorted(x.name for x in stored.iterdir() if "report" in x.name) == [target.FILE]
    assert (stored / target.FILE).stat().st_mode & 0o777 == 0o644


def test_a_link_is_replaced_and_not_followed(stored, tmp_path):
    (tmp_path / "precious").write_text("kept")
    (stored / target.FILE).symlink_to(tmp_path / "precious")
    bb.write_report(read_run(stored))
    assert (tmp_path / "precious").read_text() == "kept"


def test_an_interrupt_leaves_what_was_there(tmp_path, monkeypatch):
    (tmp_path / "page.html").write_text("before")

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(target.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        bb.write_report(
            Run(spec={}, tree=xr.DataTree(), evidence=xr.Dataset()), tmp_path / "page.html"
        )
    assert [x.name for x in tmp_path.iterdir()] == ["page.html"]
    assert (tmp_path / "page.html").read_text() == "before"


def test_bad_targets_are_told(tmp_path):
    run = Run(spec={}, tree=xr.DataTree(), evidence=xr.Dataset())
    (tmp_path / "file").write_text("")
    for path, told in [
        (None, "the run is not stored"),
        (tmp_path, "is a folder: give the name of a file"),
        (tmp_path / "posterior.nc", r"should end in \.html"),
        (tmp_path / "file" / "x.html", "the report could not be written to"),
        ("/proc/nowhere/x.html", "the report could not be written to"),
        ("a\0b.html", "is no name of a file"),
    ]:
        with pytest.raises(BadgerError, match=told) as caught:
            bb.write_report(run, path)
        assert "\n" not in str(caught.value)


# ---- the command --------------------------------------------------------------------------------


@pytest.fixture
def badger(capsys, monkeypatch):
    monkeypatch.setattr(device, "prepare", lambda debug=False: None)

    def run(*words):
        capsys.readouterr()
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def no_page(monkeypatch):
    """Replaces the page by something instant."""
    monkeypatch.setattr(page, "render", lambda run, report=None: "<p>")


@pytest.mark.usefixtures("no_page")
def test_the_command_writes_beside_the_run_and_prints_the_path(badger, stored, tmp_path):
    code, out, _ = badger("report", "last", "--out", stored.parent)
    assert code == 0
    assert out.strip() == str(stored / "report.html")
    code, out, err = badger("report", stored, "--to", tmp_path / "new" / "a.html", "--quiet")
    assert (code, out, err) == (0, "", "")
    assert (tmp_path / "new" / "a.html").read_text() == "<p>"
    code, out, _ = badger("report", stored, "--json")
    found = json.loads(out)
    assert found["path"] == str(stored / "report.html")
    assert found["bytes"] == 3
    assert found["seconds"] > 0


@pytest.mark.usefixtures("no_page")
def test_the_command_opens_the_page(badger, stored, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda uri: opened.append(uri) or True)
    assert badger("report", stored, "--open")[0] == 0
    assert opened == [(stored / "report.html").as_uri()]
    monkeypatch.setattr(webbrowser, "open", lambda uri: False)
    code, _, err = badger("report", stored, "--open")
    assert code == 0
    assert "no web browser could be opened: open " in err


def test_mistakes_are_one_line(badger, stored, tmp_path):
    for words, told in [
        (["nothing", "--out", tmp_path], "is called 'nothing'"),
        ([stored, "--to", tmp_path], "is a folder: give the name of a file"),
        ([stored, "--to", "/proc/nowhere/a.html"], "nothing can be written to --to /proc/nowhere"),
        ([stored, "--to", stored / "spec.toml"], "should end in .html"),
    ]:
        code, out, err = badger("report", *words)
        assert (code, out) == (2, "")
        assert told in err
        assert err.count("\n") == 1
    (stored / "report.html").mkdir()
    assert "is a folder" in badger("report", stored)[2]


def test_the_command_explains_itself_at_once():
    code = (
        "import sys; from bayes_badger.cli import main; main(['report', '--help']); "
        "sys.exit(','.join({'jax', 'arviz', 'matplotlib', 'jinja2', 'xarray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == ""
    assert "Example: badger report last --open" in done.stdout


# ---- real runs ----------------------------------------------------------------------------------


def test_a_page_about_the_schools(eight_schools, monkeypatch):
    monkeypatch.setattr(page.chains, "MOST_TRACES", 8)
    html = page.render(eight_schools)
    assert "could not" not in html
    assert "theta of 8 tasks (school) is almost wholly pooled" in html
    assert len(html) < 3_000_000


def test_a_page_about_radon(radon, monkeypatch):
    monkeypatch.setattr(page.chains, "MOST_TRACES", 8)
    html = page.render(radon)
    assert "could not" not in html
    assert "69 of 85 tasks are left out" in html
    assert len(html) < 3_000_000
