"""A writer killed at random moments: see benchmarks/crash.py, of which this is a short run."""

import importlib.util
from pathlib import Path

import pytest


@pytest.mark.slow
def test_what_was_acknowledged_survives_kill_9(monkeypatch):
    path = Path(__file__).parents[2] / "benchmarks" / "crash.py"
    spec = importlib.util.spec_from_file_location("crash", path)
    assert spec is not None
    assert spec.loader is not None
    crash = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(crash)
    seen = crash.crash(kills=10, seed=1)
    assert seen["acknowledged"] > 0
