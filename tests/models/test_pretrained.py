"""Networks of others: built without a download, with their preprocessing, and loaded without their makers."""

import importlib
import json
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from likewise import api
from likewise.data import data_home
from likewise.experiment.build import embedder, load_images, resolve_defaults, weights_of
from likewise.experiment.recipe import Recipe
from likewise.models import Embedder, pretrained
from likewise.models.mobilenet import by_eight, mobilenet_v2
from likewise.models.pooling import average, gem
from likewise.spec import SpecError, bind

pytestmark = pytest.mark.usefixtures("vision")

TOWER = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SIDES = {"image_size": 32, "patch_size": 8}
SHAPE = (3, 32, 32)
PUBLISHED_FILE = "mobilenet_v2-b0353104.pth"


def noise(n: int = 3, shape=SHAPE) -> torch.Tensor:
    return torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def pictures(folder: Path, classes: int = 3, each: int = 8) -> Path:
    """A class-per-folder set of plain colours, a little different each."""
    from PIL import Image

    for c in range(classes):
        (folder / f"class{c}").mkdir(parents=True)
        for i in range(each):
            Image.new("RGB", (24, 24), (80 * c, 5 * i, 200 - 60 * c)).save(folder / f"class{c}" / f"{i}.png")
    return folder


# --- MobileNetV2 -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width_mult", [0.35, 1.0, 1.4])
def test_mobilenet_is_torchvisions(width_mult):
    from torchvision.models import mobilenet_v2 as theirs_of

    torch.manual_seed(0)
    theirs, ours = theirs_of(width_mult=width_mult), mobilenet_v2(SHAPE, width_mult=width_mult, dropout=0.0)
    ours.load_state_dict({name: t for name, t in theirs.state_dict().items() if not name.startswith("classifier")})
    x = torch.randn(2, 3, 70, 45)
    for mode in (False, True):  # in train mode the statistics of the batch count
        ours.train(mode), theirs.train(mode)
        torch.testing.assert_close(ours(x), theirs.features(x).mean((2, 3)), rtol=0, atol=1e-5)


def test_mobilenet_has_torchvisions_names_and_draws_as_it_does():
    from torchvision.models import mobilenet_v2 as theirs_of

    theirs, ours = theirs_of().state_dict(), mobilenet_v2((3, 224, 224)).state_dict()
    assert {n: t.shape for n, t in ours.items()} == {n: t.shape for n, t in theirs.items() if "classifier" not in n}
    for name in ("features.0.0.weight", "features.18.0.weight"):
        assert ours[name].std() == pytest.approx(theirs[name].std().item(), rel=0.15)


def test_channels_are_multiples_of_eight_and_not_a_tenth_below():
    assert [by_eight(n) for n in (1, 11.9, 12, 18, 24, 33.6)] == [8, 16, 16, 24, 24, 32]


def published_weights() -> Path:
    """The real file, in one of the two places that a bare name is looked for. Where it is not, as `data_root` does."""
    try:
        return Path(weights_of(Recipe(weights=PUBLISHED_FILE)))
    except SpecError:
        missing = f"needs {PUBLISHED_FILE} in the folder weights in or beside LIKEWISE_DATA ({data_home()})"
        pytest.fail(missing) if os.environ.get("LIKEWISE_REQUIRE_DATA") == "1" else pytest.skip(missing)


