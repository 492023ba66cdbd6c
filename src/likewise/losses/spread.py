"""Regularizers: losses that spread embeddings over the sphere, or keep their lengths alike; parts of a `sum`."""

import math

import torch
from torch import Tensor, nn

from likewise.geometry import unit
from likewise.losses.pair import at_least_float32, check
from likewise.losses.terms import BatchContext

__all__ = ["koleo", "spherical", "uniformity"]

ROWS = 4096  # of the similarity matrix at once, where only each row's nearest neighbour is wanted


class KoLeo(nn.Module):
    """Pushes every embedding away from its nearest neighbour: an estimate of their entropy on the sphere.

    loss    -log(d + eps), d the euclidean distance of a unit vector to the nearest other one of the batch, mean over
            the batch
    same    False: the nearest one of another class, so that images of a class do not repel each other; an image
            without any counts 0
    paper   Sablayrolles et al., 2019, after Kozachenko and Leonenko; DINOv2 uses it with weight 0.1.
            https://arxiv.org/abs/1806.03198
    at collapse  -log(eps)
    use     sum(losses=['supcon', 'koleo(same=False)'], weights=[1, 0.1]) against near copies and unused directions;
            large batches, since the nearest of a few is far
    PML     not included

    >>> emb, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> round(losses.build("koleo()")(emb, labels).item(), 4)
    0.8605
    """

    def __init__(self, *, same: bool = True, eps: float = 1e-8):
        super().__init__()
        if not 0 < eps < 1:
            raise ValueError(f"koleo takes a small eps above 0, such as 1e-8, got {eps}")
        self.same, self.eps = same, eps

    def forward(self, emb_ND: Tensor, labels_N: Tensor, batch: BatchContext | None = None) -> Tensor:
        x_ND = unit_rows(emb_ND, labels_N)
        near_N, has_N = nearest_other(x_ND.detach(), None if self.same else labels_N)
        square_N = (x_ND - x_ND[near_N]).square().sum(-1)
        apart_N = square_N > 0  # two equal vectors have no direction to part in
        distance_N = torch.where(apart_N, square_N, 1).sqrt() * apart_N
        loss_N = -(distance_N + self.eps).log()
        return torch.where(has_N, loss_N, 0).sum() / has_N.sum().clamp_min(1)

    def at_collapse(self, labels_N: Tensor | None = None) -> float:
        """-log(eps): the distance is 0."""
        return -math.log(self.eps)


class Uniformity(nn.Module):
    """Spreads embeddings evenly over the sphere: each repels all others, as charges with a Gaussian potential.

    loss    log of the mean over pairs of the batch of e^(-t |x - y|^2), for unit vectors
    same    False: over pairs of different classes
    paper   Wang and Isola, 2020, with t=2. https://arxiv.org/abs/2005.10242
    at collapse  0, its largest value; a uniform embedding of many dimensions tends to -2 t
    use     sum(losses=['contrastive', 'uniformity'], weights=[1, 0.5]): the contrastive loss aligns, this one spreads
    PML     not included

    >>> emb, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> round(losses.build("uniformity()")(emb, labels).item(), 4)
    -1.0157
    """

    def __init__(self, *, t: float = 2.0, same: bool = True):
        super().__init__()
        if not t > 0:
            raise ValueError(f"uniformity takes t above 0, usually 2, got {t}")
        self.t, self.same = t, same

    def forward(self, emb_ND: Tensor, labels_N: Tensor, batch: BatchContext | None = None) -> Tensor:
        x_ND = unit_rows(emb_ND, labels_N)
        pair_NN = others(labels_N if not self.same else None, slice(0, len(x_ND)), x_ND)
        potential_NN = torch.where(pair_NN, 2 * self.t * (x_ND @ x_ND.mT - 1), torch.finfo(x_ND.dtype).min)
        count = pair_NN.sum().clamp_min(1).to(x_ND.dtype)
        value = potential_NN.flatten().logsumexp(0) - count.log() if len(x_ND) else x_ND.sum()
        return torch.where(pair_NN.any(), value, 0 * x_ND.sum())

    def at_collapse(self, labels_N: Tensor | None = None) -> float:
        """0: every distance is 0."""
        return 0.0


class Spherical(nn.Module):
    """Keeps embeddings on one sphere: penalises lengths that differ from their mean.

    loss    (|x| - m)^2, m the mean length in the batch, mean over the batch
    paper   Zhang, Li and Zhang, 2020 (SEC). https://arxiv.org/abs/2011.02785
    at collapse  0, as for any embedding whose vectors are equally long
    use     sum(losses=['triplet', 'spherical'], weights=[1, 1]) with normalize=false, where the loss compares
            directions: lengths then differ little, and with them the steps that directions take
    PML     not included

    >>> emb, labels = torch.tensor([[3.0, 4.0], [0.0, 1.0]]), torch.tensor([0, 1])
    >>> losses.build("spherical()")(emb, labels).item()
    4.0
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(self, emb_ND: Tensor, labels_N: Tensor, batch: BatchContext | None = None) -> Tensor:
        check(emb_ND, labels_N)
        length_N = torch.linalg.vector_norm(at_least_float32(emb_ND), dim=-1)
        return (length_N - length_N.sum() / max(len(length_N), 1)).square().sum() / max(len(length_N), 1)

    def at_collapse(self, labels_N: Tensor | None = None) -> float:
        """0: all lengths are equal."""
        return 0.0


def unit_rows(emb_ND: Tensor, labels_N: Tensor) -> Tensor:
    """Rows of length 1, in float32 or better. Errors: ValueError as for every loss."""
    check(emb_ND, labels_N)
    return unit(at_least_float32(emb_ND))


def others(labels_N: Tensor | None, rows: slice, x_ND: Tensor) -> Tensor:
    """Which rows each of these may be compared with, [n, N]: all but itself, and with labels those of other classes."""
    place_N = torch.arange(len(x_ND), device=x_ND.device)
    other_nN = place_N[rows, None] != place_N
    if labels_N is None:
        return other_nN
    differs = labels_N[rows, None] != labels_N.to(x_ND.device)[None]
    return other_nN & differs.flatten(2).any(-1) if differs.ndim > 2 else other_nN & differs


@torch.no_grad()
def nearest_other(x_ND: Tensor, labels_N: Tensor | None) -> tuple[Tensor, Tensor]:
    """Row of the nearest other unit vector, [N], and whether there is one."""
    near, has = [], []
    for start in range(0, len(x_ND), ROWS):
        rows = slice(start, start + ROWS)
        pair_nN = others(labels_N, rows, x_ND)
        near.append(torch.where(pair_nN, x_ND[rows] @ x_ND.mT, -torch.inf).argmax(-1))
        has.append(pair_nN.any(-1))
    if not near:
        return torch.zeros(0, dtype=torch.long, device=x_ND.device), x_ND.new_zeros(0, dtype=torch.bool)
    return torch.cat(near), torch.cat(has)


koleo, uniformity, spherical = KoLeo, Uniformity, Spherical
