"""Forty layouts of people's own data: what is used of each, and what is said."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from layouts import CLASSES, arrays, class_folders, listed, part_folders, png, write_csv
from likewise.data import load

# (train, val, test) of what is used, classes, and a word of what is said or refused
Result = tuple[tuple[int, int, int], int, str]
LAYOUTS: dict[str, tuple[Callable[[Path], str], Result]] = {}


def layout(parts: tuple[int, int, int] = (0, 0, 0), classes: int = 2, *, says: str = "") -> Callable:
    """Register a function that writes a layout into a folder and returns what the user types."""

    def register(write: Callable[[Path], str]) -> Callable[[Path], str]:
        LAYOUTS[write.__name__] = write, (parts, classes, says)
        return write

    return register


# folders
@layout((14, 2, 4))
def folder_of_classes(top):
    return class_folders(top)


@layout((18, 2, 20))
def train_and_test(top):
    return part_folders(top, "train", "test")


@layout((18, 2, 20))
def train_and_val(top):
    return part_folders(top, "train", "val")  # val is measured, a new one drawn


@layout((20, 20, 20))
def train_val_test(top):
    return part_folders(top, "train", "val", "test")


@layout((20, 20, 20))
def capitals(top):
    return part_folders(top, "TRAIN", "Val", "TEST")


@layout((20, 20, 20))
def long_words(top):
    return part_folders(top, "Training", "Validation", "Testing")


@layout((20, 20, 20))
def valid_and_eval(top):
    return part_folders(top, "Train", "valid", "eval")


@layout((18, 2, 20))
def training_and_evaluation(top):
    return part_folders(top, "training", "Evaluation")


@layout((20, 20, 20))
def dev(top):
    return part_folders(top, "trn", "dev", "tst")


@layout((14, 2, 4))
def jpeg(top):
    return class_folders(top, suffix=".jpg")


@layout((14, 2, 4))
def upper_case_suffix(top):
    return class_folders(top, suffix=".JPG")


@layout((14, 2, 4))
def nested_classes(top):
    return class_folders(top / "animals") and str(top)


@layout((14, 2, 4))
def litter(top):
    class_folders(top)
    (top / "cat" / ".DS_Store").write_bytes(b"x")
    (top / "cat" / "Thumbs.db").write_bytes(b"x")
    (top / "notes.txt").write_text("mine")
    return str(top)


@layout((14, 2, 4))
def broken_image(top):
    class_folders(top)
    (top / "cat" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    return str(top)


@layout((14, 2, 4))
def empty_image(top):
    class_folders(top)
    (top / "cat" / "empty.png").write_bytes(b"")
    return str(top)


@layout((14, 2, 4))
def empty_class(top):
    class_folders(top)
    (top / "bird").mkdir()
    return str(top)


@layout((14, 2, 4))
def loose_image(top):
    class_folders(top)
    png(top / "loose.png")
    return str(top)


@layout(says="no folder for their class")
def flat_folder(top):
    return str(png(top / "a.png").parent)


@layout(says="no image below")
def empty_folder(top):
    return str(top)


@layout(says="spelled")
def two_spellings(top):
    class_folders(top)
    png(top / "Cat" / "x.png")
    return str(top)


@layout(says="also")
def part_beside_class(top):
    part_folders(top, "train", "test")
    png(top / "bird" / "x.png")
    return str(top)


# tables
@layout((14, 2, 4))
def csv_plain(top):
    return write_csv(top, "image,label", listed(top))


@layout((14, 2, 4))
def csv_usual_names(top):
    return write_csv(top, "Filename,Class", listed(top))


@layout((14, 2, 4))
def csv_semicolons(top):
    return write_csv(top, "path;target", listed(top, "{path};{label}"))


@layout((14, 2, 4))
def tsv(top):
    return write_csv(top, "file\tlabel", listed(top, "{path}\t{label}"), name="t.tsv")


@layout((14, 2, 4))
def csv_quoted(top):
    return write_csv(top, "image,label", listed(top, '"{path}","{label}"'))


@layout((14, 2, 4))
def csv_utf16(top):
    return write_csv(top, "image,label", listed(top), encoding="utf-16")


@layout((14, 2, 4))
def csv_bom(top):
    return write_csv(top, "image,label", listed(top), encoding="utf-8-sig")


@layout((14, 2, 4))
def csv_parts(top):
    return write_csv(top, "image,label,split", listed(top, "{path},{label},{part}"))


@layout((14, 2, 4))
def csv_twice(top):
    rows = listed(top)
    return write_csv(top, "image,label", [*rows, rows[0].replace("i/", "./i/")])


@layout((14, 2, 4))
def csv_without_label(top):
    return write_csv(top, "image,label", [*listed(top), "i/cat/00.png,", "i/cat/01.png,NaN"])


@layout((14, 2, 4))
def csv_missing_file(top):
    return write_csv(top, "image,label", [*listed(top), "i/none.png,cat"])


@layout(says="URL")
def csv_url(top):
    return write_csv(top, "image,label", ["https://example.org/a.png,cat"])


@layout(says="has no rows")
def csv_header_only(top):
    return write_csv(top, "image,label", [])


@layout(says="--image-column")
def csv_unknown_names(top):
    return write_csv(top, "foo,bar,baz", listed(top, "{path},{label},1"))


# arrays
@layout((14, 2, 4))
def npz_grey(top):
    return arrays(top)


@layout((14, 2, 4))
def npz_other_names(top):
    return arrays(top, X=None, y=None, images=np.zeros((20, 8, 8), np.uint8), labels=np.arange(20) % 2)


@layout((14, 2, 4))
def npz_text_labels(top):
    return arrays(top, y=np.array(CLASSES * 10))


@layout((14, 2, 4))
def npz_rows(top):
    return arrays(top, X=np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32))


@layout((14, 2, 4))
def npz_parts(top):
    return arrays(top, split=np.array(["train"] * 16 + ["test"] * 4))


@layout(says="y")
def npz_without_labels(top):
    return arrays(top, y=None)


@layout(says="20")
def npz_lengths(top):
    return arrays(top, y=np.arange(19) % 2)


def test_there_are_forty():
    assert len(LAYOUTS) >= 40


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout(name, tmp_path):
    write, (parts, classes, says) = LAYOUTS[name]
    what = write(tmp_path)
    if says:
        with pytest.raises(ValueError, match=says):
            load(what, split="auto")
        return
    images = load(what, split="auto")
    counts = tuple(int((images.split == part).sum()) for part in range(3))
    assert (counts, len(images.classes)) == (parts, classes)


def test_groups_of_a_table_stay_in_one_part(tmp_path):
    rows = listed(tmp_path, "{path},{label},{label}{n}")
    groups = [row[:-1] + str(int(row[-1]) // 2) for row in rows]
    images = load(write_csv(tmp_path, "image,label,group", groups), split="auto", val=0.2)
    parts = {}
    for group, part in zip(images.groups, images.split.tolist(), strict=True):
        parts.setdefault(group, set()).add(part)
    assert all(len(found) == 1 for found in parts.values())
    assert set(images.split.tolist()) == {0, 1, 2}
    assert images.drawn == ("val", "test")


def test_skipped_are_named(tmp_path):
    images = load(broken_image(tmp_path), split="auto")
    assert [s.id for s in images.skipped] == ["cat/broken.png"]


def test_written_csv_is_read_by_csv(tmp_path):
    file = csv_quoted(tmp_path)
    with open(file, newline="") as opened:
        assert len(list(csv.reader(opened))) == 21
