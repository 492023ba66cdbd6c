"""Curves over epochs: the loss with its value at collapse, scores with intervals, losses of several methods."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from likewise.viz.plots.style import FAINT, GRID, INK, MUTED, PALETTE, decimal, sheet, short, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

DASHES: tuple[Literal["-", "--", "-.", ":"], ...] = ("-", "--", "-.", ":")


class Curve(NamedTuple):
    """Values over epochs or seconds, with an optional interval."""

    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


@styled
def loss_curve(curve: Curve, *, loss_at_collapse: float | None = None, xlabel: str = "epoch") -> "Figure":
    """Plot the logged loss, its running mean, and the loss of a collapsed embedding."""
    figure, (ax,) = sheet(5.2, 3.0)
    _loss(ax, curve, loss_at_collapse)
    ax.set(xlabel=xlabel, ylabel="training loss")
    return figure


def _loss(ax: "Axes", curve: Curve, loss_at_collapse: float | None) -> None:
    ax.plot(curve.x, curve.y, color=PALETTE[0], alpha=0.3, linewidth=1)
    ax.plot(curve.x, running_mean(curve.y), color=PALETTE[0], linewidth=1.8)
    _ground(ax)
    if loss_at_collapse is not None and np.isfinite(loss_at_collapse):
        ax.axhline(loss_at_collapse, color=INK, linestyle="--", linewidth=1)
        ax.annotate(
            f"collapse {loss_at_collapse:.3g}", (1, loss_at_collapse),
            xycoords=("axes fraction", "data"), ha="right", va="bottom",
            xytext=(0, 2), textcoords="offset points", fontsize=8.5,
        )  # fmt: skip


def running_mean(values: Sequence[float], share: float = 0.04) -> np.ndarray:
    """Running mean over a centred window of `share` of the curve, shorter at the ends."""
    values_S = np.asarray(values, dtype=float)
    half = int(len(values_S) * share / 2)
    window = np.ones(2 * half + 1)
    return np.convolve(values_S, window, "same") / np.convolve(np.ones(len(values_S)), window, "same")


@styled
def score_curves(
    curves: Mapping[str, Curve], *, xlabel: str = "epoch", ylabel: str = "validation score", doubling: bool = False
) -> "Figure":
    """Plot one line per score, its interval shaded; lines differ in colour and dash.

    doubling: each step of the x axis doubles x, as bytes do.
    """
    figure, (ax,) = sheet(5.2, 3.0)
    for place, (name, curve) in enumerate(curves.items()):
        color, dash = PALETTE[place % len(PALETTE)], DASHES[place % len(DASHES)]
        ax.plot(curve.x, curve.y, dash, color=color, linewidth=1.8, label=short(name), marker="o", markersize=2.5)
        if curve.low is not None and curve.high is not None:
            ax.fill_between(curve.x, curve.low, curve.high, color=color, alpha=0.12, linewidth=0)
    _ground(ax)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if doubling:
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    figure.legend(loc="outside lower center", ncols=4, fontsize=9)
    return figure


@styled
def active_curve(curve: Curve, *, xlabel: str = "epoch") -> "Figure":
    """Plot the share of active anchors (non-zero loss)."""
    figure, (ax,) = sheet(5.2, 2.4)
    ax.plot(curve.x, curve.y, color=PALETTE[5], alpha=0.3, linewidth=1)
    ax.plot(curve.x, running_mean(curve.y), color=PALETTE[5], linewidth=1.8)
    ax.set(xlabel=xlabel, ylabel="active anchors", ylim=(0, 1.02))
    ax.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    _ground(ax)
    return figure


@styled
def losses_family(
    curves: Mapping[str, Curve], *, loss_at_collapse: Mapping[str, float] | None = None, xlabel: str = "epoch"
) -> "Figure":
    """Plot one small panel per method: different losses cannot share an axis, but their shapes can be compared."""
    columns = min(3, len(curves))
    rows = ceil(len(curves) / columns)
    figure, axes = sheet(2.6 * columns, 2.1 * rows, rows, columns, sharex=True)
    for ax, (name, curve) in zip(axes, curves.items(), strict=False):
        _loss(ax, curve, (loss_at_collapse or {}).get(name))
        ax.set_title(short(name, 32), fontsize=9)
    for ax in axes[len(curves) :]:
        ax.set_visible(False)
    figure.supxlabel(xlabel, fontsize=9, color=MUTED)
    return figure


@styled
def curves_family(
    panels: Mapping[str, Mapping[str, Curve]], *, xlabels: Sequence[str] = ("epoch",), columns: int = 3
) -> "Figure":
    """Plot one small panel per entry with several lines each; lines of one name share a style and a legend entry.

    xlabels: one for all panels, or one per panel.
    """
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    columns = min(columns, len(panels))
    rows = ceil(len(panels) / columns)
    figure, axes = sheet(2.6 * columns, 2.1 * rows + 0.3, rows, columns)
    for place, (ax, (title, lines)) in enumerate(zip(axes, panels.items(), strict=False)):
        for name, curve in lines.items():
            index = names.index(name)
            ax.plot(curve.x, curve.y, DASHES[index % len(DASHES)], color=PALETTE[index % len(PALETTE)], linewidth=1.6)
        _ground(ax)
        ax.set_title(short(title, 32), fontsize=9)
        ax.set_xlabel(xlabels[place % len(xlabels)], fontsize=8)
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    handles = [_line(place) for place in range(len(names))]
    figure.legend(handles, [short(name) for name in names], loc="outside lower center", ncols=len(names), fontsize=9)
    return figure


def _line(place: int) -> "Line2D":
    from matplotlib.lines import Line2D

    return Line2D([], [], color=PALETTE[place % len(PALETTE)], linestyle=DASHES[place % len(DASHES)])


@styled
def silhouette_sequence(values: Mapping[str, Sequence[float]], *, starts: Sequence[int] = ()) -> "Figure":
    """Plot the silhouette of each image in sequence order, one line per network; dashed lines are the means.

    starts: positions at which a new sequence begins.
    """
    figure, (ax,) = sheet(7.0, 3.2)
    for place, (name, values_N) in enumerate(values.items()):
        mean = float(np.mean(values_N))
        label = f"{short(name)}: mean {decimal(mean)}"
        ax.plot(values_N, color=PALETTE[place], linewidth=0.9, alpha=0.85, label=label)
        ax.axhline(mean, color=PALETTE[place], linestyle="--", linewidth=1.2)
    for start in starts:
        ax.axvline(start, color=FAINT, linewidth=0.8)
    _ground(ax)
    ax.set(xlabel="image (in sequence order)", ylabel="silhouette")
    figure.legend(loc="outside lower center", ncols=4, fontsize=9)
    return figure


def _ground(ax: "Axes") -> None:
    ax.grid(axis="y", color=GRID, linewidth=0.7)
    ax.margins(x=0.02)
    ax.locator_params(axis="x", integer=True)
