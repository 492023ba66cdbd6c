"""Images: parts, selections and batches keep pixels, labels, names and groups together."""

import pytest
import torch

from likewise.data import SPLITS, Images, subset
from likewise.data.files import Files
from likewise.evaluate import Embeddings
from likewise.export import making
from likewise.viz.pages import findings
from small_images import six


def test_parts_are_the_split():
    assert [len(six().part(name)) for name in SPLITS] == [3, 1, 2]
    test = six().part("test")
    assert test.ids == ("t", "u")
    assert test.labels.tolist() == [1, 2]
    assert test.groups == ("z", "z")
    assert test.classes == ("a", "b", "c")
    assert test.name == "six"
    assert test.skipped == six().skipped
    assert test.pixels.flatten().tolist() == [4, 5]


def test_unknown_part_offers_the_near_name():
    with pytest.raises(ValueError, match="did you mean train"):
        six().part("trian")


@pytest.mark.parametrize("indices", [[4, 0], torch.tensor([4, 0])])
def test_take_keeps_the_order_asked_for(indices):
    taken = six().take(indices)
    assert taken.ids == ("t", "p")
    assert taken.labels.tolist() == [1, 0]
    assert taken.split.tolist() == [2, 0]
    assert taken.batch([1]).flatten().tolist() == [0]


def test_take_of_none_and_no_groups():
    assert len(six(groups=None).take([])) == 0
    assert six(groups=None).take([1]).groups is None


def test_shape_is_of_one_picture():
    assert six().shape == (1, 1, 1)
    assert six(pixels=torch.zeros(6, 9)).shape == (9,)


def test_files_take_and_batch(tmp_path):
    pictures = tuple(torch.full((1, 2, 2), i, dtype=torch.uint8) for i in range(6))
    images = six(pixels=Files(pictures, (1, 2, 2)))
    assert images.shape == (1, 2, 2)
    assert images.part("test").batch(torch.tensor([1]))[0, 0, 0, 0] == 5
    assert isinstance(images.to("cpu").pixels, Files)


def test_open_is_when_no_test_class_was_trained_on():
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    assert six(labels=labels, split=torch.tensor([0, 0, 1, 1, 2, 2])).open
    assert not six(labels=labels, split=torch.tensor([0, 2, 1, 1, 2, 2])).open
    assert six(labels=labels, split=torch.tensor([0, 1, 0, 1, 2, 2])).open, "whatever val holds"
    assert six(labels=labels, split=torch.tensor([0, 0, 1, 1, 1, 1])).open, "val stands in for a missing test part"
    assert not six(split=torch.zeros(6)).open


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="one of each for every image"):
        six(ids=tuple("pqrst"))
    with pytest.raises(ValueError, match="one of each"):
        six(groups=("x",))


def test_ids_are_unique():
    with pytest.raises(ValueError, match="'q' occurs twice"):
        six(ids=tuple("pqrsqu"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_to_a_device():
    images = six().to("cuda")
    assert images.batch(torch.tensor([1, 2])).device.type == images.labels.device.type == "cuda"
    assert images.part("test").labels.tolist() == [1, 2]


def numbered(n: int, **changes) -> Images:
    given = {
        "pixels": torch.arange(n, dtype=torch.uint8).reshape(n, 1, 1, 1), "labels": torch.zeros(n).long(),
        "classes": ("a",), "ids": tuple(map(str, range(n))), "split": torch.zeros(n).byte(), "groups": None,
    }  # fmt: skip
    return six(**given | changes)


@pytest.mark.parametrize(
    ("n", "most", "places"),
    [(10, 3, [0, 3, 6]), (7, 7, range(7)), (7, 9, range(7)), (5, 4, [0, 1, 2, 3]), (100, 1, [0]), (8, 3, [0, 2, 5])],
)
def test_evenly_spaced_images(n, most, places):
    """Those at `k * n // most`, all where there are no more."""
    chosen = tuple(map(str, places))
    for spaced in (subset.spaced, making.spaced):
        found = spaced(numbered(n), most)
        assert (found.ids, tuple(map(str, found.pixels.flatten().tolist()))) == (chosen, chosen)
    vectors = Embeddings(torch.zeros(n, 2), torch.zeros(n).long(), numbered(n).ids, torch.zeros(n).byte(), ("a",))
    assert findings.spaced(vectors, most).ids == chosen


@pytest.mark.parametrize("other", [1, 2])
def test_a_sample_is_of_training_and_of_test_or_validation(monkeypatch, other):
    monkeypatch.setattr(subset, "SNAPSHOT_IMAGES", 2)
    split = torch.tensor([0, 0, 0, 0, 1, 1, 1, other, other, other], dtype=torch.uint8)
    found = subset.sample(numbered(10, split=split))
    assert found.ids == (("0", "2", "4", "7") if other == 1 else ("0", "2", "7", "8"))
