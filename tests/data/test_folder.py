"""Folders as people keep them: parts or none, nested classes, litter, links in a loop, names in any bytes."""

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from likewise.data.folder import folder
from likewise.data.gather import one_spelling
from likewise.data.options import LoadOptions
from likewise.imaging.find import legible, natural
from small_images import png, tree


def read(top, **settings):
    return folder(LoadOptions(), path=str(top), **settings)


def test_one_folder_a_class(tmp_path):
    images = read(tree(tmp_path / "pets", "cat/1.png", "dog/1.png", "cat/2.png"))
    assert images.classes == ("cat", "dog")
    assert images.labels.tolist() == [0, 0, 1]
    assert images.ids == ("cat/1.png", "cat/2.png", "dog/1.png")
    assert images.name == "pets"
    assert images.pixels.flatten(1)[:, 0].tolist() == [0, 2, 1]
    assert images.split.tolist() == [0, 0, 0]
    assert images.skipped == ()


def test_natural_order(tmp_path):
    images = read(tree(tmp_path, "s10/10.png", "s10/2.png", "s2/1.png"))
    assert images.classes == ("s2", "s10")
    assert images.ids == ("s2/1.png", "s10/2.png", "s10/10.png")


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("training", "validation", "testing"), ("Train", "valid", "TEST")]
)
def test_parts(tmp_path, names):
    images = read(
        tree(tmp_path, *(f"{part}/{name}/{i}.png" for part in names for name in ("cat", "dog") for i in range(2)))
    )
    assert images.classes == ("cat", "dog")
    assert len(images) == 12
    for i, part in enumerate(names):
        assert all((images.split[n] == i) == name.startswith(f"{part}/") for n, name in enumerate(images.ids))


def test_nested_classes_are_paths(tmp_path):
    images = read(tree(tmp_path, "train/Fruit/Apple/1.png", "train/Fruit/Pear/1.png", "val/Fruit/Pear/2.png"))
    assert images.classes == ("Fruit/Apple", "Fruit/Pear")
    assert images.split.tolist() == [0, 0, 1]


def test_a_class_called_train_is_a_class(tmp_path):
    images = read(tree(tmp_path, "train/1.png", "car/1.png"))
    assert images.classes == ("car", "train")
    assert images.split.tolist() == [0, 0]


def test_parts_beside_other_folders_must_be_said(tmp_path):
    tree(tmp_path, "train/steam/1.png", "car/red/1.png", "test/steam/2.png")
    with pytest.raises(ValueError, match=r"holds train/ and also car/; say parts='yes'"):
        read(tmp_path)
    assert read(tmp_path, parts="no").classes == ("car/red", "test/steam", "train/steam")
    only = read(tmp_path, parts="yes")
    assert only.classes == ("steam",)
    assert [s.id for s in only.skipped] == ["car/red/1.png"]


def test_loose_pictures_are_listed(tmp_path):
    images = read(tree(tmp_path, "cat/1.png", "loose.png"))
    assert len(images) == 1
    assert images.skipped[0] == ("loose.png", "in no class folder")


def test_litter_is_passed_over(tmp_path):
    tree(tmp_path, "cat/1.png", "cat/._1.png", "__MACOSX/cat/1.png", ".cache/x/1.png", "@eaDir/x/1.png")
    for name in ("cat/Thumbs.db", "cat/.DS_Store", "cat/notes.txt", "README.md"):
        (tmp_path / name).write_text("x")
    images = read(tmp_path)
    assert images.ids == ("cat/1.png",)
    assert images.skipped == ()


def test_broken_pictures_are_named_and_skipped(tmp_path):
    tree(tmp_path, "cat/1.png", "cat/2.png", "dog/1.png")
    (tmp_path / "cat/0.jpg").write_bytes(b"")
    (tmp_path / "dog/9.jpg").write_text("not an image")
    images = read(tmp_path)
    assert {s.id for s in images.skipped} == {"cat/0.jpg", "dog/9.jpg"}
    assert len(images) == 3
    assert images.labels.tolist() == [0, 0, 1]


def test_a_class_whose_pictures_are_all_broken_is_no_class(tmp_path):
    tree(tmp_path, "cat/1.png", "dog/1.png")
    (tmp_path / "dog/1.png").write_bytes(b"")
    assert read(tmp_path).classes == ("cat",)


def test_folder_named_like_a_picture(tmp_path):
    images = read(tree(tmp_path, "cat/1.png", "cat/x.jpg/2.png"))
    assert images.classes == ("cat", "cat/x.jpg")


