"""The service over a small gallery of colours, in this process; and what requests to it share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
from starlette.testclient import TestClient

from colours import BLUE, GREEN, RED, Colours, coloured, make
from likewise.serve.app import create_app
from likewise.serve.batching import BatchingEncoder
from likewise.serve.served import Served, ServedGallery
from likewise.serve.settings import Limits, Settings
from likewise.serve.tokens import create_token

__all__ = ["SCOPED", "classes", "detail", "enroll", "photo", "service", "tokens"]

PAIRS = {
    "threshold": {"value": 0.9, "low": 0.85, "high": 0.93, "target": "accuracy", "n": 60},
    "calibration": {"kind": "platt", "slope": 20.0, "offset": -18.0, "n": 60},
}
SCOPED = ("read", "write", "admin")


@contextmanager
def service(
    folder: Path, *names: str, limits: Limits | None = None, token_file: str = "", **about
) -> Iterator[TestClient]:
    """A client of a service of empty galleries."""
    names = names or ("colours",)
    encoder = BatchingEncoder(Colours(**PAIRS))
    paths = [folder / f"{name}.gallery" for name in names]
    served = {
        name: Served(name, make(path, encoder, ServedGallery, **about)) for name, path in zip(names, paths, strict=True)
    }
    settings = Settings(tuple(map(str, paths)), token_file=token_file, limits=limits or Limits())
    with TestClient(create_app(settings, served), base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client


def photo(colour: tuple[int, int, int], seed: int = 0, **given) -> tuple[str, tuple[str, bytes, str]]:
    """An upload in the field image; name and type are wrong on purpose, for nothing may depend on them."""
    return "image", ("../../x.exe", coloured(colour, seed, **given), "text/html")


def enroll(client: TestClient, label: str, *photos, **given) -> httpx2.Response:
    headers = given.pop("headers", {})
    return client.post("/v1/enroll", files=list(photos), data={"label": label, **given}, headers=headers)


def fill(client: TestClient, each: int = 3) -> None:
    for label, colour in (("red", RED), ("green", GREEN), ("blue", BLUE)):
        enrolled = enroll(client, label, *(photo(colour, seed) for seed in range(each)), gate="off")
        assert len(enrolled.json()["added"]) == each


def classes(client: TestClient, **given) -> dict[str, int]:
    return {line["label"]: line["images"] for line in client.get("/v1/classes", params=given).json()["classes"]}


def detail(answer: httpx2.Response, status: int) -> str:
    """The sentence of a problem, which has the form of all of them."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert set(found) == {"type", "title", "status", "detail", "request_id"}
    assert found["status"] == status
    assert found["request_id"] == answer.headers["x-request-id"]
    return found["detail"]


def tokens(folder: Path) -> tuple[str, dict[str, dict[str, str]]]:
    """A token file, and the header of each scope."""
    path = folder / "tokens.toml"
    return str(path), {scope: {"Authorization": f"Bearer {create_token(path, scope, scope)}"} for scope in SCOPED}
