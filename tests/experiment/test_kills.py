"""Killed trainings: see benchmarks/kills.py, of which this is a short run, in a process of its own since it forks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, sys
from pathlib import Path
from killing import SMALL, at_every_operation, chain, warm

warm()
folder, problems, kills = Path(sys.argv[1]), [], 0
for setting in ("patience", "pretraining", "hard negatives", "accumulate and memory", "dropout and thaw"):
    (folder / setting).mkdir()
    seen = chain(setting, 2, folder / setting, seed=1)
    problems, kills = problems + seen.problems, kills + seen.kills
for name, every in (("training", 23), ("resuming", 41), ("evaluating", 23)):
    (folder / name).mkdir()
    count, wrong = at_every_operation(name, SMALL.replace(epochs=1), folder / name, every=every)
    problems, kills = problems + wrong, kills + count
print(json.dumps([kills, problems]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_trainings_come_to_the_same_weights(tmp_path):
    tests = Path(__file__).parents[1]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent / 'src'}"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, check=False, env=variables
    )
    assert done.returncode == 0, done.stderr
    kills, problems = json.loads(done.stdout.splitlines()[-1])
    assert kills > 20
    assert problems == []
