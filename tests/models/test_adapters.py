"""Adapters: what is trained, the merged weights, the file of adapters alone, and what a stranger's file may not do."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from likewise.models import Embedder, adapters, weights
from likewise.models.adapters import LoRALinear, lora, merge
from likewise.spec import SpecError, bind

SHAPE = (1, 6, 6)
NETWORK = "mlp(widths=(16, 12))"


def model(seed: int = 0) -> Embedder:
    torch.manual_seed(seed)
    return Embedder(NETWORK, shape=SHAPE, dim=4, normalize=False).eval()


def trained(text: str = "lora(rank=3, alpha=6.0)") -> Embedder:
    """With adapters and a head that have moved."""
    found = model()
    bind("adapter", text)(found.backbone, SHAPE)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in found.parameters():
            if parameter.requires_grad:
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return found


@pytest.fixture
def images():
    return torch.rand(7, *SHAPE, generator=torch.Generator().manual_seed(1))


def test_it_starts_as_the_network_is_and_trains_the_adapters_alone(images):
    found = model()
    before = found(images)
    bind("adapter", "lora(rank=3)")(found.backbone, SHAPE)
    assert torch.equal(found(images), before)
    moving = {name for name, p in found.backbone.named_parameters() if p.requires_grad}
    assert moving == {name for name, _ in found.backbone.named_parameters() if "lora_" in name}
    assert sum(found.get_parameter(f"backbone.{name}").numel() for name in moving) == 3 * (36 + 16) + 3 * (16 + 12)
    assert found.head.linear.weight.requires_grad


def test_by_hand():
    layer = nn.Sequential(nn.Flatten(), nn.Linear(2, 1, bias=False))
    layer[1].weight.data = torch.tensor([[1.0, 2.0]])
    lora(layer, (1, 1, 2), rank=1, alpha=3.0)
    layer[1].lora_down.data, layer[1].lora_up.data = torch.tensor([[0.5, 1.0]]), torch.tensor([[2.0]])
    x = torch.tensor([[[[1.0, 1.0]]]])
    assert layer(x).item() == 1 + 2 + 3 * 2 * (0.5 + 1)
    assert merge(layer) == 1
    assert layer[1].weight.tolist() == [[1 + 3.0, 2 + 6.0]]
    assert layer(x).item() == 12


def test_merged_it_is_the_plain_network_with_the_same_outputs(images, tmp_path):
    found = trained()
    expected = found(images)
    assert merge(found.backbone) == 2
    assert not any(isinstance(layer, LoRALinear) for layer in found.modules())
    assert set(found.state_dict()) == set(model().state_dict())
    torch.testing.assert_close(found(images), expected, rtol=0, atol=1e-5)
    found.save(tmp_path / "model")
    assert torch.equal(Embedder.load(tmp_path / "model")(images), found(images))


def test_gradients_are_those_of_the_low_rank_product(images):
    found = trained()
    layer = next(layer for _, layer in adapters.adapted_layers(found.backbone))
    found(images).square().sum().backward()
    ours = layer.lora_down.grad.clone(), layer.lora_up.grad.clone()
    assert layer.weight.grad is None
    plain = model()
    plain.load_state_dict({n: t for n, t in found.state_dict().items() if "lora_" not in n})
    others = [one for one in plain.backbone.modules() if type(one) is nn.Linear]
    for one, adapted in zip(others, (layer for _, layer in adapters.adapted_layers(found.backbone)), strict=True):
        one.weight.data += adapted.lora_scale * adapted.lora_up @ adapted.lora_down
    plain(images).square().sum().backward()
    whole = others[0].weight.grad * layer.lora_scale
    torch.testing.assert_close(ours[0], layer.lora_up.mT @ whole, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours[1], whole @ layer.lora_down.mT, rtol=1e-4, atol=1e-4)


class Transformer(nn.Module):
    """Attention whose output layer is read without being called, as torch's own is, and an unused layer."""

    def __init__(self):
        super().__init__()
        self.attn = nn.Module()
        self.attn.qkv = nn.Linear(4, 4)
        self.mlp = nn.Linear(4, 4)
        self.other = nn.MultiheadAttention(4, 2)
        self.unused = nn.Linear(4, 4)

    def forward(self, x):
        y = self.attn.qkv(x.flatten(1)) + self.mlp(x.flatten(1))
        return self.other(y, y, y)[0]


