"""Shots of one scene in training and held-out data, as a random split of bursts leaves them.

The scene (background, light, hand) shows in an image's deviation from its class: its colours minus the class mean of
colours, and its embedding minus the class mean. Two shots of a scene deviate alike; images of other classes show the
similarity expected by chance, so no threshold is set by hand.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from likewise.data.scenes import colours, deviations
from likewise.evaluate import Embeddings

__all__ = ["Scenes", "scenes"]

CHANCE = 0.01  # false positive rate of each of the two signs
TELLING = 5  # a split leaks above this multiple of CHANCE


class Scenes(NamedTuple):
    """Pairs (held-out, training) of one scene, and the number of held-out images checked."""

    pairs: tuple[tuple[int, int], ...] = ()
    checked: int = 0

    @property
    def leaks(self) -> bool:
        return len(self.pairs) > TELLING * CHANCE * self.checked


def scenes(embeddings: Embeddings, small_N3SS: Tensor, *, seed: int = 0) -> Scenes:
    """Pairs of a held-out and a training image of one class that are shots of one scene by both signs.

    The threshold of a sign is the similarity to equally many training images of other classes that a share CHANCE of
    the held-out images reaches. Grey images have no colour sign, so the result is empty.
    """
    train_N = embeddings.split == 0
    shared = [c for c in embeddings.labels.unique().tolist() if bool(train_N[embeddings.labels == c].any())]
    query_Q = (~train_N & torch.isin(embeddings.labels, torch.tensor(shared))).nonzero()[:, 0]
    if small_N3SS.shape[1] != 3 or not len(query_Q) or len(shared) < 2:
        return Scenes()
    signs = [
        deviations(rows_ND, embeddings.labels)
        for rows_ND in (colours(small_N3SS), F.normalize(embeddings.vectors, dim=1))
    ]
    generator = torch.Generator().manual_seed(seed)
    among, by_chance = [], []
    for c in embeddings.labels[query_Q].unique().tolist():
        query_H = query_Q[embeddings.labels[query_Q] == c]
        own_M = (train_N & (embeddings.labels == c)).nonzero()[:, 0]
        other = (train_N & (embeddings.labels != c)).nonzero()[:, 0]
        other_M = other[torch.randperm(len(other), generator=generator)[: len(own_M)]]
        among.append((query_H, own_M))
        by_chance.append(torch.stack([(x_ND[query_H] @ x_ND[other_M].mT).amax(1) for x_ND in signs]))
    cut = torch.cat(by_chance, 1).quantile(1 - CHANCE, dim=1)
    return Scenes(tuple(p for query_H, own_M in among for p in shots(query_H, own_M, signs, cut)), len(query_Q))


def shots(query_H: Tensor, own_M: Tensor, signs: list[Tensor], cut: Tensor) -> list[tuple[int, int]]:
    """For each held-out image of a class, the most similar training image above both thresholds."""
    sim_HM2 = torch.stack([x_ND[query_H] @ x_ND[own_M].mT for x_ND in signs], -1)
    both_HM = torch.where((sim_HM2 >= cut).all(-1), sim_HM2.sum(-1), -torch.inf)
    best_H = both_HM.max(1)
    hits = (best_H.values > -torch.inf).nonzero()[:, 0]
    return list(zip(query_H[hits].tolist(), own_M[best_H.indices[hits]].tolist(), strict=True))