@pytest.mark.slow
@pytest.mark.parametrize("dim", [1000, 8])
def test_mobilenet_loads_the_real_file(dim):
    from torchvision.models import mobilenet_v2 as theirs_of

    path, theirs = published_weights(), theirs_of().eval()
    theirs.load_state_dict(torch.load(path, weights_only=True))
    ours = Embedder("mobilenet_v2", shape=(3, 96, 96), dim=dim, normalize=False).eval()
    assert ours.load_weights(path) == (() if dim == 1000 else ("head.linear.bias", "head.linear.weight"))
    x = noise(2, (3, 96, 96))
    seen = (x / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(
        3, 1, 1
    )
    torch.testing.assert_close(ours.features(x), theirs.features(seen).mean((2, 3)), rtol=0, atol=1e-4)
    if dim == 1000:
        torch.testing.assert_close(ours(x), theirs(seen), rtol=1e-4, atol=1e-4)


def test_gem_by_hand():
    x = torch.tensor([[[[1.0, 3.0]], [[-5.0, 2.0]]]])
    # ((1 + 27) / 2)^(1/3) and, as what is below 0 counts as 0, (8 / 2)^(1/3)
    torch.testing.assert_close(gem(x), torch.tensor([[14 ** (1 / 3), 4 ** (1 / 3)]]))
    assert average(x).tolist() == [[2.0, -1.5]]
    x = torch.rand(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gem, x)


# --- where weights are looked for ------------------------------------------------------------------------------------


def test_a_bare_name_is_looked_for_in_and_beside_the_data(tmp_path, monkeypatch):
    monkeypatch.setenv("LIKEWISE_DATA", str(tmp_path / "root" / "data"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        SpecError, match=r"no weights 'w.pth': looked for w.pth, .*data/weights/w.pth, .*root/weights/w"
    ):
        weights_of(Recipe(weights="w.pth"))
    for place in ("root/weights", "root/data/weights", "."):  # the nearest wins
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / "w.pth").touch()
        assert Path(weights_of(Recipe(weights="w.pth"))).resolve() == (tmp_path / place / "w.pth").resolve()
    with pytest.raises(SpecError, match=r"looked for sub/w.pth; give"):
        weights_of(Recipe(weights="sub/w.pth"))
    assert weights_of(Recipe(weights="none")) == weights_of(Recipe()) == ""
    with pytest.raises(SpecError, match=r"weights=published is for efficientnet_lite, timm:.*not for convnet"):
        weights_of(Recipe(weights="published"))


# --- timm and torchvision --------------------------------------------------------------------------------------------

TIMM = ["timm:test_resnet", "timm:test_vit", "timm:test_convnext", "timm:test_resnet(pooling='gem')"]
TIMM += ["timm:test_vit(pooling='average')", "timm:test_vit(pooling='cls')", "timm:test_vit.r160_in1k"]
VISION = ["torchvision:shufflenet_v2_x0_5", "torchvision:mobilenet_v3_small(pooling='gem')"]
VISION += [pytest.param("torchvision:vit_b_32", marks=pytest.mark.slow)]


@pytest.mark.parametrize("text", [*TIMM, *VISION])
def test_saved_and_loaded_without_a_download(text, tmp_path):
    torch.manual_seed(0)
    model = Embedder(text, shape=SHAPE, dim=4).eval()
    assert model.features(noise()).shape == (3, model.width)
    model.save(tmp_path)
    again = Embedder.load(tmp_path)
    assert again.config == model.config
    assert torch.equal(again(noise()), model(noise()))


def test_it_is_their_network():
    import timm
    import torchvision

    torch.manual_seed(0)
    ours = Embedder("timm:test_vit", shape=SHAPE, dim=0, normalize=False, mean=0, std=1).eval()
    torch.manual_seed(0)
    theirs = timm.create_model("test_vit", num_classes=0, img_size=(32, 32)).eval()
    x = torch.rand(2, *SHAPE)
    torch.testing.assert_close(ours(x), theirs(x))
    tokens = theirs.forward_features(x)
    for pooling, expected in {"average": tokens[:, 1:].mean(1), "cls": tokens[:, 0]}.items():
        ours.backbone.summary = bind("network", f"timm:test_vit(pooling={pooling!r})")(SHAPE).summary
        torch.testing.assert_close(ours(x), expected)
    ours = bind("network", "torchvision:resnet18")(SHAPE).eval()
    theirs = torchvision.models.resnet18()
    theirs.fc = torch.nn.Identity()
    theirs.load_state_dict(ours.body.state_dict())
    torch.testing.assert_close(ours(x), theirs.eval()(x))
    trunk = torch.nn.Sequential(*list(theirs.children())[:-2])
    gems = bind("network", "torchvision:resnet18(pooling='gem')")(SHAPE).eval()
    gems.load_state_dict(ours.state_dict())
    torch.testing.assert_close(gems(x), gem(trunk(x)))


def test_their_preprocessing_is_taken_over():
    assert Embedder("timm:test_resnet", shape=SHAPE, dim=2).config["mean"] == [0.5, 0.5, 0.5]
    assert Embedder("torchvision:resnet18", shape=SHAPE, dim=2).config["std"] == [0.229, 0.224, 0.225]
    said = resolve_defaults(Recipe(network="timm:test_resnet"))
    assert (said.size, said.channels, said.weights) == (160, 3, "published")
    said = resolve_defaults(Recipe(network="torchvision:resnet18", size=64, weights="none"))
    assert (said.size, said.channels, said.weights) == (64, 3, "none")
    assert resolve_defaults(Recipe()).weights == ""


@pytest.mark.parametrize("name", ["fc", "other"])
def test_a_published_file_loads_by_their_names(name, tmp_path):
    import timm

    torch.manual_seed(1)
    theirs = timm.create_model("test_resnet", num_classes=5)
    tensors = {n.replace("fc.", f"{name}."): t.contiguous() for n, t in theirs.state_dict().items()}
    (tmp_path / "folder").mkdir()
    save_file(tensors, tmp_path / "folder" / "model.safetensors")
    torch.save(tensors, tmp_path / "model.pth")
    model = Embedder("timm:test_resnet", shape=SHAPE, dim=5, normalize=False).eval()
    for path in (tmp_path / "folder", tmp_path / "folder" / "model.safetensors", tmp_path / "model.pth"):
        if name == "other":
            with pytest.raises(
                ValueError, match=r"do not fit timm:test_resnet: unknown: .*backbone\.body\.other\.bias"
            ):
                model.load_weights(path)
        else:
            assert model.load_weights(path) == ()
            x = noise()
            torch.testing.assert_close(model(x), theirs.eval()((x / 255 - 0.5) / 0.5), rtol=1e-4, atol=1e-5)


def test_a_folder_without_one_file_of_weights(tmp_path):
    model = Embedder("timm:test_resnet", shape=SHAPE, dim=2)
    with pytest.raises(ValueError, match="not one file of weights but none; name the file"):
        model.load_weights(tmp_path)
    (tmp_path / "a.pth").touch(), (tmp_path / "b.pth").touch()
    with pytest.raises(ValueError, match=r"but a\.pth, b\.pth; name the file"):
        model.load_weights(tmp_path)


def test_published_weights_come_from_their_makers_and_offline_it_is_said(monkeypatch):
    import timm

    build, theirs = timm.create_model, timm.create_model("test_resnet")

    def hub(name: str, *, pretrained: bool, **settings):
        assert name == "test_resnet"
        return theirs if pretrained else build(name, **settings)

    monkeypatch.setattr(timm, "create_model", hub)
    model = Embedder("timm:test_resnet", shape=SHAPE, dim=2)
    assert model.load_weights() == ()
    found = model.state_dict()["backbone.body.layer1.0.conv1.weight"]
    assert torch.equal(found, theirs.state_dict()["layer1.0.conv1.weight"])

    def offline(*where: str):
        raise ConnectionError("no route to the hub.\nand a long story")

    monkeypatch.setattr(model.backbone, "fetch", offline)
    with pytest.raises(
        ValueError, match=r"weights of timm:test_resnet: no route to the hub; give .*weights=none to begin"
    ):
        model.load_weights()
    with pytest.raises(ValueError, match="there are no published weights for convnet"):
        Embedder("convnet", shape=SHAPE).load_weights()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("timm:resnet19", "timm has no network named 'resnet19'; did you mean .*resnet18"),
        ("timm:resnet18.a1_in2k", "no network named 'resnet18.a1_in2k'; did you mean .*resnet18.a1_in1k"),
        ("torchvision:resnet19", "torchvision has no network named 'resnet19'; did you mean .*resnet18"),
        ("torchvision:googlenet", "torchvision has no network named 'googlenet'"),
    ],
)
def test_an_unknown_name_offers_the_nearest_before_data_is_read(text, said):
    recipe = Recipe(data="no-such-data", network=text)  # a recipe of a run reads without the libraries
    with pytest.raises(SpecError, match=said):
        api.train(recipe)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("timm:", "names nothing; write timm:NAME"),
        ("timm:resnet18(poling='gem')", "timm takes no 'poling'; did you mean pooling"),
        ("hf:a/b(pooling=", "does not read as name"),
        ("tim:resnet18", "cannot import 'tim'"),
    ],
)
def test_what_is_misspelled_fails_in_the_recipe(text, said):
    with pytest.raises(SpecError, match=said):
        Recipe(network=text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("timm:test_resnet(pooling='max')", "no pooling named 'max' here; there are own, average, gem, cls"),
        ("timm:test_resnet(pooling='cls')", "this network has none; take average or gem"),
        (
            "torchvision:densenet121(pooling='gem')",
            "no pooling layer to replace; leave pooling out, or take timm:dense",
        ),
        ("torchvision:resnet18(pooling='cls')", "no pooling named 'cls' here"),
    ],
)
def test_a_pooling_that_cannot_be(text, said):
    with pytest.raises(SpecError, match=said):
        bind("network", text)(SHAPE)


