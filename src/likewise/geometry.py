"""Similarity of every row of x to every row of y. One sign everywhere: larger is closer.

Shape letters used in the whole package: N anchors, M references, D embedding, C classes, Q queries, K results,
P positives of an anchor. Leading dimensions broadcast: x `[N, 1, D]` against y `[N, P, D]` gives `[N, 1, P]`.
"""

import torch
from torch import Tensor

__all__ = ["cosine", "dot", "euclidean", "manhattan", "snr", "sqeuclidean"]


SHORTEST = 1e-12  # a row that is not longer counts as zero: its direction is rounding error


class DivergedError(ValueError):
    """Vectors hold NaN or infinity: the training has failed, not the call, and a command ends with exit code 1."""

    exit_code = 1


def cosine(x_ND: Tensor, y_MD: Tensor) -> Tensor:
    """Cosine of the angle, in [-1, 1]; a zero vector has similarity 0 to everything and takes no gradient.

    >>> x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> cosine(x, y)
    tensor([[1., 0.]])
    """
    unit_ND = unit(x_ND)
    return unit_ND @ (unit_ND if y_MD is x_ND else unit(y_MD)).mT


def dot(x_ND: Tensor, y_MD: Tensor) -> Tensor:
    """Inner product, unbounded.

    >>> x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> dot(x, y)
    tensor([[2., 0.]])
    """
    return x_ND @ y_MD.mT


def sqeuclidean(x_ND: Tensor, y_MD: Tensor) -> Tensor:
    """Minus the squared Euclidean distance, <= 0.

    >>> x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> sqeuclidean(x, y)
    tensor([[-1., -2.]])
    """
    return -_square(*_centred(x_ND, y_MD)).clamp_min(0)


def euclidean(x_ND: Tensor, y_MD: Tensor) -> Tensor:
    """Minus the Euclidean distance, <= 0; where rows coincide it is exactly 0, with gradient 0 and not infinity.

    >>> x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> euclidean(x, y)
    tensor([[-1.0000, -1.4142]])
    """
    x_ND, y_MD = _centred(x_ND, y_MD)
    square_NM = _square(x_ND, y_MD)
    # Less than this is the rounding of |x|^2 - 2xy + |y|^2 itself; rows that near have the same length.
    apart_NM = square_NM > 32 * torch.finfo(x_ND.dtype).eps * x_ND.detach().square().sum(-1, keepdim=True)
    return -torch.where(apart_NM, square_NM, 1).sqrt() * apart_NM


def manhattan(x_ND: Tensor, y_MD: Tensor) -> Tensor:
    """Minus the sum of absolute differences, <= 0.

    >>> x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> manhattan(x, y)
    tensor([[-1., -2.]])
    """
    return -torch.cdist(x_ND, y_MD, p=1)


def snr(x_ND: Tensor, y_MD: Tensor) -> Tensor:
    """Minus noise over signal, var(y - x) / var(x) over the D entries: <= 0, not symmetric.

    Yuan et al., arXiv:1904.02616, 2019.
    An x of equal entries has no signal: its similarity is 0 to everything, and it takes no gradient.

    >>> snr(torch.tensor([[1.0, -1.0]]), torch.tensor([[1.0, -1.0], [2.0, -2.0]]))
    tensor([[-0., -1.]])
    """
    x_ND, y_MD = x_ND - x_ND.mean(-1, keepdim=True), y_MD - y_MD.mean(-1, keepdim=True)
    signal_N1 = x_ND.square().sum(-1, keepdim=True)
    has_N1 = signal_N1 > torch.finfo(x_ND.dtype).tiny
    return torch.where(has_N1, sqeuclidean(x_ND, y_MD) / torch.where(has_N1, signal_N1, 1), 0)


def unit(x_ND: Tensor) -> Tensor:
    """Rows scaled to length 1; one that is not longer than SHORTEST counts as zero, and takes no gradient."""
    length_N1 = torch.linalg.vector_norm(x_ND, dim=-1, keepdim=True)
    return x_ND / length_N1.where(length_N1 > SHORTEST, torch.inf)


def _centred(x_ND: Tensor, y_MD: Tensor) -> tuple[Tensor, Tensor]:
    """Both sides moved by one shared vector: distances stay, and |x|^2 - 2xy + |y|^2 cancels less."""
    origin = y_MD.detach().mean(-2, keepdim=True)
    return x_ND - origin, y_MD - origin


def _square(x_ND: Tensor, y_MD: Tensor) -> Tensor:
    """|x|^2 - 2xy + |y|^2 as one product of (-2x, |x|^2, 1) and (y, 1, |y|^2): nothing else of size [N, M] is made."""
    x_N1, y_M1 = x_ND.square().sum(-1, keepdim=True), y_MD.square().sum(-1, keepdim=True)
    left = torch.cat([-2 * x_ND, x_N1, torch.ones_like(x_N1)], -1)
    return left @ torch.cat([y_MD, torch.ones_like(y_M1), y_M1], -1).mT
