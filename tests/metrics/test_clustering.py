"""Silhouettes and clusterings against scikit-learn's and against their definitions in loops."""

import math
from collections import Counter
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as theirs

from likewise.metrics import clustering as c


def adversarial(seed: int = 0, n: int = 120) -> tuple[torch.Tensor, torch.Tensor]:
    """Ragged classes, one of a single sample, duplicates within and across classes, far from 0, large labels."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(n, 5, generator=generator) + 30
    labels = torch.randint(6, (n,), generator=generator) + 2**24
    labels[0] = 2**24 + 99
    vectors[3] = vectors[4] = vectors[5]
    vectors[labels == 2**24 + 1] = vectors[7].clone()
    return vectors, labels


@pytest.mark.parametrize("tile", [1, 1000, 2**22])
@pytest.mark.parametrize("seed", range(3))
def test_silhouette_equals_scikit_learns(seed: int, tile: int):
    vectors, labels = adversarial(seed)
    expected = theirs.silhouette_samples(vectors.double().numpy(), labels.numpy())
    torch.testing.assert_close(c.silhouette(vectors, labels, tile=tile), torch.from_numpy(expected), atol=1e-6, rtol=0)


def test_silhouette_by_hand():
    vectors, labels = torch.tensor([[0.0], [1.0], [4.0]]), torch.tensor([0, 0, 1])
    assert c.silhouette(vectors, labels).tolist() == pytest.approx([(4 - 1) / 4, (3 - 1) / 3, 0])


def test_silhouette_of_collapsed_vectors_is_0():
    assert c.silhouette(torch.ones(6, 3), torch.arange(6) % 2).tolist() == [0] * 6


def test_simplified_silhouette_equals_its_definition():
    vectors, labels = adversarial()
    means = middles(vectors, labels)
    found = c.simplified_silhouette(vectors, labels, tile=50)
    assert found[0] == 0
    for i in range(1, len(labels)):
        far = {label: float((vectors[i].double() - mean).norm()) for label, mean in means.items()}
        a = far.pop(int(labels[i]))
        b = min(far.values())
        assert float(found[i]) == pytest.approx((b - a) / max(a, b), abs=1e-9)


def middles(vectors: torch.Tensor, labels: torch.Tensor) -> dict[int, torch.Tensor]:
    return {label: vectors[labels == label].double().mean(0) for label in labels.unique().tolist()}


@pytest.mark.parametrize("seed", range(3))
def test_shape_scores_equal_their_definitions(seed: int):
    """Both are scikit-learn's: here once more with loops, from the papers' formulas."""
    vectors, labels = adversarial(seed)
    means = middles(vectors, labels)
    members = {label: vectors[labels == label].double() for label in means}
    wide = {label: sum(float((x - means[label]).norm()) for x in xs) / len(xs) for label, xs in members.items()}
    worst = [max((wide[a] + wide[b]) / float((means[a] - means[b]).norm()) for b in means if b != a) for a in means]
    assert c.davies_bouldin(vectors, labels) == pytest.approx(sum(worst) / len(worst), rel=1e-4)
    middle = vectors.double().mean(0)
    between = sum(len(xs) * float((means[label] - middle).square().sum()) for label, xs in members.items())
    within = sum(float((x - means[label]).square().sum()) for label, xs in members.items() for x in xs)
    expected = (between / (len(means) - 1)) / (within / (len(vectors) - len(means)))
    assert c.calinski_harabasz(vectors, labels) == pytest.approx(expected, rel=1e-4)


@pytest.mark.filterwarnings("ignore:Sparse invariant")
def test_shape_scores_and_agreement_equal_torchmetrics(vision):
    from torchmetrics.functional import clustering as t

    vectors, labels = adversarial()
    labels = labels.unique(return_inverse=True)[1]
    centred = vectors - vectors.mean(0)  # theirs computes in single precision, far from 0
    assert c.davies_bouldin(vectors, labels) == pytest.approx(float(t.davies_bouldin_score(centred, labels)), rel=1e-3)
    expected = float(t.calinski_harabasz_score(centred, labels))
    assert c.calinski_harabasz(vectors, labels) == pytest.approx(expected, rel=1e-3)
    drawn = torch.randint(4, (len(labels),), generator=torch.Generator().manual_seed(3))
    for clusters in (drawn, torch.where(drawn == 0, drawn, labels)):
        assert c.nmi(labels, clusters) == pytest.approx(
            float(t.normalized_mutual_info_score(clusters, labels, "arithmetic")), abs=1e-5
        )
        assert c.ari(labels, clusters) == pytest.approx(float(t.adjusted_rand_score(clusters, labels)), abs=1e-5)


@pytest.mark.parametrize("score", [c.silhouette, c.simplified_silhouette, c.davies_bouldin, c.calinski_harabasz])
def test_one_class_is_one_sentence(score):
    with pytest.raises(ValueError, match="needs at least two"):
        score(torch.randn(4, 2), torch.zeros(4, dtype=torch.int64))


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=60))
def test_agreement_equals_scikit_learns(pairs: list[tuple[int, int]]):
    labels, clusters = torch.tensor(pairs).T
    labels = labels + 2**24
    assert c.nmi(labels, clusters) == pytest.approx(theirs.normalized_mutual_info_score(labels, clusters), abs=1e-9)
    assert c.ari(labels, clusters) == pytest.approx(theirs.adjusted_rand_score(labels, clusters), abs=1e-9)
    told = c.information(labels, clusters)
    room = float(told.entropy.mean()) - told.expected
    if room > 1e-6:  # where nothing is left to tell, the quotient is one of two rounding errors
        expected = theirs.adjusted_mutual_info_score(labels, clusters)
        assert c.ami(labels, clusters) == pytest.approx(expected, abs=1e-6)


def test_expected_information_of_uneven_sizes_equals_scikit_learns():
    from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

    generator = torch.Generator().manual_seed(0)
    labels, clusters = (torch.randint(n, (900,), generator=generator) ** 2 // n for n in (40, 7))
    table = contingency_matrix(labels, clusters, sparse=True)
    expected = expected_mutual_information(table, 900)
    assert c.information(labels, clusters).expected == pytest.approx(expected, rel=1e-9)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=40))
def test_purity_equals_a_count(pairs: list[tuple[int, int]]):
    """Also where two classes are equally common in a cluster."""
    labels, clusters = torch.tensor(pairs).T
    most = [Counter(labels[clusters == k].tolist()).most_common(1)[0][1] for k in clusters.unique()]
    assert c.purity(labels + 2**24, clusters * 3) == pytest.approx(sum(most) / len(pairs))


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=2, max_size=25))
def test_ari_equals_a_count_of_pairs(pairs: list[tuple[int, int]]):
    (labels, clusters), n = zip(*pairs, strict=True), len(pairs)
    mates = [labels[i] == labels[j] for i, j in combinations(range(n), 2)]
    near = [clusters[i] == clusters[j] for i, j in combinations(range(n), 2)]
    both, chance = sum(map(all, zip(mates, near, strict=True))), sum(mates) * sum(near) / len(mates)
    room = (sum(mates) + sum(near)) / 2 - chance
    expected = (both - chance) / room if room else 1.0
    assert c.ari(torch.tensor(labels), torch.tensor(clusters)) == pytest.approx(expected, abs=1e-9)


def test_kmeans_finds_what_is_apart_and_is_seeded():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    vectors = torch.eye(3)[labels] * 20 + torch.randn(90, 3, generator=generator)
    found = c.kmeans(vectors, 3, seed=1)
    assert c.nmi(labels, found) == c.ami(labels, found) == c.ari(labels, found) == c.purity(labels, found) == 1
    assert torch.equal(found, c.kmeans(vectors, 3, seed=1))
    assert c.kmeans(torch.ones(5, 2), 3).shape == (5,)  # fewer places than clusters
    with pytest.raises(ValueError, match="6 clusters of 5 samples"):
        c.kmeans(torch.ones(5, 2), 6)


def test_information_adds_up():
    """Sums over samples are the mutual information and the entropies: by hand for two even halves."""
    told = c.information(torch.tensor([0, 0, 1, 1]), torch.tensor([5, 5, 6, 6]))
    assert told.shared.mean().item() == pytest.approx(math.log(2))
    assert told.entropy.mean().item() == pytest.approx(math.log(2))


def test_classes_at_one_place_or_without_width_are_not_bad():
    """Also where they differ by rounding alone: distances of 1e-9 are none."""
    spread = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [-1.0, 1e-10], [1.0, 1e-10]], dtype=torch.float64)
    assert c.davies_bouldin(spread, torch.tensor([0, 0, 1, 1])) == 0
    points = torch.tensor([[0.0, 0.0], [0.0, 1e-10], [1e-3, 0.0], [1e-3, 1e-10]], dtype=torch.float64)
    assert c.davies_bouldin(points, torch.tensor([0, 0, 1, 1])) == 0
