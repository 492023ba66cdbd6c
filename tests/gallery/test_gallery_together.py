"""Several images of one object as one query, and re-ranking: by hand and against loops."""

import numpy as np
import pytest

from colours import make
from likewise.gallery import rerank
from likewise.gallery.index import Found
from likewise.gallery.together import merged

X = np.eye(3, dtype=np.float32)


@pytest.fixture
def gallery(tmp_path):
    with make(tmp_path / "g") as made:
        vectors = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1]], np.float32)
        made.enroll_vectors(vectors, ["x", "y", "both", "z"], fingerprint="c0ffee", ids=list("xybz"), gate="off")
        yield made


def test_the_mean_and_the_best_by_hand(gallery):
    both = [X[0], X[1]]
    assert [h.id for h in gallery.search(both, k=4)] == ["b", "x", "y", "z"]
    assert gallery.search(both, k=1)[0].similarity == pytest.approx(1)
    best = gallery.search(both, k=4, together="best")
    assert [h.id for h in best] == ["x", "y", "b", "z"]
    assert [h.similarity for h in best] == pytest.approx([1, 1, 0.5**0.5, 0])
    assert gallery.identify(both).label == "both"
    assert gallery.identify(both, together="best").label == "x"
    assert gallery.identify(both, together="best").similarity == pytest.approx(1)
    assert gallery.identify(X[2]).label == "z"
    assert [a.label for a in gallery.identify_all(both)] == ["x", "y"]
    with pytest.raises(ValueError, match="together is mean or best; got 'sum'"):
        gallery.search(both, together="sum")
    with pytest.raises(ValueError, match="together is mean or best; got 'sum'"):
        gallery.identify(both, together="sum")


def test_unit_vectors_are_averaged(gallery):
    assert gallery.search([100 * X[0], X[1]], k=1)[0].id == "b"


def test_the_rules_take_several_images(gallery):
    for rule in ("centre", "vote(k=2)", "best(n=1)"):
        gallery.about["rule"] = rule
        gallery.store.set_meta(rule=rule)
        assert gallery.identify([X[0], X[1]]).label == "both"
        assert gallery.identify([X[2], X[2]], together="best").label == "z"


def test_marks_of_any_image_of_the_object_hold(gallery):
    gallery.reject(X[0], label="both")
    assert gallery.identify([X[0], X[1]]).label in ("x", "y")
    assert gallery.search([X[1], X[0]], k=1)[0].id in ("x", "y")


def test_merging_is_the_highest_similarity_of_each_row():
    found = Found(np.array([[0.9, 0.5, -np.inf], [0.8, 0.7, 0.1]], np.float32), np.array([[3, 1, -1], [1, 2, 3]]))
    joined = merged(found, 2)
    assert joined.row.tolist() == [[3, 1]]
    assert joined.sim[0] == pytest.approx([0.9, 0.8])
    assert merged(found, 9).row.tolist() == [[3, 1, 2]]
    assert merged(Found(np.full((2, 1), -np.inf), np.full((2, 1), -1)), 3).row.shape == (1, 0)


def unit(count: int, dim: int = 5, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, dim)) + 2 * rng.normal(size=(6, dim))[rng.integers(0, 6, count)]
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def loops(query, pool, k1, k2, weight):
    """Section 3 of the paper, one neighbour at a time."""
    everything = [query, *pool]
    n = len(everything)
    far = [[max(2 - 2 * float(a @ b), 0) for b in everything] for a in everything]
    far = [[d / max(row) for d in row] for row in far]
    order = [sorted(range(n), key=lambda j, i=i: (far[i][j], j)) for i in range(n)]

    def reciprocal(i, k):
        return {j for j in order[i][: k + 1] if i in order[j][: k + 1]}

    encoded = []
    for i in range(n):
        members = set(reciprocal(i, k1))
        for j in reciprocal(i, k1):
            half = reciprocal(j, round(k1 / 2))
            if len(half & reciprocal(i, k1)) > 2 / 3 * len(half):
                members |= half
        weights = {j: np.exp(-far[i][j]) for j in members}
        encoded.append({j: w / sum(weights.values()) for j, w in weights.items()})
    averaged = []
    for i in range(n):
        near = order[i][:k2]
        averaged.append({j: sum(encoded[m].get(j, 0) for m in near) / len(near) for j in range(n)})
    found = []
    for g in range(1, n):
        common = sum(min(averaged[0][j], averaged[g][j]) for j in range(n))
        either = sum(max(averaged[0][j], averaged[g][j]) for j in range(n))
        found.append((1 - weight) * (1 - common / either) + weight * far[0][g])
    return found


@pytest.mark.parametrize(
    ("count", "k1", "k2", "weight"), [(30, 6, 3, 0.3), (25, 8, 1, 0.0), (4, 20, 6, 0.5), (1, 3, 2, 0.3)]
)
def test_k_reciprocal_is_that_of_loops(count, k1, k2, weight):
    x = unit(count + 1)
    found = rerank.k_reciprocal(x[0], x[1:], k1=k1, k2=k2, weight=weight)
    assert found == pytest.approx(loops(x[0], x[1:], k1, k2, weight), abs=1e-5)


def test_query_expansion_is_that_of_a_loop():
    x = unit(40, seed=2)
    sims = sorted(((float(a @ x[0]), i) for i, a in enumerate(x[1:], start=1)), reverse=True)[:10]
    mixed = x[0] + sum(max(s, 0) ** 3 * x[i] for s, i in sims)
    assert rerank.expanded(x[0], x[1:]) == pytest.approx(mixed / np.linalg.norm(mixed), abs=1e-5)


def test_a_search_is_reranked_and_keeps_its_similarities(tmp_path):
    x = unit(60, dim=3, seed=3)
    with make(tmp_path / "g") as gallery:
        assert gallery.search(x[0], rerank="k-reciprocal") == []
        gallery.enroll_vectors(x[1:], "a", fingerprint="c0ffee", ids=[str(i) for i in range(59)], gate="off")
        plain = {h.id: h.similarity for h in gallery.search(x[0], k=59)}
        for way in rerank.RERANKS:
            hits = gallery.search(x[0], k=7, rerank=way)
            pool = x[1:][[int(i) for i in plain]]
            wanted = [list(plain)[i] for i in rerank.reranked(x[0], pool, way)[:7]]
            assert [h.id for h in hits] == wanted
            assert all(h.similarity == plain[h.id] for h in hits)
        with pytest.raises(ValueError, match="rerank is k-reciprocal or query-expansion; got 'x'"):
            gallery.search(x[0], rerank="x")


def test_reranking_is_for_cosine(tmp_path):
    with make(tmp_path / "g", sim="euclidean") as gallery, pytest.raises(ValueError, match="defined for cosine"):
        gallery.search(X[0], rerank="k-reciprocal")


def test_the_answer_says_that_the_rate_is_of_single_images(gallery):
    gallery.store.set_meta(promise={"threshold": 0.9, "rule": "nearest", "calibration": None, "classes": 4, "note": ""})
    assert gallery.identify(X[0]).why.endswith("the runner-up is both")
    for way in ("mean", "best"):
        assert "; the rate is promised for single images" in gallery.identify([X[0], X[1]], together=way).why
