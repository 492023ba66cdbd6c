"""What a user's own data are: counts, sizes, aspects, parts, and near-copies between them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from likewise import spec
from likewise.data.images import Images
from likewise.data.options import as_path
from likewise.data.scenes import overlaps
from likewise.experiment.build import load_images
from likewise.experiment.recipe import Recipe
from likewise.imaging.decode import Head, ImageError, head
from likewise.imaging.find import legible

__all__ = ["Facts", "facts", "peek", "source_root", "spaced_files"]

PEEK = 32  # side at which the images are looked at
HEADS = 200  # files whose size is read
TELLING = 1.2  # aspects that are said


@dataclass(frozen=True)
class Facts:
    """Properties of the data; counts are those of the training part unless noted."""

    images: int
    train: int
    val: int
    test: int
    classes: int
    smallest_class: int
    median_class: int
    largest_class: int
    side: int  # median shorter side in pixels; 0 for feature rows and signals
    channels: int
    groups: int
    drawn: tuple[str, ...]
    open: bool
    groups_from: str = ""  # where groups are from, if not a column or folder of the source
    group_examples: tuple[str, ...] = ()
    near_copies: tuple[tuple[str, str, float], ...] = ()
    length: int = 0  # samples of a signal; 0 for images and rows
    shape: tuple[int, ...] = ()  # of one array: (C, H, W), (C, T) or (D,); () for image files
    negative: bool = False  # floats with negative values, such as decibels
    aspect: float = 1.0  # median of width / height
    aspects: tuple[float, float] = (1.0, 1.0)  # its 10th and 90th percentile

    @property
    def mixed(self) -> float:
        """How much wider the wide images are than the narrow ones, for the same height."""
        return self.aspects[1] / self.aspects[0]

    def kind(self) -> str:
        """`28 px, grey`, `signals of 1 channel, 400 samples` or `feature rows`."""
        if self.length:
            return f"signals of {self.channels:,} channel{'s' * (self.channels > 1)}, {self.length:,} samples"
        if not self.side:
            return "feature rows"
        size = " x ".join(map(str, self.shape[1:])) if len(set(self.shape[1:])) > 1 else str(self.side)
        far = not self.shape and (self.mixed > TELLING or max(self.aspect, 1 / self.aspect) > TELLING)
        aspects = f" (width / height {self.aspects[0]:.1f} to {self.aspects[1]:.1f})" if far else ""
        colours = {1: "grey", 3: "colour"}
        kind = "floats" if self.negative else colours.get(self.channels, f"{self.channels} channels")
        return f"{size} px{aspects}, {kind}"


def peek(recipe: Recipe) -> Images:
    """The images at a size that is quick to read; arrays as they are."""
    return load_images(recipe.replace(size=PEEK if source_root(recipe.data) else 0, network="identity"))


def facts(images: Images, recipe: Recipe) -> Facts:
    train, val, test = (images.part(name) for name in ("train", "val", "test"))
    counts = torch.bincount(train.labels)
    counts = counts[counts > 0].sort().values
    seen = sizes(images, recipe)
    return Facts(
        len(images),
        len(train),
        len(val),
        len(test),
        classes=len(counts),
        smallest_class=int(counts[0]),
        median_class=int(counts[len(counts) // 2]),
        largest_class=int(counts[-1]),
        side=seen.side,
        channels=seen.channels,
        groups=len(set(images.groups or ())),
        groups_from=images.groups_from,
        group_examples=examples(images) if images.groups_from else (),
        drawn=images.drawn,
        open=images.open,
        length=images.shape[1] if len(images.shape) == 2 else 0,
        shape=images.shape if source_root(recipe.data) is None else (),
        negative=isinstance(images.pixels, Tensor) and bool(images.pixels[:1024].min() < 0),
        aspect=seen.aspect,
        aspects=seen.aspects,
        near_copies=tuple((o.part, o.other, o.share) for o in overlaps(images, seed=recipe.split_seed) if o.checked),
    )


def examples(images: Images, most: int = 3) -> tuple[str, ...]:
    """The largest groups by name; the names are cut at 40 characters."""
    return tuple(legible(name)[:40] for name, _ in Counter(images.groups).most_common(most))


class Sizes(NamedTuple):
    """Median shorter side, channels, and width / height: median, 10th and 90th percentile."""

    side: int
    channels: int
    aspect: float = 1.0
    aspects: tuple[float, float] = (1.0, 1.0)


def sizes(images: Images, recipe: Recipe) -> Sizes:
    """Of evenly spaced files; of the images in memory where there are no files."""
    if len(images.shape) != 3:
        return Sizes(0, images.shape[0] if len(images.shape) == 2 else 0)
    if source_root(recipe.data) is None:
        aspect = images.shape[2] / images.shape[1]
        return Sizes(min(images.shape[1:]), images.shape[0], aspect, (aspect, aspect))
    heads = heads_of(spaced_files(images, recipe.data, HEADS))
    if not heads:
        return Sizes(PEEK, images.shape[0])
    low, aspect, high = np.percentile([h.width / h.height for h in heads], [10, 50, 90]).tolist()
    return Sizes(int(np.median([min(h.height, h.width) for h in heads])), images.shape[0], aspect, (low, high))


def heads_of(paths: Sequence[Path]) -> list[Head]:
    heads = []
    for path in paths:
        try:
            heads.append(head(path))
        except (ImageError, OSError):
            continue
    return heads


def spaced_files(images: Images, data: str, most: int) -> list[Path]:
    """At most `most` of the files of a folder or table, evenly spaced; none where the images are no files."""
    top = source_root(data)
    if top is None:
        return []
    paths = [top / name for name in images.ids[:: max(1, -(-len(images) // most))]]
    return [path for path in paths if path.is_file()]


def source_root(text: str) -> Path | None:
    """The folder that ids of a folder or a table are relative to; None for arrays."""
    path = as_path(text)
    if path.is_dir():
        return path
    if "(" in text:
        keywords = dict(spec.parse(text)[1])
        path = as_path(str(keywords.get("path", "")))
        if keywords.get("root"):
            return as_path(str(keywords["root"]))
        if path.is_dir():
            return path
    return None if path.suffix.lower() == ".npz" or not path.exists() else path.parent
