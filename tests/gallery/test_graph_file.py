"""The index's file: any damage leads to a new index and right answers; files of strangers are bounded and checked."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from likewise.gallery import arrays, codes, graph, kinds, links, upkeep
from likewise.gallery.gallery import Gallery
from likewise.gallery.sqlite import SqliteStore

pytest.importorskip("faiss")
DIM, SIZE = 8, 300
MAGIC = links.MAGICS["hnsw"]
HEAD = len(MAGIC) + links.HEADER.size + arrays.SUM


@pytest.fixture(autouse=True, scope="module")
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upkeep, "LARGE", SIZE * DIM // 2)
        yield


@pytest.fixture(scope="module", params=["hnsw"])
def made(request, tmp_path_factory) -> Path:
    """A gallery with an index of a kind."""
    path = tmp_path_factory.mktemp("made") / "g.gallery"
    store = SqliteStore(path, create=True)
    with store.begin():
        about = {"dim": DIM, "sim": "euclidean", "fingerprint": "none", "private": True, "rule": "nearest"}
        store.set_meta(**about, revision=0, edits=0, index=request.param)
    store.close()
    x = np.random.default_rng(0).normal(size=(SIZE, DIM))
    with Gallery.open(path) as gallery:
        ids = [str(i) for i in range(SIZE)]
        gallery.enroll_vectors(x, [f"c{i % 5}" for i in range(SIZE)], fingerprint="none", gate="off", ids=ids)
        gallery.ready()
    return path


@pytest.fixture(scope="module")
def whole(made) -> bytes:
    return Path(f"{made}.index").read_bytes()


def opened_with(made: Path, content: bytes) -> tuple[bool, list[str]]:
    """Whether a gallery with this index takes it, and what it says; its answers are right either way."""
    Path(f"{made}.index").write_bytes(content)
    said: list[str] = []
    queries = np.random.default_rng(1).normal(size=(20, DIM)).astype(np.float32)
    with Gallery.open(made) as gallery:
        gallery.upkeep.say = said.append
        state = gallery.state()
        taken = state.view is not None
        found, true = gallery.ready().search(queries, 5), state.index.search(queries, 5)
        assert np.mean([len(set(a) & set(b)) / 5 for a, b in zip(found.row, true.row, strict=True)]) >= 0.98
        assert gallery.state().view is not None
    return taken, said


every_kind = pytest.mark.parametrize("made", list(kinds.KINDS), indirect=True)
CODES = [pytest.param(kind, marks=pytest.mark.slow) for kind in kinds.MAPPED]
damaged_kinds = pytest.mark.parametrize("made", ["hnsw", *CODES], indirect=True)


@every_kind
def test_the_whole_file_is_taken(made, whole):
    assert opened_with(made, whole) == (True, [])


SLOW_FIXTURES = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@damaged_kinds
@SLOW_FIXTURES
@given(st.data())
def test_a_flipped_bit_leads_to_a_new_index(made, whole, data):
    at = data.draw(st.one_of(st.integers(0, HEAD - 1), st.integers(0, len(whole) - 1)))
    bit = data.draw(st.integers(0, 7))
    taken, said = opened_with(made, whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :])
    assert not taken
    assert len(said) == 1
    assert "is rebuilt: it" in said[0]


@damaged_kinds
@SLOW_FIXTURES
@given(st.data())
def test_a_cut_or_longer_file_leads_to_a_new_index(made, whole, data):
    content = data.draw(
        st.one_of(
            st.integers(0, len(whole) - 1).map(lambda end: whole[:end]),
            st.binary(min_size=1, max_size=20).map(lambda more: whole + more),
            st.binary(max_size=200),
        )
    )
    taken, said = opened_with(made, content)
    assert (taken, len(said)) == (False, 1)


def signed(given: links.Links, entry: int | None = None, beam: int | None = None, nodes: int | None = None) -> bytes:
    """A file whose checksum is right, whatever its numbers."""
    entry, beam = given.entry if entry is None else entry, given.beam if beam is None else beam
    header = links.HEADER.pack(len(given.seqs) if nodes is None else nodes, len(given.neighbors), entry, beam)
    body = b"".join(np.asarray(getattr(given, name)).astype(kind).tobytes() for name, kind in links.NUMBERS.items())
    return MAGIC + header + hashlib.sha256(header + body).digest() + body


def changed(given: links.Links, **arrays: np.ndarray) -> links.Links:
    return given._replace(**arrays)


def put(array: np.ndarray, at: object, value: int) -> np.ndarray:
    array = array.copy()
    array[at] = value
    return array


def hostile(good: links.Links) -> dict[str, bytes]:
    """Files with a right checksum that would lead a search outside its arrays, or nowhere."""
    begin = links.offsets(good.levels)
    high, low = int(np.flatnonzero(good.levels > 1)[0]), int(np.flatnonzero(good.levels == 1)[0])
    upper = int(links.slots(np.array([high]), begin, 1)[0, 0])
    shuffled = np.where(good.neighbors >= 0, np.random.default_rng(0).integers(0, SIZE, len(good.neighbors)), -1)
    for layer in range(1, int(good.levels.max())):
        shuffled[links.slots(np.flatnonzero(good.levels > layer), begin, layer)] = -1
    return {
        "a link leads to no node: above": signed(changed(good, neighbors=put(good.neighbors, 0, SIZE))),
        "a link leads to no node: far above": signed(changed(good, neighbors=put(good.neighbors, 0, 2**31 - 1))),
        "a link leads to no node: below": signed(changed(good, neighbors=put(good.neighbors, 0, -2))),
        "a node that is not in its layer": signed(changed(good, neighbors=put(good.neighbors, upper, low))),
        "a node is in no layer": signed(changed(good, levels=put(good.levels, low, 0))),
        "a node is in no layer, or in too many": signed(changed(good, levels=put(good.levels, low, 255))),
        "its links are not as many": signed(changed(good, levels=put(good.levels, low, 2))),
        "its entry point: above": signed(good, entry=SIZE),
        "its entry point: below": signed(good, entry=-1),
        "its entry point: in a lower layer": signed(good, entry=low),
        "its beam width is out of range": signed(good, beam=2**31),
        "two nodes are the same item": signed(changed(good, seqs=put(good.seqs, 1, int(good.seqs[0])))),
        "two nodes are the same item: negative": signed(changed(good, seqs=put(good.seqs, 1, -5))),
        "nodes and the gallery's could be": signed(good, nodes=2**62),
        "it has 0 nodes": signed(good, nodes=0),
        "its length is not the one": signed(good, nodes=SIZE + 1),
        "items were removed": signed(changed(good, crcs=good.crcs ^ 1)),
        "it does not lead: none": signed(changed(good, neighbors=np.full_like(good.neighbors, -1))),
        "it does not lead: random": signed(changed(good, neighbors=shuffled)),
        "it is no index of this version": b"LKWGRPH9" + signed(good)[8:],
    }


def test_hostile_files_are_refused(made, whole, tmp_path):
    (tmp_path / "i").write_bytes(whole)
    good = links.read(tmp_path / "i", SIZE)
    assert signed(good) == whole
    for case, content in hostile(good).items():
        taken, said = opened_with(made, content)
        assert not taken, case
        assert case.partition(":")[0] in said[0], said


def signed_codes(given: codes.Codes, **header: int) -> bytes:
    """A file whose checksum is right, whatever its numbers."""
    fields = {"nodes": len(given.seqs), "lists": len(given.centres), "dim": DIM, "probe": given.probe} | header
    packed = codes.HEADER.pack(*fields.values())
    body = b"".join(np.asarray(getattr(given, name)).astype(kind).tobytes() for name, kind in codes.NUMBERS.items())
    return codes.MAGIC + packed + hashlib.sha256(packed + body).digest() + body


@pytest.mark.parametrize("made", ["ivfpq"], indirect=True)
def test_hostile_codes_are_refused(made, whole, tmp_path):
    (tmp_path / "i").write_bytes(whole)
    good = codes.read(tmp_path / "i", SIZE, DIM)
    assert signed_codes(good) == whole
    width = len(good.centres)
    hostile_codes = {
        "a node is in no list: above": signed_codes(good._replace(lists=put(good.lists, 0, width))),
        "a node is in no list: below": signed_codes(good._replace(lists=put(good.lists, 3, -1))),
        "its centres hold NaN": signed_codes(good._replace(centres=put(good.centres, (0, 0), np.nan))),
        "its centres hold NaN or infinity: books": signed_codes(good._replace(books=put(good.books, (1, 2), np.inf))),
        "its number of lists searched": signed_codes(good, probe=5),
        "two nodes are the same item": signed_codes(good._replace(seqs=put(good.seqs, 1, int(good.seqs[0])))),
        "it has 0 nodes": signed_codes(good, nodes=0),
        "nodes and the gallery's could be": signed_codes(good, nodes=2**62),
        "its length is not the one": signed_codes(good, nodes=SIZE + 1),
        "its vectors are 9 long": signed_codes(good, dim=9),
        "its vectors are 8 long, in 301 lists": signed_codes(good, lists=SIZE + 1),
        "items were removed": signed_codes(good._replace(crcs=good.crcs ^ 1)),
        "it does not lead": signed_codes(good._replace(centres=good.centres + 1e30, probe=4)),
        "it is no index of this version": links.MAGICS["int8"] + whole[8:],
    }
    for case, content in hostile_codes.items():
        taken, said = opened_with(made, content)
        assert not taken, case
        assert case.partition(":")[0] in said[0], said


def test_what_a_header_announces_takes_no_memory(tmp_path):
    path = tmp_path / "i"
    for count, width in ((10**9, 10**9), (10**9, 2**63), (2**40, 2**40), (1, 2**40)):
        header = links.HEADER.pack(count, width, 0, 32)
        path.write_bytes(MAGIC + header + hashlib.sha256(header).digest())
        tracemalloc.start()
        with pytest.raises(ValueError, match=r"nodes and the gallery's could be|its length is not"):
            links.read(path, 10**9)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.stop()


def test_an_index_of_another_gallery_is_not_taken(made, whole, tmp_path):
    path = tmp_path / "other.gallery"
    path.write_bytes(made.read_bytes())
    with Gallery.open(path) as gallery:
        gallery.forget("c0")
        gallery.enroll_vectors(np.eye(DIM), "n", fingerprint="none", gate="off")
    assert not Path(f"{path}.index").exists()
    x = np.random.default_rng(7).normal(size=(SIZE, DIM))
    store = SqliteStore(tmp_path / "third.gallery", create=True)
    with store.begin():
        about = {"dim": DIM, "sim": "cosine", "fingerprint": "none", "private": True, "rule": "nearest"}
        store.set_meta(**about, revision=0, edits=0)
    store.close()
    with Gallery.open(tmp_path / "third.gallery") as gallery:
        gallery.enroll_vectors(x, "c", fingerprint="none", gate="off")
    taken, said = opened_with(tmp_path / "third.gallery", whole)
    assert not taken
    assert "300 of its 300 items were removed" in said[0]


def test_an_index_that_cannot_be_saved_is_said_and_used(made, monkeypatch):
    def full(*given):
        raise OSError(28, "No space left on device")

    Path(f"{made}.index").unlink(missing_ok=True)
    monkeypatch.setattr(graph.Graph, "save", full)
    said: list[str] = []
    with Gallery.open(made) as gallery:
        gallery.upkeep.say = said.append
        assert gallery.ready().view is not None
    assert "is not saved" in said[-1]
    assert not Path(f"{made}.index").exists()


def test_check_finds_what_was_damaged_after_it_was_read(made, whole):
    path = Path(f"{made}.index")
    path.write_bytes(whole)
    with Gallery.open(made) as gallery:
        assert gallery.check()["index"] == "sound"
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert gallery.check()["index"] == "made anew (its checksum differs)"
        assert gallery.check()["index"] == "sound"
        path.unlink()
    with Gallery.open(made) as gallery:
        assert gallery.info()["index"] == "exact, until `likewise gallery check` has built a graph"
        assert gallery.check()["index"] == "made anew (it was missing)"


SAVER = """
import sys
from pathlib import Path
from likewise.gallery import links
path, most = Path(sys.argv[1]), int(sys.argv[2])
good = links.read(path, most)
print("ready", flush=True)
while True:
    links.write(path, good)
"""


@pytest.mark.slow
def test_a_kill_during_saving_leaves_a_whole_file(made, whole):
    path, rng = Path(f"{made}.index"), random.Random(0)
    path.write_bytes(whole)
    for _ in range(25):
        command = [sys.executable, "-c", SAVER, str(path), str(SIZE)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0, 0.05))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert path.read_bytes() == whole
    assert opened_with(made, whole) == (True, [])
    links.write(path, links.read(path, SIZE))
    assert [name for name in os.listdir(path.parent) if name.endswith(".part")] == []
