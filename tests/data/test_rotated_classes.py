"""Turned and mirrored images as further training classes."""

import pytest
import torch

from likewise.data.images import Images
from likewise.data.rotated_classes import rotated_classes


def letters(n=12, side=6, groups=True):
    split = torch.tensor([0, 0, 0, 1, 1, 2] * (n // 6), dtype=torch.uint8)
    return Images(
        pixels=torch.randint(0, 256, (n, 1, side, side), generator=torch.Generator().manual_seed(0)).byte(),
        labels=torch.tensor([0, 0, 2, 1, 1, 3] * (n // 6)),
        classes=("A/a", "A/b", "B/a", "B/b"),
        ids=tuple(f"{i}.png" for i in range(n)),
        split=split,
        groups=tuple("AABAAB"[i % 6] for i in range(n)) if groups else None,
    )


@pytest.mark.parametrize(
    ("rotations", "mirror", "ways"), [(4, True, 8), (4, False, 4), (2, True, 4), (1, True, 2), (1, False, 1)]
)
def test_each_way_is_a_class_of_its_own(rotations, mirror, ways):
    images = letters()
    more = rotated_classes(images, rotations=rotations, mirror=mirror)
    train = more.part("train")
    assert len(train.labels.unique()) == 2 * ways
    assert len(train) == 6 * ways
    assert len(set(more.classes)) == len(more.classes) == 4 + 2 * (ways - 1)
    assert torch.equal(train.labels.bincount()[train.labels.unique()], torch.tensor([4, 2] * ways))
    assert len({p.numpy().tobytes() for p in train.pixels}) == len(train)


def test_the_pictures_are_turned_as_their_names_say():
    images = letters()
    more = rotated_classes(images)
    at = {name: i for i, name in enumerate(more.ids)}
    for name, expected in {
        "0.png": images.pixels[0],
        "0.png 90°": images.pixels[0].rot90(1, (-2, -1)),
        "0.png 180°": images.pixels[0].flip(-1, -2),
        "0.png mirrored": images.pixels[0].flip(-1),
        "0.png 270° mirrored": images.pixels[0].rot90(3, (-2, -1)).flip(-1),
    }.items():
        assert torch.equal(more.pixels[at[name]], expected), name
        kind, *way = more.classes[more.labels[at[name]]].split(" ")
        assert kind == "A/a"
        assert way == name.split(" ")[1:]
        assert more.groups[at[name]].split(" ")[0] == "A"


def test_validation_and_test_stay_as_they_are():
    images = letters()
    for part in ("val", "test"):
        before, after = images.part(part), rotated_classes(images).part(part)
        assert before.ids == after.ids
        assert torch.equal(before.pixels, after.pixels)
        assert torch.equal(before.labels, after.labels)


def test_without_groups_there_are_none():
    assert rotated_classes(letters(groups=False)).groups is None


def test_what_cannot_be_turned_is_said():
    with pytest.raises(ValueError, match="rotations is 1, 2 or 4, got rotations=3"):
        rotated_classes(letters(), rotations=3)
    oblong = letters()
    oblong = Images(oblong.pixels[..., :4], oblong.labels, oblong.classes, oblong.ids, oblong.split)
    with pytest.raises(ValueError, match="only square images"):
        rotated_classes(oblong)
