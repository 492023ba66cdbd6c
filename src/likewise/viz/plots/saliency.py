"""Two images with what each of their pixels adds to the similarity."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from likewise.viz.plots.images import displayable
from likewise.viz.plots.style import sheet, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["saliency_maps"]

CLIPPED = 99.0  # percentile of the sizes at which the colours are at their strongest
SMOOTH = 40  # of the shorter side: the blur of the maps in pixels is one in so many


@styled
def saliency_maps(
    images: Sequence[ArrayLike], maps: Sequence[ArrayLike], titles: Sequence[str], *, side: float = 2.6
) -> "Figure":
    """Draw each image, and beside it its map over the image in grey: red raises the similarity, blue lowers it.

    images: [C, H, W]; maps: [H, W] each. Both maps have the same scale.
    """
    from scipy.ndimage import gaussian_filter

    smooth = [gaussian_filter(np.asarray(m, float), max(1.0, min(np.shape(m)) / SMOOTH)) for m in maps]
    most = max(float(np.percentile(np.abs(m), CLIPPED)) for m in smooth) or 1.0
    figure, axes = sheet(side * 4, side + 0.5, 1, 4)
    for i, (image, map_HW, title) in enumerate(zip(images, smooth, titles, strict=True)):
        shown = displayable(image)
        grey = shown if shown.ndim == 2 else shown.mean(-1)
        for ax in axes[2 * i : 2 * i + 2]:
            ax.axis("off")
        axes[2 * i].imshow(shown, cmap="gray", vmin=0, vmax=255)
        axes[2 * i].set_title(title, fontsize=8, loc="left", pad=3)
        axes[2 * i + 1].imshow(grey, cmap="gray", vmin=0, vmax=255)
        opacity = np.clip(np.abs(map_HW) / most, 0, 1) * 0.75
        axes[2 * i + 1].imshow(map_HW, cmap="RdBu_r", vmin=-most, vmax=most, alpha=opacity)
    figure.supxlabel("red pixels raise the similarity, blue ones lower it", fontsize=8)
    return figure
