"""Two services over one gallery in PostgreSQL, and one service of two worker processes."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx2
import pytest
from starlette.testclient import TestClient

from colours import GREEN, RED, Colours, coloured, make
from likewise import Gallery
from likewise.gallery.stores import open_store
from likewise.serve.app import create_app
from likewise.serve.batching import BatchingEncoder
from likewise.serve.served import Served, ServedGallery
from likewise.serve.settings import Settings
from live import PATIENCE, Live, running, write_model
from serving import classes, detail, enroll, photo

pytestmark = pytest.mark.system


@contextmanager
def service(url: str) -> Iterator[TestClient]:
    gallery = ServedGallery(open_store(url), BatchingEncoder(Colours()))
    gallery.store.wait = 0.2  # for a server that is away
    app = create_app(Settings((url,)), {"birds": Served("birds", gallery)})
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def url(server) -> Iterator[str]:
    url = server.url("two_services")
    made = make(url)
    yield url
    made.store.discard()


def test_what_one_writes_the_other_finds_and_repeats(url):
    with service(url) as one, service(url) as other:
        key = {"Idempotency-Key": "a-write"}
        first = enroll(one, "red", photo(RED), headers=key)
        again = enroll(other, "red", photo(RED), headers=key)
        assert len(first.json()["added"]) == 1
        assert again.json() == first.json()
        assert enroll(other, "green", photo(GREEN), headers=key).status_code == 422
        assert classes(other) == {"red": 1}
        assert other.post("/v1/classes/rename", json={"label": "red", "to": "rot"}).status_code == 200
        assert classes(one) == {"rot": 1}
        assert one.post("/v1/classes/forget", json={"label": "rot"}).json()["removed"] == 1
        assert classes(other) == {}


def test_a_server_that_is_away_is_a_problem_without_its_address(server, url):
    with service(url) as client:
        enroll(client, "red", photo(RED))
        server.stop()
        try:
            sentence = detail(client.get("/v1/classes"), 503)
        finally:
            server.start()
        assert "127.0.0.1" not in sentence
        assert classes(client) == {"red": 1}


@pytest.fixture
def workers(server, tmp_path) -> Iterator[Live]:
    """likewise serve --workers 2."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    url = server.url("workers")
    made = Gallery.create(url, write_model(tmp_path / "model"))
    with running(tmp_path, url, "--port", "0", "--workers", "2") as live:
        yield live
    made.store.discard()


def pids(live: Live) -> list[int]:
    """The worker processes."""
    folder = Path(f"/proc/{live.process.pid}/task/{live.process.pid}")
    children = [int(pid) for pid in (folder / "children").read_text().split()]
    return [pid for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]


@contextmanager
def alone(live: Live, pid: int) -> Iterator[httpx2.Client]:
    """A client whom this worker answers, for the others stand still."""
    others = [other for other in pids(live) if other != pid]
    for other in others:
        os.kill(other, signal.SIGSTOP)
    for other in others:
        until(lambda other=other: stands_still(other))
    try:
        with httpx2.Client(base_url=live.url, timeout=PATIENCE) as client:
            yield client
    finally:
        for other in others:
            with suppress(ProcessLookupError):  # the test has killed it
                os.kill(other, signal.SIGCONT)


def stands_still(pid: int) -> bool:
    """Whether the process has been stopped: until then it may still take a connection."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def number(client: httpx2.Client, series: str) -> float:
    found = re.search(rf"^{re.escape(series)} (\S+)$", client.get("/v1/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


HALF = b"POST /v1/embed HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=b\r\n" + (
    b"content-length: 100\r\n\r\n--b\r\n"
)
ASKED = 'likewise_requests_total{method="GET",route="/v1/classes",status="200"}'


@pytest.mark.slow
def test_each_worker_answers_metrics_for_all(workers):
    first, second = pids(workers)
    for pid, calls in ((first, 3), (second, 4)):
        with alone(workers, pid) as client:
            assert [client.get("/v1/classes").status_code for _ in range(calls)] == [200] * calls
    with alone(workers, first) as client:
        image = [("image", ("a.png", coloured(RED), "image/png"))]
        assert client.post("/v1/enroll", files=image, data={"label": "red"}).status_code == 200
        assert number(client, 'likewise_gallery_items{gallery="workers"}') == 1
    for pid in (first, second):
        with alone(workers, pid) as client:
            assert number(client, ASKED) == 7
            assert number(client, 'likewise_request_seconds_count{route="/v1/classes"}') == 7
            assert number(client, 'likewise_gallery_items{gallery="workers"}') == 1
            assert number(client, "likewise_batch_images_count") == 1


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced_and_what_it_counted_stays(workers):
    first, second = pids(workers)
    folder = Path(os.environ.get("TMPDIR", tempfile.gettempdir()))
    until(lambda: list(folder.glob(f"likewise-metrics-*/*_{first}.db")))  # it has made its counters
    shared = next(folder.glob(f"likewise-metrics-*/*_{first}.db")).parent
    with ExitStack() as connections:
        with alone(workers, first) as client:
            unfinished = connections.enter_context(workers.connect())  # inside: the other could take it
            assert client.get("/v1/classes").status_code == 200
            unfinished.sendall(HALF)
            until(lambda: number(client, "likewise_requests_in_flight") == 2)  # this one, and that of /v1/metrics
        with alone(workers, second) as client:
            assert number(client, "likewise_requests_in_flight") == 2
            os.kill(first, signal.SIGKILL)
            until(lambda: number(client, "likewise_requests_in_flight") == 1)
            assert number(client, ASKED) == 1
    until(lambda: len(pids(workers)) == 2 and first not in pids(workers))
    (third,) = (pid for pid in pids(workers) if pid != second)
    until(lambda: list(shared.glob(f"*_{third}.db")))  # it has made its counters
    with alone(workers, third) as client:
        assert number(client, ASKED) == 1
        assert client.get("/v1/classes").status_code == 200
        assert number(client, ASKED) == 2
    assert workers.stop() == 0
    assert not shared.exists()
    assert "Traceback" not in workers.text()


def until(reached) -> None:
    end = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_wrong_call_with_workers_is_one_sentence(server, tmp_path):
    """Not a worker that fails again and again."""
    command = ["likewise", "serve", server.url("nothing"), "--port", "0", "--workers", "2"]
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 2, done
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
