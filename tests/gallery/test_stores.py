"""The contract of a store, over SQLite and PostgreSQL; and both after the same random calls."""

import json
import random
import threading
from pathlib import Path

import numpy as np
import pytest

from likewise import Gallery
from likewise.gallery.state import load
from likewise.gallery.store import Negative, SqlStore, StoreError
from likewise.gallery.stores import open_store
from small_gallery import DIM, create, enroll, item

HOSTILE = [
    "'; DROP TABLE items; --",
    'x" OR "1"="1',
    "\\'); DELETE FROM meta; --",
    "%s %(x)s %% ? $1 :name {blob}",
    "E'\\\\x00' \\n \\",
    "\x1b[31mred\x07 \u202egnp.exe",
    "Ünïcödé 🦆 \u0301 İ ß ﷽",
    "NULL",
    " leading and trailing ",
    "a" * 800,
    "ä" * 400,
]


def impatient(store: SqlStore) -> SqlStore:
    """The same gallery once more, for one who waits a tenth of a second."""
    return type(store)(getattr(store, "address", store.url), wait=0.1)


def everything(gallery: Gallery) -> dict:
    """What a gallery holds, without times and row numbers."""
    store = gallery.store
    last = store.last_step()
    return {
        "rows": sorted(row[1:] for row in store.scan()),
        "meta": store.meta(),
        "version": store.version(),
        "negatives": [tuple(negative) for negative in store.negatives()],
        "step": last and (last.verb, last.undo),
        "audit": [{key: value for key, value in line.items() if key != "at"} for line in store.audit(10_000)],
    }


def test_a_vector_comes_back_bit_by_bit(place):
    limits = np.finfo(np.float32)
    numbers = [0.0, -0.0, 1e-45, -1e-45, limits.tiny, limits.max, limits.min, limits.eps, 1 / 3]
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 200_000, dtype=np.uint32).view(np.float32)
    vector = np.concatenate([np.float32(numbers), bits[np.isfinite(bits)]])[:16_000]
    with create(place(), len(vector)) as gallery:
        with gallery.store.begin():
            gallery.store.put([item("whole", vector=vector), item("half", vector=vector[:8000])])
        found = gallery.store.find("id", ["whole", "half"])
        assert found["whole"].vector == vector.tobytes()
        assert found["half"].vector == vector[:8000].tobytes()
        assert [row.vector for row in gallery.store.scan()] == [vector.tobytes(), vector[:8000].tobytes()]
        assert gallery.store.damaged() == []


def test_an_id_and_a_content_are_there_once(place):
    with create(place()) as gallery:
        with gallery.store.begin():
            assert gallery.store.put([item("a"), item("b"), item("a", content="other")]) == ["a", "b"]
        version = gallery.store.version()
        with gallery.store.begin():
            again = [item("a", "another label"), item("c", content="content of b"), item("d")]
            assert gallery.store.put(again) == ["d"]
            assert gallery.store.put(again) == []
        assert [(row.id, row.label) for row in gallery.store.scan()] == [("a", "a"), ("b", "a"), ("d", "a")]
        assert gallery.store.version() == (version.revision + 1, version.edits)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_only_text(place, text):
    with create(place()) as gallery:
        told = [{"key '": text, text: [text, {"\0": "\ud7ff"}]}, {}, {}]
        ids = enroll(gallery, [text, text, "plain"], ids=[text, "b", "c"], metadata=told, groups=[text, "", ""])
        assert ids == [text, "b", "c"]
        first = next(gallery.items())
        assert first | {"metadata": json.loads(first["metadata"])} == {
            "id": text,
            "label": text,
            "group": text,
            "path": "",
            "metadata": told[0],
        }
        assert gallery.search(id=text, k=1, where=[f"label={text.strip()}"]) == [] or text.strip() == text
        gallery.reject(np.ones(DIM, np.float32), label=text)
        assert gallery.split(["c"], text + "2" if len(text.encode()) < 700 else "2") == 1
        assert gallery.rename(text, "renamed") == 2
        assert gallery.undo() == "rename"
        assert gallery.remove([text]) == 1
        assert gallery.undo() == "remove"
        assert gallery.forget(text)["removed"] == 2
        assert [row["id"] for row in gallery.items()] == ["c"]
        assert len(gallery.store.run("SELECT 1 FROM meta")) == 7


