"""A network for drawings: small images of lines, in which it matters where a line lies."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from likewise.models.networks import Backbone

__all__ = ["strokes"]


def strokes(
    shape: Sequence[int],
    *,
    channels: Sequence[int] = (32, 64, 128, 128, 256),
    pools: Sequence[int] = (1, 1, 1, 0, 1),
    width: int = 256,
) -> nn.Module:
    """3 x 3 convolutions with BatchNorm and ReLU, a pool after those marked 1, then `width` numbers with BatchNorm.

    The last layer sees where on the paper a feature lies, and its BatchNorm centres the embedding, so that two unlike
    drawings have similarity 0. Pooled before it is normalised: on a CPU a quarter faster.

    >>> strokes((1, 105, 105)).width
    256
    """
    layers: list[nn.Module] = []
    for (before, after), pool in zip(pairwise([shape[0], *channels]), pools, strict=True):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False)]
        layers += [nn.MaxPool2d(2, ceil_mode=True)] * bool(pool) + [nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    layers.append(nn.Flatten())
    with torch.no_grad():
        flat = nn.Sequential(*layers).eval()(torch.zeros(1, *shape)).shape[1]
    last = [nn.Linear(flat, width, bias=False), nn.BatchNorm1d(width, affine=False)]
    return Backbone([*layers, *last], width).train()
