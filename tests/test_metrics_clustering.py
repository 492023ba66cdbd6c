"""Silhouettes and clusterings against scikit-learn's and against their definitions in loops."""

import math

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
    means = {label: vectors[labels == label].double().mean(0) for label in labels.unique().tolist()}
    found = c.simplified_silhouette(vectors, labels, tile=50)
    assert found[0] == 0
    for i in range(1, len(labels)):
        far = {label: float((vectors[i].double() - mean).norm()) for label, mean in means.items()}
        a = far.pop(int(labels[i]))
        b = min(far.values())
        assert float(found[i]) == pytest.approx((b - a) / max(a, b), abs=1e-9)


def test_shape_scores_equal_scikit_learns():
    vectors, labels = adversarial()
    assert c.davies_bouldin(vectors, labels) == theirs.davies_bouldin_score(vectors.numpy(), labels.numpy())
    assert c.calinski_harabasz(vectors, labels) == theirs.calinski_harabasz_score(vectors.numpy(), labels.numpy())


@pytest.mark.parametrize("score", [c.silhouette, c.simplified_silhouette, c.davies_bouldin, c.calinski_harabasz])
def test_one_class_is_one_sentence(score):
    with pytest.raises(ValueError, match="two are needed"):
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


def test_purity_equals_a_loop():
    generator = torch.Generator().manual_seed(0)
    labels, clusters = torch.randint(4, (50,), generator=generator), torch.randint(6, (50,), generator=generator) * 3
    commonest = [max((labels[clusters == k] == label).sum() for label in range(4)) for k in clusters.unique()]
    assert c.purity(labels, clusters) == pytest.approx(float(sum(commonest)) / 50)


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
