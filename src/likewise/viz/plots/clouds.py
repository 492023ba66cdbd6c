"""Two-dimensional maps of embeddings: side by side, epoch by epoch, and with decision regions."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from likewise.viz.plots.style import FAINT, PAPER, ClassStyle, Key, class_key, sheet, short, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure

GREY = ClassStyle(FAINT)  # for classes without a style of their own
MANY = 2_000  # above this many points the SVG embeds a bitmap: vector markers would take megabytes


class Cloud(NamedTuple):
    """Points of a map with their class indices and the class names."""

    xy: np.ndarray  # [N, 2]
    labels: np.ndarray  # [N]
    classes: Sequence[str]


class Classifier(Protocol):
    """Predicts class indices [P] from points [P, 2], as classifiers of scikit-learn do."""

    def predict(self, X: np.ndarray, /) -> np.ndarray: ...


@styled
def maps(
    panels: Mapping[str, Cloud], *, key: Key | None = None, columns: int = 2, side: float = 4.2, shared: bool = True,
    names: bool = True,
) -> "Figure":  # fmt: skip
    """Draw one square panel per cloud, with a shared legend.

    `shared` gives all panels the same axes; otherwise each panel has its own scale.
    `names` writes each class name at the median of its points, if every class has a colour.
    """
    clouds = list(panels.values())
    key = key or _key_of(clouds)
    columns = min(columns, len(panels))
    rows = ceil(len(panels) / columns)
    figure, axes = sheet(side * columns, side * rows + 0.6, rows, columns)
    bitmap = sum(len(cloud.xy) for cloud in clouds) > MANY
    shared_box = limits([cloud.xy for cloud in clouds])
    for ax, (title, cloud) in zip(axes, panels.items(), strict=False):
        scatter(ax, cloud, key, side, bitmap=bitmap)
        frame(ax, shared_box if shared else limits([cloud.xy]))
        ax.set_title(title)
        if shared:
            ax.label_outer()
        if names and len(key) == len(cloud.classes):
            _write_names(ax, cloud, key)
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    legend(figure, key, clouds[0].classes)
    return figure


def series(panels: Mapping[str, Cloud], *, key: Key | None = None, shared: bool = False) -> "Figure":
    """Draw the same images at several epochs: small maps in reading order, with one legend."""
    rows = ceil(len(panels) / 5)
    return maps(panels, key=key, columns=ceil(len(panels) / rows), side=1.9, shared=shared, names=False)


@styled
def decision_regions(cloud: Cloud, classifier: Classifier, *, title: str = "", grid: int = 300) -> "Figure":
    """Draw the points over the decision regions of `classifier.predict(xy)` (class indices)."""
    figure, (ax,) = sheet(5.0, 5.4)
    key = _key_of([cloud])
    x_low, x_high, y_low, y_high = box = limits([cloud.xy])
    x_G, y_G = np.linspace(x_low, x_high, grid), np.linspace(y_low, y_high, grid)
    points = np.stack(np.meshgrid(x_G, y_G), -1).reshape(-1, 2)
    predicted_GG = np.asarray(classifier.predict(points)).reshape(grid, grid)
    ax.imshow(
        _region_colours(predicted_GG, key, len(cloud.classes)), extent=box, origin="lower", aspect="auto", alpha=0.28
    )
    scatter(ax, cloud, key)
    frame(ax, box)
    ax.set_title(title)
    legend(figure, key, cloud.classes)
    return figure


def _region_colours(predicted_GG: np.ndarray, key: Key, classes: int) -> np.ndarray:
    """RGB colours in [0, 1] of class indices."""
    from matplotlib.colors import to_rgb

    table_C3 = np.array([to_rgb(key.get(c, GREY).color) for c in range(classes)])
    return table_C3[predicted_GG]


def scatter(
    ax: "Axes", cloud: Cloud, key: Key, side: float = 4.2, *, bitmap: bool = False
) -> "list[tuple[np.ndarray, PathCollection]]":
    """Draw the points; marker size falls with their number and with the panel size (`side`, inches); grey points first.

    Points are drawn in random order, so that no class covers the others; `bitmap` embeds them in an SVG as one.
    Returns one artist per marker with the indices
    of its points.
    """
    style_N = [key.get(int(c), GREY) for c in cloud.labels]
    layers = sorted({(style != GREY, style.marker) for style in style_N})
    size = float(np.clip(12_000 / max(len(style_N), 1), 4, 24) * (side / 4.2) ** 1.3)
    order_N = np.random.default_rng(0).permutation(len(style_N)).tolist()
    drawn = []
    for coloured, marker in layers:
        at_P = np.array([n for n in order_N if (style_N[n] != GREY, style_N[n].marker) == (coloured, marker)])
        artist = ax.scatter(cloud.xy[at_P, 0], cloud.xy[at_P, 1], c=[style_N[n].color for n in at_P], marker=marker)
        artist.set(
            sizes=[3 * size if coloured and GREY in style_N else size], alpha=0.75 if coloured else 0.4, linewidths=0
        )
        artist.set_rasterized(bitmap or len(style_N) > MANY)
        drawn.append((at_P, artist))
    return drawn


def limits(clouds: Sequence[np.ndarray], margin: float = 0.06) -> tuple[float, float, float, float]:
    """Square bounding box (x low, x high, y low, y high) of all clouds."""
    xy_N2 = np.concatenate([np.asarray(xy) for xy in clouds])
    if not len(xy_N2):
        return -1.0, 1.0, -1.0, 1.0
    low, high = xy_N2.min(0), xy_N2.max(0)
    half = max(float((high - low).max()) * (0.5 + margin), 1e-6)
    x, y = ((low + high) / 2).tolist()
    return x - half, x + half, y - half, y + half


def frame(ax: "Axes", box: tuple[float, float, float, float]) -> None:
    """Set a square panel to the limits `box`, with few ticks."""
    ax.set(xlim=box[:2], ylim=box[2:], box_aspect=1)
    ax.locator_params(nbins=4)
    ax.tick_params(labelsize=7.5)
    ax.spines[:].set_visible(True)


def legend(figure: "Figure", key: Key, classes: Sequence[str]) -> None:
    """Class names below the figure; all grey classes share one entry."""
    from matplotlib.lines import Line2D

    entries = [(short(classes[c]), style) for c, style in key.items()]
    if len(classes) > len(key):
        entries.append((f"{len(classes) - len(key)} other classes", GREY))
    handles = [
        Line2D([], [], color=style.color, marker=style.marker, linestyle="", markersize=6) for _, style in entries
    ]
    columns = max(1, min(len(entries), int(figure.get_figwidth() / (0.4 + 0.09 * max(len(n) for n, _ in entries)))))
    figure.legend(
        handles, [name for name, _ in entries], loc="outside lower center", ncols=columns, handletextpad=0.1,
        columnspacing=1.0, fontsize=9,
    )  # fmt: skip


def _write_names(ax: "Axes", cloud: Cloud, key: Key) -> None:
    """Write each class name at the median of its points; skip names that would overlap an earlier one."""
    box = {"boxstyle": "round,pad=0.15", "facecolor": PAPER, "alpha": 0.8, "linewidth": 0}
    low, high = ax.get_xlim()
    written: list[tuple[float, float, float]] = []
    for c in key:
        points_P2, name = cloud.xy[np.asarray(cloud.labels) == c], short(cloud.classes[c], 14)
        if not len(points_P2):
            continue
        x, y = (np.median(points_P2, axis=0) / (high - low)).tolist()
        half = 0.011 * (len(name) + 1)  # half the width of the name, in units of the panel width
        if all(abs(x - x2) > half + half2 or abs(y - y2) > 0.045 for x2, y2, half2 in written):
            written.append((x, y, half))
            at = x * (high - low), y * (high - low)
            ax.text(*at, name, ha="center", va="center", fontsize=8, weight="bold", bbox=box)


def _key_of(clouds: Sequence[Cloud]) -> Key:
    return class_key(np.concatenate([np.asarray(cloud.labels) for cloud in clouds]), len(clouds[0].classes))
