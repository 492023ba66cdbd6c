"""Embed once, rank once, then every metric with its interval: the same numbers for every method."""

from likewise.embeddings import DivergedError, Embeddings, embed
from likewise.evaluate.diagnostics import health
from likewise.evaluate.measure import (
    Measured,
    Scores,
    check_same,
    difference,
    evaluate,
    measure,
    queries_without_positives,
    retrieve,
)
from likewise.evaluate.verification import (
    Threshold,
    draw_pairs,
    pick_calibration,
    pick_threshold,
    too_few,
)
from likewise.metrics.intervals import Score

__all__ = [
    "DivergedError",
    "Embeddings",
    "Measured",
    "Score",
    "Scores",
    "Threshold",
    "check_same",
    "difference",
    "draw_pairs",
    "embed",
    "evaluate",
    "health",
    "queries_without_positives",
    "measure",
    "pick_calibration",
    "pick_threshold",
    "retrieve",
    "too_few",
]
