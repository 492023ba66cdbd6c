"""`load`: names and paths, every option, and what fails before anything is read."""

from functools import partial

import numpy as np
import pytest
import torch

from likewise import data, spec
from likewise.data.files import Files
from small_images import tree


@pytest.fixture
def pets(tmp_path):
    return tree(tmp_path / "pets", *(f"{name}/{i}.png" for name in ("cat", "dog", "emu") for i in range(10)))


def test_digits_need_nothing():
    images = data.load("digits", val=0.1)
    assert [len(images.part(part)) for part in data.SPLITS] == [1298, 144, 355]
    assert not images.open


def test_paths(pets, monkeypatch):
    (pets / "list.csv").write_text("image,label\ncat/0.png,cat\ndog/0.png,dog\n")
    np.savez(pets / "d.npz", X=np.zeros((4, 2)), y=[0, 0, 1, 1])
    assert len(data.load(str(pets))) == 30
    assert len(data.load(str(pets / "list.csv"))) == 2
    assert len(data.load(str(pets / "d.npz"))) == 4
    monkeypatch.chdir(pets.parent)
    assert len(data.load("pets")) == 30
    assert len(data.load("folder(path='pets')")) == 30


def test_a_path_with_parentheses(tmp_path):
    assert len(data.load(str(tree(tmp_path / "pets (1)", "cat/1.png", "dog/1.png")))) == 2


def test_a_sources_name_comes_before_a_folder_of_that_name(pets, monkeypatch):
    tree(pets.parent / "digits", "cat/1.png")
    monkeypatch.chdir(pets.parent)
    assert data.load("digits").name == "digits"
    assert len(data.load("digits").classes) == 10
    assert data.load("./digits").classes == ("cat",)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("mnits", "did you mean mnist.*; nor is there a folder 'mnits'"),
        ("no/such/folder", "nor is there a folder 'no/such/folder'"),
        ("", "is not a name"),
        ("~no-such-user/pets", "nor is there a folder"),
        ("mnist(sise=3)", "mnist takes no 'sise'"),
        ("omniglot(sett='all')", "takes no 'sett'; did you mean set"),
    ],
)
def test_unknown_sources(source, why):
    with pytest.raises(spec.SpecError, match=why):
        data.load(source)


def test_missing_files_are_said_to_be_missing(tmp_path):
    with pytest.raises(ValueError, match="No such file"):
        data.load(str(tmp_path / "x.csv"))
    with pytest.raises(ValueError, match="does not exist"):
        data.load(str(tmp_path / "x.npz"))


def test_wrong_splits_fail_before_reading(tmp_path):
    with pytest.raises(spec.SpecError, match="did you mean ratio"):
        data.load(str(tmp_path / "nowhere.csv"), split="ration")


def test_split_and_its_numbers(pets):
    images = data.load(str(pets), split="ratio(val=0.2, test=0.3)")
    assert images.split.bincount().tolist() == [15, 6, 9]
    assert data.load(str(pets), split="by_class(test=0.34)", val=0.34).split.bincount().tolist() == [10, 10, 10]
    assert data.load(str(pets), split="ratio(test=0.0)", val=0.4).split.bincount().tolist() == [18, 12]
    one, two = (data.load(str(pets), seed=seed).split for seed in (1, 2))
    assert not torch.equal(one, two)
    assert torch.equal(one, data.load(str(pets), seed=1).split)


def test_filters(pets):
    (pets / "cat/9.png").unlink()
    assert data.load(str(pets), min_per_class=10).classes == ("dog", "emu")
    assert len(data.load(str(pets), max_classes=2).classes) == 2
    assert len(data.load(str(pets), max_per_class=4)) == 12


def test_size_and_channels_of_every_kind_of_source(pets):
    assert data.load(str(pets), size=8, channels=3).shape == (3, 8, 8)
    assert data.load("digits", size=16, channels=3).shape == (3, 16, 16)
    with pytest.raises(ValueError, match="size is a side in pixels"):
        data.load("digits", channels=4)


def test_what_would_not_fit_is_streamed(pets, monkeypatch):
    kept = data.load(str(pets))
    monkeypatch.setattr(data, "LoadOptions", partial(data.LoadOptions, memory=10))
    streamed = data.load(str(pets))
    assert isinstance(streamed.pixels, Files)
    assert torch.equal(streamed.part("test").batch([0, 2]), kept.part("test").batch([0, 2]))


def test_strict(pets):
    (pets / "cat/0.png").write_bytes(b"")
    assert data.load(str(pets)).skipped[0].id == "cat/0.png"
    with pytest.raises(ValueError, match=r"1 images? cannot be used.*cat/0\.png: the file is empty"):
        data.load(str(pets), strict=True)


def test_root_and_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("LIKEWISE_DATA", str(tmp_path / "here"))
    with pytest.raises(data.AbsentError, match="here/mnist"):
        data.load("mnist")
    with pytest.raises(data.AbsentError, match="there/mnist"):
        data.load("mnist", root=tmp_path / "there")