def test_pictures_that_it_cannot_take():
    with pytest.raises(ValueError, match=r"takes colour images \(3, H, W\), got \(1, 32, 32\); give channels=3"):
        Embedder("timm:test_resnet", shape=(1, 32, 32))
    with pytest.raises(ValueError, match=r"timm:test_vit cannot take images of 8 x 32: .*made for size=160"):
        Embedder("timm:test_vit", shape=(3, 8, 32))


def test_a_library_that_is_not_installed_is_named_with_the_install_line(monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(SpecError, match=r"needs timm, which is not installed; run: pip install .*\[images\]'"):
        pretrained.library("timm")


def test_a_library_that_does_not_fit_torch_is_told(monkeypatch):
    def broken(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(SpecError, match=r"torchvision is installed but cannot be imported beside torch .*nms does not"):
        pretrained.library("torchvision")


# --- transformers ----------------------------------------------------------------------------------------------------


def kept(folder: Path, model, **preprocessing) -> Path:
    """A model and its preprocessing as their makers publish them."""
    model.save_pretrained(folder)
    if preprocessing:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing), encoding="utf-8")
    return folder


def config_of(kind: str):
    import transformers

    if kind == "CLIP":
        text = TOWER | {"vocab_size": 50, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
        return transformers.CLIPConfig(vision_config=TOWER | SIDES, text_config=text)
    if kind == "ConvNext":
        return transformers.ConvNextConfig(hidden_sizes=[8, 16, 16, 24], depths=[1, 1, 1, 1])
    return getattr(transformers, f"{kind}Config")(**TOWER, **SIDES)


def made(kind: str, folder: Path, **preprocessing) -> Path:
    import transformers

    torch.manual_seed(2)
    whole = {"ViT": "ViTForImageClassification", "CLIP": "CLIPModel"}.get(kind, f"{kind}Model")
    return kept(folder / kind, getattr(transformers, whole)(config_of(kind)), **preprocessing)


@pytest.mark.parametrize("kind", ["ViT", "Dinov2", "Dinov2WithRegisters", "CLIP", "ConvNext"])
@pytest.mark.parametrize("side", [32, 48])
def test_a_folder_of_transformers(kind, side, tmp_path):
    import transformers

    folder = made(kind, tmp_path, image_mean=[0.1, 0.2, 0.3], image_std=[0.5, 0.25, 0.5], size={"shortest_edge": side})
    text, x = f"hf:{folder}", noise(2, (3, side, side))
    makers = pretrained.makers_of(text)
    assert makers == ((0.1, 0.2, 0.3), (0.5, 0.25, 0.5), side)
    model = Embedder(text, shape=(3, side, side), dim=0, normalize=False).eval()
    assert model.load_weights() == ()
    theirs = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    theirs = getattr(theirs, "vision_model", theirs)
    seen = (x / 255 - torch.tensor(makers.mean).view(3, 1, 1)) / torch.tensor(makers.std).view(3, 1, 1)
    how = {"interpolate_pos_encoding": True} if kind in ("ViT", "CLIP") else {}
    out = theirs(pixel_values=seen, **how)
    expected = out.last_hidden_state[:, 0] if kind == "ViT" else out.pooler_output
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)

    model.save(tmp_path / "model")
    shutil.rmtree(folder)  # what is loaded needs neither the folder nor the hub
    again = Embedder.load(tmp_path / "model")
    assert torch.equal(again(x), model(x))
    assert again.config == model.config


