"""Embed once, rank once, then every metric with its interval: the same numbers for every method.

`evaluate(query, reference)` gives, by name, a Score: value, 95 % bootstrap interval and the n it rests on. What each
name means, and how other libraries define it, is in docs/metrics.md. A metric that the data cannot tell is left out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from likewise import spec
from likewise.embeddings import DivergedError, Embeddings, as_seen, check, embed
from likewise.evaluate.diagnostics import health
from likewise.evaluate.identification import identify
from likewise.evaluate.resampling import DRAWN_CLASSES, strata, units
from likewise.evaluate.verification import (
    Threshold,
    draw_pairs,
    pick_calibration,
    pick_threshold,
    too_few,
    verify,
)
from likewise.metrics import classification, clustering, few_shot, intervals, retrieval, verification
from likewise.metrics.calibration import Calibration
from likewise.metrics.influence import Influence
from likewise.metrics.intervals import Paired, Ratio, Score, Scores
from likewise.metrics.neighbours import Sim, nearest
from likewise.metrics.retrieval import Set
from likewise.metrics.sampled_pairs import Pairs, similarities
from likewise.metrics.shared_effects import few_shot_ratio, silhouette_ratio

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

RETRIEVAL = ("recall@1", "recall@10", "precision@10", "r_precision", "map@r")
QUICK = ("recall@1", "r_precision", "map@r")
EXACT = 20_000  # queries up to which the silhouette is exact: its time grows with their square
PROBE_CLASSES = 200
KMEANS_WORK = 2e7  # samples times clusters
STARTS = 8  # of k-means, for the part of the variance that they make
VOTES = (1, 5)
WEIGHTED = 20  # neighbours that vote by their similarity
TASKS = ((20, 1), (20, 5), (5, 1), (5, 5))  # ways and shots


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
    units_N = _units(query.labels) if reference is None else None
    ratios = _neighbours(*seen, sim, quick) | _retrieval(seen[0], sim, QUICK if quick else RETRIEVAL, units_N)
    if reference is None and "knn@1" in ratios and "recall@1" in ratios:  # one and the same
        ratios["knn@1"] = ratios["knn@1"]._replace(effect=ratios["recall@1"].effect)
    if not quick:
        seen_QD = as_seen(query.vectors, sim)
        ratios |= _silhouette(seen_QD, query.labels, units_N is not None) | _clusters(seen_QD, query.labels, seed)
        if reference is not None:
            ratios |= _named(seen_QD, query.labels, as_seen(reference.vectors, sim), reference.labels, sim, seed)
        ratios |= _few_shot(query, sim, seed, units_N is not None)
    return Measured(ratios, query.ids, units_N)


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
    pairs: the pairs of queries to verify, such as `evaluate.pair_files.listed` reads; otherwise they are drawn.
    quick: neighbours and retrieval only, for the score after an epoch.
    across_groups: a query does not find images of its own class and group (camera, video, writer).
    Errors: ValueError when there are no queries, or no query's class is in the reference part; DivergedError (also a
    ValueError) when vectors hold NaN.
    """
    sim = spec.bind("sim", sim) if isinstance(sim, str) else sim
    measured = measure(query, reference, sim=sim, seed=seed, quick=quick, across_groups=across_groups)
    scores = Scores(intervals.bootstrap(measured.ratios, measured.units, seed=seed))
    if quick:
        return scores
    scores |= identify(query, reference, sim=sim, seed=seed)
    if val is not None:
        threshold, fit = _from_val(val, sim, reference is None, threshold, fit, seed)
    pairs = draw_pairs(query.labels, seed=seed) if pairs is None else pairs
    if not len(pairs.same):
        return scores
    score_T = similarities(query.vectors, pairs, sim=sim)
    drawn_N = units(query.labels, reference is None)
    strata_N = strata(query.labels, drawn_N)
    scores |= verify(pairs, score_T, drawn_N, strata_N=strata_N, threshold=threshold, fit=fit, seed=seed)
    return scores


def _from_val(
    val: Embeddings, sim: Sim, open_set: bool, threshold: float | None, fit: Calibration | None, seed: int
) -> tuple[float | None, Calibration | None]:
    """What was not given, from pairs of the validation part, where it has both kinds."""
    pairs = draw_pairs(val.labels, seed=seed)
    if not len(pairs.same):
        return threshold, fit
    check(val)
    if threshold is None:
        curve = verification.roc(similarities(val.vectors, pairs, sim=sim), pairs.same)
        threshold = float(verification.threshold(curve))
    return threshold, fit or pick_calibration(val, sim=sim, open_set=open_set, pairs=pairs, seed=seed)


