"""Layouts that strangers have: what is used of each, or the sentence that says what to do."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from layouts import CLASSES, arrays, class_folders, listed, part_folders, png, write_csv
from likewise.data import load
from likewise.recipes.load import load_recipe

# images in (train, val, test), the classes, how many are skipped; or a word of the refusal
Used = tuple[tuple[int, int, int], tuple[str, ...], int]
LAYOUTS: dict[str, tuple[Callable[[Path], str], Used | str]] = {}
DRAWN = (14, 2, 4)


def layout(
    parts: tuple[int, int, int] = DRAWN, classes: tuple[str, ...] = CLASSES, skipped: int = 0, *, says: str = ""
) -> Callable:
    """Register a function that writes a layout into a folder and returns what the user types."""

    def register(write: Callable[[Path], str]) -> Callable[[Path], str]:
        LAYOUTS[write.__name__] = write, says or (parts, classes, skipped)
        return write

    return register


# folders
@layout((28, 4, 8), ("cat/1", "cat/2", "dog/1", "dog/2"))
def species_and_breed(top):
    for name in CLASSES:
        for breed in "12":
            for i in range(10):
                png(top / name / breed / f"{i}.png")
    return str(top)


@layout((36, 4, 40), ("cat/1", "cat/2", "dog/1", "dog/2"))
def parts_of_species_and_breed(top):
    species_and_breed(top / "train"), species_and_breed(top / "test")
    return str(top)


@layout((18, 2, 20))
def parts_below_images(top):
    part_folders(top / "images", "train", "test")
    return str(top)


@layout((12, 12, 8), CLASSES)
def parts_below_classes(top):
    for name in CLASSES:
        for part, count in (("train", 6), ("val", 6), ("test", 4)):
            for i in range(count):
                png(top / name / part / f"{i}.png")
    return str(top)


@layout(says="no folder for their class")
def yolo(top):
    for part in ("train", "val"):
        png(top / "images" / part / "1.png")
        (top / "labels" / part).mkdir(parents=True)
        (top / "labels" / part / "1.txt").write_text("0 0.5 0.5 1 1")
    return str(top)


@layout(says=r"holds 20 images and no folder for their class.*table")
def labels_in_names(top):
    for name in CLASSES:
        for i in range(10):
            png(top / f"{name}_{i}.png")
    return str(top)


@layout(says=r"its table labels\.csv can be given")
def flat_with_table(top):
    labels_in_names(top)
    write_csv(top, "image,label", ["cat_0.png,cat"], name="labels.csv")
    return str(top)


@layout()
def of_a_mac(top):
    class_folders(top)
    png(top / "__MACOSX" / "cat" / "0.png")
    for file in ("._00.png", ".DS_Store"):
        (top / "cat" / file).write_bytes(b"x")
    return str(top)


@layout()
def of_a_notebook(top):
    class_folders(top)
    png(top / "cat" / ".ipynb_checkpoints" / "00-checkpoint.png")
    return str(top)


@layout()
def linked_folders(top):
    class_folders(top / "real")
    (top / "links").mkdir()
    for name in CLASSES:
        (top / "links" / name).symlink_to(top / "real" / name)
    return str(top / "links")


@layout()
def linked_in_a_loop(top):
    class_folders(top)
    (top / "cat" / "again").symlink_to(top)
    return str(top)


@layout(skipped=1)
def link_to_nothing(top):
    class_folders(top)
    (top / "cat" / "gone.png").symlink_to(top / "nowhere.png")
    return str(top)


@layout((15, 2, 4), ("bird", *CLASSES))
def class_of_one_image(top):
    class_folders(top)
    png(top / "bird" / "only.png")
    return str(top)


@layout((18, 2, 10), ("bird", *CLASSES))
def a_test_part_of_other_classes(top):
    class_folders(top / "train")
    for i in range(10):
        png(top / "test" / "bird" / f"{i}.png")
    return str(top)


@layout((19, 2, 20), ("bird", *CLASSES))
def class_without_test(top):
    part_folders(top, "train", "test")
    png(top / "train" / "bird" / "0.png")
    return str(top)


@layout((20, 20, 20), CLASSES, 1)
def class_with_a_folder_for_a_name(top):
    part_folders(top, "train", "val", "test")
    (top / "train" / "cat" / "x.png").mkdir()
    return str(top)


@layout(classes=("1", "2"))
def numbered_classes(top):
    for name in ("1", "2"):
        for i in range(10):
            png(top / name / f"{i}.png")
    return str(top)


@layout(classes=("ein Hund", "für Käse 🧀"))
def names_with_spaces_and_umlauts(top):
    for name in ("ein Hund", "für Käse 🧀"):
        for i in range(10):
            png(top / name / f"{i} (copy).png")
    return str(top)


@layout()
def without_suffix(top):
    class_folders(top)
    for path in top.rglob("*.png"):
        path.rename(path.with_suffix(""))
    (top / "cat" / "README").write_text("mine")
    return str(top)


@layout()
def wrong_suffix(top):
    class_folders(top)
    for path in top.rglob("*.png"):
        path.rename(path.with_suffix(".jpg"))
    return str(top)


@layout()
def every_colour(top):
    class_folders(top)
    for i, mode in enumerate(("CMYK", "L", "1", "P", "RGBA", "LA")):
        suffix = "jpg" if mode == "CMYK" else "png"
        Image.new(mode, (8, 8)).save(top / "cat" / f"0{i}.{suffix}")
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(top / "cat" / "06.png")
    (top / "cat" / "00.png").unlink()
    return str(top)


@layout()
def animations(top):
    class_folders(top)
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for kind in ("gif", "webp"):
        (top / "cat" / f"{0 if kind == 'gif' else 1:02d}.png").unlink()
        frames[0].save(top / "cat" / f"a.{kind}", save_all=True, append_images=frames[1:])
    return str(top)


@layout(skipped=20)
def half_are_empty(top):
    class_folders(top)
    for path in list(top.rglob("*.png")):
        path.with_stem(path.stem + "x").write_bytes(b"")
    return str(top)


@layout(says="no image that can be read")
def all_are_empty(top):
    class_folders(top)
    for path in top.rglob("*.png"):
        path.write_bytes(b"")
    return str(top)


@layout(says=r"no image below .* \(20 \.npy\)")
def folder_of_arrays(top):
    for name in CLASSES:
        (top / name).mkdir()
        for i in range(10):
            np.save(top / name / f"{i}.npy", np.zeros((8, 8), np.uint8))
    return str(top)


@layout(says="spelled")
def class_with_a_space_behind(top):
    class_folders(top)
    png(top / "cat " / "x.png")
    return str(top)


# other files
def other(name: str) -> Callable[[Path], str]:
    def write(top: Path) -> str:
        (top / name).write_bytes(b"x")
        return str(top / name)

    return write


for _name, _says in {
    "photos.zip": "an archive; unpack it", "photos.tar.gz": "an archive; unpack it", "photos.tgz": "unpack it",
    "x.npy": "without labels; save both", "x.h5": r"numpy\.savez", "x.mat": r"numpy\.savez",
    "x.pkl": "may run code", "x.pt": "may run code", "labels.xlsx": "save it as CSV",
    "labels.jsonl": "write a CSV", "labels.txt": "ends in .csv", "cat.jpg": "is one image",
}.items():  # fmt: skip
    LAYOUTS[_name] = other(_name), _says


# tables
@layout()
def absolute_paths(top):
    return write_csv(top, "image,label", listed(top, str(top) + "/{path},{label}"))


@layout()
def windows_paths(top):
    return write_csv(top, "image,label", [row.replace("/", "\\") for row in listed(top)])


@layout(says=r"no image that can be read, for instance C:")
def paths_of_another_machine(top):
    return write_csv(top, "image,label", listed(top, "C:\\data\\{path},{label}"))


@layout(classes=("cat, black", "dog"))
def commas_in_labels(top):
    return write_csv(top, "image,label", [row.replace(",cat", ',"cat, black"') for row in listed(top)])


@layout(classes=("1", "2"))
def labels_that_became_floats(top):
    rows = [row.replace(",cat", ",1.0").replace(",dog", ",2.0") for row in listed(top)]
    return write_csv(top, "image,label", [*rows[:-1], rows[-1].removesuffix(".0")])


@layout(classes=("1.5", "2.0"))
def labels_with_a_fraction(top):
    return write_csv(top, "image,label", [r.replace(",cat", ",1.5").replace(",dog", ",2.0") for r in listed(top)])


@layout(classes=("0", "1"), skipped=2)
def floats_beside_nan(top):
    rows = [row.replace(",cat", ",0.0").replace(",dog", ",1.0") for row in listed(top)]
    return write_csv(top, "image,label", [*rows, "i/cat/00.png,NaN", "i/cat/01.png,"])


@layout(skipped=1)
def two_labels_for_one_image(top):
    return write_csv(top, "image,label", [*listed(top), "i/cat/00.png,dog"])


@layout((14, 2, 4))
def windows_lines_and_blank_ones(top):
    return write_csv(top, "image,label", [row + "\r" for row in listed(top)] + ["", ",,", "\r"])


@layout()
def index_of_pandas(top):
    return write_csv(top, ",image,label", listed(top, "{n},{path},{label}"))


@layout()
def header_with_spaces(top):
    return write_csv(top, " Image , LABEL ", listed(top, "{path}, {label}"))


@layout((14, 2, 4))
def parts_in_any_case(top):
    rows = listed(top, "{path},{label},{n}")
    words = [r[:-1] + ("TEST" if int(r[-1]) > 7 else "Validation" if int(r[-1]) == 7 else "Train") for r in rows]
    return write_csv(top, "image,label,Split", words)


@layout(says="the part 'holdout' is none of train, val, test")
def part_of_another_name(top):
    rows = listed(top, "{path},{label},{part}")
    return write_csv(top, "image,label,split", [row.replace(",test", ",holdout") for row in rows])


@layout(says="header=False")
def no_header(top):
    return write_csv(top, "", listed(top))


@layout(says="one row of the table|has no rows|header")
def empty_table(top):
    (top / "t.csv").write_bytes(b"")
    return str(top / "t.csv")


def parquet(top: Path, **columns: object) -> str:
    pq.write_table(pa.table(columns), top / "t.parquet")
    return str(top / "t.parquet")


def bytes_of(top: Path) -> tuple[list[bytes], list[str]]:
    class_folders(top / "i")
    files = sorted((top / "i").rglob("*.png"))
    return [file.read_bytes() for file in files], [file.parent.name for file in files]


@layout()
def parquet_of_paths(top):
    class_folders(top / "i")
    files = sorted((top / "i").rglob("*.png"))
    return parquet(top, image=[str(f.relative_to(top)) for f in files], label=[f.parent.name for f in files])


@layout()
def parquet_of_bytes(top):
    images, labels = bytes_of(top)
    return parquet(top, image=images, label=labels)


@layout(classes=("0", "1"))
def parquet_of_hugging_face(top):
    images, labels = bytes_of(top)
    cells = [{"bytes": content, "path": None} for content in images]
    return parquet(top, image=cells, label=[CLASSES.index(label) for label in labels])


@layout(says="does not read as Parquet")
def text_called_parquet(top):
    (top / "t.parquet").write_text("image,label\n")
    return str(top / "t.parquet")


# arrays
def some(n: int, *shape: int, high: int = 256, kind: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(n).integers(0, high, (n, *shape)).astype(kind)


def saved(top: Path, **content: object) -> str:
    np.savez(top / "a.npz", **content)
    return str(top / "a.npz")


@layout((18, 2, 6), ("0", "1"))
def of_keras(top):
    return saved(top, x_train=some(20, 8, 8), y_train=np.arange(20) % 2, x_test=some(6, 8, 8), y_test=np.arange(6) % 2)


@layout((20, 4, 6), ("0", "1"))
def of_medmnist(top):
    content = {"train": 20, "val": 4, "test": 6}
    images = {f"{part}_images": some(n, 8, 8) for part, n in content.items()}
    return saved(top, **images, **{f"{part}_labels": (np.arange(n) % 2)[:, None] for part, n in content.items()})


@layout(says="and no y_test")
def a_test_part_without_labels(top):
    return saved(top, x_train=some(20, 8, 8), y_train=np.arange(20) % 2, x_test=some(6, 8, 8))


@layout(says="the parts differ in shape")
def parts_of_two_sizes(top):
    return saved(top, x_train=some(20, 8, 8), y_train=np.arange(20) % 2, x_test=some(6, 9, 9), y_test=np.arange(6) % 2)


@layout(says="x_test has 6 rows and y_test 5")
def part_of_two_lengths(top):
    return saved(top, x_train=some(20, 8, 8), y_train=np.arange(20) % 2, x_test=some(6, 8, 8), y_test=np.arange(5) % 2)


@layout(classes=("0", "1"))
def channels_first(top):
    return arrays(top, X=some(20, 3, 8, 8))


@layout(classes=("0", "1"))
def channels_last(top):
    return arrays(top, X=some(20, 8, 8, 3))


@layout(classes=("0", "1"))
def floats_to_one(top):
    return arrays(top, X=some(20, 8, 8) / 255)


@layout(says="255")
def floats_to_255(top):
    return arrays(top, X=some(20, 8, 8).astype(float))


@layout(classes=("0", "1"))
def int16_of_bytes(top):
    return arrays(top, X=some(20, 8, 8, kind=np.int16))


@layout(says="hold 0 to 255, and X holds")
def sixteen_bits(top):
    return arrays(top, X=some(20, 8, 8, high=60_000, kind=np.uint16))


@layout(classes=("0", "1"))
def black_and_white(top):
    return arrays(top, X=some(20, 8, 8) > 128)


@layout(says="C 1 or 3")
def four_channels(top):
    return arrays(top, X=some(20, 8, 8, 4))


@layout(says="does not read as .npz of plain arrays")
def objects(top):
    return arrays(top, X=np.array([some(8, 8), some(9, 9)], dtype=object))


@layout(classes=("0", "1"))
def one_hot(top):
    return arrays(top, y=np.eye(2)[np.arange(20) % 2])


@layout(says="one-hot, and has rows with no 1 or several")
def several_labels(top):
    return arrays(top, y=np.ones((20, 2)))


@layout(classes=("0", "1"))
def labels_in_a_column(top):
    return arrays(top, y=(np.arange(20) % 2)[:, None])


@layout()
def labels_of_bytes(top):
    return arrays(top, y=np.array(CLASSES * 10, dtype="S3"))


@layout(says="fraction")
def labels_of_half(top):
    return arrays(top, y=np.arange(20) / 2)


@layout(says="NaN")
def labels_of_nan(top):
    return arrays(top, y=np.where(np.arange(20) < 1, np.nan, np.arange(20) % 2))


@layout(says=r"holds arr_0, arr_1 and no X")
def arrays_without_names(top):
    np.savez(top / "a.npz", some(20, 8, 8), np.arange(20) % 2)
    return str(top / "a.npz")


@layout(says="not an .npz of several")
def npy_called_npz(top):
    with open(top / "a.npz", "wb") as file:
        np.save(file, some(20, 8, 8))
    return str(top / "a.npz")


def test_there_are_more_than_forty():
    assert len(LAYOUTS) > 60


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout(name, tmp_path):
    write, expected = LAYOUTS[name]
    what = write(tmp_path)
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected) as error:
            load(what, split="auto")
        assert "\n" not in str(error.value)
        assert len(str(error.value).replace(str(tmp_path), "")) < 400
        return
    images = load(what, split="auto")
    parts = tuple(int((images.split == part).sum()) for part in range(3))
    assert (parts, images.classes, len(images.skipped)) == expected
    assert not any(re.search(r"[\\/]\.", name) for name in images.ids)


@pytest.mark.parametrize("name", ["photos.zip", "x.npy", "cat.jpg", "x.pkl"])
def test_the_command_says_the_same(name, tmp_path):
    write, says = LAYOUTS[name]
    with pytest.raises(ValueError, match=str(says)):
        load_recipe(write(tmp_path))


def test_what_is_skipped_says_why(tmp_path):
    images = load(two_labels_for_one_image(tmp_path), split="auto")
    assert "with another label ('cat' there, 'dog' here)" in images.skipped[0].why


def test_the_first_frame_is_taken(tmp_path):
    images = load(animations(tmp_path), split="auto")
    at = [i for i, name in enumerate(images.ids) if os.path.splitext(name)[1] in (".gif", ".webp")]
    assert len(at) == 2
    colours = images.batch(at).float().mean((2, 3))
    assert (colours[:, 0] > 250).all()
    assert (colours[:, 1:] < 5).all()
