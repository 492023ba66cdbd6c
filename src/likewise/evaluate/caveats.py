"""What makes a score mean less than it seems to: bursts within the scored part, near-copies among the references."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from likewise.metrics import intervals
from likewise.metrics.intervals import Paired, Ratio
from likewise.metrics.neighbours import nearest

__all__ = ["burst_caveat", "copy_caveat", "near_copies", "validation_caveat"]

SAME = 0.98  # correlation of near-copies at least; without alignment, so above the audit of duplicates' 0.95
STANDS_OUT = 0.15  # 1 - correlation of a near-copy at most, relative to that of the 20th nearest image
USUAL = 20
APART = 0.05  # of two scores: a smaller gap is not worth a sentence
MATTERS = 0.01  # difference of a score with and without near-copies
SHARE = 0.01  # of the queries: fewer near-copies are not worth one


def near_copies(query_QD: Tensor, reference_MD: Tensor | None) -> Tensor:
    """Which queries have an almost identical image among the references, or among the other queries: bool `[Q]`.

    Rows of pixels, compared by their correlation: 0.98 or more, and far above that with the 20th nearest image, since
    in some data (digits, documents) all images are alike. Images that must be aligned first are not found; `likewise
    audit` finds these as well.
    """
    references = query_QD if reference_MD is None else reference_MD
    k = min(USUAL, len(references) - (reference_MD is None))
    if k < 2:
        return torch.zeros(len(query_QD), dtype=torch.bool)
    unit_QD, unit_MD = (F.normalize(x - x.mean(1, keepdim=True), dim=1) for x in (query_QD, references))
    sim_QK = nearest(unit_QD, unit_MD, k, offset=0 if reference_MD is None else None).sim
    rest_Q, usual_Q = 1 - sim_QK[:, 0], 1 - sim_QK[:, -1]
    return (sim_QK[:, 0] >= SAME) & (rest_Q <= STANDS_OUT * usual_Q)


def copy_caveat(copies_Q: Tensor, knn: Ratio) -> str:
    """The caveat of knn@1 where queries have near-copies among the references: what it is without these."""
    n, rest_Q = int(copies_Q.sum()), (~copies_Q) & (knn.under != 0)
    if n < max(2, SHARE * len(copies_Q)) or not rest_Q.any():
        return ""
    without = float(knn.over[rest_Q].sum() / knn.under[rest_Q].sum())
    if abs(without - intervals.value(knn)) < MATTERS:
        return ""
    return (
        f"knn@1: {n:,} of {len(copies_Q):,} images have a near-copy among the references; "
        f"without these images it is {without:.4f}"
    )


def burst_caveat(ratios: Mapping[str, Ratio], copies_Q: Tensor, *, seed: int = 0) -> str:
    """The caveat of recall@1 in a closed set: far above knn@1, or owed to near-copies among the queries."""
    if "recall@1" not in ratios or "knn@1" not in ratios:
        return ""
    recall, knn = ratios["recall@1"], ratios["knn@1"]
    gap = paired(recall, knn, seed)
    if gap is not None and gap.low > 0 and gap.difference >= APART:
        values = [intervals.value(ratio) for ratio in (recall, knn)]
        return (
            f"recall@1 {values[0]:.4f} is far above knn@1 {values[1]:.4f}: the scored images come in bursts and find "
            "their like, so recall, precision and map@r are of these bursts; knn@1 says what new images can expect"
        )
    n = int(copies_Q.sum())
    if n < max(2, SHARE * len(copies_Q)):
        return ""
    rest_Q = (~copies_Q) & (recall.under != 0)
    if not rest_Q.any() or abs((without := float(recall.over[rest_Q].mean())) - intervals.value(recall)) < MATTERS:
        return ""
    sentence = f"recall@1: {n:,} of {len(copies_Q):,} images have a near-copy among the scored images"
    return f"{sentence}; without these images it is {without:.4f}"


def paired(first: Ratio, second: Ratio, seed: int) -> Paired | None:
    if not ((first.under != 0) & (second.under != 0)).any():
        return None
    return intervals.paired(first, second, resamples=200, seed=seed)


def validation_caveat(
    val: Mapping[str, Mapping[str, float]], test: Mapping[str, Mapping[str, float]], *, way: str
) -> str:
    """The caveat where validation is far above the test: what both are, and how to draw a validation that is not.

    val, test: score records by name. way: what to do.
    """
    name = next((name for name in ("knn@1", "recall@1", "map@r") if name in val and name in test), "")
    if not name or val[name]["low"] - test[name]["high"] <= 0 or val[name]["value"] - test[name]["value"] < APART:
        return ""
    return (
        f"validation {name} {val[name]['value']:.4f} is far above the test's {test[name]['value']:.4f}: validation "
        "images share with training images what test images do not (burst, day, camera, writer), so what it chose "
        f"(stopping, threshold, settings) misleads; {way}"
    )
