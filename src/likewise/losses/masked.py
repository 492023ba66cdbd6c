"""Sums over the entries of a mask, [N, M] -> [N]: finite, and with a finite gradient, for rows whose mask is empty."""

import math
from functools import partial
from typing import Any  # the ctx of autograd, which takes any attribute

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["exp_below", "highest", "lowest", "lse", "softplus", "total"]

# Torch's softplus turns linear at 20, which is off by 2e-9: too coarse for float64. At 40 it is exact in every dtype.
softplus = partial(F.softplus, threshold=40.0)


def total(x_NM: Tensor, where_NM: Tensor) -> Tensor:
    """Sum of the entries in `where`; 0 when there are none."""
    return torch.where(where_NM, x_NM, 0).sum(-1)


def lse(x_NM: Tensor, where_NM: Tensor) -> Tensor:
    """log sum exp of the entries in `where`; the dtype's lowest number, and not -inf, when there are none.

    Finite on purpose: the gradient of logsumexp over -inf only is NaN, even when multiplied by 0.
    """
    return _LogSumExp.apply(x_NM, where_NM)


class _LogSumExp(torch.autograd.Function):
    """Keeps the exponentials it has: half the passes over [N, M] of torch.where and logsumexp, backward a quarter."""

    @staticmethod
    def forward(ctx: Any, x_NM: Tensor, where_NM: Tensor) -> Tensor:
        exp_NM, top_N1 = exp_below(x_NM, where_NM)
        sum_N1 = exp_NM.sum(-1, keepdim=True)
        ctx.save_for_backward(exp_NM, sum_N1)
        return (sum_N1.log() + top_N1).squeeze(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_N: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        exp_NM, sum_N1 = ctx.saved_tensors
        return exp_NM * (grad_N[..., None] / sum_N1), None


@torch.no_grad()
def exp_below(x_NM: Tensor, where_NM: Tensor) -> tuple[Tensor, Tensor]:
    """e^(x - top) of the entries in `where`, 0 elsewhere, and top [N, 1], the largest of them: no overflow.

    A row whose mask is empty is all 1, at the dtype's lowest number.
    """
    exp_NM = torch.where(where_NM, x_NM, torch.finfo(x_NM.dtype).min)
    top_N1 = exp_NM.amax(-1, keepdim=True)
    # Less than this (1e-19 in float32) is nothing beside a largest entry of 1. Where an exponential, or a product with
    # one, underflows, a processor takes a hundred times as long, and in a mask most of them would.
    least = torch.finfo(x_NM.dtype).tiny ** 0.5
    exp_NM.sub_(top_N1).clamp_min_(math.log(least)).exp_()
    return torch.threshold_(exp_NM, 2 * least, 0), top_N1


def highest(x_NM: Tensor, where_NM: Tensor) -> Tensor:
    """The largest entry in `where`, ties sharing the gradient; the dtype's lowest number when there are none."""
    return torch.where(where_NM, x_NM, torch.finfo(x_NM.dtype).min).amax(-1)


def lowest(x_NM: Tensor, where_NM: Tensor) -> Tensor:
    """The smallest entry in `where`, ties sharing the gradient; the dtype's highest number when there are none."""
    return torch.where(where_NM, x_NM, torch.finfo(x_NM.dtype).max).amin(-1)
