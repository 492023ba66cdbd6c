"""MobileNetV2: the small network that published weights on a CPU are worth having for."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from likewise.models.networks import IMAGENET_MEAN, IMAGENET_STD, Backbone
from likewise.models.pooling import pool_of

__all__ = ["mobilenet_v2"]

# Expansion, channels, blocks, stride of the first block: table 2 of the paper.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def mobilenet_v2(
    shape: Sequence[int], *, width_mult: float = 1.0, pooling: str = "average", dropout: float = 0.2
) -> Backbone:
    """MobileNetV2 with torchvision's layers and names, up to its last layer; for images of any size.

    torchvision's ImageNet weights load by name (`weights=mobilenet_v2-b0353104.pth`); their last layer becomes the
    head when dim is 1,000. 2,223,872 parameters, 1,280 features, made for 224 x 224. width_mult: times the channels of
    every layer. pooling: average | gem. dropout: before the head. Sandler et al., arXiv:1801.04381, 2018.
    Errors: ValueError for feature vectors.

    >>> mobilenet_v2((3, 64, 64)).width
    1280
    """
    if len(shape) != 3:
        raise ValueError(
            f"mobilenet_v2 takes images of shape (C, H, W), got {tuple(shape)}; for feature vectors use mlp or identity"
        )
    before, width = by_eight(32 * width_mult), by_eight(1280 * max(1.0, width_mult))
    layers: list[nn.Module] = [convolved(shape[0], before, 3, stride=2)]
    for expansion, channels, blocks, stride in STAGES:
        after = by_eight(channels * width_mult)
        for block in range(blocks):
            layers.append(Inverted(before, after, stride if block == 0 else 1, expansion))
            before = after
    layers.append(convolved(before, width, 1))
    named = {"features": nn.Sequential(*layers), "pool": pool_of(pooling), "dropout": nn.Dropout(dropout)}
    published = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD} if shape[0] == 3 else {}
    return initialised(Backbone(named, width, head="classifier.1", **published))


class Inverted(nn.Module):
    """Wide in the middle, narrow at both ends, and a straight way past it where the ends are alike."""

    def __init__(self, before: int, after: int, stride: int, expansion: int):
        super().__init__()
        wide = before * expansion
        layers: list[nn.Module] = [convolved(before, wide, 1)] if expansion != 1 else []
        layers += [convolved(wide, wide, 3, stride=stride, groups=wide)]
        layers += [nn.Conv2d(wide, after, 1, bias=False), nn.BatchNorm2d(after)]
        self.conv = nn.Sequential(*layers)
        self.past = stride == 1 and before == after

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return x_NCHW + self.conv(x_NCHW) if self.past else self.conv(x_NCHW)


def convolved(before: int, after: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU6(inplace=True))


def by_eight(channels: float) -> int:
    """The nearest multiple of 8 that is not more than a tenth below."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near


@torch.no_grad()
def initialised(network: Backbone) -> Backbone:
    """Weights drawn as the paper's code draws them."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out")
    return network
