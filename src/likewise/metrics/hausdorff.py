"""Modified Hausdorff distance of point sets: the untrained baseline of Omniglot's one-shot runs."""

import torch
from torch import Tensor

__all__ = ["modified_hausdorff", "points"]


def points(ink_HW: Tensor) -> Tensor:
    """Positions (row, column) of the ink pixels, centred on their mean: float64 `[P, 2]`.

    >>> points(torch.tensor([[1, 0, 1]]))
    tensor([[ 0., -1.],
            [ 0.,  1.]], dtype=torch.float64)
    """
    where_P2 = ink_HW.nonzero().double()
    if not len(where_P2):
        raise ValueError("the drawing is empty: it has no ink to compare")
    return where_P2 - where_P2.mean(0)


def modified_hausdorff(a_P2: Tensor, b_M2: Tensor) -> float:
    """The larger of the two mean distances from the points of one set to the nearest point of the other.

    Dubuisson & Jain, 1994, https://doi.org/10.1109/ICPR.1994.576361.

    >>> modified_hausdorff(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
    5.0
    """
    far_PM = torch.cdist(a_P2, b_M2)
    return float(torch.maximum(far_PM.amin(1).mean(), far_PM.amin(0).mean()))
