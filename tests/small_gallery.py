"""A small gallery without a model, in either store, and the images of a folder with their classes."""

import os
from pathlib import Path

import numpy as np

from likewise import Gallery
from likewise.gallery.store import Item
from likewise.gallery.stores import open_store

__all__ = ["DIM", "create", "enroll", "files", "item"]

DIM = 8


def files(folder: Path) -> tuple[list[Path], list[str]]:
    paths = sorted(folder.rglob("*.png"))
    return paths, [path.parent.name for path in paths]


def create(place: str | os.PathLike, dim: int = DIM) -> Gallery:
    """An empty gallery of vectors."""
    store = open_store(place, create=True)
    with store.begin():
        about = {"dim": dim, "sim": "cosine", "fingerprint": "none", "private": True, "rule": "nearest"}
        store.set_meta(**about, revision=0, edits=0)
    return Gallery(store)


def enroll(gallery: Gallery, labels: list[str], seed: int = 0, **given) -> list[str]:
    """The ids of random vectors that were added."""
    vectors = np.random.default_rng(seed).normal(size=(len(labels), gallery.dim))
    return gallery.enroll_vectors(vectors, labels, fingerprint="none", gate="off", **given).added


def item(name: str, label: str = "a", vector: np.ndarray | None = None, **given) -> Item:
    vector = np.ones(DIM, np.float32) if vector is None else vector
    return Item(name, given.pop("content", f"content of {name}"), label, vector, **given)
