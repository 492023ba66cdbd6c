"""Distillation: losses that compare a batch with a teacher's embeddings of the same images; parts of a `sum`."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from likewise.geometry import unit
from likewise.losses.pair import at_least_float32, check
from likewise.losses.terms import BatchContext

__all__ = ["mimic", "rkd"]

TILE = 2**21  # angles at once


class RKD(nn.Module):
    """Relational knowledge distillation: distances and angles between images as the teacher has them.

    loss    distance * Huber of d(x, y) / mean d less the teacher's, mean over pairs, + angle * Huber of the cosine of
            the angle at y of x, y, z less the teacher's, mean over triples; Huber with delta 1, d euclidean
    paper   Park et al., 2019, with angle twice distance. https://arxiv.org/abs/1904.05068
    at collapse  depends on the teacher
    use     sum(losses=['supcon', 'rkd'], weights=[1, 1]) with distill=vectors.parquet; teacher and student may have
            any dimensions. Angles take O(N^3) time and O(N^2) memory; angle=0 leaves them out
    PML     not included

    Needs batch.teacher, [N, T]: of the whole batch.

    >>> emb, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> teacher = torch.tensor([[1.0], [2.0], [4.0], [3.0]])
    >>> round(losses.build("rkd()")(emb, labels, losses.BatchContext(teacher=teacher)).item(), 4)
    0.0312
    """

    needs_teacher = True

    def __init__(self, *, distance: float = 1.0, angle: float = 2.0):
        super().__init__()
        if distance < 0 or angle < 0 or distance + angle <= 0:
            raise ValueError(f"rkd takes weights of 0 or more, one above 0; got distance={distance}, angle={angle}")
        self.distance, self.angle = distance, angle

    def forward(self, emb_ND: Tensor, labels_N: Tensor, batch: BatchContext | None = None) -> Tensor:
        x_ND, t_NT = student_and_teacher(emb_ND, labels_N, batch, "rkd")
        loss = 0 * x_ND.sum()
        if self.distance:
            loss = loss + self.distance * distances_apart(x_ND, t_NT)
        if self.angle:
            loss = loss + self.angle * angles_apart(x_ND, t_NT)
        return loss

    def at_collapse(self, labels_N: Tensor | None = None) -> None:
        """None: it depends on the teacher."""


class Mimic(nn.Module):
    """Each embedding, after a learned linear map, in the direction of the teacher's.

    loss    1 - cosine of W x + b and the teacher's vector, mean over the batch
    learns  W [teacher's dimensions, dim] and b
    paper   the projected regression of FitNets (Romero et al., 2015), https://arxiv.org/abs/1412.6550, with a cosine
    at collapse  depends on the teacher
    use     sum(losses=['supcon', 'mimic'], weights=[1, 1]) with distill=vectors.parquet; it keeps the teacher's
            directions, where rkd keeps distances and angles only
    PML     not included

    Needs batch.teacher, [N, T]: of the whole batch.

    >>> loss, labels = losses.build("mimic()", dim=2, teacher=3), torch.tensor([0, 1])
    >>> loss(torch.eye(2), labels, losses.BatchContext(teacher=loss.project(torch.eye(2)).detach())).abs().item() < 1e-6
    True
    """

    needs_teacher = True

    def __init__(self, *, dim: int, teacher: int):
        super().__init__()
        self.project = nn.Linear(dim, teacher)

    def forward(self, emb_ND: Tensor, labels_N: Tensor, batch: BatchContext | None = None) -> Tensor:
        x_ND, t_NT = student_and_teacher(emb_ND, labels_N, batch, "mimic")
        if (self.project.in_features, self.project.out_features) != (x_ND.shape[1], t_NT.shape[1]):
            raise ValueError(
                f"mimic was built with dim={self.project.in_features} and teacher={self.project.out_features}, got "
                f"embeddings {list(x_ND.shape)} and a teacher {list(t_NT.shape)}; build it with theirs"
            )
        cosine_N = (unit(self.project(x_ND.to(self.project.weight.dtype))) * unit(t_NT)).sum(-1)
        return (1 - cosine_N).sum() / max(len(cosine_N), 1)

    def at_collapse(self, labels_N: Tensor | None = None) -> None:
        """None: it depends on the teacher."""


def needs_teacher(loss: nn.Module) -> bool:
    """Whether a loss, or a part of it, compares with a teacher's embeddings."""
    return any(getattr(part, "needs_teacher", False) for part in loss.modules())


def student_and_teacher(
    emb_ND: Tensor, labels_N: Tensor, batch: BatchContext | None, name: str
) -> tuple[Tensor, Tensor]:
    """Both in the same precision. Errors: ValueError without a teacher, or with one of other images."""
    check(emb_ND, labels_N)
    if batch is None or batch.teacher is None:
        raise ValueError(
            f"{name} compares with a teacher's embeddings: give distill=FILE.parquet (or a run), or in a loop of your "
            "own batch=BatchContext(teacher=...)"
        )
    teacher_NT = batch.teacher
    if teacher_NT.ndim != 2 or len(teacher_NT) != len(emb_ND):
        raise ValueError(
            f"{name} has {len(emb_ND)} embeddings and a teacher of shape {list(teacher_NT.shape)}: give one each"
        )
    x_ND = at_least_float32(emb_ND)
    return x_ND, teacher_NT.detach().to(x_ND)


def distances_apart(x_ND: Tensor, t_NT: Tensor) -> Tensor:
    """Huber loss of distances over their mean, mean over pairs."""
    n = len(x_ND)
    if n < 2:
        return 0 * x_ND.sum()
    ours_NN, theirs_NN = (over_mean(distance(rows)) for rows in (x_ND, t_NT))
    return F.smooth_l1_loss(ours_NN, theirs_NN, reduction="sum") / (n * (n - 1))


def distance(x_ND: Tensor) -> Tensor:
    """Euclidean distances [N, N]; where rows coincide it is 0 with gradient 0."""
    square_NN = (x_ND[:, None] - x_ND[None]).square().sum(-1)
    apart_NN = square_NN > 0
    return torch.where(apart_NN, square_NN, 1).sqrt() * apart_NN


def over_mean(distance_NN: Tensor) -> Tensor:
    """Over the mean of those above 0."""
    mean = distance_NN.sum() / (distance_NN > 0).sum().clamp_min(1)
    return distance_NN / torch.where(mean > 0, mean, 1)


def angles_apart(x_ND: Tensor, t_NT: Tensor) -> Tensor:
    """Huber loss of the cosines of angles, mean over triples; a few corners at a time, recomputed going backward."""
    n = len(x_ND)
    if n < 3:
        return 0 * x_ND.sum()
    corners = torch.arange(n, device=x_ND.device).split(max(1, TILE // (n * n)))
    if len(corners) == 1:
        return corner_loss(x_ND, t_NT, corners[0]) / (n * (n - 1) * (n - 2))
    parts = [checkpoint(corner_loss, x_ND, t_NT, at, use_reentrant=False, preserve_rng_state=False) for at in corners]
    return torch.stack(parts).sum() / (n * (n - 1) * (n - 2))


def corner_loss(x_ND: Tensor, t_NT: Tensor, at_J: Tensor) -> Tensor:
    """The sum over all pairs of the angles at these corners; a side of length 0 counts as a right angle."""
    ours_JNN, theirs_JNN = (
        side_JND @ side_JND.mT for side_JND in (unit(rows[None] - rows[at_J, None]) for rows in (x_ND, t_NT))
    )
    return F.smooth_l1_loss(ours_JNN, theirs_JNN, reduction="sum")


rkd, mimic = RKD, Mimic
