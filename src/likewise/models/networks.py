"""Networks: functions of the input's shape that give a module `[N, *shape] -> [N, width]` with an int `width`.

All sizes follow from the shape: `(C, H, W)` of images, `(C, T)` of signals or `(D,)` of feature vectors. The
embedding's own linear layer is no part of a network: `Embedder` adds it. Pooling comes before the activation: for one
that rises (ReLU, and PReLU while its slope is above 0) the function and its gradient are those of the other order, for
a quarter of the work.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from itertools import count, pairwise
from math import prod

import torch
from torch import Tensor, nn

from likewise.spec import bind, near

__all__ = ["alexnet", "conv1d", "convnet", "identity", "koch", "lenet", "mlp", "simple2", "small", "small_resnet"]

Shape = Sequence[int]
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "none": nn.Identity,
}
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Backbone(nn.Sequential):
    """Layers in order, and what an Embedder may know about them.

    width: features that come out. head: the name under which published weights store the layer that follows.
    mean, std: of the images that the published weights were trained on.
    """

    def __init__(
        self,
        layers: Sequence[nn.Module] | Mapping[str, nn.Module],
        width: int,
        *,
        head: str = "",
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
    ):
        named = layers if isinstance(layers, Mapping) else {str(i): layer for i, layer in enumerate(layers)}
        super().__init__(OrderedDict(named))
        self.width, self.head, self.mean, self.std = width, head, mean, std


def mlp(
    shape: Shape,
    *,
    widths: Sequence[int] = (128, 128, 128),
    bias: bool = True,
    dropout: float = 0.0,
    activation: str = "relu",
    last_activation: bool = True,
) -> Backbone:
    """Dense layers on the flattened input, of any shape. Dropout is applied between layers, never after the last.

    >>> mlp((1, 28, 28), widths=(128, 64)).width
    64
    """
    layers: list[nn.Module] = [nn.Flatten()]
    sizes = [prod(shape), *widths]
    for before, after in pairwise(sizes):
        if dropout and len(layers) > 1:
            layers.append(nn.Dropout(dropout))
        layers += [nn.Linear(before, after, bias=bias), _activation(activation)]
    if widths and not last_activation:
        layers.pop()
    return Backbone(layers, sizes[-1])


def identity(shape: Shape) -> Backbone:
    """No network: the input itself, flattened. For features made elsewhere, and as the baseline of the others.

    >>> identity((1, 28, 28)).width
    784
    """
    return Backbone([nn.Flatten()], prod(shape))


def convnet(
    shape: Shape, *, channels: Sequence[int] = (32, 64), widths: Sequence[int] = (256, 256), kernel: int = 5
) -> Backbone:
    """Convolutions, each with a pool and a PReLU, then dense layers with a PReLU. Sides from 16 on.

    32@5, 64@5, 256, 256: the network that PyTorch's siamese and triplet examples share.

    >>> convnet((1, 28, 28)).width
    256
    """
    return _conv_then_dense("convnet", shape, channels, widths, kernel)


def conv1d(shape: Shape, *, channels: Sequence[int] = (32, 64, 128), kernel: int = 9, pool: int = 4) -> Backbone:
    """Convolutions over time for signals (C, T) of any length: sound, vibration, ECG.

    For each number in `channels` a convolution, a pool and BatchNorm with ReLU; then the largest value of each channel.

    >>> conv1d((2, 400)).width
    128
    """
    if len(shape) != 2:
        raise ValueError(
            f"conv1d takes signals of shape (C, T), got {tuple(shape)}; for images use small_resnet, for feature "
            "vectors mlp"
        )
    layers: list[nn.Module] = []
    for before, after in pairwise([shape[0], *channels]):
        layers.append(nn.Conv1d(before, after, kernel, padding=kernel // 2, bias=False))
        layers += [nn.MaxPool1d(pool, ceil_mode=True), nn.BatchNorm1d(after), nn.ReLU()]
    return Backbone([*layers, nn.AdaptiveMaxPool1d(1), nn.Flatten()], (shape[0], *channels)[-1])


def lenet(shape: Shape) -> Backbone:
    """6@5, 16@5, 128 with PReLU, after LeNet-5. Sides from 16 on.

    LeCun et al., 1998, https://doi.org/10.1109/5.726791. 35,729 parameters on 28 x 28 grey images with a head of 2.

    >>> lenet((1, 28, 28)).width
    128
    """
    return _conv_then_dense("lenet", shape, (6, 16), (128,))


def small(shape: Shape) -> Backbone:
    """32@5, 64@5, 64, 32 with PReLU: for crops of 200 x 200 and a head of 2. Sides from 16 on.

    >>> small((3, 32, 32)).width
    32
    """
    return _conv_then_dense("small", shape, (32, 64), (64, 32))


def koch(shape: Shape, *, width: int = 4096, activation: str = "sigmoid") -> Backbone:
    """64@10, 128@7, 128@4, 256@4 with ReLU and pools between, then `width` with `activation`.

    Koch et al., 2015, https://www.cs.cmu.edu/~rsalakhu/papers/oneshot1.pdf.
    Made for Omniglot at 105 x 105, where it has 38,947,648 parameters; sides from 65 on.

    >>> koch((1, 105, 105), width=64).width
    64
    """
    layers: list[nn.Module] = []
    for before, after, kernel in ((shape[0], 64, 10), (64, 128, 7), (128, 128, 4)):
        layers += [nn.Conv2d(before, after, kernel), nn.MaxPool2d(2), nn.ReLU()]
    layers += [nn.Conv2d(128, 256, 4), nn.ReLU()]
    dense = nn.Linear(_flattened("koch", shape, layers), width)
    return Backbone([*layers, nn.Flatten(), dense, _activation(activation)], width)


def simple2(shape: Shape) -> Backbone:
    """32@3, 32@3, 32@5 / 2, 64@3, 64@3, 64@5 / 2, 128@4 with ReLU and BatchNorm, then 512. Sides from 25 on.

    Made for traffic signs of 48 x 48. Dropout 0.4 after each halving and 0.5 at the end.

    >>> simple2((3, 48, 48)).width
    512
    """
    layers: list[nn.Module] = []
    for before, after in ((shape[0], 32), (32, 64)):
        for source, kernel, stride in ((before, 3, 1), (after, 3, 1), (after, 5, 2)):
            padding = 2 if stride == 2 else 0
            layers += [nn.Conv2d(source, after, kernel, stride, padding), nn.ReLU(), nn.BatchNorm2d(after)]
        layers += [nn.Dropout(0.4)]
    layers += [nn.Conv2d(64, 128, 4), nn.ReLU(), nn.BatchNorm2d(128)]
    dense = nn.Linear(_flattened("simple2", shape, layers), 512)
    return Backbone([*layers, nn.Flatten(), dense, nn.ReLU(), nn.Dropout(0.5)], 512)


def alexnet(shape: Shape, *, width: int = 4096, dropout: float = 0.5) -> Backbone:
    """AlexNet with torchvision's layers and names, up to its last layer. Sides from 63 on.

    Krizhevsky, arXiv:1404.5997, 2014.
    torchvision's ImageNet weights load by name; their last layer, `classifier.6`, becomes the head when dim is 1,000.

    >>> alexnet((3, 63, 63), width=64).width
    64
    """
    features = nn.Sequential(
        *(nn.Conv2d(shape[0], 64, 11, stride=4, padding=2), nn.MaxPool2d(3, 2), nn.ReLU()),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.MaxPool2d(3, 2), nn.ReLU()),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.MaxPool2d(3, 2), nn.ReLU()),
    )
    _flattened("alexnet", shape, features)  # a shape too small fails here
    classifier = nn.Sequential(
        *(nn.Dropout(dropout), nn.Linear(256 * 6 * 6, width), nn.ReLU()),
        *(nn.Dropout(dropout), nn.Linear(width, width), nn.ReLU()),
    )
    layers = {
        "features": features,
        "avgpool": nn.AdaptiveAvgPool2d(6),
        "flatten": nn.Flatten(),
        "classifier": classifier,
    }
    published = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD} if shape[0] == 3 else {}
    return Backbone(layers, width, head="classifier.6", **published)


def small_resnet(shape: Shape, *, width: int = 32, blocks: Sequence[int] = (1, 1, 1)) -> Backbone:
    """A compact residual network for small images of any size, after ResNet (He et al., arXiv:1512.03385).

    A 3x3 stem of `width` channels; then a stage for each number in `blocks`, which halves the side, has `width`, twice,
    four times ... as many channels, and that many residual blocks; then the largest value of each channel.

    >>> small_resnet((3, 32, 32)).width
    128
    """
    _flattened("small_resnet", shape, [])
    layers, before = _normalised(nn.Conv2d(shape[0], width, 3, padding=1, bias=False)), width
    for stage, depth in enumerate(blocks):
        after = width * 2**stage
        layers += _normalised(nn.Conv2d(before, after, 3, padding=1, bias=False), nn.MaxPool2d(2, ceil_mode=True))
        layers += [Residual(after) for _ in range(depth)]
        before = after
    return Backbone([*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten()], before)


class Residual(nn.Module):
    """Two 3x3 convolutions with a skip connection; initially only the skip connection contributes."""

    def __init__(self, channels: int):
        super().__init__()
        first, second = (nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))
        last = nn.BatchNorm2d(channels)
        nn.init.zeros_(last.weight)
        self.body = nn.Sequential(*_normalised(first), second, last)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return (x_NCHW + self.body(x_NCHW)).relu()


def _normalised(conv: nn.Conv2d, *pool: nn.Module) -> list[nn.Module]:
    return [conv, *pool, nn.BatchNorm2d(conv.out_channels), nn.ReLU()]


def _conv_then_dense(
    name: str, shape: Shape, channels: Sequence[int], widths: Sequence[int], kernel: int = 5
) -> Backbone:
    layers: list[nn.Module] = []
    for before, after in pairwise([shape[0], *channels]):
        layers += [nn.Conv2d(before, after, kernel), nn.MaxPool2d(2), nn.PReLU()]
    sizes = [_flattened(name, shape, layers), *widths]
    layers.append(nn.Flatten())
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.PReLU()]
    return Backbone(layers, sizes[-1])


def _activation(name: str) -> nn.Module:
    if name not in ACTIVATIONS:
        raise ValueError(f"no activation named {name!r}{near(name, ACTIVATIONS)}")
    return ACTIVATIONS[name]()


class TooSmallError(ValueError):
    """Images are smaller than a network takes; `smallest` is the side it needs."""

    def __init__(self, smallest: int, sentence: str):
        super().__init__(sentence)
        self.smallest = smallest


def smallest_side(network: str, shape: Shape) -> int:
    """The side to which images of a shape are enlarged for a network; 0 where it takes them as they are."""
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            bind("network", network)(shape)
    except TooSmallError as error:
        return error.smallest
    except ValueError:  # whatever else is wrong with it is said where it is built
        return 0
    return 0


def _flattened(name: str, shape: Shape, layers: Iterable[nn.Module]) -> int:
    """Numbers an image has after these layers. Errors: ValueError for a vector, or an image that is too small."""
    if len(shape) != 3:
        raise ValueError(
            f"{name} takes images of shape (C, H, W), got {tuple(shape)}; for "
            f"{'signals use conv1d or mlp' if len(shape) == 2 else 'feature vectors use mlp or identity'}"
        )
    windows = [layer for layer in layers if isinstance(layer, nn.Conv2d | nn.MaxPool2d)]
    height, width = (_side(side, windows) for side in shape[1:])
    if height and width:
        return height * width * next((w.out_channels for w in reversed(windows) if isinstance(w, nn.Conv2d)), shape[0])
    smallest = next(side for side in count(1) if _side(side, windows))
    raise TooSmallError(
        smallest,
        f"{name} takes images of at least {smallest} x {smallest}, got {shape[1]} x {shape[2]}; "
        f"give size={smallest} or more, or use small_resnet or mlp, which take any size",
    )


def _side(side: int, windows: Iterable[nn.Conv2d | nn.MaxPool2d]) -> int:
    """The remaining side length, 0 if a window does not fit."""
    for window in windows:
        kernel, stride, padding = map(_square, (window.kernel_size, window.stride, window.padding))
        side = (side + 2 * padding - kernel) // stride + 1
        if side < 1:
            return 0
    return side


def _square(numbers: int | str | tuple[int, ...]) -> int:
    """torch stores a size for both directions as one number or as two equal ones."""
    return numbers if isinstance(numbers, int) else int(numbers[0])
