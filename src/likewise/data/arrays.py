"""X and y: images or feature rows in memory, or in an .npz file."""

import math
import tokenize
import zipfile
import zlib
from collections.abc import Collection
from numbers import Integral
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from likewise.data.array_names import NAMES, SIGNALS, by_use, is_known, joined, part_of
from likewise.data.gather import number, split_of
from likewise.data.images import SPLITS, Images
from likewise.data.options import LoadOptions, as_path
from likewise.imaging.find import legible
from likewise.imaging.values import check_unit_range
from likewise.safety import bounds
from likewise.spec import near

__all__ = ["arrays", "from_arrays", "kind_of", "load_arrays"]

KINDS = ("auto", "images", "signals")
# X [N, C, T] is signals with at most so many channels, and so many times as many samples.
SIGNAL_CHANNELS, LONG = 16, 8
# what zips and array headers fail with when they are damaged
UNREADABLE = (OSError, ValueError, KeyError, EOFError, TypeError, SyntaxError, OverflowError, MemoryError)
UNREADABLE += (NotImplementedError, RuntimeError, tokenize.TokenError, zipfile.BadZipFile, zlib.error)  # type: ignore[assignment]


def arrays(options: LoadOptions, *, path: str, kind: str = "auto") -> Images:
    """An .npz file with X, y and, where the source has them, split (train, val, test, or 0, 1, 2) and groups.

    The names are read in any case, and other usual ones too (images, signals, labels, fold, group), or arrays by part
    (x_train, y_train, x_test, y_test; train_images, train_labels ...); see from_arrays.

    Errors: ValueError for no such file, or an array that is missing or holds Python objects.
    """
    file = as_path(path)
    stored = load_arrays(file)
    loaded = by_use(stored)
    if "X" not in loaded:
        loaded |= joined(stored, legible(file))
    for key in ("X", "y"):
        if key not in loaded:
            present = ", ".join(loaded) or "nothing"
            raise ValueError(
                f"{legible(file)} holds {present} and no {key}; save it with numpy.savez(path, X=..., y=...)"
            )
    if kind == "auto" and _named_signals(stored):
        kind = "signals"
    parts = {key: loaded.get(key) for key in ("split", "groups")}
    return from_arrays(loaded["X"], loaded["y"], **parts, name=legible(file.stem), kind=kind)


def from_arrays(
    X: ArrayLike | Tensor,
    y: ArrayLike | Tensor,
    *,
    split: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    name: str = "arrays",
    kind: str = "auto",
) -> Images:
    """Images from arrays, lists or tensors; everything is copied.

    X       images uint8 [N,H,W], [N,H,W,C] or [N,C,H,W] with C 1 or 3, or numbers [N,...], which become float32;
            images of floats are 0 to 1, or have negative values (spectrograms in dB); signals are [N,C,T] or [N,T]
    y       [N] or [N,1] labels: whole numbers or texts; or [N,C] with one 1 a row (one-hot)
    split   [N] train, val, test or 0, 1, 2; without it everything is train
    groups  [N] texts
    kind    images | signals | auto: X [N,C,T] of numbers (not bytes) with C at most 16 and T at least 8 C is signals
    Errors: ValueError for lengths that differ, NaN or infinity, labels with a fraction, other shapes.
    """
    if kind not in KINDS:
        raise ValueError(f"no kind={kind!r} of arrays{near(kind, KINDS)}")
    values = _array(X, "X")
    is_signals = kind == "signals" or (kind == "auto" and _looks_like_signals(values.shape, values.dtype))
    pixels = _signals(values) if is_signals else _pixels(values)
    labels, classes = _labels(_array(y, "y"))
    parts = [0] * len(labels) if split is None else [_part(word) for word in np.asarray(split).tolist()]
    if not len(pixels) == len(labels) == len(parts):
        raise ValueError(f"X has {len(pixels)} rows, y {len(labels)} and split {len(parts)}; each needs one per image")
    return Images(
        pixels=pixels,
        labels=labels,
        classes=classes,
        ids=tuple(f"{SPLITS[part]}/{i:05d}" for i, part in enumerate(parts)),
        split=torch.tensor(parts, dtype=torch.uint8),
        groups=None if groups is None else tuple(map(str, np.asarray(groups).tolist())),
        name=name,
    )


