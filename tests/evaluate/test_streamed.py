"""Scores of files that are read in blocks are those of the vectors in memory."""

import json
import sys
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from likewise.cli import main
from likewise.embeddings import Embeddings, stream
from likewise.evaluate.streamed import evaluate_files
from likewise.metrics import neighbours


def made(n: int, classes: int, seed: int = 0, dim: int = 5) -> Embeddings:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    vectors = torch.randn(n, dim, generator=generator) + torch.nn.functional.one_hot(labels, dim).float()
    names = tuple(map(str, range(classes)))
    return Embeddings(vectors, labels, tuple(map(str, range(n))), torch.full((n,), 2).byte(), names)


def in_memory(query: Embeddings, reference: Embeddings | None) -> dict[str, float]:
    """By explicit loops over the queries."""
    found = {name: [] for name in ("recall@1", "recall@10", "r_precision", "map@r")}
    other = reference or query
    sim = torch.nn.functional.normalize(query.vectors) @ torch.nn.functional.normalize(other.vectors).T
    for i, row in enumerate(sim):
        order = [j for j in row.argsort(descending=True, stable=True).tolist() if reference or j != i]
        hits = [bool(other.labels[j] == query.labels[i]) for j in order]
        if not (R := sum(hits)):
            continue
        found["recall@1"].append(hits[0])
        found["recall@10"].append(any(hits[:10]))
        found["r_precision"].append(sum(hits[:R]) / R)
        found["map@r"].append(sum(sum(hits[: k + 1]) / (k + 1) for k in range(R) if hits[k]) / R)
    return {name: float(np.mean(values)) for name, values in found.items()}


@pytest.mark.parametrize("at_once", [(1000, 1000), (7, 9), (1, 64)], ids=str)
def test_blocks_do_not_matter(tmp_path, at_once):
    query, reference = made(40, 5), made(53, 4, seed=1)
    query.save(tmp_path / "q.parquet")
    reference.save(tmp_path / "r.parquet")
    for other, file in ((None, None), (reference, tmp_path / "r.parquet")):
        found = evaluate_files(tmp_path / "q.parquet", file, at_once=at_once)
        assert found.scores == pytest.approx(in_memory(query, other))
        assert found.queries + found.without_positives == 40
        assert found.references == (40 if other is None else 53)


def test_classes_are_the_same_by_name_and_not_by_number(tmp_path):
    """The file of queries has classes b and c, numbered 0 and 1; the references a, b and c."""
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    part = torch.full((3,), 2).byte()
    Embeddings(vectors, torch.arange(3), ("1", "2", "3"), part, ("a", "b", "c")).save(tmp_path / "r.parquet")
    Embeddings(vectors[1:], torch.arange(2), ("4", "5"), part[:2], ("b", "c")).save(tmp_path / "q.parquet")
    assert evaluate_files(tmp_path / "q.parquet", tmp_path / "r.parquet").scores["recall@1"] == 1
    Embeddings(vectors[1:], torch.arange(2), ("4", "5"), part[:2], ("b", "d")).save(tmp_path / "q.parquet")
    assert evaluate_files(tmp_path / "q.parquet", tmp_path / "r.parquet").without_positives == 1


def test_it_is_the_ranking_of_nearest():
    x, y = made(30, 4).vectors, made(70, 4, seed=2).vectors
    blocks = neighbours.nearest_of_blocks(x, y.split(13), 8)
    assert torch.equal(blocks.place, neighbours.nearest(x, y, 8).place)


def test_by_hand(tmp_path):
    """At 0, 10, 25 and 90 degrees, classes a a b b: the third has a neighbour of a, the others their own."""
    angle = torch.tensor([0.0, 10.0, 25.0, 90.0]).deg2rad()
    vectors, labels = torch.stack([angle.cos(), angle.sin()], 1), torch.tensor([0, 0, 1, 1])
    Embeddings(vectors, labels, tuple("wxyz"), torch.zeros(4).byte(), ("a", "b")).save(tmp_path / "v.parquet")
    assert evaluate_files(tmp_path / "v.parquet").scores == {"recall@1": 0.75, "r_precision": 0.75, "map@r": 0.75}


def test_large_classes_have_no_score_that_ranks_all_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr("likewise.evaluate.streamed.DEPTH", 5)
    made(40, 2).save(tmp_path / "v.parquet")
    assert list(evaluate_files(tmp_path / "v.parquet").scores) == ["recall@1", "recall@10"]


def test_memory_is_that_of_the_blocks(tmp_path):
    """16 MB of vectors, 256 kB at a time."""
    rows, dim = 4_096, 1_024
    schema = pa.schema([("id", pa.string()), ("label", pa.int64()), ("vector", pa.list_(pa.float32(), dim))])
    rng = np.random.default_rng(0)
    with pq.ParquetWriter(tmp_path / "v.parquet", schema) as writer:
        for start in range(0, rows, 64):
            flat = pa.array(rng.normal(size=64 * dim).astype(np.float32))
            ids, labels = [str(start + i) for i in range(64)], [i % 4 for i in range(64)]
            vectors = pa.FixedSizeListArray.from_arrays(flat, dim)
            writer.write_table(pa.Table.from_arrays([pa.array(ids), pa.array(labels), vectors], schema=schema))
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    most = 0
    for vectors, _ in stream(tmp_path / "v.parquet", 64, {}):
        most = max(most, pa.total_allocated_bytes() - before)
        assert len(vectors) <= 64
    assert max(most, tracemalloc.get_traced_memory()[1]) < 4 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda e: e.vectors.fill_(float("nan")), "NaN or infinity"),
        (lambda e: e.labels.zero_(), "holds one class only"),
        (lambda e: e.labels.copy_(torch.arange(4)), "has another image of its class to find"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(tmp_path, change, words):
    found = made(4, 4)
    change(found)
    found.save(tmp_path / "v.parquet")
    with pytest.raises(ValueError, match=words):
        evaluate_files(tmp_path / "v.parquet")


def test_other_files_are_refused(tmp_path):
    pq.write_table(pa.table({"id": ["a"], "vector": [[1.0]]}), tmp_path / "v.parquet")
    with pytest.raises(ValueError, match="no column 'label'"):
        evaluate_files(tmp_path / "v.parquet")
    made(9, 2).save(tmp_path / "q.parquet")
    made(9, 2, dim=6).save(tmp_path / "r.parquet")
    with pytest.raises(ValueError, match=r"queries have 5 numbers and .* 6: use one model"):
        evaluate_files(tmp_path / "q.parquet", tmp_path / "r.parquet")


def test_the_command(tmp_path, monkeypatch, capsys):
    made(40, 5).save(tmp_path / "v.parquet")
    for words, code in (([], 0), (["--json"], 0), (["--folds", "2"], 2)):
        monkeypatch.setattr(sys, "argv", ["likewise", "evaluate", str(tmp_path / "v.parquet"), *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == code
        told = capsys.readouterr()
        if words == ["--json"]:
            assert json.loads(told.out)["references"] == 40
        elif not words:
            assert "40 queries, 40 references" in told.out
        else:
            assert "takes --gallery" in told.err
