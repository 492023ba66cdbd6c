"""Two-dimensional maps of an embedding: side by side, epoch by epoch, with the regions of a classifier."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from likewise.viz.plots.style import FAINT, PAPER, Key, Look, class_key, sheet, short, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GREY = Look(FAINT)  # of the classes without a colour of their own
MANY = 2_000  # above so many points a map is stored as pixels: vectors would be megabytes


class Cloud(NamedTuple):
    """Points of a map, the class index of each, and the names of the classes."""

    xy: np.ndarray  # [N, 2]
    labels: np.ndarray  # [N]
    classes: Sequence[str]


@styled
def maps(
    panels: Mapping[str, Cloud], *, key: Key | None = None, columns: int = 2, side: float = 4.2, shared: bool = True,
    names: bool = True,
) -> "Figure":  # fmt: skip
    """One square panel a cloud, titled by its name, with one legend.

    `shared` gives all panels the same axes; otherwise each fills its own, as clouds of different scale need.
    `names` writes each class over the middle of its points, where all classes have a colour.
    """
    clouds = list(panels.values())
    key = key or _key_of(clouds)
    columns = min(columns, len(panels))
    rows = ceil(len(panels) / columns)
    figure, axes = sheet(side * columns, side * rows + 0.6, rows, columns)
    together = limits([cloud.xy for cloud in clouds])
    for ax, (title, cloud) in zip(axes, panels.items(), strict=False):
        scatter(ax, cloud, key, side)
        frame(ax, together if shared else limits([cloud.xy]))
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
    """The same pictures, epoch by epoch: small maps in reading order, one legend."""
    rows = ceil(len(panels) / 5)
    return maps(panels, key=key, columns=ceil(len(panels) / rows), side=1.9, shared=shared, names=False)


@styled
def decision_regions(cloud: Cloud, classifier: Any, *, title: str = "", grid: int = 300) -> "Figure":
    """The map over the regions in which `classifier.predict(xy)` (class indices) names each class."""
    figure, (ax,) = sheet(5.0, 5.4)
    key = _key_of([cloud])
    x_low, x_high, y_low, y_high = box = limits([cloud.xy])
    x_G, y_G = np.linspace(x_low, x_high, grid), np.linspace(y_low, y_high, grid)
    points = np.stack(np.meshgrid(x_G, y_G), -1).reshape(-1, 2)
    named_GG = np.asarray(classifier.predict(points)).reshape(grid, grid)
    ax.imshow(_washed(named_GG, key, len(cloud.classes)), extent=box, origin="lower", aspect="auto", alpha=0.28)
    scatter(ax, cloud, key)
    frame(ax, box)
    ax.set_title(title)
    legend(figure, key, cloud.classes)
    return figure


def _washed(named_GG: np.ndarray, key: Key, classes: int) -> np.ndarray:
    """Class indices to colours, RGB in [0, 1]."""
    from matplotlib.colors import to_rgb

    table_C3 = np.array([to_rgb(key.get(c, GREY).color) for c in range(classes)])
    return table_C3[named_GG]


def scatter(ax: "Axes", cloud: Cloud, key: Key, side: float = 4.2) -> list[tuple[np.ndarray, Any]]:
    """Draw the points, smaller where there are many or where the panel (`side` inches) is small; grey ones lie below.

    Classes are drawn mixed, so that none covers the others. Returns the artists, one a marker, each with the indices of
    its points.
    """
    looks_N = [key.get(int(c), GREY) for c in cloud.labels]
    layers = sorted({(look != GREY, look.marker) for look in looks_N})
    size = float(np.clip(12_000 / max(len(looks_N), 1), 4, 24) * (side / 4.2) ** 1.3)
    order_N = np.random.default_rng(0).permutation(len(looks_N)).tolist()
    drawn = []
    for coloured, marker in layers:
        at_P = np.array([n for n in order_N if (looks_N[n] != GREY, looks_N[n].marker) == (coloured, marker)])
        artist = ax.scatter(cloud.xy[at_P, 0], cloud.xy[at_P, 1], c=[looks_N[n].color for n in at_P], marker=marker)
        artist.set(
            sizes=[3 * size if coloured and GREY in looks_N else size], alpha=0.75 if coloured else 0.4, linewidths=0
        )
        artist.set_rasterized(len(looks_N) > MANY)
        drawn.append((at_P, artist))
    return drawn


def limits(clouds: Sequence[np.ndarray], margin: float = 0.06) -> tuple[float, float, float, float]:
    """One square box (x low, x high, y low, y high) around all points of all clouds."""
    xy_N2 = np.concatenate([np.asarray(xy) for xy in clouds])
    if not len(xy_N2):
        return -1.0, 1.0, -1.0, 1.0
    low, high = xy_N2.min(0), xy_N2.max(0)
    half = max(float((high - low).max()) * (0.5 + margin), 1e-6)
    x, y = ((low + high) / 2).tolist()
    return x - half, x + half, y - half, y + half


def frame(ax: "Axes", box: tuple[float, float, float, float]) -> None:
    """A square panel over `box`, with few ticks."""
    ax.set(xlim=box[:2], ylim=box[2:], box_aspect=1)
    ax.locator_params(nbins=4)
    ax.tick_params(labelsize=7.5)
    ax.spines[:].set_visible(True)


def legend(figure: "Figure", key: Key, classes: Sequence[str]) -> None:
    """Class names under the figure; the classes drawn in grey are one entry."""
    from matplotlib.lines import Line2D

    entries = [(short(classes[c]), look) for c, look in key.items()]
    if len(classes) > len(key):
        entries.append((f"{len(classes) - len(key)} other classes", GREY))
    handles = [Line2D([], [], color=look.color, marker=look.marker, linestyle="", markersize=6) for _, look in entries]
    columns = max(1, min(len(entries), int(figure.get_figwidth() / (0.4 + 0.09 * max(len(n) for n, _ in entries)))))
    figure.legend(
        handles, [name for name, _ in entries], loc="outside lower center", ncols=columns, handletextpad=0.1,
        columnspacing=1.0, fontsize=9,
    )  # fmt: skip


def _write_names(ax: "Axes", cloud: Cloud, key: Key) -> None:
    """Each class over the middle of its points, but for names that would cover one written before."""
    box = {"boxstyle": "round,pad=0.15", "facecolor": PAPER, "alpha": 0.8, "linewidth": 0}
    low, high = ax.get_xlim()
    written: list[tuple[float, float, float]] = []
    for c in key:
        points_P2, name = cloud.xy[np.asarray(cloud.labels) == c], short(cloud.classes[c], 14)
        if not len(points_P2):
            continue
        x, y = (np.median(points_P2, axis=0) / (high - low)).tolist()
        half = 0.011 * (len(name) + 1)  # of the name's width, on a panel of width 1
        if all(abs(x - x2) > half + half2 or abs(y - y2) > 0.045 for x2, y2, half2 in written):
            written.append((x, y, half))
            at = x * (high - low), y * (high - low)
            ax.text(*at, name, ha="center", va="center", fontsize=8, weight="bold", bbox=box)


def _key_of(clouds: Sequence[Cloud]) -> Key:
    return class_key(np.concatenate([np.asarray(cloud.labels) for cloud in clouds]), len(clouds[0].classes))
