"""Published networks with their own preprocessing: `timm:NAME`, `torchvision:NAME`, `hf:NAME_OR_FOLDER`.

Weights are random after building, and only `hf:` needs the hub for it; `Embedder.load_weights()` loads the published
ones. Extra: `pip install 'likewise[images]'`. Pooling: `own` is the network's own; `average` and `gem` pool its last
feature map or its patch tokens; `cls` is its class token.
"""

import importlib.util
import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any  # a network of timm, whose forward_features is not declared by nn.Module

import torch
from torch import Tensor, nn

from likewise.models import weights
from likewise.models.huggingface import (
    CONFIG,
    check_sides,
    config_of_hf,
    fetch_hf,
    inputs_of,
    of_hf,
    patches,
    preprocessor_of_hf,
    resized,
    summary_of_hf,
)
from likewise.models.libraries import Makers, brief, checked, library, summary, unknown
from likewise.models.pooling import POOLINGS, Pool
from likewise.spec import SpecError, bind

__all__ = ["hf", "timm", "torchvision"]

Shape = Sequence[int]
Summary = Callable[[nn.Module, Tensor], Tensor]
UNFIT = ("googlenet", "inception_v3", "squeezenet1_0", "squeezenet1_1")  # several outputs, or no last linear layer
LABELS = ("id2label", "label2id")


