"""DINOv2, DINOv3, SigLIP 2 and others by `hf:`: tiny random models; features, preprocessing, sizes, blocks, LoRA."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from likewise.models import Embedder, adapters, pretrained
from likewise.models.blocks import blocks, lr_multipliers
from likewise.spec import SpecError, bind

pytestmark = pytest.mark.usefixtures("vision")

TOWER = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "patch_size": 8}
SHAPE = (3, 32, 32)
# class of transformers, its configuration, tokens before the patches, and where an image's own summary is
KINDS = {
    "dinov2": ("Dinov2Model", "Dinov2Config", {"image_size": 32}, 1, "pooler"),
    "dinov2 with registers": ("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", {"image_size": 32}, 5, "pooler"),
    "dinov3": ("DINOv3ViTModel", "DINOv3ViTConfig", {"image_size": 32, "num_register_tokens": 3}, 4, "pooler"),
    "siglip": ("SiglipVisionModel", "SiglipVisionConfig", {"image_size": 32}, 0, "pooler"),
    "siglip2": ("Siglip2VisionModel", "Siglip2VisionConfig", {"num_patches": 9}, 0, "pooler"),
}
PREPROCESSING = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.25, 0.5], "size": {"height": 32, "width": 32}}


def made(kind: str, folder: Path, **preprocessing) -> tuple[Path, torch.nn.Module]:
    """A folder as its makers publish it, and the network itself."""
    import transformers

    whole, config, fields, *_ = KINDS[kind]
    torch.manual_seed(2)
    network = getattr(transformers, whole)(getattr(transformers, config)(**TOWER, **fields)).eval()
    with torch.no_grad():  # published norms and scales are not 1 and 0
        for parameter in network.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    network.save_pretrained(folder / "made")
    (folder / "made" / "preprocessor_config.json").write_text(json.dumps(preprocessing or PREPROCESSING))
    return folder / "made", network


def given(kind: str, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """The input of a network, for SigLIP 2 patch by patch as its own processor cuts them."""
    if kind != "siglip2":
        return {"pixel_values": x}
    from transformers.models.siglip2.image_processing_siglip2 import convert_image_to_patches

    rows = torch.stack([convert_image_to_patches(image, 8) for image in x])
    shapes = torch.tensor([[x.shape[2] // 8, x.shape[3] // 8]] * len(x))
    return {
        "pixel_values": rows,
        "pixel_attention_mask": torch.ones(rows.shape[:2]),
        "spatial_shapes": shapes,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_features_and_preprocessing_are_those_of_its_makers(kind, tmp_path):
    folder, network = made(kind, tmp_path)
    text, before = f"hf:{folder}", KINDS[kind][3]
    makers = pretrained.makers_of(text)
    assert makers == ((0.1, 0.2, 0.3), (0.5, 0.25, 0.5), 32)
    model = Embedder(text, shape=SHAPE, dim=0, normalize=False).eval()
    assert model.load_weights() == ()
    x = torch.randint(0, 256, (3, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    seen = (x / 255 - torch.tensor(makers.mean).view(3, 1, 1)) / torch.tensor(makers.std).view(3, 1, 1)
    out = network(**given(kind, seen))
    torch.testing.assert_close(model(x), out.pooler_output, rtol=1e-4, atol=1e-5)
    assert out.last_hidden_state.shape[1] == before + 16
    tokens = out.last_hidden_state
    average = bind("network", f"{text}(pooling='average')")(SHAPE).eval()
    average.body.load_state_dict(model.backbone.body.state_dict())
    torch.testing.assert_close(average(seen), tokens[:, before:].mean(1), rtol=1e-4, atol=1e-5)
    if before:
        first = bind("network", f"{text}(pooling='cls')")(SHAPE).eval()
        first.body.load_state_dict(model.backbone.body.state_dict())
        torch.testing.assert_close(first(seen), tokens[:, 0], rtol=1e-4, atol=1e-5)
    else:
        with pytest.raises(SpecError, match="takes the class token, and this network has none"):
            bind("network", f"{text}(pooling='cls')")(SHAPE)
    model.save(tmp_path / "model")
    shutil.rmtree(folder)  # what is loaded needs neither the folder nor the hub
    assert torch.equal(Embedder.load(tmp_path / "model")(x), model(x))


@pytest.mark.parametrize("kind", KINDS)
def test_other_sizes_of_whole_patches_are_taken_and_a_rest_is_refused(kind, tmp_path):
    folder, network = made(kind, tmp_path)
    wide = bind("network", f"hf:{folder}")((3, 24, 48)).eval()
    wide.body.load_state_dict(network.state_dict())
    x = torch.rand(2, 3, 24, 48)
    how = {"interpolate_pos_encoding": True} if kind == "siglip" else {}
    torch.testing.assert_close(wide(x), network(**given(kind, x), **how).pooler_output, rtol=1e-4, atol=1e-5)
    title = "cuts images into patches of 8 x 8 pixels, and"
    with pytest.raises(ValueError, match=rf"hf:.*made {title} 36 x 36 leaves .*; give size=32 or size=40"):
        Embedder(f"hf:{folder}", shape=(3, 36, 36))
    with pytest.raises(ValueError, match=rf"{title} 32 x 50 leaves a rest .*; give size=32x48 or size=32x56"):
        Embedder(f"hf:{folder}", shape=(3, 32, 50))
    with pytest.raises(ValueError, match=r"give size=8$"):
        Embedder(f"hf:{folder}", shape=(3, 5, 5))


def test_the_size_that_a_network_was_made_for_is_taken_although_it_leaves_a_rest(tmp_path):
    """As SigLIP's so400m: patches of 14 and images of 384 pixels."""
    import transformers

    transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**TOWER, image_size=37)).save_pretrained(
        tmp_path / "m"
    )
    network = bind("network", f"hf:{tmp_path / 'm'}(pooling='average')")((3, 37, 37)).eval()
    x = torch.rand(1, 3, 37, 37)
    torch.testing.assert_close(network(x), network.body(pixel_values=x).last_hidden_state.mean(1))


