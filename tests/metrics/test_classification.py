"""Votes, centroids and the probe: loops, and scikit-learn's own classifiers."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise import geometry
from likewise.metrics import classification as c
from likewise.metrics.neighbours import Nearest, nearest


def blobs(n: int, seed: int, classes: int = 5, dim: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    centres = torch.randn(classes, dim, generator=torch.Generator().manual_seed(99))
    return centres[labels] + 0.8 * torch.randn(n, dim, generator=generator), labels + 2**24


def test_vote_by_hand():
    labels = torch.tensor([7, 8, 8, 9, 9])
    near = Nearest(torch.zeros(2, 5), torch.tensor([[0, 1, 2, 3, 4], [3, 1, 2, 4, 0]]))
    assert c.vote(near, labels, 1).tolist() == [7, 9]
    assert c.vote(near, labels, 3).tolist() == [8, 8]
    assert c.vote(near, labels, 5).tolist() == [8, 9]  # two against two: the nearest of them


@settings(max_examples=40)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=9))
def test_vote_equals_a_count(neighbours: list[int]):
    near = Nearest(torch.zeros(1, len(neighbours)), torch.arange(len(neighbours))[None])
    count = Counter(neighbours)
    want = max(count, key=lambda label: (count[label], -neighbours.index(label)))
    assert c.vote(near, torch.tensor(neighbours), len(neighbours)).item() == want


@pytest.mark.parametrize("k", [1, 5, 7])
def test_vote_equals_scikit_learns_where_votes_are_not_equal(k: int):
    from sklearn.neighbors import KNeighborsClassifier

    (x, _), (y, labels) = blobs(80, 0), blobs(200, 1)
    near = nearest(x, y, k, sim=geometry.euclidean)
    theirs = KNeighborsClassifier(k).fit(y.numpy(), labels.numpy()).predict(x.numpy())
    votes = [Counter(row).most_common(2) for row in labels[near.place].tolist()]
    clear = torch.tensor([len(v) == 1 or v[0][1] > v[1][1] for v in votes])
    assert clear.sum() > 40
    assert torch.equal(c.vote(near, labels, k)[clear], torch.from_numpy(theirs)[clear])


def test_a_weighted_vote_lets_one_near_outweigh_two_far():
    near = Nearest(torch.tensor([[0.9, 0.2, 0.1]]), torch.tensor([[0, 1, 2]]))
    labels = torch.tensor([1, 2, 2])
    assert c.vote(near, labels, 3).item() == 2
    assert c.weighted_vote(near, labels, 3).item() == 1
    assert c.weighted_vote(near, labels, 3, temperature=100).item() == 2
    for level in (1000, -1000):  # exp overflows or vanishes there, in geometries without bounds
        far = Nearest(level + torch.tensor([[0.0, -0.01, -0.01]]), near.place)
        assert c.weighted_vote(far, labels, 3).item() == 2


def test_weighted_vote_equals_a_loop():
    (x, _), (y, labels) = blobs(50, 0), blobs(100, 1)
    near = nearest(x, y, 9)
    for i, named in enumerate(c.weighted_vote(near, labels, 9, temperature=0.3).tolist()):
        weight = Counter()
        for sim, place in zip(near.sim[i].tolist(), near.place[i].tolist(), strict=True):
            weight[labels[place].item()] += torch.tensor(sim / 0.3).exp().item()
        assert named == max(weight, key=lambda label: weight[label])


def test_a_place_without_a_reference_does_not_vote():
    near = Nearest(torch.tensor([[0.9, -torch.inf, -torch.inf]]), torch.tensor([[0, -1, -1]]))
    labels = torch.tensor([1, 2])
    assert c.vote(near, labels, 3).tolist() == c.weighted_vote(near, labels, 3).tolist() == [1]


def test_many_neighbours_vote_in_little_memory():
    """As a matrix of neighbours by neighbours this vote would take 4 GB."""
    near = Nearest(torch.zeros(1000, 2000), torch.arange(2000).expand(1000, -1))
    assert (c.vote(near, torch.arange(2000) % 7, 2000) == 0).all()


def test_more_neighbours_than_ranked_is_an_error():
    with pytest.raises(ValueError, match="k is 2, but 1 neighbours"):
        c.vote(Nearest(torch.zeros(1, 1), torch.zeros(1, 1, dtype=torch.int64)), torch.tensor([1]), 2)


def test_nearest_centroid_equals_scikit_learns():
    from sklearn.neighbors import NearestCentroid

    (x, _), (y, labels) = blobs(80, 0), blobs(200, 1)
    theirs = NearestCentroid().fit(y.numpy(), labels.numpy()).predict(x.numpy())
    assert torch.equal(c.nearest_centroid(x, y, labels, sim=geometry.euclidean), torch.from_numpy(theirs))


def test_centroids_are_class_means():
    y, labels = blobs(50, 1)
    means, values = c.centroids(y, labels)
    assert values.tolist() == sorted(set(labels.tolist()))
    for mean, label in zip(means, values, strict=True):
        torch.testing.assert_close(mean, y[labels == label].mean(0))


def test_probe_is_the_documented_recipe_on_a_fixed_sample():
    from sklearn.linear_model import LogisticRegression

    (x, _), (y, labels) = blobs(80, 0), blobs(200, 1)
    spread = (y - y.mean(0)) / y.std(0, correction=0)
    theirs = LogisticRegression(max_iter=200).fit(spread.numpy(), labels.numpy())
    seen = ((x - y.mean(0)) / y.std(0, correction=0)).numpy()
    assert (c.probe(y, labels).predict(x.numpy()) == theirs.predict(seen)).all()
    few = [c.probe(y, labels, at_most=40, seed=seed).predict_proba(x.numpy()) for seed in (0, 0, 1)]
    assert (few[0] == few[1]).all()
    assert (few[0] != few[2]).any()


def test_probe_of_one_class_is_an_error():
    with pytest.raises(ValueError, match="at least two classes"):
        c.probe(torch.randn(5, 2), torch.zeros(5, dtype=torch.int64))
