"""Embedder: turns images into embeddings; preprocessing is part of it, so that training and use cannot differ."""

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite

import torch
from torch import Tensor, nn

from likewise.geometry import unit
from likewise.imaging.sizes import FITS
from likewise.models import inputs, weights
from likewise.models.description import ModelConfig
from likewise.models.whitening import relevant
from likewise.safety.bounds import Fields
from likewise.spec import bind, near, trusting

__all__ = ["Embedder", "evaluating"]

Numbers = float | Sequence[float] | Tensor
HALF = 0.5 + 1e-6


class Embedder(nn.Module):
    """Preprocessing, a network, and a head: a linear layer to `dim` numbers, then length 1 if `normalize`.

    network: a name such as `convnet`, `mlp(widths=(256, 256))` or `timm:resnet18`; `likewise list networks`.
    shape: (C, H, W) of the images the network sees, whatever size and colour those given have; or (C, T) for signals,
    (D,) for vectors.
    dim: length of the embedding; 0 takes the network's features as they are.
    head: linear, or another of `likewise list heads`.
    mean, std: of the training data, one number or one a channel, images in [0, 1]. None: the values
    that the published weights of the network were trained with, otherwise 0 and 1.
    sim, classes: the similarity it is trained for and the names of its training classes; saved with it.
    architecture: the configuration from which an `hf:` network is built offline; filled in automatically, and saved.
    fit: stretch | pad | crop, for images of another aspect than `shape`.
    whitened: whether `whiten` has added its layer; filled in automatically, and saved.
    info: a dict of free JSON-able extras, such as a threshold, that is saved with it.

    The first weights come from torch's global seed. Errors: ValueError for an unknown name or an unfit shape.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        network: str = "convnet",
        *,
        shape: Sequence[int],
        dim: int = 64,
        head: str = "linear",
        normalize: bool = True,
        mean: Numbers | None = None,
        std: Numbers | None = None,
        sim: str = "cosine",
        classes: Sequence[str] = (),
        architecture: dict[str, object] | None = None,
        whitened: bool = False,
        fit: str = "stretch",
    ):
        super().__init__()
        bind("sim", sim)  # an unknown one fails here
        self.shape = tuple(int(n) for n in shape)
        keywords = {"_architecture": architecture} if architecture else {}
        self.backbone = bind("network", network, **keywords)(self.shape)
        if len(self.shape) == 3:  # pooling is vectorised over channels that lie together: 1.4 times the speed on a CPU
            self.backbone.to(memory_format=torch.channels_last)
        self.width: int = self.backbone.width
        self.dim = dim or self.width
        self.head = nn.Sequential(bind("head", head)(self.width, dim))
        if whitened:
            self.head.add_module("whitening", nn.Linear(self.dim, self.dim).requires_grad_(False))
        if normalize:
            self.head.add_module("unit", Unit())
        self.config: ModelConfig = {
            "network": network,
            "shape": list(self.shape),
            "dim": dim,
            "head": head,
            "normalize": normalize,
            "sim": sim,
            "classes": list(classes),
        }
        if built_from := getattr(self.backbone, "architecture", None):
            self.config["architecture"] = built_from
        if whitened:
            self.config["whitened"] = True
        if fit not in FITS:
            raise ValueError(f"no fit={fit!r}{near(fit, FITS)}")
        if fit != "stretch":
            self.config["fit"] = fit
        self.info: Fields = {}
        self.standardise(mean, std)

    def standardise(self, mean: Numbers | None, std: Numbers | None) -> None:
        """Take images of this mean and deviation, one number or one a channel; None as in __init__."""
        self.config["mean"] = self._per_channel("mean", mean, 0.0)
        self.config["std"] = self._per_channel("std", std, 1.0)
        # (x - mean) / std as one multiply-add. The config is saved, so these are not part of the state.
        mean_C, std_C = (torch.tensor(x, dtype=torch.float64) for x in (self.config["mean"], self.config["std"]))
        self.register_buffer("scale", self._as_channels(1 / std_C), persistent=False)
        self.register_buffer("shift", self._as_channels(-mean_C / std_C), persistent=False)

    def _per_channel(self, what: str, numbers: Numbers | None, default: float) -> list[float]:
        numbers = getattr(self.backbone, what, None) if numbers is None else numbers
        numbers = default if numbers is None else numbers
        listed = torch.as_tensor(numbers, dtype=torch.float64, device="cpu").flatten().tolist()
        if len(listed) not in (1, self.shape[0]):
            raise ValueError(f"{what} is one number or one for each of {self.shape[0]} channels, got {len(listed)}")
        for number in listed:
            if not isfinite(number) or (what == "std" and number <= 0):
                raise ValueError(
                    f"mean and std are finite and std is above 0, got {what} {number}; a constant takes std 1"
                )
        return listed

    def _as_channels(self, numbers_C: Tensor) -> Tensor:
        return numbers_C.float().view([-1] + [1] * (len(self.shape) - 1))

    @property
    def unit_range(self) -> bool:
        """Whether mean and deviation can be those of values from 0 to 1; false for decibels, deviations and the like.

        Values from 0 to 1 deviate by at most a half; a deviation of 1 stands for a constant, or for none given.
        """
        is_usual = all(std <= HALF or std == 1 for std in self.config["std"])
        return is_usual and all(0 <= mean <= 1 for mean in self.config["mean"])

    @property
    def fit(self) -> str:
        return self.config.get("fit", "stretch")

    @property
    def sim(self) -> str:
        return self.config["sim"]

    def record(self, name: str) -> Fields:
        """An entry of `info`, such as threshold or calibration; empty where there is none."""
        entry = self.info.get(name)
        return entry if isinstance(entry, dict) else {}

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.config["classes"])

    @property
    def trained_classes(self) -> tuple[str, ...]:
        """`classes` without those held out of training, as its run kept them; all where it did not."""
        names = self.info.get("trained_classes")
        return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else self.classes

    @property
    def parameter_count(self) -> int:
        return sum(p.numel() for p in self.parameters())

    def prepare(self, images: Tensor) -> Tensor:
        """The input of the network: `[N, *shape]`, standardised. uint8 is scaled to 0 to 1, float stays."""
        images = inputs.fit(images, self.shape, self.fit)
        scale = self.scale / 255 if images.dtype == torch.uint8 else self.scale
        return torch.addcmul(self.shift, images.to(scale.dtype), scale)

    def features(self, images: Tensor) -> Tensor:
        """`[N, width]`, before the head."""
        return self.backbone(self.prepare(images))

    def forward(self, images: Tensor) -> Tensor:
        """`[N, dim]`, in float32 or better whatever the precision of the network."""
        return _widened(self.head(self.features(images)))

    @torch.no_grad()
    def embed(self, images: object, batch: int | None = None) -> Tensor:
        """Embeddings `[N, dim]` as float32 on the CPU, in eval mode; afterwards every module has the mode it had.

        images: tensors or arrays `[N, C, H, W]`, `[N, H, W, C]`, `[N, C, T]` or `[N, D]` (uint8, or float in [0, 1], or
        with the negative values of the training data); one of them;
        a Pillow image; a path; a list of any of these, of any sizes; or Images. batch: batch size; by
        default it depends on the image size. Errors: ValueError for anything else.
        """
        with evaluating(self):
            size = batch or inputs.at_once(self.shape)
            prepared = inputs.batches(images, self.shape, size, unit_range=self.unit_range, mode=self.fit)
            parts = [self(part.to(self.scale.device)).float().cpu() for part in prepared]
        return torch.cat(parts) if parts else torch.zeros(0, self.dim)

    def whiten(self, images: object, labels_N: Tensor, *, shrink: float = 1.0, batch: int | None = None) -> None:
        """Add a layer before normalisation that shrinks the variation within the classes of these images.

        Call it with the training images, after training; see `models.whitening.relevant`. It replaces an earlier
        one. images: as for embed; labels_N int64. Errors: ValueError where no class has two images, and for
        a shrink that is not above 0.
        """
        whole, layers = self.head, OrderedDict(self.head.named_children())
        layers.pop("whitening", None)
        unit = layers.pop("unit", None)
        try:
            self.head = nn.Sequential(layers)
            emb_ND = self.embed(images, batch)
        finally:
            self.head = whole
        layers["whitening"] = relevant(emb_ND, labels_N.cpu(), shrink=shrink).to(self.scale)
        if unit is not None:
            layers["unit"] = unit
        self.head = nn.Sequential(layers)
        self.config["whitened"] = True

    def save(self, folder: str | os.PathLike) -> None:
        """Write model.safetensors and model.json, each atomically. Errors: ValueError when `info` is not JSON."""
        weights.save(folder, self.state_dict(), {"config": self.config, "info": self.info})

    @classmethod
    def load(cls, path: str | os.PathLike, *, trust_code: bool = False) -> "Embedder":
        """The model saved in this folder, or in the `model` folder of this run: on the CPU, in eval mode, bit for bit.

        Only networks and heads of the package are accepted, unless `trust_code`. Errors: ValueError for a missing or
        damaged model, another format, or tensors that do not fit the network.
        """
        folder = weights.find(path)
        with trusting(trust_code):
            tensors, about = weights.load(folder)
        _refuse_misfit(folder, about["config"], tensors)
        with torch.random.fork_rng(devices=[]):  # the weights are replaced: leave the caller's random state unchanged
            model = cls(**about["config"])
        model.info = about["info"]
        _refuse(folder, model.config["network"], weights.misfits(tensors, model.state_dict()))
        precision = next((t.dtype for t in tensors.values() if t.is_floating_point()), torch.float32)
        model.to(precision).load_state_dict(tensors)
        return model.eval()

    def load_weights(self, path: str | os.PathLike | None = None) -> tuple[str, ...]:
        """Start from weights in a file or folder, or from another Embedder: every tensor of the network by its name.

        path: None takes the published weights of the network, downloaded from the hub if needed.
        The head is loaded if it fits; otherwise (an embedding of another length) it keeps its initial weights.
        Returns the names of tensors left unused. Errors: ValueError naming the tensors that do not fit the network.
        """
        theirs = self._named(self._published() if path is None else self._read(path))
        network, head = _parts(theirs)
        our_network, our_head = _parts(self.state_dict())
        source = f"those published for {self.config['network']}" if path is None else os.fspath(path)
        _refuse(source, self.config["network"], weights.misfits(network, our_network))
        fits = not weights.misfits(head, our_head)
        self.load_state_dict(network | (head if fits else our_head))
        return () if fits else tuple(sorted(head))

    def _published(self) -> Mapping[str, Tensor]:
        if not hasattr(self.backbone, "published"):
            raise ValueError(f"there are no published weights for {self.config['network']}; give a file or a folder")
        return self.backbone.published()

    def _read(self, path: str | os.PathLike) -> Mapping[str, Tensor]:
        return getattr(self.backbone, "read", weights.read)(path)

    def _named(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Their tensors by the names in our state; those of an Embedder have them already."""
        if all(name.startswith(("backbone.", "head.")) for name in tensors):
            return dict(tensors)
        published_head, prefix = getattr(self.backbone, "head", ""), getattr(self.backbone, "prefix", "")
        return {_our_name(name, published_head, prefix): t for name, t in tensors.items()}


