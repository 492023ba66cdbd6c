"""A writer killed at random moments, and a server: see benchmarks/crash.py, of which these are short runs."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def crash() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "crash.py"
    spec = importlib.util.spec_from_file_location("crash", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_what_was_acknowledged_survives_kill_9(crash):
    seen = crash.crash(kills=10, seed=1)
    assert seen["acknowledged"] > 0


@pytest.mark.slow
def test_a_gallery_killed_in_its_upgrades_answers_with_one_model(crash):
    seen = crash.crash_upgrades(kills=8, seed=4)
    assert seen["upgrades"] > 0
    assert seen["inside an upgrade"] > 0


@pytest.mark.slow
@pytest.mark.system
def test_what_was_acknowledged_survives_kill_9_of_a_client_of_a_server(crash, server):
    seen = crash.crash(kills=10, seed=2, gallery=server.url("crash_clients"))
    assert seen["acknowledged"] > 0


@pytest.mark.slow
@pytest.mark.system
def test_what_was_acknowledged_survives_kill_9_of_the_server(crash, server):
    def again() -> None:
        server.kill()
        server.start()

    seen = crash.crash(kills=6, seed=3, gallery=server.url("crash_server"), before=again)
    assert seen["acknowledged"] > 0
