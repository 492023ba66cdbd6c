"""Figures of scores: intervals, silhouettes, pair similarities, calibration, DET curves."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import ArrayLike

from likewise.viz.plots.style import (
    DISTINCT,
    GRID,
    INK,
    MUTED,
    PALETTE,
    ClassStyle,
    class_key,
    decimal,
    sheet,
    short,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Interval(Protocol):
    """A value with its interval, for example `evaluate.Score`."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


class Bins(Protocol):
    """Pairs binned by predicted probability, for example `metrics.calibration.Reliability`."""

    @property
    def pairs(self) -> ArrayLike: ...
    @property
    def predicted(self) -> ArrayLike: ...
    @property
    def observed(self) -> ArrayLike: ...


@styled
def compare_bars(scores: Mapping[str, Interval], *, xlabel: str = "") -> "Figure":
    """Plot one bar per method, starting at zero, with its interval as a whisker and its value as text."""
    figure, (ax,) = sheet(6.2, 0.7 + 0.36 * len(scores))
    places = np.arange(len(scores))[::-1]
    values = np.array([s.value for s in scores.values()])
    low, high = np.array([s.low for s in scores.values()]), np.array([s.high for s in scores.values()])
    reach = [np.maximum(values - low, 0), np.maximum(high - values, 0)]
    ax.barh(places, values, height=0.62, color=PALETTE[0], alpha=0.8)
    ax.errorbar(values, places, xerr=reach, fmt="none", ecolor=INK, elinewidth=1.2, capsize=3)
    for place, value, top in zip(places, values, high, strict=True):
        ax.annotate(f"{value:.3f}", (max(value, top, 0), place), (5, 0), textcoords="offset points", va="center")
    ax.set_yticks(places, [short(name, 40) for name in scores], color=INK)
    ax.set_xlabel(xlabel)
    ax.margins(x=0.12)
    ax.grid(axis="x", color=GRID, linewidth=0.7)
    return figure


@styled
def silhouette(values_N: np.ndarray, labels_N: np.ndarray, classes: Sequence[str]) -> "Figure":
    """Plot the sorted silhouettes of each class as a block with the class mean; a dashed line marks the overall mean.

    With more than DISTINCT classes, only the ones with the lowest means are drawn.
    """
    values_N, labels_N = np.asarray(values_N), np.asarray(labels_N)
    means = {c: float(values_N[labels_N == c].mean()) for c in np.unique(labels_N).tolist()}
    shown = list(means) if len(means) <= DISTINCT else sorted(means, key=lambda c: means[c])[:DISTINCT]
    key = class_key(labels_N, len(classes)) if shown == list(means) else {}
    figure, (ax,) = sheet(5.2, 1.0 + 0.27 * len(shown))
    for place, c in enumerate(shown):
        _block(ax, place, np.sort(values_N[labels_N == c])[::-1], key.get(c, ClassStyle(PALETTE[0])).color)
        _beside(ax, place, decimal(means[c]))
    ax.axvline(float(values_N.mean()), color=INK, linestyle="--", linewidth=1)
    ax.axvline(0, color=MUTED, linewidth=0.8)
    ax.set_yticks(range(len(shown)), [short(classes[c], 18) for c in shown], color=INK)
    ax.set(xlabel=f"silhouette (dashed: mean {decimal(values_N.mean())})", ylim=(len(shown) - 0.4, -0.6))
    ax.spines["left"].set_visible(False)
    return figure


def _beside(ax: "Axes", place: int, text: str) -> None:
    """Write a number right of the panel."""
    at, coords = (1, place), ("axes fraction", "data")
    ax.annotate(
        text, at, xycoords=coords, xytext=(6, 0), textcoords="offset points",
        annotation_clip=False, va="center", color=MUTED, fontsize=8.5,
    )  # fmt: skip


def _block(ax: "Axes", place: int, sorted_P: np.ndarray, color: str) -> None:
    """A band of height 0.84 around `place`, one step per value."""
    edges = place - 0.42 + 0.84 * np.arange(len(sorted_P) + 1) / len(sorted_P)
    ax.stairs(sorted_P, edges, orientation="horizontal", fill=True, color=color)


