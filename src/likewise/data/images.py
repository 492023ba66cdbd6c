"""Images: images with their labels, names and parts, as every verb of the package takes them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from likewise.data.files import Files
from likewise.data.preview import SHOWN, class_counts, small_images
from likewise.spec import near

__all__ = ["SPLITS", "Images", "Skipped"]

SPLITS = ("train", "val", "test")


class Skipped(NamedTuple):
    """An image that was left out, and why."""

    id: str
    why: str


@dataclass(frozen=True, eq=False)
class Images:
    """N images (or feature rows). Labels index `classes`; parts and selections keep classes and labels.

    pixels   uint8 [N,C,H,W] or float32 [N,...] in memory, or Files: decoded when a batch is asked for
    labels   int64 [N]
    classes  the name of each label
    ids      the unique name of each image: its relative path, or "train/00012"
    split    uint8 [N], index into SPLITS
    groups   alphabet / camera / video / writer of each image, if the source has it
    groups_from  what else the groups were taken from: "file names", or "group_from='...'"; empty: the source
    skipped  images that were left out, and why
    drawn    the held-out parts that a split took from train; the others come from the source
    decided  how many decisions of each kind were applied, see data/decisions.py
    """

    pixels: Tensor | Files
    labels: Tensor
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    split: Tensor
    groups: tuple[str, ...] | None = None
    skipped: tuple[Skipped, ...] = ()
    name: str = ""
    drawn: tuple[str, ...] = ()
    decided: tuple[tuple[str, int], ...] = ()
    groups_from: str = ""

    def __post_init__(self) -> None:
        rows = {
            f.name: len(getattr(self, f.name))
            for f in fields(self)
            if f.name in ROWS and getattr(self, f.name) is not None
        }
        if len(set(rows.values())) > 1:
            raise ValueError(f"Images needs one of each for every image, and got {rows}")
        if len(set(self.ids)) < len(self.ids):
            twice = next(i for n, i in enumerate(self.ids) if i in self.ids[:n])
            raise ValueError(f"every image needs its own id, and {twice!r} occurs twice")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image: (C, H, W), or (D,) for feature rows."""
        return tuple(self.pixels.shape[1:])

    @property
    def open(self) -> bool:
        """Whether the test classes (validation classes, without a test part) are absent from training."""
        train, val, test = (set(self.labels[self.split == i].tolist()) for i in range(len(SPLITS)))
        return bool(train) and bool(test or val) and train.isdisjoint(test or val)

    def _repr_html_(self) -> str:
        """For a notebook: the counts, and small versions of a few images; of rows of numbers, each class's count."""
        counts = torch.bincount(self.labels.cpu(), minlength=len(self.classes)).tolist()
        has = sum(count > 0 for count in counts)
        title = f"{len(self):,} of shape {'x'.join(map(str, self.shape))}, {has:,} classes"
        note = ", ".join(f"{int((self.split == i).sum()):,} {part}" for i, part in enumerate(SPLITS))
        if len(self.shape) != 3 or self.shape[0] not in (1, 3) or not len(self):
            return class_counts(title, counts, self.classes, note=note)
        at = torch.linspace(0, len(self) - 1, min(len(self), SHOWN)).round().long()
        names = [self.classes[label] for label in self.labels.cpu()[at].tolist()]
        return small_images(title, self.batch(at).cpu(), names, note=note)

    def part(self, split: str) -> "Images":
        """The images of one part: train, val or test."""
        if split not in SPLITS:
            raise ValueError(f"no part named {split!r}{near(split, SPLITS)}")
        return self.take(torch.nonzero(self.split == SPLITS.index(split)).flatten())

    def take(self, indices: Tensor | Sequence[int]) -> "Images":
        """The images at these places, in this order."""
        at = torch.as_tensor(indices, dtype=torch.int64, device=self.labels.device)
        rows = at.tolist()
        return replace(
            self,
            pixels=self.pixels.take(rows) if isinstance(self.pixels, Files) else self.pixels[at],
            labels=self.labels[at],
            split=self.split[at],
            ids=tuple(self.ids[i] for i in rows),
            groups=self.groups and tuple(self.groups[i] for i in rows),
        )

    def batch(self, indices: Tensor | Sequence[int]) -> Tensor:
        """The pixels at these places, on the device of the labels: uint8 [B,C,H,W], or float32 [B,...]."""
        if isinstance(self.pixels, Files):
            return self.pixels[indices].to(self.labels.device)
        at = torch.as_tensor(indices, dtype=torch.int64, device=self.pixels.device)
        if self.pixels.device.type == "cpu":  # numpy copies whole rows, in a quarter of the time that torch takes
            return torch.from_numpy(np.take(self.pixels.numpy(), at.numpy(), axis=0))
        return self.pixels[at]

    def to(self, device: torch.device | str) -> "Images":
        """The same on another device; images that are files stay files, and their batches arrive there."""
        pixels = self.pixels if isinstance(self.pixels, Files) else self.pixels.to(device)
        return replace(self, pixels=pixels, labels=self.labels.to(device), split=self.split.to(device))


ROWS = ("pixels", "labels", "ids", "split", "groups")
