"""Sums over all triplets without enumerating them: one sort per row and two running counts.

The hinge sum over all triplets, sum relu(s_n - s_p + m), is piecewise linear in the similarities, so its
gradient is a table of counts: a negative is pushed once for each positive it violates, a positive is pulled once for
each negative that violates it. After sorting each row with the positives shifted down by the margin, both counts are
running sums. The value is the same table times the similarities.
"""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Violations", "ascending", "violating_triplets", "draw_violating"]


class Violations(NamedTuple):
    """Violating triplets: the gradient with respect to each similarity, and their number."""

    grad_wrt_sim: Tensor  # [N, M]: +1 on the negative and -1 on the positive of each, summed
    count: Tensor  # type: ignore[assignment]  # [N]: how many, int64


@torch.no_grad()
def violating_triplets(
    sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, margin: float, *, ties: bool = False
) -> Violations:
    """The triplets with s_n > s_p - margin; with `ties`, s_n >= s_p - margin."""
    order_NM = ascending(torch.where(pos_NM, sim_NM - margin, sim_NM), later_NM=neg_NM if ties else pos_NM)
    pos_NM, neg_NM = pos_NM.gather(-1, order_NM), neg_NM.gather(-1, order_NM)
    below_NM, upto_NM = pos_NM.cumsum(-1, dtype=torch.int32), neg_NM.cumsum(-1, dtype=torch.int32)
    above_NM = (upto_NM[:, -1:] - upto_NM).mul_(pos_NM)
    grad_wrt_sim_NM = below_NM.mul_(neg_NM).sub_(above_NM).to(torch.promote_types(sim_NM.dtype, torch.float32))
    return Violations(torch.empty_like(grad_wrt_sim_NM).scatter_(-1, order_NM, grad_wrt_sim_NM), above_NM.sum(-1))


@torch.no_grad()
def draw_violating(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """For each positive a random negative above s_p - margin: (its column [N, M], whether there is one)."""
    m = sim_NM.shape[-1]
    order_NM = ascending(torch.where(pos_NM, sim_NM - margin, sim_NM), later_NM=pos_NM)
    is_neg_NM = neg_NM.gather(-1, order_NM)
    rank_NM = is_neg_NM.cumsum(-1)
    # Negatives packed to the left in order; everything else goes to a last, unused column.
    packed_NM = order_NM.new_zeros(len(order_NM), m + 1)
    packed_NM.scatter_(-1, torch.where(is_neg_NM, rank_NM - 1, m), order_NM)
    above_NM = rank_NM[:, -1:] - rank_NM
    drawn_NM = rank_NM + (torch.rand(sim_NM.shape, device=sim_NM.device) * above_NM).long()
    column_NM = torch.empty_like(order_NM).scatter_(-1, order_NM, packed_NM.gather(-1, drawn_NM.clamp_max(m - 1)))
    return column_NM, torch.empty_like(pos_NM).scatter_(-1, order_NM, above_NM > 0) & pos_NM


def ascending(key_NM: Tensor, later_NM: Tensor) -> Tensor:
    """Columns of each row by key, int64 [N, M]; among equal keys those in `later` come last."""
    if key_NM.dtype == torch.float64:
        return torch.where(later_NM, key_NM.nextafter(key_NM.new_full((), torch.inf)), key_NM).argsort(-1)
    # Key, tie-break and column in one integer: sorting it needs no second array, and on a CPU numpy's
    # vectorised sort of integers is ten times as fast as a sort that carries indices along.
    bits_NM = (key_NM.float() + 0.0).view(torch.int32)  # + 0.0: there is a negative zero, and it is equal to zero
    bits_NM ^= (bits_NM >> 31) & 0x7FFFFFFF  # of negative numbers a larger pattern is a smaller number
    packed_NM = bits_NM.long().bitwise_left_shift_(32).add_(later_NM, alpha=1 << 31)
    packed_NM += torch.arange(key_NM.shape[1], device=key_NM.device)
    if packed_NM.device.type == "cpu":
        packed_NM.numpy().sort(-1)
    else:
        packed_NM = packed_NM.sort(-1).values
    return packed_NM.bitwise_and_(0x7FFFFFFF)
