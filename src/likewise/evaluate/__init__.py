"""Embed once, rank once, then every metric with its interval: the same numbers for every method.

`evaluate(query, reference)` gives, by name, a Score: value, 95 % bootstrap interval and the n it rests on. What each
name means, and how other libraries define it, is in docs/metrics.md. A metric that the data cannot tell is left out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from likewise import geometry, spec
from likewise.evaluate.embeddings import DivergedError, Embeddings, check, embed
from likewise.evaluate.verifying import (
    DRAWN_CLASSES,
    Threshold,
    draw_pairs,
    pick_calibration,
    pick_threshold,
    too_few,
    units,
    verify,
)
from likewise.metrics import classification, clustering, few_shot, intervals, retrieval, verification
from likewise.metrics.calibration import Calibration
from likewise.metrics.intervals import Paired, Ratio, Score
from likewise.metrics.neighbours import Sim, nearest
from likewise.metrics.pairs import Pairs, similarities
from likewise.metrics.retrieval import Set

__all__ = [
    "DivergedError",
    "Embeddings",
    "Measured",
    "Score",
    "Scores",
    "Threshold",
    "difference",
    "draw_pairs",
    "embed",
    "evaluate",
    "measure",
    "pick_calibration",
    "pick_threshold",
    "too_few",
]

Scores = dict[str, Score]

RETRIEVAL = ("recall@1", "recall@10", "r_precision", "map@r")
QUICK = ("recall@1", "r_precision", "map@r")
EXACT = 20_000  # queries up to which the silhouette is exact: its time grows with their square
PROBE_CLASSES = 200
KMEANS_WORK = 2e7  # samples times clusters


class Measured(NamedTuple):
    """Metrics query by query: what a Score is made of, and what two runs are compared by."""

    ratios: dict[str, Ratio]
    ids: tuple[str, ...]
    units: Tensor | None  # [Q] the class of each query, where classes are what is drawn; None: queries are


def measure(
    query: Embeddings,
    reference: Embeddings | None = None,
    *,
    sim: str | Sim = "cosine",
    seed: int = 0,
    quick: bool = False,
    across_groups: bool = False,
) -> Measured:
    """Every metric that has a value for each query. Arguments as in `evaluate`."""
    sim = spec.bind("sim", sim) if isinstance(sim, str) else sim
    check(query, reference)
    if reference is not None and not torch.isin(query.labels, reference.labels).any():
        raise ValueError(
            "no class of the queries is in the reference part: leave it out where classes were kept from training"
        )
    seen = _sets(query, reference, across_groups)
    ratios = _neighbours(*seen, sim) | _retrieval(seen[0], sim, QUICK if quick else RETRIEVAL)
    if not quick:
        seen_QD = _as_seen(query.vectors, sim)
        ratios |= _silhouette(seen_QD, query.labels) | _clusters(seen_QD, query.labels, seed)
        if reference is not None:
            ratios |= _probe(seen_QD, query.labels, _as_seen(reference.vectors, sim), reference.labels, seed)
        ratios |= _few_shot(query, sim, seed)
    return Measured(ratios, query.ids, _units(query.labels) if reference is None else None)


def evaluate(
    query: Embeddings,
    reference: Embeddings | None = None,
    *,
    sim: str | Sim = "cosine",
    val: Embeddings | None = None,
    threshold: float | None = None,
    fit: Calibration | None = None,
    pairs: Pairs | None = None,
    seed: int = 0,
    quick: bool = False,
    across_groups: bool = False,
) -> Scores:
    """Score an embedding by its query part (test, or validation).

    reference: the training part, when its classes are the queries' (closed set): it classifies them, and queries are
        drawn for the intervals. None: the classes are new (open set), queries classify one another, classes are drawn
        (queries, where there are fewer than five classes).
    sim: the similarity that it was trained with. Silhouette, k-means and probe see the vectors at unit length under
        cosine, as they are otherwise.
    val, threshold, fit: pairs of `val` choose the threshold of pair_accuracy and the probabilities that brier and ece
        judge, unless they are given; without either these are left out.
    pairs: the pairs of queries to verify, such as `metrics.pair_list.listed` reads; otherwise they are drawn.
    quick: neighbours and retrieval only, for the score after an epoch.
    across_groups: a query does not find pictures of its own class and group (camera, video, writer).
    Errors: ValueError when there are no queries, or no query's class is in the reference part; DivergedError (also a
    ValueError) when vectors hold NaN.
    """
    sim = spec.bind("sim", sim) if isinstance(sim, str) else sim
    found = measure(query, reference, sim=sim, seed=seed, quick=quick, across_groups=across_groups)
    scores = intervals.bootstrap(found.ratios, found.units, seed=seed)
    if quick:
        return scores
    if val is not None:
        threshold, fit = _from_val(val, sim, reference is None, threshold, fit, seed)
    pairs = draw_pairs(query.labels, seed=seed) if pairs is None else pairs
    if not len(pairs.same):
        return scores
    score_T = similarities(query.vectors, pairs, sim=sim)
    drawn_N = units(query.labels, reference is None)
    return scores | verify(pairs, score_T, drawn_N, threshold=threshold, fit=fit, seed=seed)


def _from_val(
    val: Embeddings, sim: Sim, open_set: bool, threshold: float | None, fit: Calibration | None, seed: int
) -> tuple[float | None, Calibration | None]:
    """What was not given, from pairs of the validation part, where it has both kinds."""
    pairs = draw_pairs(val.labels, seed=seed)
    if not len(pairs.same):
        return threshold, fit
    if threshold is None:
        curve = verification.roc(similarities(val.vectors, pairs, sim=sim), pairs.same)
        threshold = float(verification.threshold(curve))
    return threshold, fit or pick_calibration(val, sim=sim, open_set=open_set, pairs=pairs, seed=seed)


def difference(first: Measured, second: Measured, *, seed: int = 0) -> dict[str, Paired]:
    """First run less second on the same queries: each metric's difference, its interval, and p of the paired test."""
    if first.ids != second.ids:
        raise ValueError("the two runs were measured on different queries, or in another order")
    shared = [name for name in first.ratios if name in second.ratios]
    return {name: intervals.paired(first.ratios[name], second.ratios[name], first.units, seed=seed) for name in shared}