class Pretrained(nn.Module):
    """A network of another library: `[N, 3, H, W] -> [N, width]`, with the tensor names of that library.

    summary: gets the features from `body`. fetch: the published tensors, from the hub or from a folder. head: the name
    of the published classification layer. architecture: the configuration to build it again from, as JSON (`hf`).
    """

    prefix = "body."

    def __init__(
        self,
        body: nn.Module,
        summary: Summary,
        shape: Shape,
        *,
        title: str,
        fetch: Callable[..., Mapping[str, Tensor]],
        makers: Makers,
        head: str = "",
        architecture: dict[str, object] | None = None,
    ):
        super().__init__()
        self.body, self.summary, self.title, self.fetch, self.head = body, summary, title, fetch, head
        self.architecture = architecture
        self.mean, self.std, self.size = makers
        self.width = self.measured(shape)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.summary(self.body, x_NCHW)

    @torch.no_grad()
    def measured(self, shape: Shape) -> int:
        """The number of features, by trying. Errors: ValueError where the network cannot take such images."""
        if len(shape) != 3 or shape[0] != 3:
            raise ValueError(f"{self.title} takes colour images (3, H, W), got {tuple(shape)}; give channels=3")
        mode = self.training
        try:
            features = self.eval()(torch.zeros(1, *shape))
        except SpecError:
            raise
        except Exception as error:  # networks raise any exception for images that are too small or of an odd size
            why = brief(error) + (f"; it was made for size={self.size}" if self.size else "")
            raise ValueError(f"{self.title} cannot take images of {shape[1]} x {shape[2]}: {why}") from None
        finally:
            self.train(mode)
        if features.ndim != 2:
            raise ValueError(f"{self.title} gives {list(features.shape)} and not [N, features]; give another pooling")
        return features.shape[1]

    def published(self) -> dict[str, Tensor]:
        """The published tensors. Errors: ValueError if they cannot be loaded."""
        try:
            return self.ours(self.fetch())
        except Exception as error:  # hubs fail in every way there is
            raise ValueError(
                f"cannot get the published weights of {self.title}: {brief(error)}; "
                "give weights=FILE (or a folder), or weights=none to begin afresh"
            ) from None

    def read(self, path: str | os.PathLike) -> Mapping[str, Tensor]:
        """Tensors of a file, or of a folder as its makers write it."""
        if self.architecture and (Path(path) / CONFIG).is_file():
            return self.ours(self.fetch(os.fspath(path)))
        return weights.read(path)

    def ours(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The published tensors that this network has; others, such as an unused pooler, are left out."""
        wanted = self.body.state_dict()
        return {name: t for name, t in tensors.items() if name in wanted}


def timm(shape: Shape, *, name: str = "", pooling: str = "own") -> Pretrained:
    """timm:NAME, any network of timm, such as timm:vit_small_patch14_dinov2.lvd142m or timm:resnet18(pooling='gem').

    pooling: own | average | gem | cls. Vision transformers are built for the size of the images.
    Errors: SpecError for an unknown name; ValueError for images that it cannot take.

    >>> timm((3, 224, 224), name="resnet18").width  # doctest: +SKIP
    512
    """
    makers = of_timm(name)
    config = library("timm").get_pretrained_cfg(name)
    size = {"img_size": tuple(shape[1:])} if config and config.fixed_input_size else {}
    build = partial(library("timm").create_model, name, num_classes=0, **size)
    classifier = (config.classifier if config else "") or ""
    return Pretrained(
        build(pretrained=False),
        partial(summary_of_timm, pooling=checked(pooling, "own", *POOLINGS, "cls")),
        shape,
        title=f"timm:{name}",
        fetch=partial(fetch_timm, build),
        makers=makers,
        head=classifier if isinstance(classifier, str) else classifier[0],
    )


def torchvision(shape: Shape, *, name: str = "", pooling: str = "own") -> Pretrained:
    """torchvision:NAME, any classifier of torchvision, such as torchvision:resnet50, up to its last layer.

    pooling: own | gem; gem where a network has a pooling layer to replace, as residual networks, EfficientNet and
    ConvNeXt have. Errors: SpecError for an unknown name; ValueError for images that it cannot take.

    >>> torchvision((3, 224, 224), name="resnet18").width  # doctest: +SKIP
    512
    """
    makers = of_torchvision(name)
    models = library("torchvision.models")
    size = {"image_size": shape[-1]} if name.startswith("vit_") else {}
    body = models.get_model(name, weights=None, **size)
    head = [layer for layer, module in body.named_modules() if isinstance(module, nn.Linear)][-1]
    body.set_submodule(head, nn.Identity())
    if checked(pooling, "own", "gem") == "gem":
        pool_by_gem(body, name)
    fetch = partial(fetch_torchvision, name)
    return Pretrained(body, forward_of, shape, title=f"torchvision:{name}", fetch=fetch, makers=makers, head=head)


def hf(
    shape: Shape, *, name: str = "", pooling: str = "own", _architecture: dict[str, object] | None = None
) -> Pretrained:
    """hf:NAME_OR_FOLDER, a vision model of transformers (DINOv2 and 3, ViT, ConvNeXt; the vision half of CLIP, SigLIP).

    Such as hf:facebook/dinov2-small or hf:path/to/folder. pooling: own | average | gem | cls; own is the network's
    summary of an image, and the class token where that summary is a layer of the first pretraining (ViT).
    Errors: SpecError for a name that is neither a folder nor on the hub; ValueError for images it cannot take.

    >>> hf((3, 224, 224), name="facebook/dinov2-small").width  # doctest: +SKIP
    384
    """
    auto = library("transformers")
    if importlib.util.find_spec("torchvision"):  # transformers imports it where it is installed
        library("torchvision")
    config = auto.AutoConfig.for_model(**_architecture) if _architecture else config_of_hf(name)
    check_sides(config, shape, f"hf:{name}")
    body = auto.AutoModel.from_config(config, dtype=torch.float32)
    pooling = checked(pooling, "own", *POOLINGS, "cls")
    if hasattr(getattr(body, "pooler", None), "dense"):
        body.pooler, pooling = None, "cls" if pooling == "own" else pooling
    inputs, how, tokens = inputs_of(body, config), resized(body, config, shape), patches(config, shape)
    plain = {k: v for k, v in json.loads(config.to_json_string()).items() if k[0] != "_" and k not in LABELS}
    return Pretrained(
        body,
        partial(summary_of_hf, pooling=pooling, patches=tokens, how=how, inputs=inputs),
        shape,
        title=f"hf:{name}",
        fetch=partial(fetch_hf, name, config),
        makers=Makers() if _architecture else preprocessor_of_hf(name),
        architecture=plain | {"model_type": config.model_type},
    )


def is_outside(text: str) -> bool:
    """Whether a name is that of another library's network; nothing is downloaded."""
    return getattr(bind("network", text), "func", None) in (timm, torchvision, hf)


def makers_of(text: str) -> Makers:
    """Published preprocessing of a network of another library.

    Errors: SpecError for a name that does not exist, with the near ones, and for a library that is not installed.
    """
    made = bind("network", text)
    look = {timm: of_timm, torchvision: of_torchvision, hf: of_hf}[made.func]  # type: ignore[attr-defined]
    return look(made.keywords.get("name", ""))  # type: ignore[attr-defined]


# --- timm ------------------------------------------------------------------------------------------------------------


def of_timm(name: str) -> Makers:
    known = library("timm")
    base, _, tag = name.partition(".")
    if not known.is_model(base):
        raise unknown("timm", name, known.list_models())
    tagged = known.list_pretrained(f"{base}.*")
    if tag and name not in tagged:
        raise unknown("timm", name, tagged)
    config = known.get_pretrained_cfg(name)
    return Makers(tuple(config.mean), tuple(config.std), config.input_size[-1]) if config else Makers()


def fetch_timm(build: Callable[..., nn.Module], where: str | None = None) -> Mapping[str, Tensor]:
    return build(pretrained=True).state_dict()


def summary_of_timm(body: Any, x_NCHW: Tensor, *, pooling: str) -> Tensor:
    if pooling == "own":
        return body(x_NCHW)
    features = body.forward_features(x_NCHW)
    if features.ndim == 4 and getattr(body, "output_fmt", None) == "NHWC":
        features = features.movedim(-1, 1)
    return summary(features, pooling, getattr(body, "num_prefix_tokens", 0))


# --- torchvision -----------------------------------------------------------------------------------------------------


def of_torchvision(name: str) -> Makers:
    models = library("torchvision.models")
    listed = [one for one in models.list_models(module=models) if one not in UNFIT]
    if name not in listed:
        raise unknown("torchvision", name, listed)
    look = models.get_model_weights(name).DEFAULT.transforms()
    return Makers(tuple(look.mean), tuple(look.std), look.crop_size[0])


def fetch_torchvision(name: str, where: str | None = None) -> Mapping[str, Tensor]:
    published = library("torchvision.models").get_model_weights(name).DEFAULT
    return published.get_state_dict(check_hash=True, weights_only=True)


def forward_of(body: nn.Module, x_NCHW: Tensor) -> Tensor:
    return body(x_NCHW)


def pool_by_gem(body: nn.Module, name: str) -> None:
    """Errors: SpecError where the pooling is no layer of its own."""
    pool = getattr(body, "avgpool", None)
    if not isinstance(pool, nn.AdaptiveAvgPool2d) or pool.output_size not in (1, (1, 1)):
        raise SpecError(f"torchvision:{name} has no pooling layer to replace; leave pooling out, or take timm:{name}")
    body.avgpool = nn.Sequential(Pool("gem"), nn.Unflatten(1, (-1, 1, 1)))