def retrieve(
    query: Embeddings,
    gallery: Embeddings | None,
    names: Sequence[str],
    *,
    sim: str | Sim = "cosine",
    open_set: bool = False,
    across_groups: bool = False,
    seed: int = 0,
) -> tuple[Scores, int]:
    """Any retrieval metrics by name (`mrr`, `ndcg@10`, `cmc@20` ...), and how many queries have nothing to find.

    gallery: what is searched; None: the other queries. open_set: draw classes, not queries, for the intervals.
    Errors: ValueError for a name that is none, for k beyond the gallery, or where no query has anything to find.
    """
    check(query, gallery)
    sets = _sets(query, gallery, across_groups)
    sim = spec.bind("sim", sim) if isinstance(sim, str) else sim
    units_N = _units(query.labels) if open_set else None
    ratios, without = _ranked(names, *sets, sim, units_N)
    if not ratios:
        where = "another group" if across_groups else "the gallery" if gallery is not None else "the part"
        raise ValueError(f"none of the {len(query)} queries has an image of its class to find in {where}")
    return Scores(intervals.bootstrap(ratios, units_N, seed=seed)), without


def queries_without_positives(query: Embeddings, reference: Embeddings | None = None) -> dict[str, int]:
    """How many queries have nothing to find, and are in no score of their kind: none where all have.

    retrieval: without another query of their class. unseen: without an image of their class in the reference part.
    """
    sets = [Set(part.vectors, part.labels) for part in (query, reference) if part is not None]
    counted = {"retrieval": retrieval.relevant(sets[0])}
    if reference is not None:
        counted["unseen"] = retrieval.relevant(*sets)
    return {name: n for name, relevant_Q in counted.items() if (n := int((relevant_Q == 0).sum()))}


def difference(first: Measured, second: Measured, *, seed: int = 0) -> dict[str, Paired]:
    """First run less second on the same queries: each metric's difference, its interval, and p of the paired test."""
    check_same(first, second)
    shared = [name for name in first.ratios if name in second.ratios]
    return {name: intervals.paired(first.ratios[name], second.ratios[name], first.units, seed=seed) for name in shared}


def check_same(first: Measured, second: Measured) -> None:
    """Errors: ValueError where two runs were not measured on the same queries."""
    if first.ids != second.ids:
        raise ValueError("the two runs were measured on different queries, or in another order")


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
        raise ValueError("across_groups needs the group (camera, video, writer) of each image, and it is not known")
    else:
        code = {group: i for i, group in enumerate(dict.fromkeys(g for part in parts for g in part.groups or ()))}
        sets = [Set(part.vectors, part.labels, torch.tensor([code[g] for g in part.groups or ()])) for part in parts]
    return sets[0], sets[1] if reference is not None else None


def _neighbours(query: Set, reference: Set | None, sim: Sim, quick: bool) -> dict[str, Ratio]:
    refs, offset = (query, 0) if reference is None else (reference, None)
    where_Q = retrieval.relevant(query, reference).nonzero()[:, 0]
    seen = len(refs.labels) - (reference is None)
    ks = [k for k in (*VOTES, WEIGHTED) if k <= seen and not (quick and k == WEIGHTED)]
    if not len(where_Q) or not ks:
        return {}
    hidden = retrieval.hidden(query, reference)
    near = nearest(query.vectors, refs.vectors, max(ks), sim=sim, offset=offset, hidden=hidden)
    named = {f"knn@{k}": classification.vote(near, refs.labels, k) for k in ks if k != WEIGHTED}
    if WEIGHTED in ks:
        named[f"knn_weighted@{WEIGHTED}"] = classification.weighted_vote(near, refs.labels, WEIGHTED)
    return {name: intervals.mean((x == query.labels)[where_Q], where_Q, len(x)) for name, x in named.items()}


def _retrieval(query: Set, sim: Sim, names: Sequence[str], units_N: Tensor | None) -> dict[str, Ratio]:
    n = len(query.labels)
    names = [name for name in names if n > (int(k) if (k := name.partition("@")[2]).isdigit() else 1)]
    return _ranked(names, query, None, sim, units_N)[0] if names else {}


