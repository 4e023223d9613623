"""Ctrl-C while the interpreter waits for compiled code, and progress without a terminal."""

import io
import signal
import subprocess
import sys
import threading
import time

import pytest
from rich.console import Console

from bayes_badger.cli.interrupt import Attention
from bayes_badger.cli.progress import Meter

# What hashes here stands for what is compiled: Python hears no signal until it is done.
BUSY = """
import hashlib, os, sys
from bayes_badger.cli.interrupt import Attention
stage, rounds, patience = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
def leave():
    print("left", flush=True)
    os._exit(130)
kept = []
with Attention(lambda *words: None, leave, lambda x: print(x, flush=True), patience) as attention:
    try:
        attention.report(stage, 0, 2)
        print("ready", flush=True)
        hashlib.pbkdf2_hmac("sha256", b"x", b"y", rounds)
        attention.report(stage, 1, 2)
    except KeyboardInterrupt:
        kept.append(stage)
print("kept", kept, attention.pressed.is_set())
"""


def pressed(stage, rounds, times=1, patience=0.5):
    """What is said after so many presses of Ctrl-C, and how long the process goes on then."""
    given = [sys.executable, "-c", BUSY, stage, str(rounds), str(patience)]
    with subprocess.Popen(given, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        started = time.monotonic()
        for _ in range(times):
            time.sleep(0.1)
            process.send_signal(signal.SIGINT)
        said = process.stdout.read()
        code = process.wait(60)
    return said, code, time.monotonic() - started


def test_what_keeps_nothing_is_left_after_some_seconds():
    said, code, seconds = pressed("lifting the program", 100_000_000)
    assert (said, code) == ("left\n", 130)
    assert seconds < 4


def test_what_keeps_its_draws_is_waited_for():
    said, code, _ = pressed("sampling", 4_000_000)
    assert code == 0
    assert said == (
        "what there is will be kept after this step; Ctrl-C again stops at once\n"
        "kept ['sampling'] True\n"
    )


def test_a_second_ctrl_c_leaves_at_once():
    said, code, seconds = pressed("sampling", 100_000_000, times=2)
    assert (said, code) == ("left\n", 130)
    assert seconds < 4


def test_what_comes_back_in_time_is_not_left():
    said, code, _ = pressed("lifting the program", 2_000_000, patience=30)
    assert (said, code) == ("kept ['lifting the program'] True\n", 0)


def test_signals_are_as_before_in_the_end():
    before = signal.getsignal(signal.SIGINT), signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before[1])
    with Attention(lambda *words: None, pytest.fail, pytest.fail):
        assert signal.getsignal(signal.SIGINT) is not before[0]
    assert signal.getsignal(signal.SIGINT) is before[0]
    assert signal.set_wakeup_fd(before[1]) == before[1]


def test_a_ctrl_c_that_a_library_swallowed_is_heard_at_the_next_report():
    told = []
    attention = Attention(lambda *words: told.append(words), pytest.fail, pytest.fail)
    attention.report("sampling", 50, 100)
    attention.pressed.set()
    with pytest.raises(KeyboardInterrupt):
        attention.report("sampling", 100, 100)
    # The sampler has kept its draws; what comes after is not stopped again.
    attention.report("building the DataTree", 0, 1)
    assert [words[0] for words in told] == ["sampling", "building the DataTree"]


# --- progress without a terminal


def lines_of(work, every):
    out = io.StringIO()
    with Meter(Console(file=out, force_terminal=False, width=200), every=every) as meter:
        work(meter)
    return [line.split(" s  ")[1] for line in out.getvalue().splitlines()]


def test_a_line_for_each_stage_and_no_more_where_all_is_quick():
    def work(meter):
        for done in range(5):
            meter("sampling", done, 4)
        meter("building the DataTree", 0, 1)

    assert lines_of(work, 10.0) == ["sampling (4 draws)", "building the DataTree"]


def test_how_far_and_how_long_is_told_every_so_often():
    def work(meter):
        for done in range(4):
            meter("sampling", 100 * done, 1000, "3 steps")
            time.sleep(0.06)

    lines = lines_of(work, 0.05)
    assert lines[0] == "sampling (1000 draws)"
    told = [line for line in lines if line.startswith("sampling: 300 of 1000 draws, 0:00 left")]
    assert told
    assert told[0].endswith("; 3 steps")


def test_what_reports_nothing_is_seen_to_live():
    def work(meter):
        meter("lifting the program", 0, 1)
        time.sleep(0.3)

    lines = lines_of(work, 0.1)
    assert lines[0] == "lifting the program"
    assert set(lines[1:]) == {"lifting the program: at work"}
    assert threading.active_count() < 20
