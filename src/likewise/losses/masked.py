"""Sums over the entries of a mask, [N, M] -> [N]: finite, and with a finite gradient, for rows whose mask is empty."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["highest", "lowest", "lse", "softplus", "total"]

# Torch's softplus turns linear at 20, which is off by 2e-9: too coarse for float64. At 40 it is exact in every dtype.
softplus = partial(F.softplus, threshold=40.0)


def total(x_NM: Tensor, where_NM: Tensor) -> Tensor:
    """Sum of the entries in `where`; 0 when there are none."""
    return torch.where(where_NM, x_NM, 0).sum(-1)


def lse(x_NM: Tensor, where_NM: Tensor) -> Tensor:
    """log sum exp of the entries in `where`; the dtype's lowest number, and not -inf, when there are none.

    Finite on purpose: the gradient of a logsumexp over nothing but -inf is NaN, even where it is multiplied by 0.
    """
    return torch.where(where_NM, x_NM, torch.finfo(x_NM.dtype).min).logsumexp(-1)


def highest(x_NM: Tensor, where_NM: Tensor) -> Tensor:
    """The largest entry in `where`, ties sharing the gradient; the dtype's lowest number when there are none."""
    return torch.where(where_NM, x_NM, torch.finfo(x_NM.dtype).min).amax(-1)


def lowest(x_NM: Tensor, where_NM: Tensor) -> Tensor:
    """The smallest entry in `where`, ties sharing the gradient; the dtype's highest number when there are none."""
    return torch.where(where_NM, x_NM, torch.finfo(x_NM.dtype).max).amin(-1)
