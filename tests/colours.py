"""A small gallery for tests: its encoder is the mean colour of an image, so that similarities are worked by hand."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from likewise import Gallery
from likewise.gallery.stores import open_store

RED, GREEN, BLUE = (200, 20, 20), (20, 200, 20), (20, 20, 200)


class Colours:
    """An encoder whose vector is the mean colour of an image."""

    path, sim, fingerprint, dim = "colours", "cosine", "c0ffee", 3
    classes, run = (), None

    def __init__(self, **info: object):
        self.info = info

    def embed(self, paths) -> np.ndarray:
        return np.stack([self.one(path) for path in paths])

    def one(self, path) -> np.ndarray:
        try:
            with Image.open(path) as image:
                return np.asarray(image.convert("RGB"), np.float32).mean((0, 1)) + 1
        except OSError as error:
            raise ValueError(f"cannot read {path} as an image: {error}") from None


class Halves(Colours):
    """Another model: the mean colours of the left and right half, as a vector of 6 under the Euclidean distance."""

    path, sim, fingerprint, dim = "halves", "euclidean", "ha1f", 6

    def one(self, path) -> np.ndarray:
        colour = super().one(path)
        return np.concatenate([colour, 255 - colour])


def make(path: str | Path, encoder=None, kind: type[Gallery] = Gallery, **given: object) -> Gallery:
    """An empty gallery of colours."""
    store = open_store(path, create=True)
    about = {"dim": 3, "sim": "cosine", "fingerprint": "c0ffee", "model": "colours", "rule": "nearest"}
    with store.begin():
        store.set_meta(**{**about, "private": False, "thumbnails": True, "revision": 0, "edits": 0, **given})
    return kind(store, encoder or Colours())


def coloured(colour: tuple[int, int, int], seed: int = 0, size: tuple[int, int] = (40, 30), kind: str = "PNG") -> bytes:
    """An image file of about one colour; other seeds give other bytes and other perceptual hashes."""
    noise = np.random.default_rng(seed).integers(-15, 16, (size[1], size[0], 3))
    file = io.BytesIO()
    Image.fromarray((np.asarray(colour) + noise).astype(np.uint8)).save(file, kind)
    return file.getvalue()
