"""What the browser tests of the page share: a tiny real model, galleries of it, the service, and a browser."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import page_service
from likewise import Gallery
from likewise.serve.tokens import create_token

PATIENCE = 60_000  # milliseconds; a busy machine is no failure
CHANGED = 6  # copies of the gallery for tests that change it


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> dict[str, list[Path]]:
    return page_service.held_out(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="session")
def gallery(tmp_path_factory, files) -> Path:
    folder = tmp_path_factory.mktemp("galleries")
    return page_service.filled(folder / "digits.gallery", page_service.model(folder), files)


@pytest.fixture(scope="session")
def known_and_unknown(gallery, files) -> tuple[Path, str, Path]:
    """An image that the gallery names rightly, its class, and one that it does not name."""
    with Gallery.open(gallery) as opened:
        fresh = [(path, label) for label in sorted(files)[: page_service.ENROLLED] for path in files[label][16:]]
        known, label = next(pair for pair in fresh if opened.identify(pair[0]).label == pair[1])
        strangers = [path for other in sorted(files)[page_service.ENROLLED :] for path in files[other]]
        return known, label, next(path for path in strangers if opened.identify(path).label is None)


@pytest.fixture(scope="session")
def service(gallery) -> Iterator[str]:
    """One gallery that tests read, an empty one, and copies that they change."""
    copies = [gallery.with_name(f"copy{i}.gallery") for i in range(CHANGED)]
    for copy in copies:
        shutil.copy(gallery, copy)
    empty = gallery.with_name("empty.gallery")
    with Gallery.open(gallery) as opened:
        Gallery.create(empty, opened.about["model"]).close()
    with page_service.serving(gallery, empty, *copies) as url:
        yield url


@pytest.fixture(scope="session")
def guarded(gallery) -> Iterator[tuple[str, dict[str, str]]]:
    """A service that asks for tokens, and one of each scope."""
    path, tokens = gallery.with_name("tokens.toml"), gallery.with_name("guarded.gallery")
    shutil.copy(gallery, tokens)
    texts = {scope: create_token(path, scope, scope) for scope in ("read", "write", "admin")}
    with page_service.serving(tokens, token_file=path) as url:
        yield url, texts


@pytest.fixture
def open_page(browser) -> Iterator[Callable]:
    """Opens an address; what the browser complains of, and requests to other machines, fail the test."""
    complaints: list[str] = []
    contexts = []

    def opened(url: str, *, width: int = 1280, height: int = 900, **given):
        contexts.append(browser.new_context(viewport={"width": width, "height": height}, **given))
        tab = contexts[-1].new_page()
        tab.set_default_timeout(PATIENCE)
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: request.url.startswith(("http://127.0.0.1", "blob:http://127.0.0.1", "data:"))
               or complaints.append(request.url))  # fmt: skip
        tab.on("console", lambda message: "Failed to load resource" in message.text or complaints.append(message.text))
        tab.goto(url)
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
