"""Modified Hausdorff distance of point sets: the untrained baseline of Omniglot's one-shot runs."""

import torch
from torch import Tensor

__all__ = ["modified_hausdorff", "points"]


def points(ink_HW: Tensor) -> Tensor:
    """The places (row, column) of the pixels that are ink, about their mean: float64 `[P, 2]`."""
    where_P2 = ink_HW.nonzero().double()
    if not len(where_P2):
        raise ValueError("the drawing is empty: it has no ink to compare")
    return where_P2 - where_P2.mean(0)


def modified_hausdorff(a_P2: Tensor, b_M2: Tensor) -> float:
    """The larger of the mean distances from a point of one set to the nearest of the other. Dubuisson & Jain, 1994."""
    far_PM = torch.cdist(a_P2, b_M2)
    return float(torch.maximum(far_PM.amin(1).mean(), far_PM.amin(0).mean()))
