"""Caveats of scores: bursts, near-copies, and a validation part that is like training."""

import pytest
import torch

from likewise.data.images import Images
from likewise.evaluate import Embeddings
from likewise.evaluate.caveats import burst_caveat, copy_caveat, near_copies, validation_caveat
from likewise.experiment.caveats import caveats
from likewise.experiment.recipe import Recipe
from likewise.metrics import intervals


def test_copies_are_told_from_images_that_are_all_alike():
    generator = torch.Generator().manual_seed(0)
    reference = torch.rand(40, 64, generator=generator)
    query = torch.rand(5, 64, generator=generator)
    query[1] = 2 * reference[7] + 3 + 0.01 * torch.rand(64, generator=generator)  # brighter, and a little noise
    assert near_copies(query, reference).tolist() == [False, True, False, False, False]
    assert near_copies(torch.cat([query, query[2:3]]), None).tolist() == [False, False, True, False, False, True]
    alike = torch.rand(64, generator=generator) + 0.02 * torch.rand(40, 64, generator=generator)  # 0.99 with all others
    assert not near_copies(alike, None).any()
    assert not near_copies(query[:1], None).any()


def test_knn_without_copies_by_hand():
    knn = intervals.mean(torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0]))
    copies = torch.tensor([True, True, False, False, False])
    wanted = "knn@1: 2 of 5 images have a near-copy among the references; without these images it is 0.3333"
    assert copy_caveat(copies, knn) == wanted
    assert copy_caveat(torch.tensor([True, False, False, False, False]), knn) == ""
    assert copy_caveat(torch.ones(5).bool(), knn) == ""


def test_recall_far_above_knn_is_of_bursts():
    high, low = torch.ones(60), (torch.arange(60) % 5 == 0).float()
    ratios = {"recall@1": intervals.mean(high), "knn@1": intervals.mean(low)}
    none = torch.zeros(60).bool()
    assert burst_caveat(ratios, none).startswith("recall@1 1.0000 is far above knn@1 0.2000: the scored images come in")
    assert burst_caveat({"recall@1": ratios["knn@1"], "knn@1": ratios["recall@1"]}, none) == ""
    assert burst_caveat({"recall@1": ratios["recall@1"]}, none) == ""
    some = torch.arange(60) < 12
    same = burst_caveat({"recall@1": ratios["knn@1"], "knn@1": ratios["knn@1"]}, some)
    # of the other 48 the 9 whose number is a multiple of 5 are right
    assert (
        same == "recall@1: 12 of 60 images have a near-copy among the scored images; without these images it is 0.1875"
    )


@pytest.mark.parametrize(
    ("val", "test", "told"), [(0.825, 0.163, True), (0.825, 0.80, False), (0.2, 0.8, False)]
)  # fmt: skip
def test_validation_above_the_test(val, test, told):
    def score(value: float) -> dict:
        return {"knn@1": {"value": value, "low": value - 0.03, "high": value + 0.03}}

    sentence = validation_caveat(score(val), score(test), way="give by_group")
    assert bool(sentence) == told
    assert not told or (
        "knn@1 0.8250 is far above the test's 0.1630" in sentence and sentence.endswith("; give by_group")
    )


def test_a_test_part_of_copies_of_training_images():
    """Ten classes; a half of the test images are training images again, and are found by these."""
    generator = torch.Generator().manual_seed(0)
    train = torch.randint(0, 256, (60, 1, 12, 12), generator=generator, dtype=torch.uint8)
    new = torch.randint(0, 256, (10, 1, 12, 12), generator=generator, dtype=torch.uint8)
    pixels = torch.cat([train, train[:10], new])
    labels = torch.cat([torch.arange(60) % 10, torch.arange(10), torch.arange(10)])
    split = torch.tensor([0] * 60 + [2] * 20).byte()
    ids, classes = tuple(map(str, range(80))), tuple("0123456789")
    images = Images(pixels, labels, classes, ids, split)
    vectors = pixels.flatten(1).float() - 127
    found = Embeddings(vectors, labels, ids, split, classes)
    (sentence,) = caveats(Recipe(sim="cosine"), images, found, "test", open_set=False)
    assert sentence.startswith("knn@1: 10 of 20 images have a near-copy among the references; without these images it")
    assert caveats(Recipe(sim="cosine"), images, found, "test", open_set=True) == []
