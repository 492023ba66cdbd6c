"""Galleries in both stores: an SQLite file, and a database of a PostgreSQL server that the tests start and stop."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from likewise import Gallery, api, load_data
from small_gallery import DIM, files

STORES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.system)]
NUMBER = itertools.count()


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Path:
    recipe = api.load_recipe("digits").replace(size=16, epochs=3, dim=DIM, max_per_class=40)
    return api.train(recipe, out=tmp_path_factory.mktemp("runs"), name="d").path


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    """Held-out digits, a folder a class."""
    folder = tmp_path_factory.mktemp("images")
    part = load_data("digits", size=16).part("test")
    for i in range(150):
        label = part.classes[int(part.labels[i])]
        (folder / label).mkdir(exist_ok=True)
        Image.fromarray(part.pixels[i, 0].numpy()).save(folder / label / f"{i}.png")
    return folder


def fill(place: str | Path, run: Path, images: Path) -> None:
    paths, labels = files(images)
    with Gallery.create(place, run) as gallery:
        gallery.enroll(paths, labels, metadata=[{"n": i, "site": "ab"[i % 2]} for i in range(len(paths))], gate="off")


@pytest.fixture(scope="session")
def filled(run, images, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("filled") / "digits.gallery"
    fill(path, run, images)
    return path


@pytest.fixture(scope="session")
def template(server, run, images) -> str:
    """The database whose gallery `copy` is filled."""
    server.run('CREATE DATABASE "filled"')
    fill(server.url("copy", database="filled"), run, images)
    return "filled"


@pytest.fixture
def file_copy(filled, tmp_path) -> Path:
    """A copy of the file, to change."""
    with Gallery.open(filled) as gallery:
        gallery.store.erase()
    path = tmp_path / "copy.gallery"
    path.write_bytes(filled.read_bytes())
    return path


@pytest.fixture
def url_copy(server, template) -> str:
    """A copy of the database, to change."""
    name = f"copy_{next(NUMBER)}"
    server.run(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    return server.url("copy", database=name)


@pytest.fixture(params=STORES)
def copy(request) -> Path | str:
    """A filled gallery to change, in either store."""
    return request.getfixturevalue("file_copy" if request.param == "sqlite" else "url_copy")


@pytest.fixture(params=STORES)
def place(request, tmp_path) -> Callable[[], Path | str]:
    """A place for another new gallery, in either store, with every call."""
    if request.param == "sqlite":
        return lambda: tmp_path / f"{next(NUMBER)}.gallery"
    server = request.getfixturevalue("server")
    return lambda: server.url(f"new_{next(NUMBER)}")