def _as_seen(vectors_ND: Tensor, sim: Sim) -> Tensor:
    return F.normalize(vectors_ND, dim=-1) if getattr(sim, "func", sim) is geometry.cosine else vectors_ND


def _units(labels_N: Tensor) -> Tensor | None:
    """Classes, numbered from 0, as what a bootstrap draws; None where so few tell nothing of others."""
    values, class_N = labels_N.unique(return_inverse=True)
    return class_N if len(values) >= DRAWN_CLASSES else None


def _sets(query: Embeddings, reference: Embeddings | None, across_groups: bool) -> tuple[Set, Set | None]:
    """Queries and references, with numbered groups where these are to be kept apart."""
    parts = [part for part in (query, reference) if part is not None]
    if not across_groups:
        sets = [Set(part.vectors, part.labels) for part in parts]
    elif any(part.groups is None for part in parts):
        raise ValueError("across_groups needs the group (camera, video, writer) of each picture, and it is not known")
    else:
        code = {group: i for i, group in enumerate(dict.fromkeys(g for part in parts for g in part.groups or ()))}
        sets = [Set(part.vectors, part.labels, torch.tensor([code[g] for g in part.groups or ()])) for part in parts]
    return sets[0], sets[1] if reference is not None else None


def _neighbours(query: Set, reference: Set | None, sim: Sim) -> dict[str, Ratio]:
    refs, offset = (query, 0) if reference is None else (reference, None)
    where_Q = retrieval.relevant(query, reference).nonzero()[:, 0]
    ks = [k for k in (1, 5) if k <= len(refs.labels) - (reference is None)]
    if not len(where_Q) or not ks:
        return {}
    hidden = retrieval.hidden(query, reference)
    near = nearest(query.vectors, refs.vectors, max(ks), sim=sim, offset=offset, hidden=hidden)
    right = {f"knn@{k}": classification.vote(near, refs.labels, k) == query.labels for k in ks}
    return {name: intervals.mean(right_Q[where_Q], where_Q, len(right_Q)) for name, right_Q in right.items()}


def _retrieval(query: Set, sim: Sim, names: Sequence[str]) -> dict[str, Ratio]:
    n = len(query.labels)
    names = [name for name in names if n > (10 if name == "recall@10" else 1)]
    found = retrieval.measure(names, query, sim=sim) if names else None
    if found is None or not len(found.query):
        return {}
    return {name: intervals.mean(value_Q, found.query, n) for name, value_Q in found.values.items()}


def _silhouette(seen_QD: Tensor, labels_Q: Tensor) -> dict[str, Ratio]:
    if not _clusterable(labels_Q):
        return {}
    if len(labels_Q) > EXACT:
        return {"silhouette_simplified": intervals.mean(clustering.simplified_silhouette(seen_QD, labels_Q))}
    return {"silhouette": intervals.mean(clustering.silhouette(seen_QD, labels_Q))}


def _clusters(seen_QD: Tensor, labels_Q: Tensor, seed: int) -> dict[str, Ratio]:
    classes = len(labels_Q.unique())
    if not _clusterable(labels_Q) or classes * len(labels_Q) > KMEANS_WORK:
        return {}
    told = clustering.information(labels_Q, clustering.kmeans(seen_QD, classes, seed=seed))
    return {
        "nmi": Ratio(told.shared, told.entropy),
        "ami": Ratio(told.shared - told.expected, told.entropy - told.expected),
    }


def _clusterable(labels_Q: Tensor) -> bool:
    return 2 <= len(labels_Q.unique()) < len(labels_Q)


def _probe(x_QD: Tensor, labels_Q: Tensor, y_MD: Tensor, labels_M: Tensor, seed: int) -> dict[str, Ratio]:
    if not 2 <= len(labels_M.unique()) <= PROBE_CLASSES:
        return {}
    where_Q = torch.isin(labels_Q, labels_M).nonzero()[:, 0]
    model = classification.probe(y_MD, labels_M, seed=seed)
    right_Q = torch.from_numpy(model.predict(x_QD[where_Q].numpy())) == labels_Q[where_Q]
    return {"probe": intervals.mean(right_Q, where_Q, len(labels_Q))}


def _few_shot(query: Embeddings, sim: Sim, seed: int) -> dict[str, Ratio]:
    if int((query.labels.unique(return_counts=True)[1] >= 2).sum()) < 20:
        return {}
    episodes = few_shot.draw(query.labels, ways=20, shots=1, seed=seed)
    right = few_shot.right(query.vectors, episodes, sim=sim)
    over_Q = episodes.query.flatten().bincount(right.flatten().double(), minlength=len(query))
    return {"few_shot@20w1s": Ratio(over_Q, episodes.query.flatten().bincount(minlength=len(query)).double())}
