"""Accuracy by bytes: float32 agrees with the scores of a run, int8 and bits with a loop, and what a run reports."""

import json

import pytest
import torch

from likewise.evaluate import evaluate
from likewise.evaluate.vector_sizes import KINDS, dims_of, vector_sizes
from likewise.experiment.recipe import Recipe
from likewise.experiment.run_files import checked_metrics
from likewise.experiment.sizes import accuracy_by_size, trained_dims
from likewise.metrics.quantized import Range, in_signs
from likewise.viz.pages.report import write_report
from report_page import read
from report_run import clusters, digits_metrics, write_run

CLASSES = [f"class {i}" for i in range(12)]


@pytest.fixture(scope="module")
def held():
    return clusters(CLASSES, each=8, dim=16)


def by_name(points):
    return {(one.dim, one.kind): one for one in points}


def test_float32_is_the_score_of_a_run(held):
    query, train = held.part("test"), held.part("train")
    closed = by_name(vector_sizes(query, train, train.vectors, [16]))[16, "float32"].score
    assert closed == evaluate(query, train, quick=True)["knn@1"]
    opened = by_name(vector_sizes(query, None, train.vectors, [16]))[16, "float32"].score
    assert opened == evaluate(query, quick=True)["recall@1"]


def test_a_prefix_in_bits_equals_a_loop(held):
    query, train = held.part("test"), held.part("train")
    found = by_name(vector_sizes(query, train, train.vectors, [16, 8]))
    x, y = (torch.nn.functional.normalize(part.vectors[:, :8]) for part in (query, train))
    asked, sign = in_signs(x, Range.of(y)), in_signs(y, Range.of(y))
    right = 0
    for q in range(len(query)):
        nearest = max(range(len(train)), key=lambda m: ((asked[q] @ sign[m]).item(), -m))
        right += bool(train.labels[nearest] == query.labels[q])
    assert found[8, "binary"].score.value == pytest.approx(right / len(query))
    assert [one.bytes for one in found.values()] == [64, 16, 2, 2, 32, 8, 1, 1]


def test_what_is_scored_chooses_nothing(held):
    """Ranges and means come from known vectors: a query far away changes no other query's result."""
    query, train = held.part("test"), held.part("train")
    few = query.take(range(20))
    alone = vector_sizes(few, train, train.vectors, [16])
    far = query.take([*range(20), 30])
    far.vectors[-1] = 1e4
    both = vector_sizes(far, train, train.vectors, [16])
    for one, other in zip(alone, both, strict=True):
        assert 0 <= round(21 * other.score.value) - round(20 * one.score.value) <= 1


def test_dimensions_and_prefixes():
    assert dims_of(64, [8, 12, 64]) == [64, 32, 16, 12, 8, 4]
    assert dims_of(3) == [3, 1]
    assert trained_dims("sum(losses=['matryoshka(loss=\"ntxent\", dims=[2, 6])', 'softmax'])") == [2, 6]
    assert trained_dims("supcon") == []


def test_nothing_to_find_is_said(held):
    alone = held.take([0, 8, 16])
    with pytest.raises(ValueError, match="nothing to find"):
        vector_sizes(alone, None, held.vectors, [16])


@pytest.mark.slow
@pytest.mark.parametrize("open_set", [True, False])
def test_a_run_reports_the_curve(held, open_set, tmp_path):
    recipe = Recipe(loss="matryoshka(loss='supcon', dims=[4, 16])", sim="cosine", dim=16)
    record = accuracy_by_size(recipe, held, "test", open_set=open_set)
    assert record["score"] == ("recall@1" if open_set else "knn@1")
    assert len(record["points"]) == len(KINDS) * 5  # 16, 8, 4, 2, 1
    folder = write_run(tmp_path / "run", held, metrics=digits_metrics(open=open_set, vector_sizes=record))
    checked_metrics(folder / "metrics.json")
    write_report(folder)
    page = read(folder)
    assert "Accuracy per byte" in page.headings
    assert "The loss was trained at the first 16, 4 dimensions" in page.said()
    assert (folder / "plots" / "accuracy_per_byte.png").is_file()


def test_other_losses_have_no_curve(held):
    assert accuracy_by_size(Recipe(loss="supcon"), held, "test", open_set=True) is None


@pytest.mark.parametrize(
    "change",
    [{"points": 3}, {"trained": ["x"]}, {"queries": -1}, {"points": [{"dim": 4, "kind": "int8", "bytes": 4, "n": 1}]}],
)
def test_a_damaged_curve_is_named(change, tmp_path):
    good = {"score": "knn@1", "queries": 1, "references": 1, "trained": [4], "points": []}
    (tmp_path / "metrics.json").write_text(json.dumps(digits_metrics(vector_sizes=good)))
    checked_metrics(tmp_path / "metrics.json")
    (tmp_path / "metrics.json").write_text(json.dumps(digits_metrics(vector_sizes=good | change)))
    with pytest.raises(ValueError, match="vector_sizes is an object of points"):
        checked_metrics(tmp_path / "metrics.json")
