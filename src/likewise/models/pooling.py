"""One number a channel from a map of features."""

import torch.nn.functional as F
from torch import Tensor, nn

from likewise.spec import SpecError, near

__all__ = ["POOLINGS", "average", "gem", "pool_of"]

GEM_POWER = 3.0  # where the authors' learned powers end
SMALLEST = 1e-6  # below, the gradient of the root would not be finite


def average(x_NCHW: Tensor) -> Tensor:
    """`[N, C]`: the mean of every channel."""
    return F.adaptive_avg_pool2d(x_NCHW, 1).flatten(1)


def gem(x_NCHW: Tensor) -> Tensor:
    """`[N, C]`: the generalised mean, between the mean and the largest value; negative values count as 0.

    (mean x^3)^(1/3). Radenović, Tolias and Chum, arXiv:1711.02512, 2018.
    """
    return average(x_NCHW.clamp_min(SMALLEST).pow(GEM_POWER)).pow(1 / GEM_POWER)


POOLINGS = {"average": average, "gem": gem}


class Pool(nn.Module):
    """A pooling by its name; it has no state."""

    def __init__(self, pooling: str):
        super().__init__()
        self.pooling = pooling

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return POOLINGS[self.pooling](x_NCHW)

    def extra_repr(self) -> str:
        return self.pooling


def pool_of(pooling: str) -> Pool:
    """Errors: SpecError for an unknown name."""
    if pooling not in POOLINGS:
        raise SpecError(f"no pooling named {pooling!r}{near(pooling, POOLINGS)}")
    return Pool(pooling)
