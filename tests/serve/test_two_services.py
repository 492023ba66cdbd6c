"""Two services over one gallery in PostgreSQL, as two worker processes are."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from starlette.testclient import TestClient

from colours import GREEN, RED, Colours, make
from likewise.gallery.stores import open_store
from likewise.serve.app import create_app
from likewise.serve.batching import BatchingEncoder
from likewise.serve.served import Served, ServedGallery
from likewise.serve.settings import Settings
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
