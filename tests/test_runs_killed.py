"""A writer that is killed at any moment leaves whole runs and unfinished ones, nothing between."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from bayes_badger.errors import BadgerError
from bayes_badger.runs import list_runs, read_run

WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from test_runs import parts, tree
from bayes_badger.runs import write_run
given = parts(tree=tree(draws=2000))
print("ready", flush=True)
while True:
    write_run(sys.argv[2], "radon", **given)
"""


@pytest.mark.slow
def test_no_kill_leaves_half_a_run(tmp_path):
    delays = random.Random(0)
    here = os.path.dirname(__file__)
    command = [sys.executable, "-c", WRITER, here, str(tmp_path)]
    seen, states = set(), []
    for _ in range(12):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout.readline() == "ready\n"
            time.sleep(delays.uniform(0.0, 0.6))
            writer.send_signal(signal.SIGKILL)
        assert writer.returncode == -signal.SIGKILL
        for entry in list_runs(tmp_path):
            if entry.path in seen:
                continue
            seen.add(entry.path)
            states.append(entry.state)
            if entry.state == "complete":
                run = read_run(entry.path)
                assert run.posterior.sizes["draw"] == 2000
                assert set(run.tree.children) == {
                    "posterior",
                    "log_likelihood",
                    "observed_data",
                }
            else:
                assert entry.reason == "it was not finished: fit again"
                with pytest.raises(BadgerError, match="was not finished: fit again"):
                    read_run(entry.path)
        assert set(tmp_path.iterdir()) == seen, "every leftover is listed as what it is"
    # The kills did hit: most of them in the middle of a run, and some runs were whole.
    assert states.count("unfinished") >= 5
    assert states.count("complete") >= 5
    assert "damaged" not in states
