"""Marks of "not this one": stored with the query image, honoured for it and for near copies of it."""

import hashlib

import numpy as np

from likewise.gallery import quality
from likewise.gallery.opened import Opened, Query
from likewise.gallery.state import State
from likewise.gallery.store import Negative

__all__ = ["hidden", "reject"]


def reject(gallery: Opened, query: Query, *, label: str, id: str) -> None:
    """Errors: ValueError for neither or both of label and id, or one that is not there."""
    state = gallery.state()
    if bool(label) == bool(id):
        raise ValueError("say what the image is not: either a label or an id")
    if label and label not in state.labels:
        raise ValueError(f"there is no class {label!r} in {gallery.store.url}")
    if id:
        gallery.place(state, id)
    content, look = _identity(query)
    vector = gallery.embed(query)[0]
    with gallery.store.begin():
        mark = Negative(content, look, vector.astype("<f4").tobytes(), label, id)
        if gallery.store.add_negative(mark):
            gallery.store.push_step("reject", {"unmark": [content, label, id]})
        gallery.store.log("reject", 1, label)


def hidden(gallery: Opened, state: State, query: Query, vector_D: np.ndarray) -> set[int]:
    """Rows that marks of this image, or of one that it is a near copy of, exclude."""
    marks = gallery.store.negatives()
    if not marks:
        return set()
    content, look = _identity(query)
    valid = [mark for mark in marks if mark.content == content or _near(mark, look, vector_D)]
    labels, ids = {mark.label for mark in valid if mark.label}, {mark.item for mark in valid if mark.item}
    return {i for i, row in enumerate(state.rows) if row.label in labels or row.id in ids}


def _near(mark: Negative, look: bytes, vector_D: np.ndarray) -> bool:
    stored = np.frombuffer(mark.vector, "<f4")
    if not look or len(stored) != len(vector_D):
        return False
    return quality.near_copy(look, vector_D, [mark.look], stored[None]) == 0


def _identity(query: Query) -> tuple[str, bytes]:
    """Content hash and perceptual hash of a query; vectors have no look."""
    if isinstance(query, np.ndarray):
        return hashlib.sha256(np.asarray(query, "<f4").tobytes()).hexdigest(), b""
    return quality.content_of(query), quality.look_of(query)
