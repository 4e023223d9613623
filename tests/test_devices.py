"""Several devices share the tasks of an outer loop, and it learns what one would."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

LEARN = """
import json, jax, numpy as np
from bayes_badger.evidence import from_arrays
from bayes_badger.outer_loop import Settings, learn
from benchmarks.prior import levels
import bayes_badger as bb

rng, program = np.random.default_rng(0), bb.lift(levels)
sigma = rng.uniform(1, 2, (37, 3))
y = 4 + 2 * rng.normal(size=(37, 1)) + sigma * rng.normal(size=sigma.shape)
evidence = from_arrays(program.signature, {"sigma": sigma}, y, {})
curves = []
for scoring in (64, 0):
    settings = Settings(steps=50, scoring=scoring, experts=4, tasks=16)
    found = learn(program, evidence, jax.random.key(0), settings)
    curves.append([line["loss"] for line in found.curve])
print(json.dumps([jax.local_device_count(), curves]))
"""


def curves(devices):
    flags = f"--xla_force_host_platform_device_count={devices}"
    done = subprocess.run(
        [sys.executable, "-c", LEARN],
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    count, found = json.loads(done.stdout)
    assert count == devices
    return found


@pytest.mark.slow
def test_four_devices_have_the_learning_curves_of_one():
    """By scoring, and by descent; 37 tasks are not a multiple of four."""
    for one, four in zip(curves(1), curves(4), strict=True):
        assert len(one) >= 2
        np.testing.assert_allclose(four, one, atol=1e-4)
