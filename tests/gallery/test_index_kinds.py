"""The kinds of index: chosen, changed, their memory, their numbers by hand, and calls that are wrong."""

import json
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from likewise.cli.gallery import commands
from likewise.gallery import kinds, mapped, report, tuning, upkeep
from likewise.gallery.gallery import Gallery
from likewise.gallery.index import ExactIndex, compared
from likewise.gallery.lists import Lists, assembled
from likewise.gallery.sqlite import SqliteStore
from likewise.gallery.store import DamagedError, StoreError

pytest.importorskip("faiss")
DIM, SIZE = 10, 600


def vectors(count: int, seed: int = 0, dim: int = DIM) -> np.ndarray:
    """Clusters of some 20 around fixed centres."""
    rng = np.random.default_rng(seed)
    centre = np.random.default_rng(99).normal(size=(30, dim))
    return (centre[rng.integers(0, 30, count)] + 0.5 * rng.normal(size=(count, dim))).astype(np.float32)


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A gallery of an earlier version, without a kind of index, large enough for one."""
    monkeypatch.setattr(upkeep, "LARGE", 500 * DIM)
    store = SqliteStore(tmp_path / "g.gallery", create=True)
    with store.begin():
        about = {"dim": DIM, "sim": "cosine", "fingerprint": "none", "private": True, "rule": "nearest"}
        store.set_meta(**about, revision=0, edits=0)
    store.close()
    with Gallery.open(store.path) as gallery:
        ids = [str(i) for i in range(SIZE)]
        gallery.enroll_vectors(vectors(SIZE), "c", fingerprint="none", gate="off", ids=ids)
    return store.path


def test_a_gallery_that_names_no_kind_has_a_graph(path):
    with Gallery.open(path) as gallery:
        gallery.ready()
        assert gallery.info()["index_kind"] == "hnsw"
        assert not gallery.state().index.mapped


@pytest.mark.parametrize("kind", kinds.MAPPED)
def test_another_kind_is_taken_by_every_open_gallery(path, kind, capsys):
    with Gallery.open(path) as gallery, Gallery.open(path) as other:
        other.ready()
        gallery.reindex(kind)
        capsys.readouterr()
        assert gallery.state().view.graph.kind == kind
        assert other.search(vectors(SIZE)[5], k=1)[0].id == "5"
        assert other.state().view.graph.kind == kind
        assert other.info()["index_kind"] == kind
    assert capsys.readouterr().err == ""  # the file that the first one wrote is taken
    with Gallery.open(path) as gallery:
        gallery.reindex("hnsw")
        assert gallery.state().view.graph.kind == "hnsw"


def test_an_index_of_another_kind_is_made_anew(path, capsys):
    with Gallery.open(path) as gallery:
        gallery.reindex("int8")
        with gallery.store.begin():
            gallery.store.set_meta(index="ivfpq")
            gallery.store.touch()
        assert gallery.ready().view.graph.kind == "ivfpq"
    assert "is rebuilt: it is no index of this version and kind" in capsys.readouterr().err


def test_bytes_a_vector_by_hand(path):
    with Gallery.open(path) as gallery:
        gallery.reindex("ivfpq")
        told = gallery.info()
        # 3 bytes of code for 10 numbers, 8 + 12 of numbers and keys; 15 lists and 256 values of 12 float32
        assert told["bytes_per_vector"] == round(3 + 20 + 4 * 12 * (15 + 256) / SIZE)
        assert told["bytes_per_vector_on_disk"] == 4 * DIM
        assert told["index"].startswith("IVF-PQ, 3 bytes a code, ")
        assert told["recall@10"] >= 0.99
        gallery.reindex("int8")
        told = gallery.info()
        assert DIM + 4 * 64 < told["bytes_per_vector"] < DIM + 4 * 64 + 60
        assert told["index"].startswith("HNSW graph over int8 codes, efSearch ")


def test_codes_of_few_values_by_hand():
    """Four vectors 64 times each: lists and codes hold them exactly, so that the nearest are known."""
    corner = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], np.float32)
    stored = np.repeat(corner, 64, 0) + 1e-4 * np.random.default_rng(0).normal(size=(256, 4)).astype(np.float32)
    index = Lists(4, "euclidean")
    index.add(stored, np.arange(1, 257), np.zeros(256, np.uint32))
    assert index.index.nlist == 6
    assert index.tune(stored)
    found = index.candidates(np.array([[0, 0.9, 0.1, 0]], np.float32), 2, 0)[0]
    assert sorted(found[:64].tolist()) == list(range(64, 128))
    assert index.bytes() == 256 * (1 + 8 + 12) + 4 * 4 * (6 + 256)


def test_lists_are_put_together_as_they_were():
    stored = vectors(SIZE)
    index = Lists(DIM, "euclidean")
    index.add(stored, np.arange(1, SIZE + 1), np.arange(SIZE, dtype=np.uint32))
    assert index.tune(stored)
    removed = np.arange(SIZE) < 7
    codes = index.codes(removed)
    again = assembled(codes, np.where(removed, -1, np.arange(SIZE)), DIM, "euclidean")
    before, after = (one.candidates(vectors(40, seed=3), 10, 0) for one in (index, again))
    for one, other in zip(before.tolist(), after.tolist(), strict=True):
        assert [node for node in one if node >= 7] == [node for node in other if node >= 0][: sum(n >= 7 for n in one)]
    index.add(vectors(5, seed=4), np.arange(1000, 1005), np.zeros(5, np.uint32))
    again.add(vectors(5, seed=4), np.arange(1000, 1005), np.zeros(5, np.uint32))
    assert again.candidates(vectors(5, seed=4), 1, 0)[:, 0].tolist() == list(range(SIZE, SIZE + 5))


@pytest.mark.parametrize("sim", ["cosine", "dot", "euclidean", "sqeuclidean"])
def test_comparison_against_loops(sim, monkeypatch):
    monkeypatch.setattr("likewise.gallery.index.TILE", 64)  # more than one tile
    query, rows = vectors(7, seed=1), vectors(20, seed=2)
    row = np.random.default_rng(3).integers(-1, 20, (7, 5))
    found = compared(query, rows, row, sim)
    for q in range(7):
        for k in range(5):
            x, y = query[q].astype(float), rows[row[q, k]].astype(float)
            square = float(((x - y) ** 2).sum())
            true = {"euclidean": -(square**0.5), "sqeuclidean": -square}.get(sim, float(x @ y))
            assert found[q, k] == (pytest.approx(true, abs=1e-5) if row[q, k] >= 0 else -np.inf)


def test_narrowest_by_hand():
    """Setting 3 finds all of ten rows but the last two, 4 finds all."""
    rows = np.arange(12, dtype=np.float32)[:, None]

    def candidates(query, k, setting):
        every = np.tile(np.arange(12), (len(query), 1))
        return np.where(every < (10 if setting == 3 else 12), every, -1)

    assert tuning.narrowest(candidates, (3, 4, 5), rows, "sqeuclidean") == 4
    assert tuning.narrowest(candidates, (3,), rows, "sqeuclidean") == 0


def test_mapped_rows_are_those_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(mapped, "STEP", 100)
    in_file, in_memory = ExactIndex(DIM, "cosine", mapped.MappedRows(DIM, tmp_path)), ExactIndex(DIM, "cosine")
    views = []
    for i in range(12):
        for one in (in_file, in_memory):
            one.add(vectors(1 + 7 * i, seed=i))
        in_file.settle()
        views.append((in_file.prepared, in_memory.prepared.copy()))
    assert all((one == other).all() for one, other in views)
    for one, other in zip(in_file.search(vectors(9), 5), in_memory.search(vectors(9), 5), strict=True):
        assert (one == other).all()
    assert list(tmp_path.iterdir()) == []  # the file has no name


def test_vectors_of_codes_leave_no_file(path):
    with Gallery.open(path) as gallery:
        gallery.reindex("ivfpq")
        beside = {one.name for one in path.parent.iterdir()}
    assert beside <= {f"g.gallery{end}" for end in ("", ".index", "-wal", "-shm")}


def test_a_full_disk_is_said(path, monkeypatch):
    with Gallery.open(path) as gallery:
        gallery.reindex("int8")
        monkeypatch.setattr(mapped.os, "posix_fallocate", no_room)
        with gallery.store.begin():
            gallery.store.relabel([str(i) for i in range(SIZE)], "d")
        with pytest.raises(StoreError, match=r"no room on the disk .* --kind hnsw"):
            gallery.search(vectors(1)[0])
        gallery.reindex("hnsw")
        assert [hit.label for hit in gallery.search(vectors(SIZE)[5], k=1)] == ["d"]


def test_a_disk_that_fills_while_rows_are_added_leaves_the_state_as_it_was(path, monkeypatch):
    monkeypatch.setattr(mapped, "STEP", 100)
    with Gallery.open(path) as gallery:
        gallery.reindex("int8")
        state = gallery.state()
        with monkeypatch.context() as patch:
            patch.setattr(mapped.MappedRows, "grown", no_room)
            with pytest.raises(StoreError, match="no room"):
                gallery.enroll_vectors(vectors(400, seed=5), "e", fingerprint="none", gate="off")
            assert len(state.rows) == len(state.labels) == len(state.seqs) == len(state.index) == SIZE
        found = gallery.search(vectors(400, seed=5)[7], k=1)[0]
        assert (found.label, len(gallery.state().index), len(gallery.state().rows)) == ("e", SIZE + 400, SIZE + 400)


PATCHED = """
import sys
import faiss.contrib.torch_utils
import numpy as np
from likewise.gallery import upkeep
from likewise.gallery.gallery import Gallery
upkeep.LARGE = 1
with Gallery.open(sys.argv[1]) as gallery:
    for kind in ("int8", "ivfpq", "hnsw"):
        gallery.reindex(kind)
        nearest = gallery.search(np.load(sys.argv[2]), k=1)[0].id
        print(gallery.info()["index_kind"], gallery.state().view is not None, nearest)
