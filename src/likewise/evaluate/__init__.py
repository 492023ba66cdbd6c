"""Embed once, rank once, then every metric with its interval: the same numbers for every method.

`likewise.evaluate(query, reference)` is `likewise.evaluate.evaluate(query, reference)`. Python puts every package that
is imported into its parent under its own name, so a function `likewise.evaluate` would be replaced by this package as
soon as any part of it is loaded. So the package is made callable, and `likewise.evaluate.pair_files` and the others
stay modules that can be imported.
"""

import inspect
import sys
from types import ModuleType
from typing import Any

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
from likewise.metrics import intervals
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
    "intervals",
    "queries_without_positives",
    "measure",
    "pick_calibration",
    "pick_threshold",
    "retrieve",
    "too_few",
]


class _Callable(ModuleType):
    """This package as the function it is named after."""

    def __call__(self, *args: Any, **given: Any) -> Scores:  # Any: the arguments of `evaluate`
        return evaluate(*args, **given)

    __signature__ = inspect.signature(evaluate)


sys.modules[__name__].__class__ = _Callable