@pytest.mark.parametrize("text", ["nul\0", "half \ud800 pair", "a" * 801, "ä" * 401], ids=range(4))
def test_text_that_a_store_cannot_hold_is_refused_whole(place, text):
    with create(place()) as gallery:
        enroll(gallery, ["a"])
        before = everything(gallery)
        for given in ({"labels": ["b", text]}, {"labels": ["b", "b"], "ids": ["new", text]}):
            with pytest.raises(ValueError, match=r"is text of at most 800 bytes without NUL characters"):
                enroll(gallery, given.pop("labels"), seed=1, **given)
        with pytest.raises(ValueError, match="a label is text of at most"):
            gallery.rename("a", text)
        assert everything(gallery) == before


def interrupted(store: SqlStore) -> None:
    with store.begin():
        store.put([item("new")])
        with store.begin():  # part of the same write
            store.push_step("x", {})
            store.add_negative(Negative("c", b"", b"", "a", ""))
            store.set_meta(dim=None)
        raise RuntimeError("in the middle")


def refused(store: SqlStore) -> None:
    with store.begin():
        store.put([item("new")])
        store.run("INSERT INTO items (id) VALUES ('x')")


def test_a_write_that_fails_leaves_nothing(place):
    with create(place()) as gallery:
        enroll(gallery, ["a", "b"])
        before = everything(gallery)
        with pytest.raises(RuntimeError, match="in the middle"):
            interrupted(gallery.store)
        assert everything(gallery) == before
        assert enroll(gallery, ["c"], seed=2)


def test_a_statement_that_fails_fails_the_write(place):
    with create(place()) as gallery:
        enroll(gallery, ["a"])
        with pytest.raises(StoreError):
            refused(gallery.store)
        assert len(gallery) == 1
        assert enroll(gallery, ["c"], seed=2)


def test_a_reader_sees_one_state_and_then_the_next(place):
    at = place()
    with create(at) as writer, Gallery.open(at) as reader:
        enroll(writer, ["a"] * 3)
        with reader.store.reading():
            seen = reader.store.version()
            enroll(writer, ["b"] * 3, seed=1)
            assert reader.store.count() == 3
            assert len(list(reader.store.scan())) == 3
            assert reader.store.version() == seen
        assert reader.store.count() == 6
        assert [hit.label for hit in reader.search(id=next(reader.items())["id"], k=9)].count("b") == 3


def test_writing_goes_on_while_items_are_read(place):
    with create(place()) as gallery:
        enroll(gallery, [f"c{i % 3}" for i in range(30)])
        rows = gallery.items()
        first = next(rows)
        gallery.remove([first["id"]])
        assert len(list(rows)) == 29
        assert len(gallery) == 29


def test_what_is_forgotten_waits_for_readers(place):
    at = place()
    with create(at) as gallery, Gallery.open(at) as reader, Gallery(impatient(gallery.store)) as writer:
        enroll(writer, ["a", "b", "a"])
        with reader.store.reading():
            assert reader.store.count() == 3
            assert writer.forget("a")["erased"] is False
            assert len(list(reader.store.scan())) == 3
        assert writer.vacuum()
        assert reader.store.count() == 1


def test_a_writer_waits_and_then_says_so(place):
    at = place()
    with create(at) as first:
        second = impatient(first.store)
        with first.store.begin():
            with pytest.raises(ValueError, match="is locked by another process; try again"), second.begin():
                pass
            first.store.put([item("a")])
        with second.begin():
            assert second.put([item("a"), item("b")]) == ["b"]
        second.close()


def test_many_writers_are_serial_and_a_reader_misses_none(place):
    at, failures, writers, each = place(), [], 4, 15
    done = threading.Event()

    def write(number: int) -> None:
        try:
            with Gallery.open(at) as gallery:
                for i in range(each):
                    with gallery.store.begin():  # an item of its own, and one that every writer brings
                        gallery.store.put([item(f"{number}-{i}"), item(f"all-{i}")])
        except BaseException as error:
            failures.append(error)

    def read() -> None:
        try:
            with Gallery.open(at) as gallery:
                state = None
                while not done.is_set():
                    state = load(gallery.store, state)
                    assert state.version.revision <= len(state.rows) <= 2 * state.version.revision
                state = load(gallery.store, state)
                assert [row.id for row in state.rows] == [row.id for row in gallery.store.scan()]
        except BaseException as error:
            failures.append(error)

    with create(at) as gallery:
        threads = [threading.Thread(target=write, args=(n,)) for n in range(writers)]
        reader = threading.Thread(target=read)
        for thread in (reader, *threads):
            thread.start()
        for thread in threads:
            thread.join()
        done.set()
        reader.join()
        assert not failures
        assert len(gallery) == (writers + 1) * each
        assert gallery.store.version().revision == writers * each


