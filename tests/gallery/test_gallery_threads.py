"""One gallery object in many threads: searches beside enrollments, corrections and an upgrade."""

import threading

import numpy as np
import pytest

from colours import BLUE, GREEN, RED, Colours, coloured, make
from likewise.gallery import renewal
from likewise.gallery.state import State
from likewise.gallery.store import Row, StoreError


class Doubled(Colours):
    """Another model, of vectors twice as long."""

    path, fingerprint, dim = "doubled", "d0b1ed", 6

    def one(self, path) -> np.ndarray:
        return np.concatenate([super().one(path)] * 2)


def together(*works) -> None:
    """Run functions in threads of their own. Errors: the first error of any."""
    failures: list[BaseException] = []

    def guarded(work) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def test_searches_beside_enrollments_see_whole_items(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(240, 3)).astype(np.float32)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    done = threading.Event()
    with make(tmp_path / "g") as gallery:
        gallery.enroll_vectors(x[:40], ["0"] * 40, fingerprint="c0ffee", ids=[str(i) for i in range(40)], gate="off")

        def enroll(first: int) -> None:
            for i in range(first, first + 50, 5):
                part = list(range(i, i + 5))
                labels, ids = [str(n % 7) for n in part], [str(n) for n in part]
                added = gallery.enroll_vectors(x[part], labels, fingerprint="c0ffee", ids=ids, gate="off").added
                assert gallery.search(id=ids[0], k=1)
                assert added == ids

        def search(seed: int) -> None:
            random, seen = np.random.default_rng(seed), 0
            while not done.is_set() or not seen:
                query = x[random.integers(0, 240)]
                hits = gallery.search(query, k=200)
                sims = [hit.similarity for hit in hits]
                assert sims == sorted(sims, reverse=True)
                assert len({hit.id for hit in hits}) == len(hits)
                for hit in hits:
                    assert hit.similarity == pytest.approx(
                        float(unit[int(hit.id)] @ query) / np.linalg.norm(query), abs=1e-4
                    )
                    assert hit.label == ("0" if int(hit.id) < 40 else str(int(hit.id) % 7))
                assert gallery.identify(query).best is not None
                seen += 1

        def write() -> None:
            try:
                together(*[lambda first=first: enroll(first) for first in (40, 90, 140, 190)])
            finally:
                done.set()

        together(write, lambda: search(1), lambda: search(2))
        assert len(gallery) == len(gallery.state().index) == 240


def test_rows_are_known_before_they_are_found(monkeypatch):
    """What a search in another thread finds has its label and id already."""
    state = State(2, "cosine")
    rows = [Row(i + 1, str(i), str(i), "a", "", "", "{}", b"", np.ones(2, "<f4").tobytes()) for i in range(3)]
    plain, seen = state.index.add, []

    def add(vectors: np.ndarray) -> None:
        plain(vectors)
        seen.append((len(state.index), len(state.rows), len(state.labels)))

    monkeypatch.setattr(state.index, "add", add)
    state.add(rows[:2])
    state.add(rows[2:])
    assert seen == [(2, 2, 2), (3, 3, 3)]
    assert state.place == {"0": 0, "1": 1, "2": 2}


def test_an_upgrade_beside_searches_and_enrollments(tmp_path, monkeypatch):
    images = []
    for i in range(30):
        images.append(tmp_path / f"{i}.png")
        images[-1].write_bytes(coloured((RED, GREEN, BLUE)[i % 3], i))
    names, done = ["red", "green", "blue"], threading.Event()
    monkeypatch.setattr(renewal, "PIECE", 3)
    monkeypatch.setattr("likewise.gallery.opened.open_encoder", lambda path: Doubled())
    (tmp_path / "doubled").touch()
    monkeypatch.setattr(Doubled, "path", str(tmp_path / "doubled"))
    with make(tmp_path / "g") as gallery:
        gallery.enroll(images[:15], [names[i % 3] for i in range(15)], gate="off")

        def search() -> None:
            seen = 0
            while not done.is_set() or not seen:
                i = seen % 15
                assert gallery.identify(images[i]).label == names[i % 3]
                assert gallery.search(images[i], k=1)[0].similarity == pytest.approx(1, abs=1e-4)
                seen += 1

        def change() -> None:
            try:
                together(lambda: renewal.upgrade(gallery, Doubled()), enroll)
            finally:
                done.set()

        def enroll() -> None:
            for i in range(15, 30):
                try:
                    gallery.enroll([images[i]], names[i % 3], gate="off")
                except StoreError:  # the switch came between embedding and writing: the call is repeated
                    gallery.enroll([images[i]], names[i % 3], gate="off")

        together(change, search, search)
        assert {len(row.vector) for row in gallery.store.scan()} == {24}
        assert len(gallery) == 30
        assert gallery.check()["sound"]
