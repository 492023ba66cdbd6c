"""Vectors in fewer bytes: a byte or a bit a number, and what similarity they keep."""

from typing import NamedTuple

import torch
from torch import Tensor

from likewise import geometry
from likewise.metrics.neighbours import Nearest, nearest

__all__ = ["Range", "in_bytes", "in_signs", "rescored"]

LEVELS = 255  # steps between the least and the greatest value of a dimension


class Range(NamedTuple):
    """Least, greatest and mean value of each dimension, over known vectors (never those that are scored)."""

    low: Tensor  # [D]
    high: Tensor  # [D]
    mean: Tensor  # [D]

    @classmethod
    def of(cls, known_ND: Tensor) -> "Range":
        """Errors: ValueError where there are no vectors."""
        if not len(known_ND):
            raise ValueError("the range of a dimension comes from known vectors, and there are none")
        return cls(known_ND.amin(0), known_ND.amax(0), known_ND.mean(0))


def in_bytes(x_ND: Tensor, known: Range) -> Tensor:
    """The vectors as they come back from one byte a number: 256 even steps over the range of each dimension.

    Values beyond the range become its ends.

    >>> in_bytes(torch.tensor([[0.3], [7.0]]), Range(torch.tensor([0.0]), torch.tensor([1.0]), torch.tensor([0.5])))
    tensor([[0.2980],
            [1.0000]])
    """
    width_D = known.high - known.low
    step_D = torch.where(width_D > 0, width_D, 1) / LEVELS
    code_ND = ((x_ND - known.low) / step_D).round().clamp(0, LEVELS)
    return known.low + code_ND * step_D * (width_D > 0)


def in_signs(x_ND: Tensor, known: Range) -> Tensor:
    """One bit a number, as 1 or -1: above the mean of its dimension, or not.

    The dot product of two such rows is D less twice the number of bits that differ (Hamming distance).

    >>> in_signs(torch.tensor([[0.3, 0.9]]), Range(torch.zeros(2), torch.ones(2), torch.tensor([0.5, 0.5])))
    tensor([[-1.,  1.]])
    """
    return torch.where(x_ND > known.mean, 1.0, -1.0)


def rescored(x_QD: Tensor, sign_MD: Tensor, known: Range, k: int, *, among: int, offset: int | None = None) -> Nearest:
    """The k best of the `among` nearest references by Hamming distance, compared again with the query's own numbers.

    The similarity is the dot product of the query, less the mean of the known vectors, with the reference's signs: a
    reference still takes one bit a number. Yamada, Asai and Hajishirzi, ACL 2021. offset: as for `nearest`.
    """
    near = nearest(in_signs(x_QD, known), sign_MD, among, sim=geometry.dot, offset=offset)
    again_QK = torch.einsum("qd,qkd->qk", x_QD - known.mean, sign_MD[near.place.clamp_min(0)])
    again_QK = again_QK.masked_fill(near.place < 0, -torch.inf)
    order_QK = again_QK.sort(dim=-1, descending=True, stable=True).indices[:, :k]
    return Nearest(again_QK.gather(1, order_QK), near.place.gather(1, order_QK))