@styled
def pair_histogram(
    same_P: np.ndarray, different_P: np.ndarray, *, threshold: float | None = None, xlabel: str = "similarity"
) -> "Figure":
    """Plot normalised histograms of same-class and different-class similarities, and the threshold."""
    figure, (ax,) = sheet(5.2, 3.0)
    sim_P = np.concatenate([same_P, different_P]).astype(np.float64)
    room = 0.01 if np.ptp(sim_P) < 0.01 else 0.0  # a collapsed embedding: all similarities equal
    edges = np.linspace(sim_P.min() - room, sim_P.max() + room, 51).tolist()
    for values_P, name, line in ((different_P, "different class", 1), (same_P, "same class", 0)):
        share = np.full(len(values_P), 1 / max(len(values_P), 1))
        ax.hist(values_P, edges, weights=share, histtype="stepfilled", color=PALETTE[line], alpha=0.45, label=name)
        ax.hist(values_P, edges, weights=share, histtype="step", color=PALETTE[line], linestyle=("-", "--")[line])
    if threshold is not None:
        ax.axvline(threshold, color=INK, linewidth=1.2)
        ax.annotate(
            f"threshold {threshold:.3g}", (threshold, 1), xycoords=("data", "axes fraction"), xytext=(-4, -3),
            textcoords="offset points", rotation=90, ha="right", va="top", fontsize=8.5,
        )  # fmt: skip
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    ax.set(xlabel=xlabel, ylabel="share of pairs")
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    return figure


@styled
def part_histogram(values: Mapping[str, np.ndarray], *, xlabel: str) -> "Figure":
    """Plot normalised histograms of one number of the images of each part, as outlines over one another."""
    figure, (ax,) = sheet(4.2, 2.6)
    every = np.concatenate([np.asarray(values_P, dtype=np.float64) for values_P in values.values()])
    room = 0.01 if np.ptp(every) < 0.01 else 0.0  # all equal
    edges = np.linspace(every.min() - room, every.max() + room, 31).tolist()
    for place, (name, values_P) in enumerate(values.items()):
        share = np.full(len(values_P), 1 / max(len(values_P), 1))
        line, color = ("-", "--", ":")[place % 3], PALETTE[place % len(PALETTE)]
        ax.hist(values_P, edges, weights=share, histtype="step", color=color, linestyle=line, linewidth=1.6, label=name)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    ax.set(xlabel=xlabel, ylabel="share of images")
    figure.legend(loc="outside lower center", ncols=3, fontsize=9)
    return figure


@styled
def reliability(table: Bins) -> "Figure":
    """Plot the reliability diagram, with the number of pairs per bin below it.

    table: from `metrics.calibration.reliability`. Niculescu-Mizil and Caruana, 2005.
    """
    count_B, predicted_B, observed_B = (np.asarray(column) for column in (table.pairs, table.predicted, table.observed))
    figure, (ax, below) = sheet(4.2, 5.0, 2, sharex=True, height_ratios=(3.5, 1))
    ax.plot([0, 1], [0, 1], color=MUTED, linestyle="--", linewidth=1)
    ax.plot(predicted_B, observed_B, color=PALETTE[0], marker="o", linewidth=1.6)
    ax.set(ylabel="observed share of same pairs", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    below.vlines(predicted_B, 0, count_B, color=PALETTE[0], linewidth=5)
    below.set(xlabel="predicted probability", ylabel="pairs")
    return figure


@styled
def det(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> "Figure":
    """Plot detection error trade-off curves on normal-deviate axes. Martin et al., 1997.

    curves: (false accept rates, false reject rates) each; rates of exactly 0 or 1 lie at infinity and are omitted.
    """
    from scipy.stats import norm

    figure, (ax,) = sheet(4.8, 4.9)
    for place, (name, rates) in enumerate(curves.items()):
        far_T, frr_T = (np.asarray(rate, dtype=float) for rate in rates)
        inside_T = (far_T > 0) & (far_T < 1) & (frr_T > 0) & (frr_T < 1)
        xy = norm.ppf(far_T[inside_T]), norm.ppf(frr_T[inside_T])
        ax.plot(*xy, ("-", "--", "-.", ":")[place % 4], color=PALETTE[place % len(PALETTE)], label=short(name, 30))
    ticks = np.array([0.0001, 0.001, 0.01, 0.05, 0.2, 0.5, 0.8])
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(norm.ppf(ticks), [f"{100 * t:g} %" for t in ticks], fontsize=8)
    edges = norm.ppf([0.00005, 0.85])
    ax.plot(edges, edges, color=MUTED, linewidth=0.7, linestyle=":")  # equal errors
    ax.set(xlabel="false accepts", ylabel="false rejects", box_aspect=1, xlim=edges, ylim=edges)
    ax.grid(color=GRID, linewidth=0.7)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    return figure
