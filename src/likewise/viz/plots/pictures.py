"""Pictures in a grid, as the network sees them, and with what was found for them."""

from collections.abc import Sequence
from math import ceil
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from likewise.viz.plots.style import GRID, sheet, short, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RIGHT, WRONG = "#1a7f37", "#c4232d"


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


@styled
def found_rows(
    rows: Sequence[Any], titles: Sequence[Sequence[str]], right: Sequence[Sequence[bool]], *, side: float = 1.25
) -> "Figure":
    """A row a query: the picture, then what was found for it, framed green where it is right and red where it is wrong.

    rows: uint8 or float [1 + K, C, H, W] each, the query first. titles: 1 + K each. right: K each.
    Errors: ValueError where there are not as many.
    """
    columns = len(rows[0]) if len(rows) else 0
    if not columns or any(
        (len(p), len(t), len(r)) != (columns, columns, columns - 1) for p, t, r in zip(rows, titles, right, strict=True)
    ):
        raise ValueError("every row takes a query and as many pictures found, a title for each, and right or wrong")
    figure, axes = sheet(side * columns, (side + 0.45) * len(rows), len(rows), columns)
    for r, pictures in enumerate(rows):
        for c, picture_CHW in enumerate(pictures):
            sign, color = ("", GRID) if c == 0 else ("✓ ", RIGHT) if right[r][c - 1] else ("✗ ", WRONG)
            _framed(axes[r * columns + c], picture_CHW, sign + titles[r][c], color)
    return figure


def _framed(ax: "Axes", picture_CHW: Any, title: str, color: str) -> None:
    ax.imshow(displayable(picture_CHW), cmap="gray", vmin=0, vmax=255)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color=color, linewidth=2.5)
    ax.set_title(fill(title, 18), fontsize=7.5, loc="center", pad=3)


def displayable(picture_CHW: np.ndarray) -> np.ndarray:
    """A picture as uint8 [H, W] (one channel) or [H, W, 3] (the first three of several)."""
    picture_CHW = np.asarray(picture_CHW)
    if picture_CHW.dtype != np.uint8:
        low, high = float(picture_CHW.min()), float(picture_CHW.max())
        picture_CHW = (255 * (picture_CHW - low) / ((high - low) or 1)).round().astype(np.uint8)
    return picture_CHW[0] if len(picture_CHW) < 3 else np.moveaxis(picture_CHW[:3], 0, -1)