def test_links_are_followed_and_loops_end(tmp_path):
    tree(tmp_path / "all", "cat/1.png")
    tree(tmp_path / "pets", "dog/1.png")
    (tmp_path / "pets/cat").symlink_to(tmp_path / "all/cat")
    (tmp_path / "pets/dog/up").symlink_to(tmp_path / "pets")
    (tmp_path / "pets/dog/self").symlink_to(tmp_path / "pets/dog/self")
    (tmp_path / "pets/dog/gone.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "pets/dog/pipe.png")
    images = read(tmp_path / "pets")
    assert images.ids == ("cat/1.png", "dog/1.png")
    assert {s.id for s in images.skipped} == {"dog/gone.png", "dog/pipe.png"}


def test_names_that_are_not_utf8(tmp_path):
    top = os.fsencode(tmp_path) + b"/caf\xe9"
    os.makedirs(top)
    for name in (b"/1.png", b"/\xff\xfe.png"):
        with open(top + name, "wb") as file:
            file.write(png(1))
    images = read(tmp_path)
    assert images.classes == (r"caf\xe9",)
    assert images.ids == (r"caf\xe9/1.png", r"caf\xe9/\xff\xfe.png")
    "".join(images.ids).encode("utf-8")


def test_empty_and_missing_folders_say_what_to_do(tmp_path):
    for top, why in {
        tmp_path / "nowhere": "does not exist",
        tmp_path / "empty": r"no image below .* \(it is empty\); what is needed is .*<class>/<image>",
        tmp_path / "text": r"no image below .* \(2 \.txt\)",
        tmp_path / "flat": "2 images and no folder for their class",
        tmp_path / "file": "is not a folder",
    }.items():
        (tmp_path / "empty" / "cat").mkdir(parents=True, exist_ok=True)
        (tmp_path / "text").mkdir(exist_ok=True)
        (tmp_path / "text/a.txt").write_text("")
        (tmp_path / "text/b.txt").write_text("")
        tree(tmp_path / "flat", "1.png", "2.png")
        (tmp_path / "file").write_text("")
        with pytest.raises(ValueError, match=why):
            read(top)


def test_nothing_readable_gives_an_example(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat/1.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"no image that can be read, for instance cat/1\.jpg: the file is empty"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("one", "other"), [("Cat", "cat"), ("cat", "cat "), ("e\u0301clair", "\u00e9clair"), ("Stra\u00dfe", "STRASSE")]
)
def test_two_spellings_of_a_class(tmp_path, one, other):
    tree(tmp_path, f"{one}/1.png", f"{other}/2.png", f"{other}/3.png", "dog/1.png")
    with pytest.raises(ValueError, match="one class is spelled") as raised:
        read(tmp_path)
    assert repr(one) in str(raised.value)
    assert repr(other) in str(raised.value)
    merged = read(tmp_path, spellings="merge")
    assert len(merged) == 4
    assert set(merged.classes) == {other, "dog"}, "the spelling that most images have"
    assert len(read(tmp_path, spellings="keep").classes) == 3


def test_two_spellings_across_parts(tmp_path):
    tree(tmp_path, "train/Cat/1.png", "val/cat/1.png")
    with pytest.raises(ValueError, match="'Cat' and 'cat'"):
        read(tmp_path)


def test_wrong_words_offer_near_ones(tmp_path):
    tree(tmp_path, "a/1.png")
    with pytest.raises(ValueError, match="did you mean merge"):
        read(tmp_path, spellings="merged")
    with pytest.raises(ValueError, match="no parts='ja'"):
        read(tmp_path, parts="ja")


def test_an_unreadable_folder_is_listed(tmp_path, monkeypatch):
    tree(tmp_path, "cat/1.png", "locked/1.png")
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: scandir(path if Path(path).name != "locked" else "/nowhere"))
    images = read(tmp_path)
    assert images.classes == ("cat",)
    assert images.skipped[0].id == "locked"


def test_sizes_and_colours_are_brought_together(tmp_path):
    tree(tmp_path, "a/1.png", "a/2.png")
    Image.new("RGB", (50, 40), "red").save(tmp_path / "a/3.jpg")
    assert read(tmp_path).shape == (1, 5, 4)
    assert folder(LoadOptions(size=8, channels=3), path=str(tmp_path)).pixels.shape == (3, 3, 8, 8)


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda name: not name.startswith(".") and len(name.encode()) < 200
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(NAMES, min_size=1, max_size=5, unique_by=lambda name: unicodedata.normalize("NFC", name).casefold())
)
def test_any_name_is_a_class(tmp_path_factory, names):
    top = tmp_path_factory.mktemp("any")
    images = folder(
        LoadOptions(), path=str(tree(top, *(f"{name}/1.png" for name in names))), parts="no", spellings="keep"
    )
    assert sorted(images.classes) == sorted(names)
    assert images.skipped == ()


@given(st.text(max_size=8), st.integers(0, 10**6), st.integers(0, 10**6), st.text(max_size=8))
def test_natural_counts(before, one, other, after):
    before, after = before.rstrip("0123456789"), after.lstrip("0123456789")
    keys = [natural(f"{before}{number}{after}") for number in (one, other)]
    assert (keys[0] < keys[1]) == (one < other)


def test_natural_takes_any_length_and_any_script():
    large, larger = "9" * 5000, "1" + "0" * 5000
    assert sorted(["\u00b2", "a1", large, "a01"], key=natural) == [large, "a01", "a1", "\u00b2"]
    assert natural(large) < natural(larger)


@given(st.lists(st.sampled_from(["Cat", "cat", "CAT ", "dog", "Dog", "emu"])))
def test_merging_leaves_one_spelling_of_each(words):
    merged = one_spelling(words, "merge")
    assert len(set(merged)) == len({w.strip().lower() for w in words})
    assert set(merged) <= set(words)
    assert [w.strip().lower() for w in merged] == [w.strip().lower() for w in words]


@given(st.binary(min_size=1, max_size=30).filter(lambda name: b"\0" not in name))
def test_any_bytes_become_text(name):
    legible(os.fsdecode(name)).encode("utf-8")
