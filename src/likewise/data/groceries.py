"""The Grocery Store dataset: phone photographs of fruit, vegetables and cartons in 81 classes, taken in bursts."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from likewise.data.files import Files, read
from likewise.data.gather import Listed, gather
from likewise.data.images import Images
from likewise.data.options import LoadOptions
from likewise.imaging.find import legible
from likewise.safety import bounds

__all__ = ["groceries"]

HOW = "clone github.com/marcusklasson/GroceryStoreDataset there, as the folder grocery-store"
LISTS = {"train.txt": 0, "val.txt": 2}  # the published list, and the part its images are
SIDE = 32  # of the thumbnails whose colours tell bursts
SHADES = 6  # of each of red, green and blue
ALIKE = 0.2  # mean correlation above which images are of one burst


def groceries(options: LoadOptions, *, held_out: int = 0) -> Images:
    """Groceries, colour, 348 x 348 for the most part, from `grocery-store/dataset/`; labels are the published fine ids.

    held_out  0: the 81 classes of train.txt are train, and the 296 images of val.txt, of other days, are test;
              above 0: the classes from this id on are the test part and no other (open set), all from train.txt, as
              in held_out=41, where they are packages and vegetables; val.txt is left out then

    Groups are the bursts, for split="by_group(val=...)": a random part of train has a twin of nearly every image. The
    numbers in the file names are shuffled, so bursts are recognised by colour; see `bursts`.
    (Klasson, Zhang, Kjellstrom, WACV 2019) Errors: ValueError for a held_out that leaves fewer than 2 classes to train
    on, or none to test.
    """
    paths = options.find("groceries", [f"grocery-store/dataset/{file}" for file in ("classes.csv", *LISTS)], HOW)
    top = paths[0].parent
    names = _names(paths[0])
    if held_out and not 2 <= held_out < len(names):
        raise ValueError(f"held_out is the first fine id that is not trained on, 2 to {len(names) - 1}; got {held_out}")
    listed = [item for file, part in LISTS.items() for item in _rows(top / file, names, part)]
    if held_out:
        first = [names[i] for i in sorted(names)[:held_out]]
        listed = [item._replace(split=0 if item.label in first else 2) for item in listed if item.split == 0]
    images = gather(_in_bursts(listed, options), options, name="groceries", where=legible(top))
    return _by_id(images, names)


def _names(path: Path) -> dict[int, str]:
    """Class names by fine id."""
    try:
        rows = list(csv.reader(io.StringIO(bounds.text(path), newline="")))[1:]
        return {int(row[1]): row[0] for row in rows if row}
    except (IndexError, ValueError, csv.Error):
        raise ValueError(
            f"{legible(path)} is not the published classes.csv: a row is a name, an id ...; {HOW}"
        ) from None


def _rows(path: Path, names: dict[int, str], part: int) -> Iterator[Listed]:
    """The images of a list whose lines are `path, fine id, coarse id`."""
    for line, text in enumerate(bounds.text(path).splitlines(), 1):
        cells = [cell.strip() for cell in text.split(",")]
        if cells != [""]:
            try:
                yield Listed(cells[0], path.parent / cells[0], names[int(cells[1])], part)
            except (IndexError, KeyError, ValueError):
                raise ValueError(
                    f"{legible(path)}, line {line}: an image and an id of classes.csv were expected, got {text!r}"
                ) from None


def _by_id(images: Images, names: dict[int, str]) -> Images:
    """The classes in the order of their ids, so that a label is an id."""
    there = [name for _, name in sorted(names.items()) if name in images.classes]
    place = torch.tensor([there.index(name) for name in images.classes])
    return replace(images, labels=place[images.labels], classes=tuple(there))


def _in_bursts(listed: Sequence[Listed], options: LoadOptions) -> list[Listed]:
    """The same with groups: `train/Leek/3` is a burst."""
    small, wrong = read([item.source for item in listed], replace(options, size=SIDE, channels=3))
    good = [i for i in range(len(listed)) if i not in wrong]
    pixels_NCHW = small[range(len(good))] if isinstance(small, Files) else small
    places = defaultdict(list)
    for row, i in enumerate(good):
        places[Path(listed[i].id).parts[0], listed[i].label].append(row)
    grouped = list(listed)
    for (folder, label), rows in places.items():
        for row, burst in zip(rows, bursts(pixels_NCHW[rows].numpy()), strict=True):
            grouped[good[row]] = listed[good[row]]._replace(group=f"{folder}/{label}/{burst}")
    return grouped


def bursts(pixels_NCHW: np.ndarray) -> list[int]:
    """Index of the burst of each thumbnail of one class; the burst of the first image is 0.

    A thumbnail is the histogram of its 216 colours (square roots, so that large plain areas do not decide), less the
    class's mean: what shelf, light and hand add to the thing itself. Images are joined, the most similar first, while
    the mean correlation of two bursts is above ALIKE. ALIKE was chosen by looking at training images.
    """
    if len(pixels_NCHW) < 2:
        return [0] * len(pixels_NCHW)
    from sklearn.cluster import AgglomerativeClustering

    colours_ND = np.sqrt(np.stack([histogram(pixels_CHW) for pixels_CHW in pixels_NCHW]))
    added_ND = colours_ND - colours_ND.mean(0)
    length_N1 = np.linalg.norm(added_ND, axis=1, keepdims=True)
    unit_ND = added_ND / np.maximum(length_N1, 1e-12)
    apart_NN = np.clip(1 - unit_ND @ unit_ND.T, 0, None)
    apart_NN[(length_N1 < 1e-6) & (length_N1.T < 1e-6)] = 0  # all the same image
    joined = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="average", distance_threshold=1 - ALIKE
    )
    order = list(dict.fromkeys(cluster_N := joined.fit_predict(apart_NN).tolist()))
    return [order.index(burst) for burst in cluster_N]


def histogram(pixels_CHW: np.ndarray) -> np.ndarray:
    """float64 [SHADES ** 3]: the share of the pixels of each colour."""
    shade_CP = pixels_CHW.reshape(3, -1).astype(np.int64) * SHADES // 256
    colour_P = (shade_CP[0] * SHADES + shade_CP[1]) * SHADES + shade_CP[2]
    return np.bincount(colour_P, minlength=SHADES**3) / colour_P.size
