"""The images of each part: measures by hand and against loops, differences that are named, and the section's words."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from likewise.data import load
from likewise.data.images import Images
from likewise.viz.pages import data_findings as found_in
from likewise.viz.pages.data_section import images_of_parts, sentence
from likewise.viz.pages.run_data import read
from report_page import Page
from report_run import digits_run


def images(pixels: torch.Tensor, split: list[int], labels: list[int] | None = None, **other: object) -> Images:
    labels = labels or [0] * len(split)
    classes, ids = tuple("abc"[: max(labels) + 1]), tuple(f"{i}.png" for i in range(len(split)))
    return Images(pixels, torch.tensor(labels), classes, ids, torch.tensor(split, dtype=torch.uint8), **other)


def noise(count: int, low: int, high: int, side: int = 6, channels: int = 1) -> torch.Tensor:
    rng = np.random.default_rng(low)
    return torch.tensor(rng.integers(low, high, (count, channels, side, side)), dtype=torch.uint8)


def test_measures_by_hand():
    flat = torch.full((1, 1, 3, 3), 51, dtype=torch.uint8)
    spot = torch.zeros((1, 1, 4, 4), dtype=torch.uint8)
    spot[0, 0, 1, 1] = 255
    blue = torch.zeros((1, 3, 2, 2), dtype=torch.uint8)
    blue[0, 2] = 255
    assert [found_in.measured(flat)[name].item() for name in found_in.MEASURES] == pytest.approx([0.2, 0, 0], abs=1e-12)
    # Laplacians of the inner four: -4 at the spot, 1 at each of its two neighbours, 0 at the corner; mean -1/2
    of_spot = found_in.measured(spot)
    assert of_spot["brightness"].item() == pytest.approx(1 / 16)
    assert of_spot["contrast"].item() == pytest.approx((1 / 16 * 15 / 16) ** 0.5)
    assert of_spot["sharpness"].item() == pytest.approx(((12.25 + 2 * 2.25 + 0.25) / 4) ** 0.5)
    assert found_in.measured(blue)["brightness"].item() == pytest.approx(0.114)
    assert found_in.measured(blue)["sharpness"].item() == 0


def test_measures_equal_a_loop():
    pixels = noise(3, 0, 255, side=7, channels=3)
    got = found_in.measured(pixels)
    for n in range(3):
        grey = np.tensordot((0.299, 0.587, 0.114), pixels[n].double().numpy() / 255, 1)
        laplacian = [
            grey[y - 1, x] + grey[y + 1, x] + grey[y, x - 1] + grey[y, x + 1] - 4 * grey[y, x]
            for y in range(1, 6)
            for x in range(1, 6)
        ]
        expected = grey.mean(), grey.std(), np.std(laplacian)
        assert [got[name][n].item() for name in found_in.MEASURES] == pytest.approx(expected)


@given(*(st.lists(st.integers(0, 5), min_size=1, max_size=9) for _ in range(2)))
def test_chance_equals_a_loop(x, y):
    expected = np.mean([(a > b) + (a == b) / 2 for a in x for b in y])
    assert found_in.chance(np.array(x), np.array(y)) == pytest.approx(expected)


def test_counts_of_classes_and_parts():
    counted = found_in.counts(images(noise(5, 0, 9), [0, 0, 2, 2, 1], [0, 2, 2, 2, 0]))
    assert counted.tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 2]]


def test_darker_test_images_are_named_and_equal_ones_are_not():
    bright, dark = noise(30, 120, 250), noise(30, 0, 110)
    seen = found_in.looks(images(torch.cat([bright, dark, bright.flip(-1)]), [0] * 30 + [2] * 30 + [1] * 30))
    named = found_in.shifts(seen)
    assert ("brightness", "test", "train", 0.0) in named
    assert not [one for one in named if one.part == "val"]
    assert sentence(named[0]).startswith("Test images are ")
    text = sentence(found_in.Shift("brightness", "test", "train", 0.1))
    assert text.startswith("Test images are darker than training images")
    assert "in 90.0\N{NO-BREAK SPACE}% of pairs" in text


@pytest.mark.parametrize("few", [0, 2])
def test_a_part_of_few_images_is_not_compared(few):
    split = [0] * (30 if few else 5) + [2] * (5 if few else 30)
    seen = found_in.looks(images(torch.cat([noise(len(split) - 5, 200, 250), noise(5, 0, 50)]), split))
    assert found_in.shifts(seen) == []


def test_of_many_images_some_are_measured_and_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(found_in, "MOST", 7)
    folder, shown = digits_run(tmp_path / "run")
    seen = found_in.looks(shown)
    assert all(len(look.places) == 7 < look.of for look in seen.values())
    assert "are measured on 7 images, drawn at random, of each part that has more" in text_of(folder, shown)


@pytest.mark.parametrize("pixels", [torch.rand(6, 1, 4, 4), torch.rand(6, 5)])
def test_floats_and_rows_are_counted_and_not_measured(pixels, tmp_path):
    folder, _ = digits_run(tmp_path / "run")
    rows = images(pixels, [0, 0, 0, 0, 2, 2], [0, 0, 1, 1, 0, 1])
    assert found_in.looks(rows) == {}
    text = text_of(folder, rows)
    assert "Training422, 2, 2" in text
    assert "Brightness" not in text


def test_the_section_of_a_run(tmp_path):
    folder, shown = digits_run(tmp_path / "run")
    text = text_of(folder, shown)
    assert f"{len(shown):,} images of 10 classes, read as 8 × 8 pixels in grey." in text
    for title in ("Darkest", "Brightest", "Least contrast", "Least sharp", "Images of each class: 10 of 10 classes"):
        assert title in text
    for name in found_in.MEASURES:
        assert (folder / "plots" / f"{name}.png").stat().st_size > 0
    assert images_of_parts(read(folder)) == []  # without images


def test_groups_of_each_part_are_counted(tmp_path):
    folder, _ = digits_run(tmp_path / "run")
    grouped = images(noise(4, 0, 99), [0, 0, 0, 2], groups=("u", "u", "v", "w"))
    text = text_of(folder, grouped)
    assert "Groups" in text
    assert "Training313, 3, 32" in text


def test_bursts_are_counted_with_the_parts_they_are_in(tmp_path):
    folder, _ = digits_run(tmp_path / "run")
    pixels = noise(8, 0, 255, side=32)
    pixels[[3, 5]] = pixels[1].clone()
    pixels[7] = pixels[6].clone()
    shown = images(pixels, [0, 0, 0, 0, 2, 2, 0, 0])
    assert found_in.bursts(shown) == [found_in.Burst((1, 3, 5), ("train", "test")), found_in.Burst((6, 7), ("train",))]
    text = text_of(folder, shown)
    assert "5 images (62.5 %) are near-copies of another one of their class, in 2 bursts" in text
    assert "one of them lies in more than one part. The largest:3 near-copies" in text


def test_without_bursts_it_says_so_and_of_many_images_where_to_look(tmp_path, monkeypatch):
    folder, _ = digits_run(tmp_path / "run")
    shown = images(noise(6, 0, 255, side=32), [0, 0, 0, 0, 2, 2])
    assert "No two images of a class are near-copies" in text_of(folder, shown)
    monkeypatch.setattr(found_in, "BURSTS", 5)
    assert found_in.bursts(shown) is None
    assert "Near-copies are looked for in up to 5 images; the audit looks in all." in text_of(folder, shown)


def test_sizes_of_the_files_of_each_part(tmp_path):
    for name, size in {"train/a/0": (9, 4), "train/a/1": (3, 2), "train/b/0": (8, 5), "test/a/0": (7, 7)}.items():
        path = tmp_path / "data" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(path)
    shown = load(str(tmp_path / "data"), size=8)
    sizes = {
        part: [(one.width, one.height) for one in listed]
        for part, listed in found_in.heads(shown, str(tmp_path / "data")).items()
    }
    assert sizes == {"train": [(3, 2), (9, 4), (8, 5)], "test": [(7, 7)]}
    assert found_in.heads(shown, str(tmp_path / "moved")) == {}
    assert found_in.heads(shown, "digits") == {}
    folder, _ = digits_run(tmp_path / "run")
    text = text_of(folder, shown, data=str(tmp_path / "data"))
    assert "Size of the files: smallest, median, largest" in text
    assert "3 × 2, 9 × 4, 8 × 5" in text
    assert "7 × 7" in text


def test_names_are_text(tmp_path):
    folder, _ = digits_run(tmp_path / "run")
    hostile = Images(
        noise(2, 0, 99),
        torch.tensor([0, 0]),
        ("<script>x</script>",),
        ("<b>.png", "b.png"),
        torch.tensor([0, 2]).byte(),
    )
    made = "".join(images_of_parts(read(folder, hostile)))
    assert "<script>x" not in made
    assert "<b>.png" not in made


def text_of(folder, shown: Images, **recipe: str) -> str:
    run = read(folder, shown)
    run.recipe.update(recipe)
    return " ".join(Page("<div>" + "".join(images_of_parts(run)) + "</div>").said().split())
