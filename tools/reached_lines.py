"""A pytest plugin: the lines of the package that each passing test reaches, and the seconds that it takes.

PYTHONPATH=src:tools REACHED_LINES=FOLDER python -m pytest -p reached_lines

Each process writes one JSON file into FOLDER, `{"tests": [[id, seconds], ...], "files": {path: {line: [test, ...]}}}`
with tests by number and paths relative to the package. Lines that run while a module is imported belong to no test.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import coverage
import pytest


def pytest_configure(config: pytest.Config) -> None:
    shares = getattr(config.option, "numprocesses", None) and "PYTEST_XDIST_WORKER" not in os.environ
    if not shares:  # with pytest-xdist its workers run the tests, and this process runs none
        config.pluginmanager.register(ReachedLines(Path(os.environ["REACHED_LINES"])))


class ReachedLines:
    def __init__(self, folder: Path):
        self.folder = folder
        self.coverage = coverage.Coverage(data_file=None, config_file=False, source_pkgs=["likewise"])
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()
        self.coverage.start()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.coverage.switch_context(item.nodeid)
        start = time.perf_counter()
        yield
        self.seconds[item.nodeid] = time.perf_counter() - start
        self.coverage.switch_context("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self.coverage.stop()
        numbers = {name: i for i, name in enumerate(sorted(set(self.seconds) - self.failed))}
        data = self.coverage.get_data()
        files = {}
        for path in data.measured_files():
            lines = {
                line: sorted(numbers[name] for name in names if name in numbers)
                for line, names in data.contexts_by_lineno(path).items()
            }
            files[path.rpartition("/likewise/")[2]] = {line: tests for line, tests in lines.items() if tests}
        content = {"tests": [[name, round(self.seconds[name], 3)] for name in numbers], "files": files}
        worker = os.environ.get("PYTEST_XDIST_WORKER", "all")
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"{worker}.json").write_text(json.dumps(content), encoding="utf-8")
