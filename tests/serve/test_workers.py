"""Worker processes as their supervisor sees them, without starting any."""

from types import SimpleNamespace

import pytest
from uvicorn.supervisors import Multiprocess

from likewise.serve import run


class Worker(SimpleNamespace):
    def is_ready(self) -> bool:
        return self.ready


def test_where_it_listens_is_said_once_and_an_ended_process_is_forgotten(monkeypatch, logged):
    forgotten: list[int] = []
    monkeypatch.setattr(Multiprocess, "keep_subprocess_alive", lambda workers: None)
    monkeypatch.setattr(run, "forget_process", forgotten.append)
    workers = run.Workers.__new__(run.Workers)
    workers.where, workers.listening, workers.pids = "http://127.0.0.1:1", False, set()
    workers.processes = [Worker(pid=1, ready=True), Worker(pid=None, ready=False)]
    said = []
    for changed in ({}, {"pid": 2, "ready": True}, {}, {"pid": 3, "ready": False}, {"ready": True}):
        vars(workers.processes[1]).update(changed)
        workers.keep_subprocess_alive()
        said.append([*logged])
        logged.clear()
    listening = ["listening on http://127.0.0.1:1 with 2 processes"]
    assert said == [[], listening, [], ["process 2 ended, and another takes its place"], []]
    assert (forgotten, workers.pids) == ([2], {1, 3})


def test_nothing_is_forgotten_while_all_live(monkeypatch):
    monkeypatch.setattr(Multiprocess, "keep_subprocess_alive", lambda workers: None)
    monkeypatch.setattr(run, "forget_process", lambda pid: pytest.fail("it lives"))
    workers = run.Workers.__new__(run.Workers)
    workers.where, workers.listening, workers.pids = "", True, {1, 2}
    workers.processes = [Worker(pid=1, ready=True), Worker(pid=2, ready=True)]
    workers.keep_subprocess_alive()
    assert workers.pids == {1, 2}
