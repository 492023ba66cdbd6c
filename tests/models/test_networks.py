"""Every network keeps one contract; beside it, hand counts, hand-worked values and the papers' own order of layers."""

from functools import cache
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from likewise.models import Embedder
from likewise.models.networks import ACTIVATIONS, Residual
from likewise.spec import PREFIXES, SpecError, bind, names

# A shape at which each is quick, and the smallest side it takes (0: any).
SUBJECTS: dict[str, tuple[tuple[int, ...], int]] = {
    "mlp": ((1, 6, 5), 0),
    "mlp(widths=(9,), bias=False, dropout=0.5, activation='gelu', last_activation=False)": ((12,), 0),
    "identity": ((7,), 0),
    "conv1d(channels=(4, 6), kernel=5)": ((2, 50), 0),
    "lenet": ((1, 16, 20), 16),
    "convnet": ((3, 18, 16), 16),
    "convnet(channels=(4, 5, 6), widths=(), kernel=3)": ((1, 24, 22), 22),
    "small": ((3, 20, 17), 16),
    "koch(width=24)": ((1, 65, 70), 65),
    "koch(width=8, activation='relu')": ((3, 66, 65), 65),
    "simple2": ((3, 26, 25), 25),
    "alexnet(width=16)": ((3, 63, 70), 63),
    "strokes(channels=(4, 6, 5), pools=(1, 0, 1), width=7)": ((2, 9, 12), 0),
    "small_resnet(width=8)": ((1, 9, 12), 0),
    "small_resnet(width=4, blocks=(2, 0, 1))": ((3, 28, 28), 0),
    "mobilenet_v2(width_mult=0.35)": ((3, 33, 40), 0),
    "efficientnet_lite(dropout=0.0)": ((3, 33, 40), 0),
    "mobilenet_v2(width_mult=0.1, pooling='gem', dropout=0.0)": ((1, 20, 20), 0),
}
LEARNED = [text for text in SUBJECTS if text != "identity"]
PICTURES = [t for t, (_, least) in SUBJECTS.items() if least or any(n in t for n in ("resnet", "mobilenet", "lite"))]
BOUNDED = [text for text, (_, smallest) in SUBJECTS.items() if smallest]


def fresh(text: str, seed: int = 0, **settings) -> Embedder:
    torch.manual_seed(seed)
    return Embedder(text, shape=SUBJECTS[text][0], **{"dim": 3} | settings)


@cache
def made(text: str) -> Embedder:
    """One of each that tests may run but not change."""
    return fresh(text).eval()


def some(text: str, n: int = 4) -> Tensor:
    return torch.rand(n, *SUBJECTS[text][0], generator=torch.Generator().manual_seed(n))


def test_every_network_is_a_subject():
    assert {text.partition("(")[0] for text in SUBJECTS} == set(names("network")) - set(PREFIXES["network"])


@pytest.mark.parametrize("text", SUBJECTS)
def test_shapes(text):
    model = made(text)
    assert isinstance(model.width, int)
    assert model.features(some(text)).shape == (4, model.width)
    assert model(some(text)).shape == (4, 3)