def test_patch_tokens_are_pooled_without_those_before_them(tmp_path):
    folder, x = made("Dinov2WithRegisters", tmp_path), torch.rand(2, *SHAPE)
    torch.manual_seed(0)
    network = bind("network", f"hf:{folder}(pooling='average')")(SHAPE).eval()
    tokens = network.body(pixel_values=x).last_hidden_state
    assert tokens.shape[1] == 1 + 4 + 16
    torch.testing.assert_close(network(x), tokens[:, 5:].mean(1))
    torch.testing.assert_close(
        bind("network", f"hf:{folder}(pooling='cls')")(SHAPE).summary(network.body, x), tokens[:, 0]
    )


def test_tensors_of_a_folder_that_do_not_fit_are_named(tmp_path):
    folder = made("Dinov2", tmp_path)
    other = kept(tmp_path / "other", __import__("transformers").Dinov2Model(config_of("Dinov2")))
    tensors = {n: t.contiguous() for n, t in Embedder(f"hf:{folder}", shape=SHAPE).backbone.body.state_dict().items()}
    del tensors["layernorm.weight"]
    tensors["layernorm.bias"] = torch.zeros(7)
    save_file(tensors, other / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        ValueError, match=r"missing: backbone\.body\.layernorm\.weight; of another shape: .*bias \[7\] where \[16\] is"
    ):
        Embedder(f"hf:{folder}", shape=SHAPE).load_weights(other)


