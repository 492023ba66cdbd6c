"""Groups from file names: what is proposed, what counts and images confirm, and that no group is cut."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from likewise.data import load, name_groups, split
from likewise.data.images import Images
from likewise.data.name_groups import group_from_names, images_agree, is_plausible, prefixes, proposals
from likewise.experiment.recipe import Recipe
from likewise.recipes.facts import facts

LAYOUTS = [
    ("video3_frame0012.png", ["video", "video3"]),
    ("IMG_20240101_123.jpg", ["IMG", "IMG_20240101"]),
    ("IMG_20240101_123456.jpg", ["IMG", "IMG_20240101"]),
    ("writer07_2.png", ["writer", "writer07"]),
    ("s1-03.jpg", ["s", "s1"]),
    ("train_10_24.jpg", ["train", "train_10"]),
    ("a/b/s2_7.jpg", ["s", "s2"]),
    ("cat.12.jpg", ["cat"]),
    ("IMG_0012.jpg", ["IMG"]),
    ("DSC00012.JPG", ["DSC"]),
    ("0012.png", [""]),
    ("12", [""]),
    ("photo.jpg", []),
    ("", []),
    ("cam1 take 2 (3).jpg", ["cam", "cam1", "cam1 take 2"]),
    ("0001_c1s1_000151.jpg", ["0001", "0001_c1s", "0001_c1s1"]),
    ("0001_c1s1_000151_01.jpg", ["0001_c1s", "0001_c1s1", "0001_c1s1_000151"]),
    ("leek_003_aug2.png", ["leek", "leek_003"]),
    ("scan-4-page-11.tif", ["scan", "scan-4"]),
    ("Österreich12_3.jpg", ["Österreich", "Österreich12"]),
    ("s1.e2.0034.png", ["s", "s1", "s1.e2"]),
    ("2024-01-31.jpg", ["", "2024", "2024-01"]),
    ("clip5frame17.webp", ["clip", "clip5frame"]),
]


@pytest.mark.parametrize(("name", "found"), LAYOUTS)
def test_prefixes_of_layouts(name: str, found: list[str]) -> None:
    assert prefixes(name) == found


@given(st.text("abé09_-. (/", max_size=300))
@settings(max_examples=100, deadline=None)
def test_prefixes_are_at_most_three_and_each_longer_than_the_last(name: str) -> None:
    found = prefixes(name)
    assert len(found) <= 3
    assert [len(p) for p in found] == sorted({len(p) for p in found})
    assert all(name.rpartition("/")[2].startswith(p) for p in found)


def test_proposals_are_folders_then_the_coarsest_prefix() -> None:
    assert proposals(["x/v1_c2_3.png", "y/v1_c2_4.png", "y/z.png"]) == [
        ["x", "y", "y"],
        ["v", "v", ""],
        ["v1", "v1", ""],
        ["v1_c2", "v1_c2", ""],
    ]


TWO = [0] * 20 + [1] * 20
COUNTS = [
    ("five bursts in each class", [f"{c}{i % 5}" for c in "ab" for i in range(20)], TWO, True),
    ("four bursts in each class", [f"{c}{i % 4}" for c in "ab" for i in range(20)], TWO, False),
    ("five writers over both classes", [str(i % 5) for i in range(40)], TWO, True),
    ("four writers over both classes", [str(i % 4) for i in range(40)], TWO, False),
    ("the classes", ["a"] * 20 + ["b"] * 20, TWO, False),
    ("one group", ["a"] * 40, TWO, False),
    ("one an image", [str(i) for i in range(40)], TWO, False),
    ("one of half and more", ["a"] * 21 + [str(i % 5) for i in range(19)], TWO, False),
    ("names of a tenth follow none", [""] * 4 + [str(i % 5) for i in range(36)], TWO, True),
    ("names of an eighth follow none", [""] * 5 + [str(i % 5) for i in range(35)], TWO, False),
]


@pytest.mark.parametrize(("what", "groups", "labels", "plausible"), COUNTS, ids=[c[0] for c in COUNTS])
def test_counts(what: str, groups: list[str], labels: list[int], plausible: bool) -> None:
    assert is_plausible(groups, labels) is plausible


def shots(*, alike: bool, groups: int = 6, of_group: int = 5, test: bool = False) -> Images:
    """Two classes; each group of a class has a background of its own, if they are alike, else each image has."""
    rng = np.random.default_rng(0)
    pixels, labels, ids = [], [], []
    for label, name in enumerate(("cat", "dog")):
        for group in range(groups):
            background = rng.integers(0, 256, (3, 8, 8))
            for shot in range(of_group):
                image = background if alike else rng.integers(0, 256, (3, 8, 8))
                pixels.append(np.clip(image + rng.normal(0, 20, image.shape), 0, 255).astype(np.uint8))
                labels.append(label)
                ids.append(f"{name}/{name}{group}_{shot}.png")
    parts = torch.zeros(len(ids), dtype=torch.uint8)
    if test:
        parts[::5] = 2
    return Images(torch.from_numpy(np.stack(pixels)), torch.tensor(labels), ("cat", "dog"), tuple(ids), parts)


def test_images_confirm_or_refute() -> None:
    images = shots(alike=True)
    groups = [name.rpartition("_")[0] for name in images.ids]
    assert images_agree(images, groups)
    assert not images_agree(shots(alike=False), groups)


def test_groups_are_taken_where_names_and_images_agree() -> None:
    taken = group_from_names(shots(alike=True), "auto")
    assert taken.groups_from == "file names"
    assert taken.groups is not None
    assert sorted(set(taken.groups))[:2] == ["cat0", "cat1"]
    images = shots(alike=False)
    assert group_from_names(images, "auto") is images
    assert group_from_names(taken, "off") is taken
    known = replace(shots(alike=True), groups=("a", "b") * 30)
    assert group_from_names(known, "auto") is known


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize("divide", [split.auto, split.by_group])
def test_no_group_is_cut_and_a_published_test_part_stays(divide: object, test: bool, seed: int) -> None:
    before = group_from_names(shots(alike=True, test=test), "auto")
    after = divide(before, seed=seed)  # type: ignore[operator]
    assert after.groups is not None
    assert (after.split == 1).any()
    if test:
        assert torch.equal(after.split == 2, before.split == 2)
    parts: dict[str, set[int]] = {}
    for group, part, was in zip(after.groups, after.split.tolist(), before.split.tolist(), strict=True):
        if was != 2:
            parts.setdefault(group, set()).add(part)
    assert {len(part) for part in parts.values()} == {1}


def test_pattern_of_a_user() -> None:
    images = shots(alike=False)
    by_animal = group_from_names(images, r"(cat|dog)[0-4]_")
    assert by_animal.groups is not None
    assert set(by_animal.groups[:25]) == {"cat"}
    assert by_animal.groups[25:30] == images.ids[25:30]  # cat5 matches not: a group each
    assert by_animal.groups_from == "group_from='(cat|dog)[0-4]_'"


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("(video", "is no regular expression"),
        ("video", "has 0 capture groups"),
        ("(a)(b)", "has 2 capture groups"),
        ("(whale)", "matches no image"),
        ("(" + "a" * 500 + ")", "at most 500"),
    ],
)
def test_wrong_patterns(pattern: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as raised:
        group_from_names(shots(alike=False), pattern)
    assert "one capture group such as" in str(raised.value)


def test_a_pattern_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name_groups, "SECONDS", 0.3)
    with pytest.raises(ValueError, match=r"took more than 0\.3 seconds"):
        name_groups._searched("((?:a+)+)$", ["a" * 60 + "!"])


def test_a_folder_is_parted_by_its_names_and_the_plan_has_them(tmp_path: Path) -> None:
    images = shots(alike=True)
    for pixels, name in zip(images.batch(list(range(len(images)))), images.ids, strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / name)
    read = load(str(tmp_path), split="auto")
    assert read.groups_from == "file names"
    assert load(str(tmp_path), split="auto", group_from="off").groups is None
    assert load(str(tmp_path), split="ratio").groups is None
    of_data = facts(read, Recipe(data=str(tmp_path), split="auto"))
    assert (of_data.groups, of_data.groups_from, of_data.group_examples[0]) == (12, "file names", "cat0")