@pytest.mark.parametrize("text", SUBJECTS)
def test_one_picture_is_as_good_as_many(text):
    torch.testing.assert_close(made(text)(some(text)[:1]), made(text)(some(text))[:1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("text", LEARNED)
def test_every_parameter_gets_a_finite_gradient(text):
    model = fresh(text).train()
    model(some(text, 8)).square().sum(0).var().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert any(p.grad.abs().sum() > 0 for p in model.backbone.parameters())


@pytest.mark.parametrize("text", SUBJECTS)
def test_the_seed_decides_the_weights(text):
    first, again, other = made(text).state_dict(), fresh(text).state_dict(), fresh(text, seed=1).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("text", SUBJECTS)
def test_nothing_is_changed_in_place(text):
    model, images = made(text), some(text)
    before = images.clone()
    features = model.features(images)
    kept = features.clone()
    model.head(features)
    assert torch.equal(images, before)
    assert torch.equal(features, kept)


@pytest.mark.parametrize("text", SUBJECTS)
def test_eval_is_a_function(text):
    assert torch.equal(made(text)(some(text)), made(text)(some(text)))


@pytest.mark.parametrize("text", SUBJECTS)
def test_bfloat16(text):
    model = fresh(text, normalize=False).eval().bfloat16()
    emb_ND = model(some(text))
    assert emb_ND.dtype == torch.float32
    exact_ND = fresh(text, normalize=False).eval()(some(text))
    # bfloat16 has 8 bits: the error of a row is small beside its length, however short that is
    assert ((emb_ND - exact_ND).norm(dim=1) <= 0.05 * exact_ND.norm(dim=1)).all()
    assert exact_ND.norm(dim=1).min() > 0


@pytest.mark.parametrize("text", SUBJECTS)
def test_saved_and_loaded_bit_for_bit(text, tmp_path):
    model = fresh(text)
    model.train()(some(text, 8))  # moves the running statistics
    model.eval().save(tmp_path)
    again = Embedder.load(tmp_path)
    assert again.config == model.config
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    assert torch.equal(again(some(text)), model(some(text)))


def test_signals_of_any_length_and_nothing_else():
    for length in (1, 3, 64, 401):
        assert fresh("conv1d(channels=(4, 6), kernel=5)").backbone(torch.zeros(2, 2, length)).shape == (2, 6)
    with pytest.raises(ValueError, match=r"signals of shape \(C, T\), got \(1, 28, 28\); for images use small_resnet"):
        bind("network", "conv1d")((1, 28, 28))
    with pytest.raises(ValueError, match=r"got \(2, 400\); for signals use conv1d or mlp"):
        bind("network", "small_resnet")((2, 400))


@pytest.mark.parametrize("text", PICTURES)
def test_vectors_are_refused_in_one_sentence(text):
    with pytest.raises(ValueError, match=r"takes images of shape \(C, H, W\), got \(64,\); .*mlp or identity"):
        bind("network", text)((64,))


@pytest.mark.parametrize("text", BOUNDED)
@pytest.mark.parametrize("axis", [1, 2])
def test_the_smallest_side_is_named_and_is_the_smallest(text, axis):
    shape, smallest = list(SUBJECTS[text][0]), SUBJECTS[text][1]
    shape[axis] = smallest - 1
    with pytest.raises(
        ValueError, match=rf"at least {smallest} x {smallest}, got {shape[1]} x {shape[2]}; give size={smallest}"
    ):
        bind("network", text)(tuple(shape))
    shape[axis] = smallest
    bind("network", text)(tuple(shape)).eval()(torch.zeros(1, *shape))


@pytest.mark.parametrize("side", [1, 2, 3, 8, 31])
def test_small_resnet_takes_any_side(side):
    network = bind("network", "small_resnet(width=4)")((1, side, side + 1))
    assert network.eval()(torch.zeros(2, 1, side, side + 1)).shape == (2, network.width)


def conv(before: int, after: int, kernel: int) -> int:
    return before * after * kernel * kernel + after


def relabel_contiguous(*sizes: int) -> int:
    return sum(a * b + b for a, b in pairwise(sizes))


COUNTS = [
    # 156 + 2,416 + 32,896 + 258, and three slopes
    ("lenet", (1, 28, 28), 2, 35_729),
    ("convnet", (1, 28, 28), 2, conv(1, 32, 5) + conv(32, 64, 5) + relabel_contiguous(4 * 4 * 64, 256, 256, 2) + 4),
    ("small", (3, 200, 200), 2, conv(3, 32, 5) + conv(32, 64, 5) + relabel_contiguous(47 * 47 * 64, 64, 32, 2) + 4),
    # Koch et al. with their one sigmoid unit have 38,951,745, of which 4,097 are that unit's
    ("koch", (1, 105, 105), 0, 38_951_745 - 4_097),
    ("alexnet", (3, 224, 224), 1000, 61_100_840),
    # "3.21 M" with 1,024 outputs; BatchNorm has two numbers a channel to learn
    ("simple2", (3, 48, 48), 1024, 3_210_816),
    ("mlp(widths=(128, 128, 128), bias=False)", (1, 28, 28), 0, (784 + 128 + 128) * 128),
    ("mlp(widths=(1024, 1024))", (784,), 2, relabel_contiguous(784, 1024, 1024, 2)),
    ("identity", (784,), 0, 0),
]


@pytest.mark.parametrize(("text", "shape", "dim", "count"), COUNTS)
def test_parameter_counts_by_hand(text, shape, dim, count):
    with torch.device("meta"):
        network = bind("network", text)(shape)
    head = relabel_contiguous(network.width, dim) if dim else 0
    assert sum(p.numel() for p in network.parameters()) + head == count


def test_the_embedder_counts_its_head():
    assert Embedder("lenet", shape=(1, 28, 28), dim=2).parameter_count == 35_729


def in_the_papers_order(text: str, x: Tensor, weights: list[Tensor]) -> Tensor:
    """Convolution, activation, pool ... with these weights, written out."""
    take = iter(weights)
    koch = text.startswith("koch")
    for stage in range(4 if koch else 2):
        x = F.conv2d(x, next(take), next(take))
        x = x.relu() if koch else F.prelu(x, next(take))
        x = x if stage == 3 else F.max_pool2d(x, 2)
    x = x.flatten(1)
    if koch:
        return torch.sigmoid(x @ next(take).T + next(take))
    for weight in take:
        x = F.prelu(x @ weight.T + next(take), next(take))
    return x


@pytest.mark.parametrize("text", ["lenet", "convnet", "small", "koch(width=24)"])
@pytest.mark.parametrize("slope", [0.01, 0.25, 1.5])
def test_pool_before_activation_is_the_papers_order_in_value_and_gradient(text, slope):
    torch.manual_seed(3)
    network = bind("network", text)(SUBJECTS[text][0]).double()
    weights = list(network.parameters())
    with torch.no_grad():
        for weight in weights:
            weight.fill_(slope) if weight.shape == (1,) else weight.mul_(2)
    x = some(text).double()
    ours, theirs = network(x), in_the_papers_order(text, x, weights)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    ways = [torch.autograd.grad(y.square().sum(), weights) for y in (ours, theirs)]
    torch.testing.assert_close(*ways, rtol=1e-10, atol=1e-12)


def test_mlp_by_hand():
    network = bind("network", "mlp(widths=(2, 1), bias=False, last_activation=False)")((2,))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[1.0, -1.0], [2.0, 3.0]]))
        network[3].weight.copy_(torch.tensor([[-1.0, 1.0]]))
    # relu(1 - 2) = 0 and relu(2 + 6) = 8 give 8; relu(2 + 1) = 3 and relu(4 - 3) = 1 give -2, which no ReLU follows
    assert network(torch.tensor([[1.0, 2.0], [2.0, -1.0]])).tolist() == [[8.0], [-2.0]]


