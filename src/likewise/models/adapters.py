"""Adapters: a few trained numbers beside the frozen weights of a network; `name(network, shape, *, numbers)`.

After training they are merged into the weights, so that a saved model, its ONNX file and its speed are those of the
plain network. The adapters alone, with the head, are a file of their own (`save`, `load`).
"""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from likewise import spec
from likewise.atomic import replacing
from likewise.models import weights
from likewise.models.embedder import Embedder
from likewise.safety import bounds

__all__ = ["adapted_layers", "load", "lora", "merge", "rescale", "save"]

KINDS = {"adapter": ["lora"]}

LAYERS = ("all", "attention", "mlp")
MOST = 1024  # rank
FORMAT = 1
OWN = (".lora_down", ".lora_up", ".running_mean", ".running_var", ".num_batches_tracked")
NEEDED = {"adapter": str, "network": str, "base": int, "crc32": int}


class LoRALinear(nn.Linear):
    """A linear layer whose weight W is frozen, and is W + scale * up @ down for its input. A linear layer becomes one
    by `lora`, and a linear layer again by `merge`."""

    lora_down: nn.Parameter  # [rank, in]
    lora_up: nn.Parameter  # [out, rank]
    lora_scale: float

    def forward(self, x: Tensor) -> Tensor:
        low = F.linear(F.linear(x, self.lora_down), self.lora_up)
        return F.linear(x, self.weight, self.bias) + self.lora_scale * low


def lora(network: nn.Module, shape: Sequence[int], *, rank: int = 8, alpha: float = 16.0, layers: str = "all") -> None:
    """Low-rank adaptation: trains up [out, rank] and down [rank, in] of W + alpha / rank * up @ down; W is frozen.

    layers: the linear layers that get one: all | attention | mlp, those that the network calls for an image of this
    shape. `up` starts at 0, so that the network starts as it is. Hu et al., 2022. https://arxiv.org/abs/2106.09685
    Errors: ValueError for numbers without a meaning and for a network without such layers.

    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    >>> lora(network, (3, 2, 2), rank=2)
    >>> [tuple(p.shape) for p in network.parameters() if p.requires_grad]
    [(2, 12), (5, 2)]
    """
    if layers not in LAYERS:
        raise spec.SpecError(f"lora takes layers {' | '.join(LAYERS)}, got {layers!r}{spec.near(layers, LAYERS)}")
    if not 1 <= rank <= MOST or not math.isfinite(alpha) or alpha <= 0:
        raise spec.SpecError(
            f"lora takes a rank from 1 to {MOST:,} and an alpha above 0, usually 8 and 16; got rank={rank}, "
            f"alpha={alpha}"
        )
    adapted = [layer for name, layer in called(network, shape) if wanted(name, layers)]
    if not adapted:
        raise ValueError(
            f"lora has no {'linear' if layers == 'all' else layers} layer to adapt in this network; it is for "
            "transformers (timm:vit_..., hf:...), so train the network itself: adapter="
        )
    network.requires_grad_(False)
    for layer in adapted:
        become_lora(layer, rank, alpha / rank)


def become_lora(layer: nn.Linear, rank: int, scale: float) -> None:
    """Turns a linear layer into one with an adapter, in place, so that its name and its tensors stay."""
    down = torch.empty(rank, layer.in_features)
    nn.init.kaiming_uniform_(down, a=math.sqrt(5))
    layer.__class__ = LoRALinear
    assert isinstance(layer, LoRALinear)
    layer.lora_down, layer.lora_scale = nn.Parameter(down.to(layer.weight)), scale
    layer.lora_up = nn.Parameter(layer.weight.new_zeros(layer.out_features, rank))


@torch.no_grad()
def called(network: nn.Module, shape: Sequence[int]) -> list[tuple[str, nn.Linear]]:
    """The linear layers that run for an image; a weight that is read without its layer would not be adapted."""
    names = {layer: name for name, layer in network.named_modules() if type(layer) is nn.Linear}
    ran: set[nn.Module] = set()

    def note(layer: nn.Module, given: object) -> None:
        ran.add(layer)

    hooks = [layer.register_forward_pre_hook(note) for layer in names]
    modes = [(module, module.training) for module in network.modules()]
    try:
        parameter = next(network.parameters(), torch.zeros(()))
        network.eval()(torch.zeros(1, *shape, dtype=parameter.dtype, device=parameter.device))
    finally:
        for module, mode in modes:
            module.training = mode
        for hook in hooks:
            hook.remove()
    return [(name, layer) for layer, name in names.items() if layer in ran]


def wanted(name: str, layers: str) -> bool:
    """Whether a layer of this name belongs to the attention, or to the rest, which is the MLP."""
    is_attention = "attn" in name.lower() or "attention" in name.lower()
    return layers == "all" or is_attention == (layers == "attention")


