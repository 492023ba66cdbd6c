"""MNIST and Fashion-MNIST, from the four idx files as published.

The published files have these md5 sums. Files with other bytes (compressed again, say) are accepted
if their structure is valid.
mnist          train-images f68b3c2dcbeaaa9fbdd348bbdeb94873  train-labels d53e105ee54ea40749a09fcbcd1e9432
               t10k-images  9fb629c4189551a2d022fa330f9573f3  t10k-labels  ec29112dd5afa0611ce80d1b7f02629c
fashion-mnist  train-images 8d4fb7e6c68d591d4c3dfef9ec88bf0d  train-labels 25c81989df183df01b3e8a0aad5dffbe
               t10k-images  bef4ecab320f06d8554ea6380940ec79  t10k-labels  bb300cfdad3c16e7a12a480ee83cd310
"""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch

from likewise.data.images import Images
from likewise.data.options import LoadOptions
from likewise.safety import bounds

__all__ = ["FILES", "fashion_mnist", "mnist"]

FILES = (
    *("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    *("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
)
DIGITS = tuple("0123456789")
CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


class NotIdxError(Exception):
    """The file does not begin with an idx header; the message shows its first bytes."""


def mnist(options: LoadOptions) -> Images:
    """MNIST: 60,000 train and 10,000 test handwritten digits, 28 x 28, grey, 10 classes, closed set.

    From `mnist/*.gz`; ink is bright on dark. (LeCun, Bottou, Bengio, Haffner, Proc. IEEE 86, 1998)
    """
    return _both_parts(options, "mnist", DIGITS)


def fashion_mnist(options: LoadOptions) -> Images:
    """Fashion-MNIST: 60,000 train and 10,000 test pieces of clothing, 28 x 28, grey, 10 classes, closed set.

    From `fashion-mnist/*.gz`; cloth is bright on dark. (Xiao, Rasul, Vollgraf, arXiv:1708.07747, 2017)
    """
    return _both_parts(options, "fashion-mnist", CLOTHES)


def _both_parts(options: LoadOptions, name: str, classes: tuple[str, ...]) -> Images:
    paths = options.find(name, [f"{name}/{file}" for file in FILES])
    (train, train_labels), (test, test_labels) = (_part(paths[i], paths[i + 1], name, len(classes)) for i in (0, 2))
    return Images(
        pixels=torch.from_numpy(np.concatenate([train, test])[:, None]),
        labels=torch.from_numpy(np.concatenate([train_labels, test_labels]).astype(np.int64)),
        classes=classes,
        ids=tuple(f"{part}/{i:05d}" for part, rows in (("train", train), ("test", test)) for i in range(len(rows))),
        split=torch.tensor([0] * len(train) + [2] * len(test), dtype=torch.uint8),
        name=name,
    )


def _part(images: Path, labels: Path, name: str, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [N,H,W] and uint8 [N]. Errors: ValueError naming the file that is wrong."""
    pixels, numbers = _read(images, 3, name), _read(labels, 1, name)
    if len(pixels) != len(numbers):
        raise ValueError(
            f"{images} holds {len(pixels)} images and {labels} holds {len(numbers)} labels; they are not of one set"
        )
    if numbers.max(initial=0) >= classes:
        raise ValueError(f"{labels} holds the label {numbers.max()}; {name} has 0 to {classes - 1}")
    return pixels, numbers


def _read(path: Path, dimensions: int, name: str) -> np.ndarray:
    """An idx file: two zeros, 8 for bytes, the number of dimensions, their lengths in big-endian 32 bits, the bytes."""
    get = f"delete it and run `likewise data fetch {name}`"
    magic, start = bytes((0, 0, 8, dimensions)), 4 + 4 * dimensions
    try:
        with gzip.open(path, "rb") as file:
            head = file.read(start)
            if head[:4] != magic or len(head) < start:
                raise NotIdxError(head[:4].hex() or "nothing")
            shape = tuple(int(n) for n in np.frombuffer(head, ">u4", dimensions, offset=4))
            announced = bounds.expanded(math.prod(shape), path.stat().st_size, path)
            raw = file.read(announced + 1)
    except NotIdxError as begins:
        raise ValueError(f"{path} begins with {begins}, an idx file of this kind with {magic.hex()}; {get}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is cut short or no gzip file ({error}); {get}") from None
    if len(raw) != announced:
        more = "more" if len(raw) > announced else f"{len(raw):,}"
        raise ValueError(f"{path} says {' x '.join(map(str, shape))} bytes and holds {more}; {get}")
    return np.frombuffer(raw, np.uint8).reshape(shape)