with Gallery.open(sys.argv[1]) as gallery:
    gallery.ready()
"""


def test_faiss_with_the_search_of_another_package(path):
    """`faiss.contrib.torch_utils`, which pytorch-metric-learning imports, takes `params` out of FAISS's search."""
    np.save(query := path.with_name("query.npy"), vectors(SIZE)[5])
    ran = subprocess.run([sys.executable, "-c", PATCHED, path, query], capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stderr.count("rebuilt")) == (0, 0), ran.stderr
    assert ran.stdout.split("\n")[:3] == ["int8 True 5", "ivfpq True 5", "hnsw True 5"]


@pytest.mark.parametrize("error", [TypeError("no such parameter"), KeyError(), AssertionError(), MemoryError()])
@pytest.mark.parametrize("kind", kinds.KINDS)
def test_an_index_that_cannot_be_made_is_said_once_and_searches_are_exact(path, kind, error, monkeypatch, capsys):
    def failing(*given, **named):
        raise error

    monkeypatch.setattr("likewise.gallery.graph.narrowest", failing)
    monkeypatch.setattr("likewise.gallery.lists.narrowest", failing)
    with Gallery.open(path) as gallery:
        gallery.reindex(kind)
        assert gallery.search(vectors(SIZE)[5], k=1)[0].id == "5"
        assert gallery.ready().view is None
    said = capsys.readouterr().err
    assert said.count("an index cannot be made: ") == 1
    assert (str(error) or type(error).__name__) in said


def no_room(*given):
    raise OSError(28, "No space left on device")


def test_wrong_calls(path, monkeypatch):
    with Gallery.open(path) as gallery:
        with pytest.raises(ValueError, match=r"there is no index 'ivf'; a gallery has hnsw, int8, ivfpq"):
            gallery.reindex("ivf")
        monkeypatch.setattr(report, "available", lambda: False)
        with pytest.raises(ValueError, match="the index int8 needs FAISS: "):
            gallery.reindex("int8")
        assert gallery.info()["index_kind"] == "hnsw"
    for strange in ("scann", ["hnsw"], 5):
        store = SqliteStore(path)
        with store.begin():
            store.set_meta(index=strange)
        store.close()
        with pytest.raises(DamagedError, match="this version knows hnsw, int8, ivfpq"):
            Gallery.open(path)


def test_the_command(path):
    ran = CliRunner().invoke(commands, ["index", str(path), "--kind", "ivfpq", "--json"])
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    assert (told["index_kind"], told["bytes_per_vector_on_disk"]) == ("ivfpq", 4 * DIM)
    ran = CliRunner().invoke(commands, ["index", str(path)])
    assert "index: IVF-PQ" in ran.stdout
    assert "recall@10: " in ran.stdout
