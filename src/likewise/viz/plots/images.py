"""Grids of images: a training batch, and queries with their nearest neighbours."""

from collections.abc import Sequence
from math import ceil
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from likewise.viz.plots.style import GRID, sheet, short, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

RIGHT, WRONG = "#1a7f37", "#c4232d"


@styled
def batch_grid(images: ArrayLike, titles: Sequence[str] = (), *, columns: int = 8, side: float = 0.9) -> "Figure":
    """Draw a batch as a grid, uint8 or float [B, C, H, W]; each float image is scaled to its own range.

    Errors: ValueError for an empty batch or another shape.
    """
    pixels_BCHW = np.asarray(images)
    if pixels_BCHW.ndim != 4 or not len(pixels_BCHW):
        raise ValueError(f"expected images as [B, C, H, W] with B of at least 1, got {list(pixels_BCHW.shape)}")
    columns = min(columns, len(pixels_BCHW))
    rows = ceil(len(pixels_BCHW) / columns)
    figure, axes = sheet(side * columns, (side + (0.2 if titles else 0)) * rows, rows, columns)
    for ax in axes:
        ax.axis("off")
    for ax, image_CHW in zip(axes, pixels_BCHW, strict=False):
        ax.imshow(displayable(image_CHW), cmap="gray", vmin=0, vmax=255)
    for ax, title in zip(axes, titles, strict=False):
        ax.set_title(short(str(title), 14), fontsize=7, loc="center", pad=2)
    return figure


@styled
def neighbour_rows(
    rows: "Sequence[np.ndarray | Tensor]",
    titles: Sequence[Sequence[str]],
    right: Sequence[Sequence[bool]],
    *,
    side: float = 1.25,
) -> "Figure":
    """Draw one row per query: the query, then its neighbours, framed green for the same class and red for another.

    rows: uint8 or float [1 + K, C, H, W] each, the query first. titles: 1 + K per row. right: K per row.
    Errors: ValueError for rows of different lengths.
    """
    columns = len(rows[0]) if len(rows) else 0
    if not columns or any(
        (len(p), len(t), len(r)) != (columns, columns, columns - 1) for p, t, r in zip(rows, titles, right, strict=True)
    ):
        raise ValueError(
            "every row needs a query and its neighbours, 1 + K images and titles, and K flags for right or wrong"
        )
    figure, axes = sheet(side * columns, (side + 0.45) * len(rows), len(rows), columns)
    for r, row in enumerate(rows):
        for c, image_CHW in enumerate(row):
            sign, color = ("", GRID) if c == 0 else ("✓ ", RIGHT) if right[r][c - 1] else ("✗ ", WRONG)
            _framed(axes[r * columns + c], image_CHW, sign + titles[r][c], color)
    return figure


def _framed(ax: "Axes", image_CHW: ArrayLike, title: str, color: str) -> None:
    ax.imshow(displayable(image_CHW), cmap="gray", vmin=0, vmax=255)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color=color, linewidth=2.5)
    ax.set_title(fill(title, 18), fontsize=7.5, loc="center", pad=3)


def displayable(image_CHW: ArrayLike) -> np.ndarray:
    """Convert to uint8 [H, W] (one channel) or [H, W, 3] (the first three channels)."""
    image_CHW = np.asarray(image_CHW)
    if image_CHW.dtype != np.uint8:
        low, high = float(image_CHW.min()), float(image_CHW.max())
        image_CHW = (255 * (image_CHW - low) / ((high - low) or 1)).round().astype(np.uint8)
    return image_CHW[0] if len(image_CHW) < 3 else np.moveaxis(image_CHW[:3], 0, -1)
