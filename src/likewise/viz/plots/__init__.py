"""Figures with matplotlib, without a display. Every plot is a function that returns a Figure; `save` writes it."""

from likewise.viz.plots.classes import class_matrices
from likewise.viz.plots.clouds import Cloud, decision_regions, maps, series
from likewise.viz.plots.curves import (
    Curve,
    active_curve,
    curves_family,
    loss_curve,
    losses_family,
    score_curves,
    silhouette_sequence,
)
from likewise.viz.plots.images import batch_grid, neighbour_rows
from likewise.viz.plots.measures import compare_bars, det, pair_histogram, part_histogram, reliability, silhouette
from likewise.viz.plots.saliency import saliency_maps
from likewise.viz.plots.style import check_format, class_key, save

__all__ = [
    "Cloud",
    "Curve",
    "active_curve",
    "batch_grid",
    "check_format",
    "class_key",
    "class_matrices",
    "compare_bars",
    "curves_family",
    "decision_regions",
    "det",
    "loss_curve",
    "losses_family",
    "maps",
    "neighbour_rows",
    "pair_histogram",
    "part_histogram",
    "reliability",
    "saliency_maps",
    "save",
    "score_curves",
    "series",
    "silhouette",
    "silhouette_sequence",
]