@pytest.mark.parametrize(
    ("layers", "expected"), [("all", ["attn.qkv", "mlp"]), ("attention", ["attn.qkv"]), ("mlp", ["mlp"])]
)
def test_the_layers_that_run_and_are_asked_for_are_adapted(layers, expected):
    network = Transformer().train()
    lora(network, (1, 2, 2), layers=layers)
    assert [name for name, _ in adapters.adapted_layers(network)] == expected
    assert network.training
    assert not network.attn.qkv._forward_pre_hooks


@pytest.mark.parametrize("text", ["lora(rank=0)", "lora(rank=2000)", "lora(alpha=0.0)", "lora(layers='heads')"])
def test_numbers_without_a_meaning_are_refused(text):
    with pytest.raises(SpecError, match="lora takes"):
        bind("adapter", text)(model().backbone, SHAPE)


def test_a_network_without_linear_layers_is_refused():
    backbone = bind("network", "small_resnet(width=4, blocks=(1, 1))")((3, 16, 16))
    with pytest.raises(ValueError, match="lora has no linear layer to adapt"):
        bind("adapter", "lora")(backbone, (3, 16, 16))
    assert all(p.requires_grad for p in backbone.parameters())


# --- the file of adapters --------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path) -> Path:
    adapters.save(tmp_path / "adapter.safetensors", trained(), "lora(rank=3, alpha=6.0)")
    return tmp_path / "adapter.safetensors"


def test_the_file_brings_the_trained_model_back(file, images):
    found = model()
    adapters.load(file, found)
    torch.testing.assert_close(found(images), trained()(images), rtol=0, atol=1e-5)
    assert all(p.requires_grad for p in found.parameters())


def test_a_rescaled_file_is_the_mean_with_the_first_weights(file, images):
    adapters.rescale(file, 0.25, trained())
    found, whole = model(), trained()
    adapters.load(file, found)
    merge(whole.backbone)
    for name, first in model().backbone.state_dict().items():
        expected = 0.25 * whole.backbone.state_dict()[name] + 0.75 * first
        torch.testing.assert_close(found.backbone.state_dict()[name], expected, rtol=0, atol=1e-6)


def changed(path: Path, **fields: object) -> Path:
    """The same file with fields of its header changed."""
    tensors, text = weights.opened(path)
    save_file(tensors, path, {"likewise": json.dumps(json.loads(text) | fields)})
    return path


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"format": 9}, "has adapter format 9 and this version reads 1"),
        ({"adapter": "os:system"}, "names code outside likewise"),
        ({"adapter": "lora(rank=99999999999)"}, "rank is 99999999999"),
        ({"adapter": "lora(rank=4)"}, "do not fit"),
        ({"adapter": "lora(rank=3, layers='heads')"}, "lora takes layers"),
        ({"adapter": 3}, "adapter is str, got 3"),
        ({"network": "convnet"}, "is for the network convnet"),
        ({"base": 1}, "was trained beside other weights"),
        ({"crc32": 1}, "is damaged"),
        ({"crc32": "x"}, "crc32 is int"),
    ],
)
def test_a_header_that_does_not_fit_is_refused_and_the_model_stays(file, fields, said, images):
    found = model()
    before = found(images)
    with pytest.raises(ValueError, match=said):
        adapters.load(changed(file, **fields), found)
    assert torch.equal(found(images), before)


def test_other_weights_and_cut_files_are_refused(file, images):
    with pytest.raises(ValueError, match="was trained beside other weights of mlp"):
        adapters.load(file, model(seed=1))
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(ValueError, match="cannot read"):
        adapters.load(file, model())