def adapted_layers(network: nn.Module) -> Iterator[tuple[str, LoRALinear]]:
    """Layers with an adapter by name."""
    yield from ((name, layer) for name, layer in network.named_modules() if isinstance(layer, LoRALinear))


@torch.no_grad()
def merge(network: nn.Module) -> int:
    """Add every adapter to its weight, in place, in float64; the number of layers that had one."""
    adapted = [layer for _, layer in adapted_layers(network)]
    for layer in adapted:
        low = layer.lora_scale * layer.lora_up.double() @ layer.lora_down.double()
        layer.weight.copy_(layer.weight.double() + low)
        del layer.lora_up, layer.lora_down, layer.lora_scale
        layer.__class__ = nn.Linear  # type: ignore[assignment]
    return len(adapted)


def save(path: str | os.PathLike, model: Embedder, adapter: str) -> None:
    """The adapters and the head of an adapted Embedder in one .safetensors file, written atomically.

    adapter: its name, kept in the file's header with that of the network and a checksum of the frozen weights.
    """
    own = {name: t for name, t in model.state_dict().items() if is_own(name)}
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in own.items()}
    base = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items() if is_base(name)}
    about = {"format": FORMAT, "adapter": adapter, "network": model.config["network"], "base": weights.checksum(base)}
    write(Path(path), plain, about)


def write(path: Path, tensors: dict[str, Tensor], about: Mapping[str, object]) -> None:
    text = json.dumps({**about, "crc32": weights.checksum(tensors)})
    with replacing(path) as temporary:
        temporary.write_bytes(to_bytes(tensors, {"likewise": text}))


def is_own(name: str) -> bool:
    """Whether training changes it: adapters, the head, and the statistics of batch norms."""
    return name.startswith("head.") or name.endswith(OWN)


def is_base(name: str) -> bool:
    return name.startswith("backbone.") and not is_own(name)


def read(path: str | os.PathLike) -> tuple[dict[str, Tensor], bounds.Fields]:
    """Tensors and header of a file of adapters. Errors: ValueError for what is none, or damaged."""
    tensors, text = weights.opened(Path(path))
    about = bounds.parsed_json(text or "", f"the header of {os.fspath(path)}")
    if about.get("format") != FORMAT:
        raise ValueError(
            f"{os.fspath(path)} has adapter format {about.get('format')!r:.20} and this version reads {FORMAT}"
        )
    for name, kind in NEEDED.items():
        if type(about.get(name)) is not kind:
            raise ValueError(f"{os.fspath(path)}: {name} is {kind.__name__}, got {about.get(name)!r:.80}")
    spec.from_file("adapter", about["adapter"], path)
    if about["crc32"] != weights.checksum(tensors):
        raise ValueError(f"{os.fspath(path)} is damaged: its checksum is not the one saved with it; copy it again")
    return tensors, about


@torch.no_grad()
def load(path: str | os.PathLike, model: Embedder) -> None:
    """Merge the adapters of a file into an Embedder with the weights that they were trained beside, and take its head.

    Errors: ValueError for another network, other weights, tensors that do not fit, or a damaged file; the model is
    then as it was.
    """
    tensors, about = read(path)
    network = model.config["network"]
    if about["network"] != network:
        raise ValueError(f"{os.fspath(path)} is for the network {about['network']:.100}, and this is {network}")
    base = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items() if is_base(name)}
    if about["base"] != weights.checksum(base):
        raise ValueError(f"{os.fspath(path)} was trained beside other weights of {network}; load those first")
    flags = [(p, p.requires_grad) for p in model.parameters()]
    try:
        spec.bind("adapter", about["adapter"])(model.backbone, model.shape)
        if wrong := weights.misfits(tensors, {n: t for n, t in model.state_dict().items() if is_own(n)}):
            raise ValueError(f"the adapters in {os.fspath(path)} do not fit {network}: {'; '.join(wrong)}")
        model.load_state_dict(tensors, strict=False)
    finally:  # adapters that were not loaded are 0, and change nothing
        merge(model.backbone)
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def rescale(path: str | os.PathLike, share: float, model: Embedder) -> None:
    """Multiply the adapters in a file: the mean of trained and first weights, where `share` is of the trained ones.

    model: the merged one with that mean, whose head and statistics of batch norms the file takes.
    """
    tensors, about = read(path)
    state = {name: t.detach().cpu().contiguous().clone() for name, t in model.state_dict().items()}
    scaled = {name: t * share if name.endswith(".lora_up") else state.get(name, t) for name, t in tensors.items()}
    write(Path(path), scaled, {name: value for name, value in about.items() if name != "crc32"})
