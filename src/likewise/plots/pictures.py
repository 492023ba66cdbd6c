"""Pictures in a grid, as the network sees them."""

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from likewise.plots.style import sheet, short, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def batch_grid(images: Any, titles: Sequence[str] = (), *, columns: int = 8, side: float = 0.9) -> "Figure":
    """The pictures of a batch, uint8 or float [B, C, H, W]; a float one is stretched to its own darkest and brightest.

    Errors: ValueError for an empty batch or another shape.
    """
    pixels_BCHW = np.asarray(images)
    if pixels_BCHW.ndim != 4 or not len(pixels_BCHW):
        raise ValueError(f"expected pictures as [B, C, H, W] with B of at least 1, got {list(pixels_BCHW.shape)}")
    columns = min(columns, len(pixels_BCHW))
    rows = ceil(len(pixels_BCHW) / columns)
    figure, axes = sheet(side * columns, (side + (0.2 if titles else 0)) * rows, rows, columns)
    for ax in axes:
        ax.axis("off")
    for ax, picture_CHW in zip(axes, pixels_BCHW, strict=False):
        ax.imshow(displayable(picture_CHW), cmap="gray", vmin=0, vmax=255)
    for ax, title in zip(axes, titles, strict=False):
        ax.set_title(short(str(title), 14), fontsize=7, loc="center", pad=2)
    return figure


def displayable(picture_CHW: np.ndarray) -> np.ndarray:
    """A picture as uint8 [H, W] (one channel) or [H, W, 3] (the first three of several)."""
    picture_CHW = np.asarray(picture_CHW)
    if picture_CHW.dtype != np.uint8:
        low, high = float(picture_CHW.min()), float(picture_CHW.max())
        picture_CHW = (255 * (picture_CHW - low) / ((high - low) or 1)).round().astype(np.uint8)
    return picture_CHW[0] if len(picture_CHW) < 3 else np.moveaxis(picture_CHW[:3], 0, -1)
