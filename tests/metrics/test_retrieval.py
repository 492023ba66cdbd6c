"""Retrieval metrics: fractions worked by hand, loops, torchmetrics, scikit-learn and pytorch-metric-learning."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise import geometry
from likewise.metrics import retrieval
from likewise.metrics.retrieval import Ranked, Set, measure

#                                        hits at ranks 1 3, R = 2 | hits at 2 3 4, R = 3 | none of R = 1 found
BY_HAND = Ranked(torch.tensor([[1, 0, 1, 0], [0, 1, 1, 1], [0, 0, 0, 0]]).bool(), torch.tensor([2, 3, 1]))

WORKED = {
    "recall@1": [1, 0, 0],
    "recall@2": [1, 1, 0],
    "precision@2": [1 / 2, 1 / 2, 0],
    "precision@4": [2 / 4, 3 / 4, 0],
    "found@3": [2 / 2, 2 / 3, 0],
    "r_precision": [1 / 2, 2 / 3, 0],
    "map@r": [(1 / 1) / 2, (1 / 2 + 2 / 3) / 3, 0],
    "map": [(1 / 1 + 2 / 3) / 2, (1 / 2 + 2 / 3 + 3 / 4) / 3, 0],
    "map@2": [(1 / 1) / 2, (1 / 2) / 2, 0],
    "mrr": [1, 1 / 2, 0],
    "mrr@1": [1, 0, 0],
    "cmc@2": [1, 1, 0],
    "ndcg@2": [1 / (1 + 1 / math.log2(3)), (1 / math.log2(3)) / (1 + 1 / math.log2(3)), 0],
    "ndcg": [
        (1 + 1 / 2) / (1 + 1 / math.log2(3)),
        (1 / math.log2(3) + 1 / 2 + 1 / math.log2(5)) / (1 + 1 / math.log2(3) + 1 / 2),
        0,
    ],
}
NAMES = (
    "recall@1",
    "recall@3",
    "precision@3",
    "found@3",
    "r_precision",
    "map@r",
    "map@3",
    "map",
    "mrr",
    "mrr@3",
    "cmc@3",
    "ndcg",
    "ndcg@3",
)


@pytest.mark.parametrize("name", WORKED)
def test_by_hand(name: str):
    torch.testing.assert_close(retrieval.metric(name)(BY_HAND), torch.tensor(WORKED[name], dtype=torch.float64))


def test_musgraves_example():
    """R = 10: right at rank 1 only; at ranks 1 and 10; at all ten."""
    hits = torch.zeros(3, 10, dtype=torch.bool)
    hits[0, 0] = hits[1, 0] = hits[1, 9] = True
    hits[2] = True
    ranked = Ranked(hits, torch.tensor([10, 10, 10]))
    torch.testing.assert_close(
        retrieval.map_at_r(ranked), torch.tensor([1 / 10, (1 + 2 / 10) / 10, 1.0], dtype=torch.float64)
    )


def test_cmc_stays_up_and_is_recall_at_each_rank():
    assert retrieval.cmc(BY_HAND, 4).tolist() == [[1, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0]]
    for k in range(1, 5):
        assert torch.equal(retrieval.cmc(BY_HAND, 4)[:, k - 1], retrieval.recall(BY_HAND, k))


def loop(name: str, hits: list[bool], relevant: int) -> float:
    """Each metric once more, written for one query, in plain Python."""
    stem, _, at = name.partition("@")
    first = hits[: relevant if at == "r" else int(at or len(hits))]
    at_hits = [sum(hits[: i + 1]) / (i + 1) for i, hit in enumerate(first) if hit]
    gain = sum(1 / math.log2(i + 2) for i, hit in enumerate(first) if hit)
    return {
        "recall": lambda: float(any(first)),
        "cmc": lambda: float(any(first)),
        "precision": lambda: sum(first) / int(at or 1),
        "found": lambda: sum(first) / relevant,
        "r_precision": lambda: sum(hits[:relevant]) / relevant,
        "map": lambda: sum(at_hits) / min(relevant, len(first)),
        "mrr": lambda: 1 / (first.index(True) + 1) if any(first) else 0.0,
        "ndcg": lambda: gain / sum(1 / math.log2(i + 2) for i in range(min(relevant, len(first)))),
    }[stem]()


def cases(seed: int, n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Whole-number vectors, so that ties and duplicates abound; ragged classes, some of one image, large labels."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randint(-1, 3, (n, 2), generator=generator).float()
    labels = torch.randint(0, 12, (n,), generator=generator) ** 2 // 3 + 2**24
    return vectors, labels


def ranked_by_loop(query: Set, reference: Set | None) -> dict[int, tuple[list[bool], int]]:
    """The hits of every query that has something to find, in the order (similarity down, place up)."""
    refs = reference or query
    sim_QM = (query.vectors @ refs.vectors.T).tolist()
    mine, theirs = query.labels.tolist(), refs.labels.tolist()
    groups = query.groups.tolist() if query.groups is not None else [None] * len(mine)
    others = refs.groups.tolist() if refs.groups is not None else [None] * len(theirs)
    found = {}
    for i, label in enumerate(mine):
        seen = [j for j in range(len(theirs)) if not (reference is None and i == j)]
        if groups[i] is not None:
            seen = [j for j in seen if (theirs[j], others[j]) != (label, groups[i])]
        hits = [theirs[j] == label for j in sorted(seen, key=lambda j: (-sim_QM[i][j], j))]
        if any(hits):
            found[i] = hits, sum(hits)
    return found


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_equals_the_loops(seed: int, grouped: bool, apart: bool):
    vectors, labels = cases(seed)
    groups = torch.arange(40) % 3 if grouped else None
    query = Set(vectors, labels, groups)
    reference = Set(*cases(seed + 100), None if groups is None else groups.flip(0)) if apart else None
    want = ranked_by_loop(query, reference)
    found = measure(NAMES, query, reference, sim=geometry.dot, tile=300)
    assert found.query.tolist() == list(want)
    assert found.queries_without_positives == 40 - len(want)
    for name in NAMES:
        expected = [loop(name, hits, relevant) for hits, relevant in want.values()]
        assert found.values[name].tolist() == pytest.approx(expected, abs=1e-12), name


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 30), st.sampled_from([50, 2**22]))
def test_equals_the_loops_on_any_set(seed: int, n: int, tile: int):
    query = Set(*cases(seed, n))
    want = ranked_by_loop(query, None)
    names = ["recall@1", "map@r", "r_precision", "mrr"]
    found = measure(names, query, sim=geometry.dot, tile=tile)
    assert found.query.tolist() == list(want)
    for name in names:
        assert found.values[name].tolist() == pytest.approx([loop(name, *w) for w in want.values()], abs=1e-12)


def distinct(n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(n, 8, generator=generator), torch.randint(0, 6, (n,), generator=generator)


def test_equals_torchmetrics(vision):
    """Its functions leave out what scores 0 or less, so similarities are made positive."""
    from torchmetrics.functional import retrieval as theirs

    vectors, labels = distinct()
    names = ("recall@1", "precision@5", "found@5", "r_precision", "map", "map@5", "mrr", "mrr@3", "ndcg", "ndcg@5")
    found = measure(names, Set(vectors, labels))
    for row, i in enumerate(found.query.tolist()):
        others = torch.arange(len(labels)) != i
        scores, target = geometry.cosine(vectors[i : i + 1], vectors[others])[0] + 2, labels[others] == labels[i]
        expected = {
            "recall@1": theirs.retrieval_hit_rate(scores, target, top_k=1),
            "precision@5": theirs.retrieval_precision(scores, target, top_k=5),
            "found@5": theirs.retrieval_recall(scores, target, top_k=5),
            "r_precision": theirs.retrieval_r_precision(scores, target),
            "map": theirs.retrieval_average_precision(scores, target),
            "mrr": theirs.retrieval_reciprocal_rank(scores, target),
            "mrr@3": theirs.retrieval_reciprocal_rank(scores, target, top_k=3),
            "ndcg": theirs.retrieval_normalized_dcg(scores, target),
            "ndcg@5": theirs.retrieval_normalized_dcg(scores, target, top_k=5),
        }
        for name, value in expected.items():
            assert float(found.values[name][row]) == pytest.approx(float(value), abs=1e-6), name


def test_average_precision_equals_scikit_learns():
    from sklearn.metrics import average_precision_score

    vectors, labels = distinct()
    found = measure(["map"], Set(vectors, labels))
    for value, i in zip(found.values["map"].tolist(), found.query.tolist(), strict=True):
        others = torch.arange(len(labels)) != i
        scores = geometry.cosine(vectors[i : i + 1], vectors[others])[0]
        assert value == pytest.approx(average_precision_score(labels[others] == labels[i], scores), abs=1e-12)


@pytest.mark.parametrize("apart", [False, True])
def test_equals_pytorch_metric_learning(apart: bool):
    from pytorch_metric_learning.distances import CosineSimilarity
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    from pytorch_metric_learning.utils.inference import CustomKNN

    names = {"recall@1": "precision_at_1", "r_precision": "r_precision", "map@r": "mean_average_precision_at_r"}
    names |= {"map": "mean_average_precision", "mrr": "mean_reciprocal_rank"}
    vectors, labels = distinct()
    half = slice(0, 20), slice(20, 40)
    query, reference = (Set(vectors[s], labels[s]) for s in half) if apart else (Set(vectors, labels), None)
    theirs = AccuracyCalculator(include=tuple(names.values()), knn_func=CustomKNN(CosineSimilarity()))
    expected = theirs.get_accuracy(*query[:2], *(reference[:2] if reference else ()))
    found = measure(list(names), query, reference)
    for name, their_name in names.items():
        assert float(found.values[name].mean()) == pytest.approx(expected[their_name], abs=1e-6), name


def test_large_labels_keep_their_identity():
    """As float32, 2^24 and 2^24 + 1 are one class."""
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    labels = torch.tensor([2**24, 2**24 + 1, 2**24, 2**24 + 1])
    assert measure(["recall@1"], Set(vectors, labels)).values["recall@1"].tolist() == [0, 0, 0, 0]
    with pytest.raises(ValueError, match="give them as int64"):
        measure(["recall@1"], Set(vectors, labels.float()))


def test_all_lone_is_empty_and_counted():
    found = measure(["recall@1", "map@r"], Set(torch.randn(5, 2), torch.arange(5)))
    assert (len(found.query), found.queries_without_positives) == (0, 5)
    assert all(len(values) == 0 for values in found.values.values())


def test_one_class_is_all_right():
    found = measure(list(NAMES), Set(torch.randn(6, 2), torch.zeros(6, dtype=torch.int64)))
    for name in NAMES:
        expected = 3 / 5 if name == "found@3" else 1
        assert found.values[name].tolist() == pytest.approx([expected] * 6), name


def test_labels_that_are_not_in_the_gallery_are_lone():
    query, gallery = Set(torch.randn(3, 2), torch.tensor([0, 1, 9])), Set(torch.randn(4, 2), torch.tensor([0, 0, 1, 5]))
    found = measure(["recall@1"], query, gallery)
    assert (found.query.tolist(), found.queries_without_positives) == ([0, 1], 1)


def test_rank_only_as_deep_as_needed(monkeypatch: pytest.MonkeyPatch):
    depths = []
    usual = retrieval.neighbours.tiles
    monkeypatch.setattr(retrieval.neighbours, "tiles", lambda x, y, k, **kw: depths.append(k) or usual(x, y, k, **kw))
    whole = Set(torch.randn(20, 2), torch.arange(20) % 5)
    for names in (["recall@1"], ["recall@7", "map@r"], ["map@r"], ["r_precision"], ["map"], ["mrr@5", "cmc@2"]):
        measure(names, whole)
    assert depths == [1, 7, 3, 3, 19, 5]


@pytest.mark.parametrize("name", ["recal@1", "recall", "recall@0", "recall@r", "recall@-1", "map@", "", "precision@x"])
def test_a_name_that_is_no_metric(name: str):
    with pytest.raises(ValueError, match=r"no retrieval metric.*recall@k"):
        retrieval.metric(name)


def test_more_results_than_ranked_is_an_error():
    with pytest.raises(ValueError, match="k is 5, but 4 results were ranked"):
        retrieval.recall(BY_HAND, 5)
    with pytest.raises(ValueError, match="3 relevant references, but 2 results"):
        retrieval.map_at_r(Ranked(BY_HAND.hits[:, :2], BY_HAND.relevant))
    with pytest.raises(ValueError, match="k is 6, but each query has 5"):
        measure(["recall@6"], Set(torch.randn(6, 2), torch.zeros(6, dtype=torch.int64)))