def layers_of(text: str) -> list[str]:
    return [type(layer).__name__ for layer in bind("network", text)((4,))]


def test_mlp_layers():
    assert layers_of("mlp(widths=(3, 2), dropout=0.1)") == ["Flatten", "Linear", "ReLU", "Dropout", "Linear", "ReLU"]
    assert layers_of("mlp(widths=(3,), activation='tanh')") == ["Flatten", "Linear", "Tanh"]
    assert layers_of("mlp(widths=(3, 2), last_activation=False)") == ["Flatten", "Linear", "ReLU", "Linear"]
    assert layers_of("mlp(widths=())") == ["Flatten"]


def test_a_residual_block_starts_as_its_straight_way_and_then_adds():
    torch.manual_seed(0)
    block, x = Residual(3).eval(), torch.randn(2, 3, 5, 5)
    assert torch.equal(block(x), x.relu())
    torch.nn.init.ones_(block.body[-1].weight)
    first, second = block.body[0].weight, block.body[3].weight
    shrink = (1 + 1e-5) ** -0.5  # BatchNorm that has seen nothing
    inner = (F.conv2d(x, first, padding=1) * shrink).relu()
    torch.testing.assert_close(block(x), (x + F.conv2d(inner, second, padding=1) * shrink).relu())


def test_an_activation_that_does_not_exist_offers_the_nearest():
    with pytest.raises(ValueError, match=r"no activation named 'rellu'; did you mean .*relu"):
        bind("network", "mlp(activation='rellu')")((4,))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    assert bind("network", f"mlp(widths=(3,), activation={name!r})")((4,))(torch.randn(2, 4)).shape == (2, 3)


def test_a_network_that_does_not_exist_offers_the_nearest():
    with pytest.raises(SpecError, match="convnet"):
        Embedder("convet", shape=(1, 28, 28))


# torchvision.models.alexnet: the layers that have a state, and the shapes of their weights
ALEXNET = {
    "features.0": (64, 3, 11, 11),
    "features.3": (192, 64, 5, 5),
    "features.6": (384, 192, 3, 3),
    "features.8": (256, 384, 3, 3),
    "features.10": (256, 256, 3, 3),
    "classifier.1": (4096, 9216),
    "classifier.4": (4096, 4096),
}


def test_alexnet_has_torchvisions_names():
    with torch.device("meta"):
        network = bind("network", "alexnet")((3, 224, 224))
    weights = {f"{name}.weight": shape for name, shape in ALEXNET.items()}
    biases = {f"{name}.bias": shape[:1] for name, shape in ALEXNET.items()}
    assert {name: tuple(t.shape) for name, t in network.state_dict().items()} == weights | biases
    assert network.head == "classifier.6"


def test_alexnet_in_torchvisions_order():
    """The same weights through the layers as torchvision writes them."""
    model, x = made("alexnet(width=16)").backbone, torch.randn(2, 3, 95, 80)
    w = model.state_dict()

    def layer(x: Tensor, name: str, **how) -> Tensor:
        return F.conv2d(x, w[f"features.{name}.weight"], w[f"features.{name}.bias"], **how).relu()

    y = F.max_pool2d(layer(x, "0", stride=4, padding=2), 3, 2)
    y = F.max_pool2d(layer(y, "3", padding=2), 3, 2)
    y = layer(layer(layer(y, "6", padding=1), "8", padding=1), "10", padding=1)
    y = F.adaptive_avg_pool2d(F.max_pool2d(y, 3, 2), (6, 6)).flatten(1)
    y = F.linear(y, w["classifier.1.weight"], w["classifier.1.bias"]).relu()
    y = F.linear(y, w["classifier.4.weight"], w["classifier.4.bias"]).relu()
    torch.testing.assert_close(model(x), y, rtol=1e-4, atol=1e-5)