def test_a_network_without_a_pooling_head_is_averaged(tmp_path):
    import transformers

    config = transformers.SiglipVisionConfig(**TOWER, image_size=32, vision_use_head=False)
    transformers.SiglipVisionModel(config).save_pretrained(tmp_path / "m")
    network = bind("network", f"hf:{tmp_path / 'm'}")(SHAPE).eval()
    x = torch.rand(1, *SHAPE)
    torch.testing.assert_close(network(x), network.body(pixel_values=x).last_hidden_state.mean(1))


def test_the_vision_half_of_a_pair_is_taken(tmp_path):
    import transformers

    text = {k: v for k, v in TOWER.items() if k != "patch_size"} | {"vocab_size": 20, "projection_size": 16}
    config = transformers.SiglipConfig(vision_config=TOWER | {"image_size": 32}, text_config=text)
    whole = transformers.SiglipModel(config).eval()
    whole.save_pretrained(tmp_path / "m")
    model = Embedder(f"hf:{tmp_path / 'm'}", shape=SHAPE, dim=0, normalize=False, mean=0.0, std=1.0).eval()
    model.load_weights()
    x = torch.rand(2, *SHAPE)
    torch.testing.assert_close(model(x), whole.vision_model(pixel_values=x).pooler_output, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("preprocessing", "size"),
    [
        ({"crop_size": {"height": 24, "width": 24}, "size": {"shortest_edge": 32}}, 24),
        ({"crop_size": {"height": 24, "width": 24}, "do_center_crop": False, "size": {"height": 32, "width": 32}}, 32),
        ({"max_num_patches": 20, "patch_size": 8}, 32),  # a square of 4 x 4 patches
        ({"size": 40}, 40),
        ({"patch_size": 8}, 0),
    ],
)
def test_the_size_is_that_of_the_preprocessing(preprocessing, size, tmp_path):
    folder, _ = made("dinov2", tmp_path, **preprocessing)
    assert pretrained.makers_of(f"hf:{folder}").size == size


def test_a_processors_file_holds_the_preprocessing_of_images(tmp_path):
    folder, _ = made("siglip", tmp_path)
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": PREPROCESSING}))
    assert pretrained.makers_of(f"hf:{folder}") == ((0.1, 0.2, 0.3), (0.5, 0.25, 0.5), 32)


