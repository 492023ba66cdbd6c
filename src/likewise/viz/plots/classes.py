"""Figure of classes against one another: confusions and similarities in the order of a dendrogram."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from likewise.viz.plots.style import FAINT, INK, MUTED, PALETTE, decimal, sheet, short, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMED = 30  # classes up to which columns have names and cells of errors their numbers


@styled
def class_matrices(
    counts_CC: np.ndarray,
    similarity_CC: np.ndarray,
    classes: Sequence[str],
    place: np.ndarray,
    height: np.ndarray,
) -> "Figure":
    """Plot the confusion matrix (shares of each row) and the similarity matrix, with the dendrogram of the similarity.

    classes: names in the order of rows and columns, which is that of the dendrogram's leaves. place, height: corners
    of each join along the leaves and in similarity, both [C-1, 4].
    """
    counts_CC, similarity_CC = np.asarray(counts_CC), np.asarray(similarity_CC, dtype=float)
    side = min(max(0.24 * len(classes), 2.6), 9.0)
    figure, (confused, alike, joins) = sheet(2 * side + 3.2, side + 1.5, 1, 3, width_ratios=[side, side, 1.1])
    share_CC = counts_CC / counts_CC.sum(1, keepdims=True).clip(min=1)
    image(confused, share_CC, classes, "Confusions", (0.0, 1.0))
    seen = similarity_CC[np.isfinite(similarity_CC)]
    low, high = float(seen.min()), float(seen.max())
    image(alike, similarity_CC, classes, f"Similarity, {decimal(low)} to {decimal(high)}", (low, high))
    alike.set_yticks([])
    confused.set_ylabel("class")
    confused.set_xlabel("class of the nearest neighbour")
    if len(classes) <= NAMED:
        for row, column in np.argwhere(counts_CC > 0).tolist():
            dark = share_CC[row, column] > 0.5
            confused.text(column, row, counts_CC[row, column], ha="center", va="center", fontsize=6.5,
                          color="white" if dark else INK)  # fmt: skip
    for along, up in zip(place, height, strict=True):
        joins.plot(up, along, color=MUTED, linewidth=0.9)
    joins.set(ylim=(len(classes) - 0.5, -0.5), yticks=[], xlabel="similarity", title="Joined at")
    joins.invert_xaxis()
    joins.spines["left"].set_visible(False)
    joins.grid(axis="x", color=FAINT, linewidth=0.4)
    return figure


def image(axes: "Axes", values_CC: np.ndarray, classes: Sequence[str], title: str, span: tuple[float, float]) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    paper_to_blue = LinearSegmentedColormap.from_list("paper to blue", ["#ffffff", PALETTE[0], "#0b2b47"])
    axes.imshow(values_CC, cmap=paper_to_blue, vmin=span[0], vmax=span[1], interpolation="nearest", aspect="equal")
    size = 9 if len(classes) <= NAMED else max(2.5, 9 * NAMED / len(classes))
    names = [short(name, 18) for name in classes]
    axes.set_yticks(range(len(names)), names, fontsize=size)
    axes.set_xticks(range(len(names)), names, fontsize=size, rotation=90)
    axes.set_title(title)
    axes.spines[["top", "right", "bottom", "left"]].set_visible(False)