class Unit(nn.Module):
    """Rows scaled to length 1, in float32 or better; a zero row stays zero and has gradient zero."""

    def forward(self, x_ND: Tensor) -> Tensor:
        return unit(_widened(x_ND))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Eval mode inside the block; afterwards every submodule has the mode it had, frozen ones included."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield model.eval()
    finally:
        for module, training in modes:
            module.training = training


def _widened(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _our_name(name: str, published_head: str, prefix: str) -> str:
    """The name in our state of a published tensor."""
    if published_head and name.startswith(f"{published_head}."):
        return f"head.linear{name.removeprefix(published_head)}"
    return f"backbone.{prefix}{name}"


def _parts(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Those of the network, and those of the head."""
    network = {name: t for name, t in tensors.items() if name.startswith("backbone.")}
    return network, {name: t for name, t in tensors.items() if name not in network}


def _refuse_misfit(folder: os.PathLike, config: ModelConfig, tensors: Mapping[str, Tensor]) -> None:
    """Lay the network out without memory and compare; a small file must not build a large network.

    Errors: ValueError when the tensors do not fit, or the network cannot be built.
    """
    if ":" in config["network"].partition("(")[0] and not config["network"].startswith("hf:"):
        return  # from the catalogue of a library, whose networks need memory to be laid out; or trusted code
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            ours = Embedder(**config).state_dict()
    except ValueError:
        raise
    except Exception as error:  # numbers that no network can have fail wherever they are first used
        raise ValueError(f"{os.fspath(folder)}: {config['network']:.100} cannot be built: {error}") from None
    _refuse(folder, config["network"], weights.misfits(tensors, ours))


def _refuse(path: str | os.PathLike, network: str, wrong: list[str]) -> None:
    if wrong:
        raise ValueError(f"the tensors in {os.fspath(path)} do not fit {network}: {'; '.join(wrong)}")