def test_a_gallery_that_cannot_be_made_leaves_nothing(place, run, monkeypatch):
    at = place()
    store = open_store(at, create=True)
    store.discard()
    monkeypatch.setattr(type(store), "largest_dim", 3)
    with pytest.raises(ValueError, match=r"vectors are 8 long and .* holds 3"):
        Gallery.create(at, run)
    with pytest.raises(ValueError, match="there is no gallery"):
        Gallery.open(at)


def act(gallery: Gallery, rng: random.Random, number: int) -> object:
    """One random call; its answer, or the sentence of its error."""
    labels, ids = [f"c{i}" for i in range(4)], [f"{rng.randrange(number + 1)}-{i}" for i in range(3)]
    vectors = np.random.default_rng(rng.randrange(40)).normal(size=(3, DIM))
    choice = rng.randrange(10)
    try:
        if choice < 4:
            told = {"metadata": [{"n": number}] * 3, "groups": rng.choices(labels, k=3), "gate": "warn"}
            own = [f"{number}-{i}" for i in range(3)] if rng.random() < 0.8 else ids
            return tuple(gallery.enroll_vectors(vectors, rng.choices(labels, k=3), fingerprint="none", ids=own, **told))
        if choice == 4:
            return gallery.rename(rng.choice(labels), rng.choice(labels))
        if choice == 5:
            return gallery.merge(rng.choice(labels), rng.choice(labels))
        if choice == 6:
            return gallery.split(ids[:2], rng.choice(labels))
        if choice == 7:
            return gallery.remove(ids[:1])
        if choice == 8:
            return gallery.undo() if rng.random() < 0.8 else gallery.forget(rng.choice(labels))["removed"]
        return gallery.reject(vectors[0].astype(np.float32), label=rng.choice(labels))
    except ValueError as error:
        return str(error).replace(gallery.store.url, "")


@pytest.mark.system
@pytest.mark.parametrize("seed", range(4))
def test_both_stores_come_to_the_same(server, tmp_path, seed):
    with create(tmp_path / "g.gallery") as one, create(server.url(f"same_{seed}")) as other:
        for number in range(60):
            rng = random.Random(f"{seed} {number}")
            again = random.Random(f"{seed} {number}")
            assert act(one, rng, number) == act(other, again, number)
            assert everything(one) == everything(other)
        query = np.ones(DIM, np.float32)
        assert one.search(query, k=20) == other.search(query, k=20)
        assert one.identify(query) == other.identify(query)


def test_a_path_or_a_url_is_told_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with create(Path("postgresql")) as gallery:
        assert gallery.store.url == "postgresql"
    with pytest.raises(ValueError, match=r"a gallery is a file or postgresql://.*; got a URL of mysql"):
        Gallery.open("mysql://root:secret@host/db")


def test_a_gallery_that_was_closed_stays_closed(place):
    gallery = create(place())
    gallery.close()
    for call in (lambda: len(gallery), lambda: enroll(gallery, ["a"]), gallery.state):
        with pytest.raises(StoreError, match="closed"):
            call()


def test_more_items_are_found_than_one_statement_names(place, monkeypatch):
    monkeypatch.setattr("likewise.gallery.store.BY_ID", 2)
    with create(place()) as gallery:
        with gallery.store.begin():
            gallery.store.put([item(str(i)) for i in range(5)])
        found = gallery.store.find("id", ["4", "0", "1", "none", "2", "3", "0"])
        assert {key: row.id for key, row in found.items()} == {key: key for key in "40123"}


def test_what_is_enrolled_is_in_the_index_before_the_answer(place):
    with create(place()) as gallery:
        added = enroll(gallery, ["a", "b"])
        assert [row.id for row in gallery.memory.rows] == added
        added += enroll(gallery, ["a"], seed=1)
        assert [row.id for row in gallery.memory.rows] == added
        assert len(gallery.memory.index) == 3
