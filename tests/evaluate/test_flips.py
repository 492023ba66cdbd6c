"""Queries that became right or wrong: by hand, and against loops."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from likewise import geometry
from likewise.evaluate import Embeddings
from likewise.evaluate.flips import KINDS, Flips, flips, rank

CLASSES = ("a", "b", "c")
REFERENCE = Embeddings(torch.eye(3), torch.arange(3), ("ra", "rb", "rc"), torch.zeros(3, dtype=torch.uint8), CLASSES)


def embedded(named: dict[str, str], true: str, classes: tuple[str, ...] = CLASSES) -> Embeddings:
    """Queries whose nearest reference is of the class given by id; `true` are their classes."""
    vectors = torch.stack([torch.eye(3)[CLASSES.index(c)] for c in named.values()])
    labels = torch.tensor([classes.index(c) for c in true])
    return Embeddings(vectors, labels, tuple(named), torch.full((len(labels),), 2, dtype=torch.uint8), classes)


def test_each_kind_by_hand():
    first = embedded(dict(zip("vwxyz", "aabbb", strict=True)), "aaaaa")
    second = embedded(dict(zip("zyxwv", "cbaba", strict=True)), "aaaaa")  # another order
    found = flips(*(rank(each, REFERENCE, geometry.cosine, k=2) for each in (first, second)))
    assert found.ids == tuple("vwxyz")
    assert [KINDS[k] for k in found.kind] == [
        "right in both", "became wrong", "became right", "wrong in both, as the same class", "wrong in another way",
    ]  # fmt: skip
    assert found.second.tolist() == [4, 3, 2, 1, 0]
    assert (found.only_first, found.only_second, found.relabelled) == (0, 0, 0)
    assert found.gain == 0.0


def test_classes_are_compared_by_name_and_what_differs_is_counted():
    first = embedded({"v": "a", "w": "b", "x": "b", "gone": "a"}, "aaba")
    second = embedded({"new": "a", "v": "a", "w": "a", "x": "b"}, "aaac", classes=("c", "a", "b"))
    second = replace(second, labels=torch.tensor([1, 1, 1, 0]))  # x is of class c here, and of b in the first
    found = flips(rank(first, REFERENCE, geometry.cosine), rank(second, REFERENCE, geometry.cosine))
    assert found.ids == ("v", "w")
    assert [KINDS[k] for k in found.kind] == ["right in both", "became right"]
    assert (found.only_first, found.only_second, found.relabelled) == (1, 1, 1)


def of_counts(better: int, worse: int, total: int) -> Flips:
    kind = np.array([2] * better + [1] * worse + [0] * (total - better - worse), np.uint8)
    place = np.arange(total)
    return Flips(tuple(map(str, place)), kind, place, place, 0, 0, 0)


@pytest.mark.parametrize(
    ("better", "worse", "p"),
    [(0, 0, 1.0), (1, 1, 1.0), (5, 0, 2 / 32), (6, 0, 2 / 64), (12, 5, 2 * 9402 / 2**17), (5, 12, 2 * 9402 / 2**17)],
)
def test_mcnemar_by_hand(better, worse, p):
    # 9402 = the sum of 17 choose k for k = 0 to 5: 1 + 17 + 136 + 680 + 2380 + 6188
    found = of_counts(better, worse, 360)
    assert found.p == pytest.approx(p)
    assert found.gain == pytest.approx((better - worse) / 360)
    low, high = found.interval
    assert low <= found.gain <= high
    assert (low <= 0 <= high) == (p >= 0.05)


def test_the_interval_by_hand():
    # of 4 flips all became right: Clopper and Pearson's lower end is 0.025 ** (1 / 4)
    assert of_counts(4, 0, 10).interval == pytest.approx(((2 * 0.025**0.25 - 1) * 0.4, 0.4))
    assert of_counts(0, 0, 10).interval == (0.0, 0.0)


def test_neighbours_are_those_of_a_loop():
    drawn = torch.Generator().manual_seed(0)
    labels = torch.arange(12) % 3
    each = Embeddings(torch.randn(12, 4, generator=drawn), labels, tuple("abcdefghijkl"), labels.byte(), CLASSES)
    ranked = rank(each, None, geometry.cosine, k=3)
    for q in range(12):
        sims = {
            m: float(geometry.cosine(each.vectors[q : q + 1], each.vectors[m : m + 1])) for m in range(12) if m != q
        }
        best = sorted(sims, key=lambda m: -sims[m])[:3]
        assert ranked.place[q].tolist() == best
        assert ranked.sim[q].tolist() == pytest.approx([sims[m] for m in best], abs=1e-5)
        assert ranked.named[q] == CLASSES[int(labels[best[0]])]


def test_what_is_wrong_is_said():
    first = rank(embedded({"v": "a", "w": "b"}, "aa"), REFERENCE, geometry.cosine)
    other = rank(embedded({"x": "a"}, "a"), REFERENCE, geometry.cosine)
    with pytest.raises(ValueError, match="share no query: 2 test images such as 'v' and 1 such as 'x'"):
        flips(first, other)
    with pytest.raises(ValueError, match="of other classes in each, such as 'v': 'a' and 'b'"):
        flips(first, rank(embedded({"v": "a"}, "b"), REFERENCE, geometry.cosine))
    twice = embedded({"v": "a", "w": "b"}, "aa")
    twice = replace(twice, ids=("v", "v"))
    with pytest.raises(ValueError, match="2 test images are named 'v'"):
        flips(rank(twice, REFERENCE, geometry.cosine), first)
    with pytest.raises(ValueError, match="no neighbour to find"):
        rank(embedded({"v": "a"}, "a"), None, geometry.cosine)
