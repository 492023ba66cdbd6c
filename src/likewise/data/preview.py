"""What a notebook shows of images: small versions of a few, or a count of each class."""

import io
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from likewise.safety import notebook

__all__ = ["SHOWN", "class_counts", "small_images"]

SHOWN = 12
SIDE = 48  # pixels of the longer side
LOSSLESS = 32  # pixels up to which PNG is small


def class_counts(title: str, counts: Sequence[int], classes: Sequence[str], *, note: str) -> str:
    """HTML of how many rows each class has, the largest first."""
    named = sorted(zip(counts, classes, strict=True), key=lambda pair: -pair[0])
    return notebook.table(title, ("class", "number"), [(name, count) for count, name in named if count], note=note)


def small_images(title: str, pixels_NCHW: Tensor, names: Sequence[str], *, note: str) -> str:
    """HTML of these images, uint8 or float [N, C, H, W] with 1 or 3 channels, each above its name."""
    return notebook.figures(title, encoded(pixels_NCHW, names), note=note)


def encoded(pixels_NCHW: Tensor, names: Sequence[str]) -> Iterator[tuple[bytes, str, str]]:
    """File, kind and name of each, at most SIDE pixels a side; floats are stretched to what can be shown."""
    from PIL import Image

    for pixels_CHW, name in zip(pixels_NCHW, names, strict=True):
        shown_CHW = pixels_CHW
        if shown_CHW.dtype != torch.uint8:
            low, high = shown_CHW.min(), shown_CHW.max()
            shown_CHW = ((shown_CHW - low) / (high - low).clamp_min(1e-12) * 255).nan_to_num().round().to(torch.uint8)
        image = Image.fromarray(shown_CHW.permute(1, 2, 0).squeeze(-1).numpy())
        kind, written = "png" if max(image.size) <= LOSSLESS else "jpeg", io.BytesIO()
        image.thumbnail((SIDE, SIDE))
        image.save(written, kind)
        yield written.getvalue(), kind, name
