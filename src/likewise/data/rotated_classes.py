"""More training classes at no cost: a character rotated by 90 degrees, or mirrored, counts as another character."""

from dataclasses import replace
from itertools import accumulate

import torch
from torch import Tensor

from likewise.data.images import Images

__all__ = ["rotated_classes"]


def rotated_classes(images: Images, *, rotations: int = 4, mirror: bool = True) -> Images:
    """The training images in every turn, each turn of a class a class of its own; other parts stay as they are.

    rotations: 4 for quarter turns, 2 for half turns, 1 for none. mirror: each of them mirrored left to right too.
    New classes, ids and groups carry the rotation: `Latin/character01 90° mirrored`. Meant for characters and other
    signs that have no fixed orientation across classes. (Santoro et al., 2016)
    Errors: ValueError for images that are not square, or not in memory.
    """
    if rotations not in (1, 2, 4):
        raise ValueError(f"rotations is 1, 2 or 4, got rotations={rotations}")
    if not isinstance(images.pixels, Tensor) or len(images.shape) != 3 or images.shape[1] != images.shape[2]:
        raise ValueError(
            f"only square images in memory can be rotated or mirrored, got {images.shape}; give size= a side in pixels"
        )
    ways = [(quarter, False) for quarter in range(0, 4, 4 // rotations)]
    ways += [(quarter, True) for quarter, _ in ways] if mirror else []
    train = images.part("train")
    return joined([images, *(in_turn(train, quarter, mirrored) for quarter, mirrored in ways[1:])])


def in_turn(images: Images, quarter: int, mirrored: bool) -> Images:
    """The images rotated to the left by this many quarters and then mirrored, under new names."""
    assert isinstance(images.pixels, Tensor)
    pixels = torch.rot90(images.pixels, quarter, (-2, -1))
    name = " ".join([f"{90 * quarter}°"] * bool(quarter) + ["mirrored"] * mirrored)
    present, labels = images.labels.unique(return_inverse=True)
    return replace(
        images,
        pixels=pixels.flip(-1) if mirrored else pixels,
        labels=labels,
        classes=tuple(f"{images.classes[i]} {name}" for i in present.tolist()),
        ids=tuple(f"{i} {name}" for i in images.ids),
        groups=images.groups and tuple(f"{group} {name}" for group in images.groups),
    )


def joined(sets: list[Images]) -> Images:
    """Sets of images with different classes as one."""
    starts = accumulate((len(each.classes) for each in sets), initial=0)
    return replace(
        sets[0],
        pixels=torch.cat([each.batch(torch.arange(len(each))) for each in sets]),
        labels=torch.cat([each.labels + start for each, start in zip(sets, starts, strict=False)]),
        classes=tuple(name for each in sets for name in each.classes),
        ids=tuple(i for each in sets for i in each.ids),
        split=torch.cat([each.split for each in sets]),
        groups=sets[0].groups and tuple(group for each in sets for group in each.groups or ()),
    )
