"""The client against the real application: the verbs and types of the gallery, retries, one sentence for errors."""

import random
import subprocess
import sys

import httpx2
import numpy as np
import pytest

from colours import BLUE, GREEN, RED, coloured
from likewise import Client, Gallery
from likewise.client import ServiceError, _pause
from serving import fill, service, tokens


class Bridge(httpx2.BaseTransport):
    """To the application in this process; answers in `instead` are given first."""

    def __init__(self, inner):
        self.inner, self.instead, self.requests = inner, [], []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if self.instead and (found := self.instead.pop(0)) is not None:
            if isinstance(found, Exception):
                raise found
            return found
        return self.inner._transport.handle_request(request)


@pytest.fixture
def bridge(tmp_path):
    with service(tmp_path) as inner:
        fill(inner)
        yield Bridge(inner)


@pytest.fixture
def waits():
    return []


@pytest.fixture
def client(bridge, waits):
    with Client("http://localhost", transport=bridge, sleep=waits.append) as found:
        yield found


def test_the_verbs_of_the_gallery_give_the_same(client, bridge, tmp_path):
    gallery: Gallery = bridge.inner.app.state.galleries["colours"].gallery
    path = tmp_path / "x.png"
    path.write_bytes(coloured(RED, 40))
    assert client.search(path, 4) == gallery.search(path, 4)
    assert client.search(id=client.search(path, 1)[0].id, k=2, where=["label=red"]) == gallery.search(
        id=gallery.search(path, 1)[0].id, k=2, where=["label=red"]
    )
    ours, theirs = client.identify(path), gallery.identify(path)
    assert (ours.label, ours.similarity, ours.why, ours.margin) == (
        theirs.label,
        theirs.similarity,
        theirs.why,
        theirs.margin,
    )
    assert [n.id for n in ours.neighbours] == [n.id for n in theirs.neighbours]
    assert client.compare(path, path) == gallery.compare(path, path)
    assert client.compare(path, coloured(BLUE))["same"] is False
    np.testing.assert_array_equal(client.embed([path]), gallery.embed([path]))
    assert client.verify(path, "red", far=0.2) == gallery.verify(path, "red", far=0.2)


def test_writes(client):
    done = client.enroll([coloured((250, 190, 0), i) for i in range(40)], "amber", gate="off")
    assert len(done.added) == 40  # two requests
    assert client.rename("amber", "gold") == 40
    assert client.undo() == "rename"
    assert {line["label"]: line["images"] for line in client.classes()} == {
        "amber": 40,
        "blue": 3,
        "green": 3,
        "red": 3,
    }
    ids = [line["id"] for line in client.images("red")]
    assert client.split(ids[:1], "crimson") == 1
    assert client.remove(ids[1:]) == 2
    assert client.merge("crimson", "blue") == 1
    assert client.thumbnail(ids[0])[:2] == b"\xff\xd8"
    client.reject(coloured(GREEN, 50), label="green")
    assert client.identify(coloured(GREEN, 50)).label != "green"
    assert client.calibrate(0.2)["far"] == 0.2
    assert client.info()["promise"]["far"] == 0.2
    assert client.forget("blue")["removed"] == 4
    assert client.vacuum() is True
    assert client.health()["status"] == "ready"


def test_ids_metadata_and_findings(client, tmp_path):
    (tmp_path / "cut.png").write_bytes(coloured(RED)[:900])
    done = client.enroll(
        [coloured((9, 9, 90)), tmp_path / "cut.png"],
        ["navy", "x"],
        ids=["n", "c"],
        metadata=[{"year": 2}, {}],
        gate="off",
    )
    assert done.added == ["n"]
    assert [(f.source, f.enrolled) for f in done.findings] == [(str(tmp_path / "cut.png"), False)]
    assert client.search(coloured((9, 9, 90)), 1)[0].metadata == {"year": 2}


def test_a_busy_service_is_asked_again_after_the_time_it_says(client, bridge, waits):
    bridge.instead = [httpx2.Response(429, headers={"retry-after": "3"}), httpx2.Response(503), None]
    assert client.rename("red", "pink") == 3
    assert waits[0] == 3
    assert 0.25 <= waits[1] <= 0.5
    keys = {request.headers["idempotency-key"] for request in bridge.requests}
    assert len(keys) == 1


def test_a_lost_answer_does_nothing_twice(client, bridge):
    """The write was done and the connection broke before the answer came."""
    plain = bridge.inner._transport.handle_request
    lost = [True]

    def losing(request):
        answer = plain(request)
        if lost.pop() if lost else False:
            raise httpx2.ReadError("connection reset")
        return answer

    bridge.inner._transport.handle_request = losing
    assert client.rename("red", "pink") == 3
    assert client.undo() == "rename"


def test_a_service_that_never_answers(waits):
    def refuse(request):
        raise httpx2.ConnectError("connection refused")

    with Client("http://localhost", transport=httpx2.MockTransport(refuse), retries=2, sleep=waits.append) as client:
        with pytest.raises(ServiceError, match="http://localhost does not answer: connection refused") as caught:
            client.info()
        assert caught.value.exit_code == 1
    assert len(waits) == 2


def test_errors_are_the_sentence_of_the_service(client):
    with pytest.raises(ServiceError, match="there is no class 'pink' in the gallery colours") as caught:
        client.forget("pink")
    assert (caught.value.status, caught.value.exit_code) == (404, 2)
    assert len(caught.value.request_id) == 32
    with pytest.raises(ValueError, match=r"cannot read none\.png"):
        client.identify("none.png")
    with pytest.raises(ValueError, match="got 1 for 2 images"):
        client.enroll([b"a", b"b"], ["x"])


def test_something_else_behind_the_url():
    page = httpx2.MockTransport(lambda request: httpx2.Response(404, text="<html>"))
    with (
        Client("http://localhost", transport=page) as client,
        pytest.raises(ServiceError, match="not as likewise serve does"),
    ):
        client.info()
    with pytest.raises(ValueError, match="begins with http"):
        Client("localhost:8000")


def test_a_token_is_sent_and_never_printed(tmp_path):
    file, headers = tokens(tmp_path)
    with service(tmp_path, token_file=file) as inner:
        secret = headers["read"]["Authorization"].removeprefix("Bearer ")
        with Client("http://localhost", secret, transport=Bridge(inner)) as client:
            assert list(client.classes()) == []
            with pytest.raises(ServiceError, match="this call needs write") as caught:
                client.undo()
            assert secret not in f"{client!r} {vars(client)} {caught.value!r}"


def test_pauses_double_and_end_at_half_a_minute(monkeypatch):
    assert all(0.125 <= _pause(0) <= 0.25 for _ in range(50))
    assert all(15 <= _pause(20) <= 30 for _ in range(50))
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    assert [_pause(attempt) for attempt in range(9)] == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]
    assert _pause(0, "1000") == 30
    assert _pause(0, "soon") <= 0.25


def test_a_client_needs_no_torch():
    code = "import sys, likewise; likewise.Client('http://127.0.0.1:1').close(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
