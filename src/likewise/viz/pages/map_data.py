"""Data of the map: which images are shown, their neighbours, and their thumbnails as sprite sheets."""

import base64
import io
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from likewise.data.images import SPLITS, Images
from likewise.embeddings import Embeddings
from likewise.metrics.neighbours import Sim, nearest
from likewise.viz.plots.images import displayable

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["GRID", "NOWHERE", "Neighbourhood", "fitted", "neighbourhood", "packed", "places", "shown", "sprites"]

GRID = 10_000  # coordinates are integers from 0 to GRID
NOWHERE = 65_535  # the coordinate of an image that a map does not have
SIDE = 64  # pixels of a thumbnail, at most
PIXELS = 48_000_000  # of all thumbnails together: the more images, the smaller they are
LEAST = 16  # pixels of a thumbnail, at least
COLUMNS = 64  # thumbnails in a row of a sheet
LOSSLESS = 4_096  # small images whose sheets are PNG
SHEET = 4_096  # thumbnails of a sheet
UNKNOWN = 2  # neither right nor wrong: an image without a neighbour


class Neighbourhood(NamedTuple):
    """The K nearest references of each of N images, by their places in the embeddings."""

    place: np.ndarray  # int64 [N, K], -1 for none
    sim: np.ndarray  # float32 [N, K]
    right: np.ndarray  # uint8 [N], of the first neighbour: 0, 1, or UNKNOWN without one


def shown(embeddings: Embeddings, most: int) -> np.ndarray:
    """Places of the images to show: all, or evenly spaced training and other images, half of `most` each at most.

    Test images come before validation images where both do not fit.
    """
    if len(embeddings) <= most:
        return np.arange(len(embeddings))
    split_N = embeddings.split.numpy()
    train, other = np.flatnonzero(split_N == 0), np.flatnonzero(split_N == SPLITS.index("test"))
    other = other if len(other) else np.flatnonzero(split_N == SPLITS.index("val"))
    half = most // 2
    room = (max(half, most - len(other)), max(half, most - len(train)))
    return np.sort(np.concatenate([spaced(at, n) for at, n in zip((train, other), room, strict=True)]))


def spaced(at_M: np.ndarray, most: int) -> np.ndarray:
    return at_M if len(at_M) <= most else at_M[np.arange(most) * len(at_M) // most]


def neighbourhood(embeddings: Embeddings, at_N: np.ndarray, sim: Sim, k: int = 5) -> Neighbourhood:
    """Neighbours as the report has them: training images, or the other held-out ones where classes are new.

    Training images have the other training images as neighbours.
    """
    split_M = embeddings.split.numpy()
    train = np.flatnonzero(split_M == 0)
    place_NK, sim_NK = np.full((len(at_N), k), -1), np.full((len(at_N), k), -np.inf, np.float32)
    for part in range(len(SPLITS)):
        query = np.flatnonzero(split_M[at_N] == part)
        own = np.flatnonzero(split_M == part)
        seen = np.isin(embeddings.labels[own], embeddings.labels[train]).any()
        reference = train if len(train) and seen else own
        if not len(query) or len(reference) < 2:
            continue
        rows = torch.from_numpy(at_N[query]), torch.from_numpy(reference)
        x_QD, y_MD = (embeddings.vectors[each] for each in rows)
        many = min(k, len(reference) - 1)
        near = nearest(x_QD, y_MD, many, sim=sim, hidden=rows)
        place_NK[query[:, None], np.arange(many)] = reference[near.place.numpy()]
        sim_NK[query[:, None], np.arange(many)] = near.sim.numpy()
    labels = embeddings.labels.numpy()
    right_N = (labels[place_NK[:, 0]] == labels[at_N]).astype(np.uint8)
    right_N[place_NK[:, 0] < 0] = UNKNOWN
    return Neighbourhood(place_NK, sim_NK, right_N)


def places(xy_N2: np.ndarray) -> np.ndarray:
    """Centred integer coordinates from 0 to GRID with equal axis scales; y points down, as on a screen."""
    low, high = xy_N2.min(0), xy_N2.max(0)
    scale = GRID / max(float((high - low).max()), 1e-12)
    place_N2 = GRID / 2 + (xy_N2 - (low + high) / 2) * scale * (1, -1)
    return place_N2.round().astype(int)


def packed(values: np.ndarray | Tensor, kind: str) -> str:
    """Numbers as base64 of little-endian `kind`, which the script reads as a typed array."""
    array = np.ascontiguousarray(np.asarray(values), dtype=np.dtype(kind).newbyteorder("<"))
    return base64.b64encode(array.tobytes()).decode()


def sprites(ids: tuple[str, ...], images: Images | None) -> dict[str, object] | None:
    """Sheets of square thumbnails in the order of `ids` as data URIs; None if there are no images of these ids."""
    if images is None or len(images.shape) != 3 or not ids or not set(ids) <= set(images.ids):
        return None
    from PIL import Image

    native = max(images.shape[1:])
    side = max(LEAST, min(SIDE, native, int((PIXELS / len(ids)) ** 0.5)))
    at = {name: n for n, name in enumerate(images.ids)}
    rows = torch.tensor([at[name] for name in ids])
    sheets = []
    for part in rows.split(SHEET):
        columns = min(COLUMNS, len(part))
        sheet = Image.new("RGB", (columns * side, -(-len(part) // columns) * side))
        for first, chunk in zip(range(0, len(part), 256), part.split(256), strict=True):
            for n, image_CHW in enumerate(images.batch(chunk), start=first):
                sheet.paste(fitted(image_CHW.cpu().numpy(), side), (n % columns * side, n // columns * side))
        sheets.append(encoded(sheet, lossless=native <= side and len(ids) <= LOSSLESS))
    return {"side": side, "columns": COLUMNS, "sheet": SHEET, "sheets": sheets}


def fitted(image_CHW: np.ndarray, side: int) -> "Image.Image":
    """The image centred in a black square of `side` pixels, reduced if it is larger."""
    from PIL import Image

    image = Image.fromarray(displayable(image_CHW)).convert("RGB")
    if max(image.size) > side:
        image.thumbnail((side, side), reducing_gap=2.0)
    square = Image.new("RGB", (side, side))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def encoded(sheet: "Image.Image", *, lossless: bool) -> str:
    """A sheet as data URI: PNG for few small images, else JPEG."""
    kind, written = "png" if lossless else "jpeg", io.BytesIO()
    sheet.save(written, kind, quality=80)
    return f"data:image/{kind};base64,{base64.b64encode(written.getvalue()).decode()}"
