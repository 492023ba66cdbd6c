"""Evenly spaced subsets of images, always the same ones."""

import torch

from likewise.data.images import Images

__all__ = ["sample", "spaced"]

SNAPSHOT_IMAGES = 2_000


def sample(images: Images) -> Images:
    """Some training and some other images, for maps and snapshots; test where there is one, else validation."""
    other = images.part("test") if len(images.part("test")) else images.part("val")
    ids = {i for part in (images.part("train"), other) for i in spaced(part, SNAPSHOT_IMAGES).ids}
    return images.take([n for n, i in enumerate(images.ids) if i in ids])


def spaced(images: Images, most: int) -> Images:
    """At most this many evenly spaced images; always the same ones."""
    if len(images) <= most:
        return images
    return images.take((torch.arange(most) * len(images)) // most)