def kind_of(path: Path) -> str:
    """rows [N, D], signals or images, by name and header of X in an .npz; images for an unreadable file."""
    try:
        with zipfile.ZipFile(path) as file:
            names = {n[:-4]: n for n in file.namelist()}
            of_train = next((name for key, name in names.items() if part_of(key) == ("X", "train")), None)
            with file.open(by_use(names).get("X") or of_train or "X") as opened:
                shape, dtype = array_header(opened)
    except UNREADABLE:
        return "images"
    if _named_signals(names) or _looks_like_signals(shape, dtype):
        return "signals"
    return "rows" if len(shape) == 2 else "images"


def _named_signals(stored: Collection[str]) -> bool:
    """Whether X is stored under a name for signals."""
    lowered = {key.casefold() for key in stored}
    first = next((name for name in NAMES["X"] if name in lowered), "")
    return first in SIGNALS


def _looks_like_signals(shape: tuple[int, ...], dtype: np.dtype) -> bool:
    """[N, C, T] of other numbers than bytes, few channels and many samples; no image is so long and narrow."""
    if len(shape) != 3 or dtype.kind not in "iuf" or dtype.itemsize == 1:
        return False
    return 0 < shape[1] <= SIGNAL_CHANNELS and shape[2] >= LONG * shape[1]


def load_arrays(file: Path, keys: Collection[str] = ()) -> dict[str, np.ndarray]:
    """The arrays of an .npz whose names, in lower case, are among keys (by default the usual names of
    arrays.array_names); all where they are few. Errors: ValueError."""
    try:
        with file.open("rb") as opened:
            first = opened.read(6)
            if first == b"\x93NUMPY":
                raise ValueError("it is one array, not an .npz of several")
            if first[:4] != b"PK\3\4":
                raise ValueError("it is not an .npz, a zip of arrays")
            opened.seek(0)
            check_announced(file)
            content = np.load(opened, allow_pickle=False, max_header_size=10_000)
            return {
                key: content[key]
                for key in content.files
                if (key.casefold() in keys if keys else is_known(key)) or len(content.files) <= len(NAMES)
            }
    except FileNotFoundError:
        raise ValueError(f"{legible(file)} does not exist; give an .npz file with X and y") from None
    except UNREADABLE as error:
        raise ValueError(f"{legible(file)} does not read as .npz of plain arrays: {error}") from None


def check_announced(file: Path) -> None:
    """Errors: ValueError when the zip or the headers of its arrays announce more than the bound."""
    length = file.stat().st_size
    with zipfile.ZipFile(file) as archive:
        bounds.expanded(sum(entry.file_size for entry in archive.infolist()), length, legible(file))
        for entry in archive.infolist():
            with archive.open(entry) as opened:
                shape, kind = array_header(opened)
                bounds.expanded(math.prod(shape) * kind.itemsize, length, legible(file))
                if math.prod(shape) * kind.itemsize > entry.file_size or min(shape, default=0) < 0:
                    raise ValueError(
                        f"{entry.filename} announces {shape} of {kind} and holds {entry.file_size:,} bytes"
                    )


