"""Analyses of embeddings for the report: neighbours, errors, confused classes, silhouettes, pairs."""

from collections import Counter
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from likewise.evaluate import Embeddings, draw_pairs
from likewise.metrics import calibration, clustering, neighbours, sampled_pairs, verification
from likewise.metrics.neighbours import Sim

__all__ = [
    "Neighbours",
    "Similarities",
    "confused",
    "det",
    "errors",
    "nearest",
    "reliability",
    "samples",
    "silhouettes",
    "similarities",
    "spaced",
]


class Neighbours(NamedTuple):
    """The K references most similar to each query, best first."""

    query: Embeddings
    reference: Embeddings
    place: np.ndarray  # [Q, K]
    sim: np.ndarray  # [Q, K]

    @property
    def hit(self) -> np.ndarray:
        """Whether a neighbour is of its query's class, [Q, K]."""
        return self.reference.labels.numpy()[self.place] == self.query.labels.numpy()[:, None]

    @property
    def named(self) -> np.ndarray:
        """The class index of the first neighbour, [Q]."""
        return self.reference.labels.numpy()[self.place[:, 0]]


def nearest(query: Embeddings, reference: Embeddings | None, sim: Sim, *, k: int = 8) -> Neighbours | None:
    """The k nearest references of each query; without a reference, among the other queries. None if there are none."""
    others = query if reference is None else reference
    k = min(k, len(others) - (reference is None))
    if k < 1 or not len(query):
        return None
    offset = 0 if reference is None else None
    sim_QK, place_QK = neighbours.nearest(query.vectors, others.vectors, k, sim=sim, offset=offset)
    return Neighbours(query, others, place_QK.numpy(), sim_QK.numpy())


def errors(nn: Neighbours, most: int = 12) -> list[int]:
    """Queries whose nearest neighbour is of another class, most similar (most confident errors) first.

    Two images that are each other's nearest neighbour count once.
    """
    wrong_E = np.flatnonzero(~nn.hit[:, 0])
    ordered_E = wrong_E[np.argsort(-nn.sim[wrong_E, 0], kind="stable")].tolist()
    pair_of = {q: frozenset((nn.query.ids[q], nn.reference.ids[nn.place[q, 0]])) for q in ordered_E}
    return list({pair_of[q]: q for q in reversed(ordered_E)}.values())[::-1][:most]


def confused(nn: Neighbours, most: int = 10) -> list[tuple[int, int, int]]:
    """(class, class of the nearest neighbour, count) of the most frequent errors, in descending order."""
    true_Q = nn.query.labels.numpy()
    wrong_Q = ~nn.hit[:, 0]
    counted = Counter(zip(true_Q[wrong_Q].tolist(), nn.named[wrong_Q].tolist(), strict=True))
    ordered = sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))
    return [(true, named, n) for (true, named), n in ordered[:most]]


def samples(nn: Neighbours, most: int = 10) -> list[int]:
    """Queries to show: the first of each class, for evenly spaced classes."""
    classes, first = np.unique(nn.query.labels.numpy(), return_index=True)
    chosen = np.unique(np.linspace(0, len(classes) - 1, min(most, len(classes))).round().astype(int))
    return first[chosen].tolist()


class Similarities(NamedTuple):
    """Similarities of same-class and of different-class pairs."""

    same: np.ndarray
    different: np.ndarray


def similarities(part: Embeddings, sim: Sim, pairs: sampled_pairs.Pairs | None = None) -> Similarities | None:
    """Similarities of the evaluated pairs, or of drawn pairs without them. None if one kind is missing."""
    used = draw_pairs(part.labels) if pairs is None else pairs
    if not len(used.same):
        return None
    sim_P, same_P = sampled_pairs.similarities(part.vectors, used, sim=sim).numpy(), used.same.numpy()
    return Similarities(sim_P[same_P], sim_P[~same_P])


def det(similarities: Similarities, *, at_once: float = 0.01) -> tuple[np.ndarray, np.ndarray] | None:
    """False accept and false reject rates, thinned to one point per cell of `at_once` on normal-deviate axes.

    None if no threshold has both errors.
    """
    from scipy.stats import norm

    score_P = torch.from_numpy(np.concatenate(similarities))
    same_P = torch.arange(len(score_P)) < len(similarities.same)
    far, frr = (rate.numpy() for rate in verification.det(verification.roc(score_P, same_P)))
    inside = (far > 0) & (far < 1) & (frr > 0) & (frr < 1)
    if not inside.any():
        return None
    cells = np.round(norm.ppf(np.stack([far[inside], frr[inside]])) / at_once)
    first = np.sort(np.unique(cells, axis=1, return_index=True)[1])
    return far[inside][first], frr[inside][first]


def reliability(similarities: Similarities, fit: calibration.Calibration) -> calibration.Reliability:
    """Reliability table (predicted against observed probability) of equally many same and different pairs."""
    score_P = torch.from_numpy(np.concatenate(similarities))
    same_P = torch.arange(len(score_P)) < len(similarities.same)
    at = sampled_pairs.even(same_P)
    return calibration.reliability(fit(score_P[at]), same_P[at])


def spaced(part: Embeddings, most: int) -> Embeddings:
    """At most `most` embeddings, evenly spaced (deterministic)."""
    return part if len(part) <= most else part.take(torch.arange(most) * len(part) // most)


def silhouettes(part: Embeddings, *, unit: bool, most: int = 5_000) -> tuple[np.ndarray, np.ndarray] | None:
    """Silhouette and class of each of at most `most` evenly spaced images; None for fewer than two classes.

    unit: normalise the vectors, as `evaluate` does for a cosine similarity.
    """
    part = spaced(part, most)
    if len(part.labels.unique()) < 2:
        return None
    x_ND = F.normalize(part.vectors, dim=1) if unit else part.vectors
    return clustering.silhouette(x_ND, part.labels).numpy(), part.labels.numpy()
