"""X and y in the shapes and types that people have."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as any_array

from likewise.data import from_arrays
from likewise.data.arrays import arrays, kind_of
from likewise.data.options import LoadOptions


def pictures(*shape, dtype=np.uint8):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


@pytest.mark.parametrize(
    ("shape", "seen"),
    [
        ((2, 4, 5), (1, 4, 5)),
        ((2, 4, 5, 1), (1, 4, 5)),
        ((2, 4, 5, 3), (3, 4, 5)),
        ((2, 1, 4, 5), (1, 4, 5)),
        ((2, 3, 4, 5), (3, 4, 5)),
        ((2, 3, 4, 3), (3, 4, 3)),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float64])
def test_shapes_of_pictures(shape, seen, dtype):
    X = pictures(*shape, dtype=dtype)
    images = from_arrays(X / 255 if dtype == np.float64 else X, [0, 1])
    assert images.shape == seen
    assert images.pixels.dtype == (torch.float32 if dtype == np.float64 else torch.uint8)


def test_channels_last_is_turned_and_not_cut():
    X = pictures(2, 4, 5, 3)
    assert torch.equal(from_arrays(X, [0, 1]).pixels, torch.from_numpy(X).permute(0, 3, 1, 2))


def test_rows_are_features():
    for X in (pictures(2, 7), pictures(2, 7, dtype=np.float64), [[1, 2], [3, 4]], torch.ones(2, 3)):
        images = from_arrays(X, ["b", "a"])
        assert images.pixels.dtype == torch.float32
        assert images.pixels.ndim == 2
    assert images.classes == ("a", "b")
    assert images.labels.tolist() == [1, 0]


def test_booleans_are_black_and_white():
    assert from_arrays(np.eye(2, dtype=bool)[None], [0]).pixels.flatten().tolist() == [255, 0, 0, 255]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("wrap", [np.asarray, torch.from_numpy])
def test_everything_is_copied(dtype, wrap):
    X, y = pictures(2, 4, 5, dtype=dtype).clip(0, 1), np.array([0, 1])
    images = from_arrays(wrap(X), wrap(y))
    X[:], y[:] = 9, 9
    assert images.pixels[0, 0, 0, 1] == 1
    assert images.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("y", "classes", "labels"),
    [
        ([10, 2, 10], ("2", "10"), [1, 0, 1]),
        ([-1, 5, 5], ("-1", "5"), [0, 1, 1]),
        ([1.0, 0.0, 1.0], ("0", "1"), [1, 0, 1]),
        (["b10", "b2", "b2"], ("b2", "b10"), [1, 0, 0]),
        (np.array(["x", "y", "x"], object), ("x", "y"), [0, 1, 0]),
        (np.array([3, 1, 3], object), ("1", "3"), [1, 0, 1]),
        ([b"x", b"y", b"x"], ("x", "y"), [0, 1, 0]),
        ([True, False, True], ("False", "True"), [1, 0, 1]),
        (torch.tensor([4, 4, 0]), ("0", "4"), [1, 1, 0]),
        (np.array([2**63, 1, 1], np.uint64), ("1", str(2**63)), [1, 0, 0]),
    ],
)
def test_labels_of_any_type(y, classes, labels):
    images = from_arrays(np.zeros((3, 2)), y)
    assert images.classes == classes
    assert images.labels.tolist() == labels
    assert images.labels.dtype == torch.int64


def test_parts_and_groups():
    for split in (["train", "test", "val"], [0, 2, 1], np.array([0, 2, 1], np.uint8)):
        images = from_arrays(np.zeros((3, 2)), [0, 1, 0], split=split, groups=["x", "y", "x"])
        assert images.split.tolist() == [0, 2, 1]
        assert images.groups == ("x", "y", "x")
        assert images.ids == ("train/00000", "test/00001", "val/00002")


@pytest.mark.parametrize(
    ("X", "y", "why"),
    [
        (np.zeros((3, 2)), [0, 1], "X has 3 rows, y 2"),
        (np.zeros((2, 2)), [0.0, np.nan], "y holds NaN, first in row 1"),
        (np.zeros((2, 2)), [0.5, 1.0], "fraction"),
        (np.zeros((2, 2)), [np.inf, 1.0], "fraction"),
        (np.zeros((2, 2)), np.array(["a", None], object), "y holds None"),
        (np.zeros((2, 2)), np.array(["a", float("nan")], object), "y holds nan"),
        (np.zeros((2, 2)), [[0, 2], [1, 1]], r"shape \[N\]"),
        (np.zeros((0, 2)), [], "X has no rows"),
        (np.array([[0.0, np.nan]]), [0], "X holds NaN"),
        (np.array([[1e300]]), [0], "X holds NaN or infinity"),
        (np.zeros(3), [0, 1, 2], "X is images"),
        (np.array([["a"]]), [0], "X is images"),
        (5, [0], "X has no rows"),
        (np.full((1, 4, 4), 300), [0], "hold 0 to 255, and X holds 300 to 300"),
        (np.full((1, 4, 4), -1), [0], "hold 0 to 255"),
        (np.zeros((1, 4, 5, 4), np.uint8), [0], r"with C 1 or 3; got shape \[1, 4, 5, 4\]"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_what_is_refused(X, y, why):
    with pytest.raises(ValueError, match=why):
        from_arrays(X, y)


def test_a_wrong_part_is_refused():
    with pytest.raises(ValueError, match="holds 'trian'; did you mean train"):
        from_arrays(np.zeros((1, 2)), [0], split=["trian"])
    with pytest.raises(ValueError, match="holds 3"):
        from_arrays(np.zeros((1, 2)), [0], split=[3])


def test_npz(tmp_path):
    np.savez(tmp_path / "d.npz", X=pictures(2, 4, 4), y=["a", "b"], split=["train", "test"])
    images = arrays(LoadOptions(), path=str(tmp_path / "d.npz"))
    assert images.name == "d"
    assert images.split.tolist() == [0, 2]
    assert images.classes == ("a", "b")


@pytest.mark.parametrize(("shape", "rows"), [((4, 3), True), ((4, 3, 3), False), ((4,), False)])
def test_rows_are_told_from_pictures_by_the_header(shape, rows, tmp_path):
    np.savez_compressed(tmp_path / "d.npz", X=np.zeros(shape), y=np.zeros(4))
    assert (kind_of(tmp_path / "d.npz") == "rows") == rows


def test_what_does_not_read_holds_no_rows(tmp_path):
    np.savez(tmp_path / "no_x.npz", Y=np.zeros((2, 2)))
    (tmp_path / "text.npz").write_text("no")
    assert all(kind_of(tmp_path / name) == "images" for name in ("nowhere.npz", "no_x.npz", "text.npz"))


def test_npz_that_cannot_be_read(tmp_path):
    np.savez(tmp_path / "half.npz", pixels=[1], y=[2])
    np.savez(tmp_path / "objects.npz", X=np.array([None]), y=[2])
    np.save(tmp_path / "one.npy", [1])
    (tmp_path / "text.npz").write_text("no")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "half.npz").read_bytes()[:60])
    for name, why in {
        "nowhere.npz": "does not exist",
        "half.npz": "holds pixels, y and no X",
        "objects.npz": "plain arrays",
        "one.npy": "one array",
        "text.npz": "does not read as .npz",
        "cut.npz": "does not read as .npz",
    }.items():
        with pytest.raises(ValueError, match=why):
            arrays(LoadOptions(), path=str(tmp_path / name))


@given(any_array(st.sampled_from([np.int64, np.uint8, np.bool_]), st.integers(1, 8)))
def test_labels_come_back_by_name(y):
    images = from_arrays(np.zeros((len(y), 1)), y)
    assert [images.classes[i] for i in images.labels] == [str(v) for v in y.tolist()]


@pytest.mark.slow
@given(st.lists(st.text(max_size=4), min_size=1))
def test_texts_come_back_by_name(words):
    images = from_arrays(np.zeros((len(words), 1)), words)
    assert [images.classes[i] for i in images.labels] == [word.rstrip("\0") for word in words], "numpy drops zeros"


@given(any_array(np.float32, st.integers(1, 8), elements=st.floats(-(2**30), 2**30, width=32)))
def test_float_labels_are_whole_or_refused(y):
    X = np.zeros((len(y), 1))
    if (y == np.rint(y)).all():
        images = from_arrays(X, y)
        assert [float(images.classes[i]) for i in images.labels] == y.tolist()
    else:
        with pytest.raises(ValueError, match="y holds numbers with a fraction"):
            from_arrays(X, y)


def test_npz_arrays_by_other_usual_names(tmp_path):
    np.savez(tmp_path / "d.npz", Images=pictures(2, 4, 4), LABELS=["a", "b"], Fold=["Train", "TEST"], group=["x", "y"])
    images = arrays(LoadOptions(), path=str(tmp_path / "d.npz"))
    assert images.split.tolist() == [0, 2]
    assert images.groups == ("x", "y")
    assert images.classes == ("a", "b")
    np.savez(tmp_path / "both.npz", x=pictures(1, 4, 4), X=pictures(2, 4, 4), y=["a", "b"])
    assert len(arrays(LoadOptions(), path=str(tmp_path / "both.npz"))) == 2, "the exact name comes first"


def test_rows_under_another_name_are_rows(tmp_path):
    np.savez(tmp_path / "rows.npz", x=np.zeros((2, 3)), y=[0, 1])
    np.savez(tmp_path / "images.npz", x=np.zeros((2, 3, 3)), y=[0, 1])
    assert kind_of(tmp_path / "rows.npz") == "rows"
    assert kind_of(tmp_path / "images.npz") == "images"