def array_header(opened: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array in a .npy stream."""
    version = np.lib.format.read_magic(opened)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"arrays of .npy version {version} are not supported")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read(opened, max_header_size=10_000)
    return shape, kind


def _array(values: ArrayLike | Tensor, what: str) -> np.ndarray:
    array = _from_tensor(values.detach().cpu()) if isinstance(values, Tensor) else np.asarray(values)
    if array.ndim == 0 or len(array) == 0:
        raise ValueError(f"{what} has no rows; it needs one per image")
    return array


def _from_tensor(tensor: Tensor) -> np.ndarray:
    """numpy has neither bfloat16 nor 8-bit floats; float32 represents both exactly."""
    known = (torch.float16, torch.float32, torch.float64)
    return (tensor.float() if tensor.is_floating_point() and tensor.dtype not in known else tensor).numpy()


def _pixels(array: np.ndarray) -> Tensor:
    """uint8 [N,C,H,W] for whole numbers in the shape of images, else float32 [N,...]."""
    if array.ndim < 2 or array.dtype.kind not in "buif":
        raise ValueError(
            f"X is images [N,H,W(,C)] or rows of numbers [N,D]; got {array.dtype} of shape {list(array.shape)}"
        )
    if array.ndim < 3 or array.dtype.kind == "f":
        numbers = np.array(array, np.float32)
        if not np.isfinite(numbers).all():
            raise ValueError("X holds NaN or infinity; fill or leave out those rows first")
        if array.ndim > 2:
            check_unit_range(numbers, "X")
        return torch.from_numpy(_channels_first(numbers))
    if array.dtype.kind == "b":
        array = array.astype(np.uint8) * 255
    if array.min() < 0 or array.max() > 255:
        raise ValueError(
            f"images of whole numbers hold 0 to 255, and X holds {array.min()} to {array.max()}; "
            "scale them, or pass floats"
        )
    return torch.from_numpy(_channels_first(array.astype(np.uint8)))


def _signals(array: np.ndarray) -> Tensor:
    """float32 [N,C,T] of numbers [N,C,T] or [N,T]."""
    if array.ndim not in (2, 3) or array.dtype.kind not in "iuf":
        raise ValueError(f"signals are numbers [N, C, T] or [N, T]; got {array.dtype} of shape {list(array.shape)}")
    if array.ndim == 3 and array.shape[1] > bounds.SIGNAL_SHAPE[0]:
        raise ValueError(
            f"signals are [N, C, T] with at most {bounds.SIGNAL_SHAPE[0]:,} channels; got shape {list(array.shape)}; "
            "save [N, T, C] as X.transpose(0, 2, 1)"
        )
    numbers = np.array(array, np.float32)
    if not np.isfinite(numbers).all():
        raise ValueError("X holds NaN or infinity; fill or leave out those signals first")
    return torch.from_numpy(numbers if array.ndim == 3 else numbers[:, None])


def _channels_first(array: np.ndarray) -> np.ndarray:
    """[N,H,W] and [N,H,W,C] to [N,C,H,W]; rows, and floats in other shapes, stay."""
    if array.ndim == 3:
        return array[:, None]
    if array.ndim == 4 and array.shape[1] not in (1, 3) and array.shape[3] in (1, 3):
        return np.ascontiguousarray(array.transpose(0, 3, 1, 2))
    if array.dtype == np.uint8 and (array.ndim != 4 or array.shape[1] not in (1, 3)):
        raise ValueError(f"images are [N,H,W], [N,H,W,C] or [N,C,H,W] with C 1 or 3; got shape {list(array.shape)}")
    return array


def _labels(array: np.ndarray) -> tuple[Tensor, tuple[str, ...]]:
    array = one_label(array)
    if array.dtype.kind == "f":
        values, labels = np.unique(_whole(array), return_inverse=True)
        return torch.from_numpy(labels.astype(np.int64)), tuple(str(int(value)) for value in values.tolist())
    if array.dtype.kind in "bui":
        values, labels = np.unique(array, return_inverse=True)
        return torch.from_numpy(labels.astype(np.int64)), tuple(map(str, values.tolist()))
    return number([_word(value) for value in array.tolist()])


def one_label(array: np.ndarray) -> np.ndarray:
    """[N] of labels [N], [N,1] or one-hot [N,C]. Errors: ValueError."""
    if array.ndim == 2 and array.shape[1] == 1:
        return array[:, 0]
    if array.ndim == 2 and array.dtype.kind in "buif" and ((array == 0) | (array == 1)).all():
        if (array.sum(1) == 1).all():
            return array.argmax(1)
        raise ValueError("y [N, C] of 0 and 1 is one-hot, and has rows with no 1 or several; an image has one label")
    if array.ndim != 1:
        raise ValueError(f"y is one label per image, shape [N]; got shape {list(array.shape)}")
    return array


def _whole(array: np.ndarray) -> np.ndarray:
    """Check that all numbers are whole; they stay floats, since numbers of 20 digits do not fit int64."""
    if np.isnan(array).any():
        raise ValueError(f"y holds NaN, first in row {int(np.isnan(array).argmax())}; leave out images without a label")
    if not np.isfinite(array).all() or (array != np.rint(array)).any():
        raise ValueError("y holds numbers with a fraction; labels are whole numbers or texts")
    return array


def _word(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if not isinstance(value, str | Integral) or isinstance(value, bool):
        raise ValueError(f"labels are whole numbers or texts, and y holds {value!r}; leave out images without a label")
    return str(value)


def _part(word: str | int) -> int:
    part = word if isinstance(word, int) and 0 <= word < len(SPLITS) else split_of(str(word))
    if part is None:
        raise ValueError(
            f"split says train, val, test or 0, 1, 2 for each image, and holds {word!r}{near(str(word), SPLITS)}"
        )
    return part
