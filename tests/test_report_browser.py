"""The report in a browser: nothing is asked for, nothing complains, something is seen."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from test_report import hostile_run

import bayes_badger as bb
from bayes_badger.measures import picture
from bayes_badger.measures.labelled import Quantity, labelled

pytestmark = pytest.mark.browser

QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]


@pytest.fixture
def chromium(tmp_path):
    command = shutil.which("chromium")
    assert command, "these tests need chromium: apt-get install chromium"

    def run(*words):
        profile = tmp_path / "profile"
        done = subprocess.run(
            [command, *QUIET, f"--user-data-dir={profile}", *map(str, words)],
            capture_output=True,
            text=True,
            timeout=120,
        )
        shutil.rmtree(profile, ignore_errors=True)
        return done

    return run


def asked_for(log):
    """The addresses that a page asked for, from chromium's own log of the network."""
    text = log.read_text().rstrip().rstrip(",")
    content = json.loads(text if text.endswith("}") else text + "]}")
    kinds = content["constants"]["logEventTypes"]
    request = kinds["URL_REQUEST_START_JOB"]
    events = [event for event in content["events"] if event["type"] == request]
    asked = [event.get("params", {}) for event in events]
    # Chromium itself looks for updates and the like, on behalf of no page.
    return {x["url"] for x in asked if "url" in x and x.get("initiator") != "not an origin"}


def looked_at(chromium, page, folder, *words, size=(1100, 6000)):
    """Takes a picture, and returns it with the addresses and with what the console said."""
    log, shot = folder / "net.json", folder / f"{page.stem}-{size[0]}.png"
    done = chromium(
        f"--window-size={size[0]},{size[1]}",
        f"--screenshot={shot}",
        f"--log-net-log={log}",
        "--enable-logging=stderr",
        "--v=0",
        *words,
        page.as_uri(),
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    with Image.open(shot) as image:
        pixels = np.asarray(image.convert("RGB"))
    return pixels, asked_for(log), console


def runs(request):
    return {
        "eight_schools": lambda: request.getfixturevalue("eight_schools"),
        "radon": lambda: request.getfixturevalue("radon"),
        "hostile": hostile_run,
    }


@pytest.mark.parametrize("name", ["eight_schools", "radon", "hostile"])
def test_a_page_asks_for_nothing_and_nothing_complains(name, request, chromium, tmp_path):
    page = bb.write_report(runs(request)[name](), tmp_path / f"{name}.html")
    for size in ((1100, 6000), (400, 9000)):
        pixels, asked, console = looked_at(chromium, page, tmp_path, size=size)
        assert console == []
        assert asked == set()
        assert pixels.shape[:2] == size[::-1]
        assert pixels.std() > 5
    dark, _, _ = looked_at(
        chromium, page, tmp_path, "--blink-settings=preferredColorScheme=0", size=(1100, 2000)
    )
    assert np.median(dark) < 60 < 200 < np.median(pixels)


def test_no_script_of_a_stranger_runs(chromium, tmp_path):
    page = bb.write_report(hostile_run(), tmp_path / "hostile.html")
    dom = chromium("--dump-dom", page.as_uri()).stdout
    assert "<script" not in dom
    assert "<img" not in dom
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in dom


def test_the_net_log_would_tell_of_a_request(chromium, tmp_path):
    """The test above would be worth nothing if this one failed."""
    page = tmp_path / "page.html"
    page.write_text('<img src="http://127.0.0.1:9/x.png"><script>console.error("oh")</script>')
    _, asked, console = looked_at(chromium, page, tmp_path, size=(400, 300))
    assert "http://127.0.0.1:9/x.png" in asked
    assert any("oh" in line for line in console)


def test_a_picture_to_zoom_in_asks_for_nothing_and_runs_nothing(chromium, tmp_path):
    hostile = "<img src=x onerror=console.log('runs')>"
    found = labelled(
        "posterior_shift",
        "none",
        {"per_task": Quantity("shift", np.array([0.5, 1.5]), 0.1, dims=("task",))},
        {"task": ["a", hostile]},
    )
    page = tmp_path / "picture.html"
    picture.save(found, page)
    pointed = "Plotly.Fx.hover('picture', [{curveNumber: 0, pointNumber: 1}])"
    page.write_text(page.read_text().replace("</body>", f"<script>{pointed}</script></body>"))
    pixels, asked, console = looked_at(chromium, page, tmp_path, size=(900, 600))
    assert asked == set()
    assert console == []
    assert (pixels == (0, 114, 178)).all(-1).mean() > 0.05  # its bars
