"""The enrollment gate: what should not be enrolled unseen, each with its reason; and the perceptual hash it uses."""

import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

__all__ = ["GATES", "Finding", "content_of", "inspect", "look_of", "near_copy", "thumbnail_of"]

GATES = ("off", "warn", "strict")
SMALLEST = 8  # pixels of the shorter side
SIDE = 16  # of the perceptual hash: 16 x 16 bits
THUMBNAIL = 160  # pixels of the longer side
NEAR_BITS = 13  # of 256 that near copies may differ by: 5 %
NEAR_COSINE = 0.9  # near copies lie at least this close in the embedding as well
OUTLIER = 4.0  # robust deviations below the median similarity within the class
FEWEST = 5  # images of a class from which it has outliers


class Finding(NamedTuple):
    """Why an image was not enrolled, or a warning about one that was."""

    source: str
    reason: str
    enrolled: bool


def content_of(path: str | os.PathLike) -> str:
    """SHA-256 of a file. Errors: ValueError where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"cannot read {os.fspath(path)}: {error.strerror}") from None


def look_of(path: str | os.PathLike) -> bytes:
    """Difference hash, 32 bytes: is each pixel of 17 x 16 brighter than its neighbour. Errors: ValueError."""
    from likewise.export.reading import pixels

    grey = pixels(path, (1, SIDE, SIDE + 1))[..., 0].astype(np.int16)
    return np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes()


def thumbnail_of(path: str | os.PathLike) -> bytes:
    """A JPEG of at most 160 pixels a side, without the file's metadata. Errors: ValueError."""
    from likewise.export.reading import smaller

    file = io.BytesIO()
    smaller(path, THUMBNAIL).save(file, "JPEG", quality=80)
    return file.getvalue()


def near_copy(look: bytes, vector_D: np.ndarray, looks_N: Sequence[bytes], vectors_ND: np.ndarray) -> int | None:
    """The first of N images that this one is a near copy of: by hash within 5 % of the bits, and in the embedding."""
    places = [i for i, other in enumerate(looks_N) if len(other) == len(look) == 2 * SIDE]
    if not places:
        return None
    bits_N = np.frombuffer(b"".join(looks_N[i] for i in places), np.uint8).reshape(len(places), -1)
    apart_N = np.unpackbits(bits_N ^ np.frombuffer(look, np.uint8), axis=1).sum(1)
    for at in np.flatnonzero(apart_N <= NEAR_BITS):
        other_D = vectors_ND[places[at]]
        lengths = float(np.linalg.norm(other_D) * np.linalg.norm(vector_D))
        if lengths == 0 or float(other_D @ vector_D) >= NEAR_COSINE * lengths:
            return places[at]
    return None


def inspect(label: str, sim_M: np.ndarray, labels_M: np.ndarray, within: np.ndarray | None) -> str:
    """Why the label of an image is doubtful; empty where it is not.

    sim_M: its similarities to all enrolled images. within: similarities inside its class, for the outlier test.
    """
    own_M = labels_M == label
    if not own_M.any():
        return ""
    if (~own_M).any():
        own, other = float(sim_M[own_M].max()), float(sim_M[~own_M].max())
        if other > own:
            nearest = labels_M[~own_M][int(sim_M[~own_M].argmax())]
            return f"nearer to class {nearest} ({other:.3f}) than to its own ({own:.3f})"
    if within is not None and own_M.sum() >= FEWEST:
        median = float(np.median(within))
        spread = 1.4826 * float(np.median(np.abs(within - median)))
        if float(np.median(sim_M[own_M])) < median - OUTLIER * max(spread, 1e-6):
            return f"an outlier to its class: similarity {float(np.median(sim_M[own_M])):.3f}, usual {median:.3f}"
    return ""
