"""Images of one scene in training and held out: what a random split of bursts leaves behind.

What an image adds to its class, the shelf, the light and the hand, is its colours less the class's mean colours, and
its embedding less the class's mean embedding. Two shots of a scene add the same; images of other classes show how
alike such additions get by chance, so that no threshold is set by hand.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from likewise.evaluate import Embeddings

__all__ = ["Scenes", "additions", "colours", "scenes"]

SHADES = 6  # of each of red, green and blue
CHANCE = 0.01  # the share of held-out images that would pass for shots of one scene by one of the two signs
TELLING = 5  # times that share, from which a split leaks


class Scenes(NamedTuple):
    """Held-out images with the training image of the same scene, and how many were looked at."""

    pairs: tuple[tuple[int, int], ...] = ()
    asked: int = 0

    @property
    def leaks(self) -> bool:
        return len(self.pairs) > TELLING * CHANCE * self.asked


def scenes(found: Embeddings, small_N3SS: Tensor, *, seed: int = 0) -> Scenes:
    """Pairs of a held-out and a training image of one class that, by both signs, are shots of one scene.

    A sign counts from the similarity that CHANCE of the held-out images reach to the nearest of as many training
    images of other classes as their own class has. Grey images have no colours to tell scenes by: none is found.
    """
    train_N = found.split == 0
    shared = [c for c in found.labels.unique().tolist() if bool(train_N[found.labels == c].any())]
    held_Q = (~train_N & torch.isin(found.labels, torch.tensor(shared))).nonzero()[:, 0]
    if small_N3SS.shape[1] != 3 or not len(held_Q) or len(shared) < 2:
        return Scenes()
    signs = [additions(rows_ND, found.labels) for rows_ND in (colours(small_N3SS), F.normalize(found.vectors, dim=1))]
    generator = torch.Generator().manual_seed(seed)
    among, by_chance = [], []
    for c in found.labels[held_Q].unique().tolist():
        held_H = held_Q[found.labels[held_Q] == c]
        own_M = (train_N & (found.labels == c)).nonzero()[:, 0]
        other = (train_N & (found.labels != c)).nonzero()[:, 0]
        other_M = other[torch.randperm(len(other), generator=generator)[: len(own_M)]]
        among.append((held_H, own_M))
        by_chance.append(torch.stack([(x_ND[held_H] @ x_ND[other_M].mT).amax(1) for x_ND in signs]))
    cut = torch.cat(by_chance, 1).quantile(1 - CHANCE, dim=1)
    return Scenes(tuple(p for held_H, own_M in among for p in shots(held_H, own_M, signs, cut)), len(held_Q))


def shots(held_H: Tensor, own_M: Tensor, signs: list[Tensor], cut: Tensor) -> list[tuple[int, int]]:
    """Of each held-out image of a class, the training image that passes both cuts and is the most alike."""
    sim_HM2 = torch.stack([x_ND[held_H] @ x_ND[own_M].mT for x_ND in signs], -1)
    both_HM = torch.where((sim_HM2 >= cut).all(-1), sim_HM2.sum(-1), -torch.inf)
    best_H = both_HM.max(1)
    hits = (best_H.values > -torch.inf).nonzero()[:, 0]
    return list(zip(held_H[hits].tolist(), own_M[best_H.indices[hits]].tolist(), strict=True))


def additions(rows_ND: Tensor, labels_N: Tensor) -> Tensor:
    """Rows less the mean of their class, at length 1."""
    class_N = labels_N.unique(return_inverse=True)[1]
    mean_CD = torch.zeros(int(class_N.max()) + 1, rows_ND.shape[1]).index_add_(0, class_N, rows_ND)
    mean_CD /= class_N.bincount()[:, None]
    return F.normalize(rows_ND - mean_CD[class_N], dim=1)


def colours(small_N3SS: Tensor) -> Tensor:
    """Square roots of the shares of 216 colours, `[N, 216]`: large plain areas do not decide."""
    shade_N3P = small_N3SS.flatten(2).long() * SHADES // 256
    colour_NP = (shade_N3P[:, 0] * SHADES + shade_N3P[:, 1]) * SHADES + shade_N3P[:, 2]
    shares_ND = torch.zeros(len(colour_NP), SHADES**3)
    shares_ND.scatter_add_(1, colour_NP, torch.full(colour_NP.shape, 1 / max(1, colour_NP.shape[1])))
    return shares_ND.sqrt()