# --- rates by depth --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_rates_fall_with_the_depth_by_hand(kind, tmp_path):
    """Two layers, a half each: patches and tokens 1/4 of the last layer's, with SigLIP's pooling head 1/8 of it."""
    network = bind("network", f"hf:{made(kind, tmp_path)[0]}")(SHAPE)
    found = {name: rate for name, p in network.body.named_parameters() for q, rate in rates(network) if q is p}
    assert set(found) == {name for name, _ in network.body.named_parameters()}
    head = 0.5 if kind.startswith("siglip") else 1.0
    for name, rate in found.items():
        layer = next((int(part) for part in name.split(".") if part.isdigit()), None)
        if name.startswith("head."):
            assert rate == 0.4
        elif layer is not None:
            assert rate == pytest.approx(0.4 * head * 0.5 ** (1 - layer))
        elif "norm" in name:
            assert rate == pytest.approx(0.4 * head)
        else:
            assert rate == pytest.approx(0.4 * head * 0.25)


def rates(network):
    return lr_multipliers(network, backbone_lr=0.4, layer_decay=0.5).items()


def test_a_timm_transformer_has_a_block_a_layer():
    network = bind("network", "timm:test_vit")((3, 160, 160))
    depth = len(network.body.blocks)
    assert len(blocks(network)) == depth + 1
    found = lr_multipliers(network, layer_decay=0.75)
    assert found[network.body.pos_embed] == found[network.body.patch_embed.proj.weight] == pytest.approx(0.75**depth)
    assert [found[block.attn.qkv.weight] for block in network.body.blocks] == pytest.approx(
        [0.75 ** (depth - 1 - i) for i in range(depth)]
    )
    assert found[network.body.norm.weight] == 1


# --- LoRA ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_attention_and_mlp_of_each_layer_are_adapted_and_merged(kind, tmp_path):
    model = Embedder(f"hf:{made(kind, tmp_path)[0]}", shape=SHAPE, dim=4, normalize=False).eval()
    bind("adapter", "lora(rank=2, layers='attention')")(model.backbone, SHAPE)
    names = [name for name, _ in adapters.adapted_layers(model.backbone)]
    assert len(names) == 2 * 4  # query, key, value and output of two layers
    adapters.merge(model.backbone)
    model.requires_grad_(True)
    bind("adapter", "lora(rank=2)")(model.backbone, SHAPE)
    layers = list(adapters.adapted_layers(model.backbone))
    assert len(layers) >= 2 * 6
    x = torch.rand(2, *SHAPE)
    model(x).square().sum().backward()
    assert all(layer.lora_up.grad.abs().sum() > 0 for _, layer in layers)
    with torch.no_grad():
        for _, layer in layers:
            layer.lora_up += 0.1 * torch.randn_like(layer.lora_up)
        expected = model(x)
        adapters.merge(model.backbone)
        torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dinov2 with registers", "siglip", "siglip2", "timm"])
def test_a_run_with_adapters_is_loaded_and_exported_merged(kind, tmp_path):
    from likewise import Recipe
    from likewise.experiment import train
    from likewise.export.making import ExportError, export
    from likewise.export.making import given as taken
    from likewise.export.session import Session

    network = "timm:test_vit" if kind == "timm" else f"hf:{made(kind, tmp_path)[0]}"
    recipe = Recipe(
        data="digits", size=32, channels=3, max_per_class=6, epochs=1, sampler="pk(classes=5, images=3)", dim=4,
        network=network, weights="none", adapter="lora(rank=2)", doctor=False, device="cpu", layer_decay=0.75,
    )  # fmt: skip
    run, images = train.train(recipe, out=tmp_path, name="run")
    model = Embedder.load(run.path)
    assert not any(True for _ in adapters.adapted_layers(model))
    few = images.take(torch.arange(5))
    if kind == "siglip2":  # its patches of any number are counted by an operation that ONNX lacks
        with pytest.raises(ExportError, match=r"cannot write hf:.* as ONNX: it has no form of aten\._is_all_true"):
            export(run.path)
        return
    session = Session(export(run.path).folder / "model.onnx")
    found = torch.from_numpy(session(taken(few, session.about["input"])))
    torch.testing.assert_close(found, model.embed(few), rtol=0, atol=1e-5)
