"""Trainings of two processes, one of which is killed: see benchmarks/kill_ranks.py, of which this is a short run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, sys
from pathlib import Path
from killing import chain, warm
from killing_ranks import InRanks

warm()
ranks, seen = InRanks(2, seed=1), []
for setting, kills in (("plain", 2), ("memory", 1)):
    (Path(sys.argv[1]) / setting).mkdir()
    seen.append(chain(setting, kills, Path(sys.argv[1]) / setting, 1, ranks))
print(json.dumps([sum(s.kills for s in seen), [p for s in seen for p in s.problems], ranks.hung]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_trainings_of_two_processes_come_to_the_same_weights_after_kills(tmp_path):
    tests = Path(__file__).parents[1]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent / 'src'}"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, check=False, env=variables
    )
    assert done.returncode == 0, done.stderr
    kills, problems, hung = json.loads(done.stdout.splitlines()[-1])
    assert kills == 3
    assert problems == []
    assert hung == 0