def _ranked(
    names: Sequence[str], query: Set, gallery: Set | None, sim: Sim, units_N: Tensor | None
) -> tuple[dict[str, Ratio], int]:
    """Retrieval metrics, and how many queries have nothing to find; queries count as one another's gallery too."""
    influence = None
    if gallery is None:
        own = retrieval.hidden(query, None)
        influence = Influence(query.labels, own[0] if own else None, classes=units_N is not None)
    ratios_by_name = retrieval.measure(names, query, gallery, sim=sim, influence=influence)
    if not len(ratios_by_name.query):
        return {}, ratios_by_name.queries_without_positives
    relevant_N = retrieval.relevant(query, gallery)
    ratios = {}
    for name, value_Q in ratios_by_name.values.items():
        ratio = intervals.mean(value_Q, ratios_by_name.query, len(query.labels))
        ratios[name] = ratio._replace(effect=influence.effect(name, ratio.over, relevant_N)) if influence else ratio
    return ratios, ratios_by_name.queries_without_positives


def _silhouette(seen_QD: Tensor, labels_Q: Tensor, classes: bool) -> dict[str, Ratio]:
    if not _clusterable(labels_Q):
        return {}
    if len(labels_Q) > EXACT:
        return {"silhouette_simplified": intervals.mean(clustering.simplified_silhouette(seen_QD, labels_Q))}
    if classes:
        return {"silhouette": intervals.mean(clustering.silhouette(seen_QD, labels_Q))}
    return {"silhouette": silhouette_ratio(clustering.silhouette_effects(seen_QD, labels_Q), labels_Q)}


def _clusters(seen_QD: Tensor, labels_Q: Tensor, seed: int) -> dict[str, Ratio]:
    classes = len(labels_Q.unique())
    if not _clusterable(labels_Q) or classes * len(labels_Q) > KMEANS_WORK:
        return {}
    again = STARTS if classes * len(labels_Q) <= KMEANS_WORK / 10 else 3  # two degrees of freedom are the least
    agreements = [_agreement(labels_Q, clustering.kmeans(seen_QD, classes, seed=seed + i)) for i in range(again)]
    spread = {name: float(torch.tensor([intervals.value(x[name]) for x in agreements]).std()) for name in agreements[0]}
    return {name: ratio._replace(spread=spread[name]) for name, ratio in agreements[0].items()}


def _agreement(labels_Q: Tensor, cluster_Q: Tensor) -> dict[str, Ratio]:
    """How far classes and clusters agree."""
    info, pairs = clustering.information(labels_Q, cluster_Q), clustering.agreement(labels_Q, cluster_Q)
    return {
        "nmi": Ratio(info.shared, info.entropy),
        "ami": Ratio(info.shared - info.expected, info.entropy - info.expected),
        "ari": Ratio(pairs.both - pairs.expected, pairs.either - pairs.expected),
        "purity": intervals.mean(clustering.commonest(labels_Q, cluster_Q)),
    }


def _clusterable(labels_Q: Tensor) -> bool:
    return 2 <= len(labels_Q.unique()) < len(labels_Q)


def _named(x_QD: Tensor, labels_Q: Tensor, y_MD: Tensor, labels_M: Tensor, sim: Sim, seed: int) -> dict[str, Ratio]:
    """By the nearest class centroid, and by the probe, where the reference part has two classes or more."""
    if len(labels_M.unique()) < 2:
        return {}
    where_Q = torch.isin(labels_Q, labels_M).nonzero()[:, 0]
    named = {"centroid": classification.nearest_centroid(x_QD[where_Q], y_MD, labels_M, sim=sim)}
    if len(labels_M.unique()) <= PROBE_CLASSES:
        model = classification.probe(y_MD, labels_M, seed=seed)
        named["probe"] = torch.from_numpy(model.predict(x_QD[where_Q].numpy()))
    return {name: intervals.mean(x == labels_Q[where_Q], where_Q, len(labels_Q)) for name, x in named.items()}


def _few_shot(query: Embeddings, sim: Sim, seed: int, classes: bool) -> dict[str, Ratio]:
    """Tasks that the classes suffice for; by class means, which of one example are the example."""
    size_C = query.labels.unique(return_counts=True)[1]
    tasks = [(ways, shots) for ways, shots in TASKS if int((size_C > shots).sum()) >= ways]
    return {f"few_shot@{ways}w{shots}s": _episodes(query, ways, shots, sim, seed, classes) for ways, shots in tasks}


def _episodes(query: Embeddings, ways: int, shots: int, sim: Sim, seed: int, classes: bool) -> Ratio:
    episodes = few_shot.draw(query.labels, ways=ways, shots=shots, seed=seed)
    right = few_shot.right(query.vectors, episodes, sim=sim)
    return few_shot_ratio(episodes, right, query.labels, classes=classes)