def test_a_folder_that_is_none_offers_one_beside_it(tmp_path, monkeypatch):
    made("Dinov2", tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SpecError, match=r"neither a folder with a config.json nor .* hub; did you mean Dinov2\?"):
        resolve_defaults(Recipe(network=f"hf:{tmp_path / 'Dinov3'}"))


def test_preprocessing_that_is_not_said(tmp_path):
    assert pretrained.makers_of(f"hf:{made('Dinov2', tmp_path)}") == (None, None, 0)
    plain = {"do_normalize": False, "crop_size": {"height": 24, "width": 24}, "size": {"shortest_edge": 32}}
    assert pretrained.makers_of(f"hf:{made('Dinov2', tmp_path, **plain)}") == ((0.0,), (1.0,), 24)
    plain["do_center_crop"] = False
    assert pretrained.makers_of(f"hf:{made('Dinov2', tmp_path, **plain)}").size == 32


# --- from a recipe, and from the command line ------------------------------------------------------------------------

QUICK = ("epochs=1", "size=32", "dim=8", "sampler=pk(classes=3, images=3)")


def test_the_moments_are_those_that_the_weights_were_trained_with(tmp_path):
    folder = pictures(tmp_path / "shapes")
    base = Recipe(data=str(folder), size=32, dim=4)

    def mean(recipe: Recipe) -> list[float]:
        recipe = resolve_defaults(recipe)
        return embedder(recipe, load_images(recipe)).config["mean"]

    ours = Embedder("mobilenet_v2(width_mult=0.25)", shape=SHAPE, dim=4, mean=0.3)
    ours.save(tmp_path / "run" / "model")
    save_file({n: t.contiguous() for n, t in ours.backbone.state_dict().items()}, tmp_path / "w.safetensors")
    of_data = mean(base.replace(network="mobilenet_v2(width_mult=0.25)"))
    assert of_data == pytest.approx([0.31, 0.07, 0.55], abs=0.05)
    assert mean(base.replace(network="mobilenet_v2(width_mult=0.25)", weights=str(tmp_path / "run"))) == [0.3]
    file = {"network": "mobilenet_v2(width_mult=0.25)", "weights": str(tmp_path / "w.safetensors")}
    assert mean(base.replace(**file)) == [0.485, 0.456, 0.406]
    assert mean(base.replace(network="timm:test_resnet", weights="none")) == pytest.approx(of_data)


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Run a command in this process, inside a folder with images: (exit code, stdout, stderr)."""
    from likewise.cli import main

    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "shapes")

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["likewise", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


@pytest.mark.slow
def test_from_the_command_line(call, tmp_path):
    made("Dinov2", tmp_path, image_mean=[0.5] * 3, image_std=[0.5] * 3, size=32)
    assert call("train", "shapes", "network=hf:Dinov2", *QUICK, "--name", "tokens")[0] == 0
    shutil.rmtree(tmp_path / "Dinov2")
    code, out, err = call("evaluate", "runs/tokens")
    assert (code, "knn@1" in out) == (0, True), err
    assert Embedder.load("runs/tokens").config["mean"] == [0.5] * 3
    assert call("train", "shapes", "network=timm:test_resnet", "weights=none", *QUICK, "--name", "timm")[0] == 0
    small = "network=mobilenet_v2(width_mult=0.25)"
    assert call("train", "shapes", small, *QUICK, "--name", "first")[0] == 0
    assert call("train", "shapes", small, "weights=runs/first", "head=bnneck", *QUICK, "--name", "second")[0] == 0
    first, second = (Embedder.load(f"runs/{name}").config["mean"] for name in ("first", "second"))
    assert first == second


def test_they_are_listed_and_explained(call):
    listed = call("list", "networks")[1]
    assert all(line in listed for line in ("mobilenet_v2", "timm:NAME", "torchvision:NAME", "hf:NAME_OR_FOLDER"))
    assert "bnneck" in call("list", "heads")[1]
    assert "pooling: own | average | gem | cls" in call("explain", "timm")[1]
    assert "recipe field  weights" in call("explain", "weights")[1]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["network=mobilenet_v2", "weights=absent.pth"], "there are no weights 'absent.pth': looked for absent.pth, "),
        (
            ["network=timm:test_resnt", "weights=none"],
            "timm has no network named 'test_resnt'; did you mean test_resnet",
        ),
    ],
)
def test_what_is_not_there_is_one_sentence_and_exit_code_2(call, tmp_path, settings, said):
    code, _, err = call("train", "shapes", *settings)
    assert code == 2
    assert err.startswith(f"likewise: {said}")
    assert not (tmp_path / "runs").exists()


def test_torchvision_gives_the_default_weights_checked(monkeypatch):
    class Published:
        def get_state_dict(self, **how):
            assert how == {"check_hash": True, "weights_only": True}
            return {"fc.weight": torch.ones(1)}

    asked = SimpleNamespace(
        get_model_weights=lambda name: SimpleNamespace(DEFAULT=Published()) if name == "r18" else None
    )
    monkeypatch.setattr(pretrained, "library", lambda name: asked if name == "torchvision.models" else None)
    assert pretrained.fetch_torchvision("r18") == {"fc.weight": torch.ones(1)}
    monkeypatch.setattr(pretrained, "library", lambda name: pytest.fail("asked for no library"))

    class Network(torch.nn.Linear):
        pass

    def build(pretrained=False):
        network = Network(1, 1)
        torch.nn.init.constant_(network.weight, 5.0 if pretrained else 0.0)
        return network

    assert pretrained.fetch_timm(build)["weight"].item() == 5


def test_a_pooler_of_the_first_pretraining_is_left_out_and_the_pooling_asked_for_stays(tmp_path):
    folder, x = made("ViT", tmp_path), torch.rand(2, *SHAPE)

    def summary(pooling: str) -> tuple[torch.Tensor, torch.Tensor]:
        network = bind("network", f"hf:{folder}(pooling='{pooling}')")(SHAPE).eval()
        assert network.body.pooler is None
        return network(x), network.body(pixel_values=x).last_hidden_state

    for pooling in ("own", "cls"):
        found, tokens = summary(pooling)
        torch.testing.assert_close(found, tokens[:, 0])
    found, tokens = summary("average")
    torch.testing.assert_close(found, tokens[:, 1:].mean(1))
