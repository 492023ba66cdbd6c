"""Sums over triplets that sorting cannot compute: in tiles of pairs, recomputed in the backward pass."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from likewise.losses.terms import Terms

__all__ = ["over_positives", "square"]

ENTRIES = 1 << 22  # of one tile of pairs x references


def over_positives(fn: Callable[[Tensor, Tensor], Terms], pos_NM: Tensor) -> Terms:
    """`fn(anchor_K, positive_K) -> Terms of those pairs [K]` over every positive pair, added up by anchor.

    Exact; time O(pairs x M), memory O(ENTRIES). Listing the pairs synchronises once with the device.
    """
    anchor_K, positive_K = pos_NM.nonzero(as_tuple=True)
    size = max(1, ENTRIES // max(1, pos_NM.shape[1]))
    tiles = list(zip(anchor_K.split(size), positive_K.split(size), strict=True))
    parts = [fn(*tiles[0])] if len(tiles) == 1 else [checkpoint(fn, *tile, use_reentrant=False) for tile in tiles]
    return Terms(*(_by_anchor(torch.cat(column), anchor_K, len(pos_NM)) for column in zip(*parts, strict=True)))


def _by_anchor(value_K: Tensor, anchor_K: Tensor, n: int) -> Tensor:
    return value_K.new_zeros(n).index_add(0, anchor_K, value_K)


def square(sim_NM: Tensor, rule: str) -> Tensor:
    """Returns `sim`. Errors: ValueError unless references and anchors are the same, in the same order."""
    if sim_NM.shape[0] != sim_NM.shape[1]:
        raise ValueError(
            f"{rule} compares a batch with itself only: no memory, no partners; sim is {list(sim_NM.shape)}"
        )
    return sim_NM
