"""Open-set identification of a part: each query searched as it is, and as if its class were not enrolled."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from likewise.embeddings import Embeddings
from likewise.evaluate.resampling import units
from likewise.metrics import intervals
from likewise.metrics.identification import dir_at_far, identification, oscr
from likewise.metrics.intervals import Score
from likewise.metrics.neighbours import Sim, nearest

__all__ = ["RATES", "Trials", "identify", "identify_left_out", "trials", "trials_left_out"]

RATES = (0.1, 0.01)  # false accept rates of the scores
CURVES = 400  # resamples of the open-set ROC


class Trials(NamedTuple):
    """Searches of T queries: mated ones first, then those with their class left out."""

    score: Tensor  # [T] float32: similarity of the nearest reference
    known: Tensor  # [T] bool
    right: Tensor  # [T] bool
    query: Tensor  # [T] int64: which query each is of


def trials(query: Embeddings, reference: Embeddings | None, *, sim: Sim) -> Trials | None:
    """Nearest-reference searches of every query; None where no query has a match, or nothing but its own class.

    reference: None takes the other queries.
    """
    refs, offset = (query, 0) if reference is None else (reference, None)
    if len(refs) - (offset is not None) < 1:
        return None
    near = nearest(query.vectors, refs.vectors, 1, sim=sim, offset=offset)
    other = nearest(query.vectors, refs.vectors, 1, sim=sim, offset=offset, hidden=(query.labels, refs.labels))
    count_Q = (query.labels[:, None] == refs.labels.unique()[None]).any(-1) if offset is None else _repeated(query)
    known_Q, unknown_Q = count_Q.nonzero()[:, 0], (other.place[:, 0] >= 0).nonzero()[:, 0]
    if not len(known_Q) or not len(unknown_Q):
        return None
    right = refs.labels[near.place[known_Q, 0]] == query.labels[known_Q]
    return Trials(
        torch.cat([near.sim[known_Q, 0], other.sim[unknown_Q, 0]]),
        torch.arange(len(known_Q) + len(unknown_Q)) < len(known_Q),
        torch.cat([right, torch.zeros(len(unknown_Q), dtype=torch.bool)]),
        torch.cat([known_Q, unknown_Q]),
    )


def _repeated(part: Embeddings) -> Tensor:
    """Which items have another of their class."""
    return part.labels.bincount()[part.labels] > 1


def identify(query: Embeddings, reference: Embeddings | None, *, sim: Sim, seed: int = 0) -> dict[str, Score]:
    """`dir@far=0.1`, `dir@far=0.01` and `oscr` with intervals: classes are drawn where they are new, else queries.

    A rate of which the unknown trials hold fewer than one is left out.
    """
    outcomes = trials(query, reference, sim=sim)
    if outcomes is None:
        return {}
    return _intervals(outcomes, units(query.labels, reference is None)[outcomes.query], seed)


def trials_left_out(folds: Sequence[Embeddings], *, sim: Sim) -> tuple[Trials, Tensor] | None:
    """Searches by models trained without some of the classes, and the class of each query; None where one side lacks.

    folds: of each model, the images that it was trained on (`train`), others of their classes (`val`), which are known
    queries, and those of classes that it was not trained on (`test`), which are unknown ones. The scores of all models
    meet one threshold.
    """
    known, unknown = (
        [(fold.part("train"), fold.part(name)) for fold in folds if len(fold.part("train")) and len(fold.part(name))]
        for name in ("val", "test")
    )
    if not known or not unknown:
        return None
    near = [(refs, part, nearest(part.vectors, refs.vectors, 1, sim=sim)) for refs, part in known + unknown]
    score = torch.cat([nearest_one.sim[:, 0] for _, _, nearest_one in near])
    is_known = torch.arange(len(score)) < sum(len(part) for _, part in known)
    right = torch.cat([refs.labels[nearest_one.place[:, 0]] == part.labels for refs, part, nearest_one in near])
    label = torch.cat([part.labels for _, part, _ in near])
    return Trials(score, is_known, right & is_known, torch.arange(len(score))), label


def identify_left_out(folds: Sequence[Embeddings], *, sim: Sim, seed: int = 0) -> dict[str, Score]:
    """As `identify`, of classes that no training saw, see `trials_left_out`; intervals draw classes (five or more)."""
    searches = trials_left_out(folds, sim=sim)
    if searches is None:
        return {}
    outcomes, label_T = searches
    return _intervals(outcomes, units(label_T, True), seed)


def _intervals(outcomes: Trials, unit_T: Tensor, seed: int) -> dict[str, Score]:
    rates = [rate for rate in RATES if rate * int((~outcomes.known).sum()) >= 1]
    drawn = int(unit_T.max()) + 1
    seen: dict[str, list[Tensor]] = {}
    step = drawn * max(1, 2**19 // len(outcomes.score))
    for count_BU in intervals.draws(drawn, resamples=CURVES, seed=seed, at_once=step):
        for name, value_B in _scores(outcomes, rates, count_BU[:, unit_T]).items():
            seen.setdefault(name, []).append(value_B)
    values = _scores(outcomes, rates, None)
    n = int(outcomes.known.sum())
    return {
        name: intervals.interval(float(value), torch.cat(seen[name]), n=n, units=drawn)
        for name, value in values.items()
    }


def _scores(outcomes: Trials, rates: list[float], weight: Tensor | None) -> dict[str, Tensor]:
    curve = identification(outcomes.score, outcomes.known, outcomes.right, weight)
    return {f"dir@far={rate:g}": dir_at_far(curve, rate) for rate in rates} | {"oscr": oscr(curve)}
