"""A server killed at random moments under load: see benchmarks/crash_serve.py, of which this is a short run."""

import importlib.util
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.mark.slow
def test_acknowledged_writes_survive_kill_9_and_repeated_ones_are_done_once(monkeypatch):
    folder = Path(__file__).parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    spec = importlib.util.spec_from_file_location("crash_serve", folder / "crash_serve.py")
    assert spec is not None
    assert spec.loader is not None
    crash = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "crash_serve", crash)
    spec.loader.exec_module(crash)
    seen = crash.crash(kills=6, seed=1)
    assert seen["answers"] > 20
    assert seen["repeated"] > 0
