"""The Embedder: what it does to images, what it accepts, and that what is saved comes back."""

import copy
import json
import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from likewise.models import Embedder, evaluating, inputs, weights
from likewise.spec import SpecError

GREY, COLOUR = (1, 12, 10), (3, 12, 10)


def embedder(network="mlp(widths=(8,), activation='tanh')", *, shape=GREY, dim=4, seed=0, **more) -> Embedder:
    torch.manual_seed(seed)
    return Embedder(network, shape=shape, dim=dim, **more)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def published_net(shape, *, width=5):
    """A network of someone else's, with a head of a published name."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), width))
    network.width, network.head, network.mean, network.std = width, "fc.last", 0.5, 0.25
    return network


PUBLISHED = f"{__name__}:published_net"


# --- preprocessing ---------------------------------------------------------------------------------------------------


def test_standardising_by_hand():
    model = embedder("identity", shape=(3, 1, 2), dim=0, normalize=False, mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 0.25))
    pixels = torch.tensor([[[[0, 255]], [[0, 255]], [[0, 255]]]], dtype=torch.uint8)
    torch.testing.assert_close(model(pixels), torch.tensor([[0.0, 1.0, -1.0, 1.0, -4.0, 0.0]]))
    for same in (pixels.float() / 255, pixels.double() / 255):
        torch.testing.assert_close(model(same), model(pixels))


@pytest.mark.parametrize("shape", [(5,), (2, 3), COLOUR])
def test_one_number_stands_for_all_channels(shape):
    model = embedder("identity", shape=shape, dim=0, normalize=False, mean=2.0, std=4.0)
    x = torch.randn(6, *shape)
    torch.testing.assert_close(model(x), (x.flatten(1) - 2) / 4)


def test_a_vector_has_a_mean_for_each_entry():
    model = embedder("identity", shape=(2,), dim=0, normalize=False, mean=[1.0, 2.0], std=torch.tensor([2.0, 4.0]))
    assert model(torch.tensor([[3.0, 2.0], [1, 10]])).tolist() == [[1.0, 0.0], [0.0, 2.0]]
    assert model(torch.tensor([[3, 2]])).tolist() == [[1.0, 0.0]]  # whole numbers are numbers here


@pytest.mark.parametrize(
    "wrong", [{"std": 0.0}, {"std": (1.0, -1.0, 1.0)}, {"mean": float("nan")}, {"mean": (0.1, 0.2)}]
)
def test_moments_that_cannot_be(wrong):
    with pytest.raises(ValueError, match=r"mean|std"):
        embedder(shape=COLOUR, **wrong)


def test_a_network_may_bring_the_moments_of_its_published_weights():
    assert embedder(PUBLISHED).config["mean"] == [0.5]
    assert embedder(PUBLISHED, mean=0.1).config["mean"] == [0.1]
    assert embedder("alexnet(width=2)", shape=(3, 63, 63)).config["std"] == [0.229, 0.224, 0.225]
    assert embedder("alexnet(width=2)", shape=(1, 63, 63)).config["std"] == [1.0]


@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 30))
def test_colour_to_grey_is_pillows_to_the_number(seed, height, width):
    pixels = noise(1, 3, height, width, seed=seed)
    grey = inputs.fit(pixels, (1, height, width))
    pillow = Image.fromarray(pixels[0].permute(1, 2, 0).numpy()).convert("L")
    assert np.array_equal(grey[0, 0].numpy(), np.asarray(pillow))
    assert (inputs.fit(pixels.float() / 255, (1, height, width)) * 255 - grey).abs().max() <= 0.501


@given(st.integers(0, 10_000), st.integers(2, 60), st.integers(2, 60))
def test_resizing_is_antialiased_as_pillows(seed, height, width):
    pixels = noise(1, 3, height, width, seed=seed)
    ours = inputs.fit(pixels, COLOUR)[0].permute(1, 2, 0).int().numpy()
    theirs = np.asarray(Image.fromarray(pixels[0].permute(1, 2, 0).numpy()).resize((10, 12), Image.Resampling.BILINEAR))
    assert np.abs(ours - theirs).max() <= 1
    as_float = inputs.fit(pixels.float() / 255, COLOUR)[0].permute(1, 2, 0).numpy()
    assert np.abs(as_float * 255 - ours).max() <= 1.5


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool, torch.uint8]
)
def test_any_float_and_bool_and_byte_is_a_picture(dtype):
    assert embedder()(torch.ones(2, 3, 30, 20, dtype=dtype)).isfinite().all()


def test_grey_to_colour_repeats():
    pixels = noise(2, 1, 12, 10)
    assert torch.equal(inputs.fit(pixels, COLOUR), pixels.repeat(1, 3, 1, 1))


def test_pictures_that_fit_are_not_copied():
    pixels = noise(2, 3, 12, 10)
    assert inputs.fit(pixels, COLOUR) is pixels


@pytest.mark.parametrize(
    ("shape", "came", "sentence"),
    [
        (GREY, torch.zeros(12, 10), r"takes \[N, 1, 12, 10\], got \[12, 10\]"),
        (GREY, torch.zeros(2, 4, 12, 10), "4 channels came where the model takes 1"),
        (COLOUR, torch.zeros(2, 2, 12, 10), "2 channels came where the model takes 3"),
        (GREY, torch.zeros(2, 1, 12, 10, dtype=torch.int64), "uint8 .* or float .*, got int64"),
        ((7,), torch.zeros(2, 8), r"takes \[N, 7\], got \[2, 8\]"),
        ((7,), torch.zeros(2, 1, 12, 10), r"takes \[N, 7\], got \[2, 1, 12, 10\]"),
    ],
)
def test_what_does_not_fit_is_told(shape, came, sentence):
    with pytest.raises(ValueError, match=sentence):
        embedder(shape=shape)(came)


def test_gradient_reaches_the_picture():
    x = torch.rand(2, 3, 30, 20, requires_grad=True)
    embedder()(x).sum().backward()
    assert x.grad.abs().sum() > 0


# --- the head --------------------------------------------------------------------------------------------------------


def test_rows_have_length_one_and_without_normalize_they_have_not():
    assert torch.allclose(embedder()(noise(5, *GREY)).norm(dim=1), torch.ones(5))
    free, unit = embedder(normalize=False)(noise(5, *GREY)), embedder()(noise(5, *GREY))
    torch.testing.assert_close(free / free.norm(dim=1, keepdim=True), unit)


def test_no_head():
    model = embedder(dim=0, normalize=False)
    assert (model.dim, model.width, model.config["dim"]) == (8, 8, 0)
    assert torch.equal(model(noise(3, *GREY)), model.features(noise(3, *GREY)))


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-13, 1e-11, 1.0, 1e15])
def test_length_one_at_any_size_and_zero_at_zero(size):
    model = embedder("identity", shape=(2,), dim=0)
    x = torch.tensor([[3.0, -4.0], [1.0, 1.0]]) * size
    x.requires_grad_()
    emb = model(x)
    emb[:, 0].sum().backward()
    assert x.grad.isfinite().all()
    if size < 1e-12:
        assert torch.equal(emb, torch.zeros(2, 2))
        assert torch.equal(x.grad, torch.zeros(2, 2))
    else:
        torch.testing.assert_close(emb[0], torch.tensor([0.6, -0.8]))
        torch.testing.assert_close(x.grad[0] * size, torch.tensor([0.128, 0.096]))  # (1 - 0.6^2) / 5, 0.6 * 0.8 / 5


def test_gradient_of_length_one():
    model = embedder("identity", shape=(4,), dim=3).double()
    assert torch.autograd.gradcheck(model, torch.randn(3, 4, dtype=torch.float64, requires_grad=True))


def test_embeddings_leave_in_float32_or_better():
    x = noise(2, *GREY)
    assert embedder().double()(x).dtype == torch.float64
    assert embedder(normalize=False).bfloat16()(x).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert embedder()(x).dtype == torch.float32
        assert embedder(normalize=False)(x).dtype == torch.float32


# --- embed: many ways in, one embedding ------------------------------------------------------------------------------


class Stub:
    """What the data package's Images offers here."""

    def __init__(self, pixels):
        self.pixels = pixels

    def __len__(self):
        return len(self.pixels)

    def batch(self, indices):
        return self.pixels[indices]


def ways(pixels: torch.Tensor, folder) -> dict:
    """The same images, given in every accepted way."""
    hwc = [np.ascontiguousarray(p.permute(1, 2, 0).numpy()) for p in pixels]
    pillow = [Image.fromarray(p[..., 0] if p.shape[2] == 1 else p) for p in hwc]
    for i, picture in enumerate(pillow):
        picture.save(folder / f"{i}.png")
    paths = [folder / f"{i}.png" for i in range(len(pillow))]
    return {
        "bytes": pixels,
        "floats": pixels.float() / 255,
        "numpy": pixels.numpy(),
        "numpy, channels last": np.stack(hwc),
        "numpy, strided": np.stack(hwc)[::-1][::-1],
        "list of tensors": list(pixels),
        "list of arrays": [p.numpy() for p in pixels],
        "list of arrays, channels last": hwc,
        "list, bytes and floats": [pixels[0], pixels[1].float() / 255, *pixels[2:]],
        "tuple of images": tuple(pillow),
        "generator of images": (p for p in pillow),
        "paths": paths,
        "names": [os.fspath(p) for p in paths],
        "mixed": [paths[0], pillow[1], hwc[2], *pixels[3:]],
        "Images": Stub(pixels),
    }


@pytest.mark.parametrize("shape", [GREY, COLOUR])
def test_the_same_picture_is_the_same_embedding_however_it_comes(shape, tmp_path):
    model, pixels = embedder(shape=shape, mean=0.3, std=0.2), noise(5, *shape)
    expected = model(pixels).detach()
    for way, images in ways(pixels, tmp_path).items():
        emb = model.embed(images, batch=2)
        torch.testing.assert_close(emb, expected, msg=lambda m, way=way: f"{way}: {m}")
        assert (emb.dtype, emb.requires_grad) == (torch.float32, False)


@pytest.mark.parametrize("shape", [GREY, COLOUR])
def test_one_picture_is_a_batch_of_one(shape, tmp_path):
    model, pixels = embedder(shape=shape), noise(5, *shape)
    given = ways(pixels, tmp_path)
    alone = [
        given[way][0]
        for way in ("bytes", "floats", "numpy", "numpy, channels last", "tuple of images", "paths", "names")
    ]
    for image in [*alone, *([pixels[0, 0]] if shape == GREY else [])]:
        torch.testing.assert_close(model.embed(image), model(pixels[:1]).detach())


@pytest.mark.parametrize("batch", [1, 2, 5, 6, 512])
def test_the_batch_size_changes_nothing(batch):
    model, pixels = embedder("convnet", shape=(1, 16, 16)), noise(6, 1, 16, 16)
    torch.testing.assert_close(model.embed(pixels, batch=batch), model.embed(pixels), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "nothing", [[], torch.zeros(0, *GREY), np.zeros((0, *GREY), np.uint8), Stub(torch.zeros(0, *GREY))]
)
def test_no_pictures_no_embeddings(nothing):
    assert embedder().embed(nothing).shape == (0, 4)


def test_sizes_and_colours_may_differ_within_a_list():
    model = embedder(shape=COLOUR)
    images = [noise(3, 40, 30), noise(1, 12, 10), Image.new("RGB", (7, 90), "red"), noise(50, 20, 3).numpy()]
    emb = model.embed(images)
    for row, image in zip(emb, images, strict=True):
        torch.testing.assert_close(row, model.embed(image)[0])


def test_a_narrow_picture_is_not_taken_for_one_with_its_channels_last():
    model = embedder(shape=COLOUR)
    for pixels in (noise(2, 3, 8, 4), noise(2, 1, 9, 3), noise(2, 3, 1, 1)):
        torch.testing.assert_close(model.embed(pixels), model(pixels).detach())


def test_vectors():
    model = embedder(shape=(6,))
    x = torch.randn(4, 6)
    expected = model(x).detach()
    for way in (x, x.numpy(), x.double().numpy(), list(x), list(x.numpy()), x.tolist(), Stub(x)):
        torch.testing.assert_close(model.embed(way), expected)
    torch.testing.assert_close(model.embed(x[0]), expected[:1])


def test_modes_come_back_even_after_an_error():
    model = embedder("small_resnet(width=4)", shape=(3, 8, 8)).train()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    norms[0].eval()  # frozen by the user
    modes = [m.training for m in model.modules()]
    state = copy.deepcopy(model.state_dict())
    first = model.embed(noise(4, 3, 8, 8))
    assert torch.equal(first, model.eval().embed(noise(4, 3, 8, 8)))
    model.train(), norms[0].eval()
    with pytest.raises(ValueError, match="channels"):
        model.embed([noise(3, 8, 8), noise(4, 8, 8)])
    with pytest.raises(RuntimeError), evaluating(model):
        raise RuntimeError
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(a, b) for a, b in zip(state.values(), model.state_dict().values(), strict=True))


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (np.zeros((50, 12, 10), np.uint8), r"\[50, 12, 10\] is no image .* x\[:, None\]"),
        ([object()], "object"),
        (7, r"got \[\]"),
        ("no/such.png", "cannot read no/such.png as an image: no such file"),
        ([None], "no image"),
    ],
)
def test_what_is_no_picture_is_told(images, sentence):
    with pytest.raises(ValueError, match=sentence):
        embedder().embed(images)


@pytest.mark.parametrize("content", [b"", b"not an image", "half"])
def test_a_broken_file_is_named(content, tmp_path):
    path = tmp_path / "broken.png"
    Image.fromarray(noise(64, 64).numpy()).save(path)
    path.write_bytes(path.read_bytes()[:2000] if content == "half" else content)
    with pytest.raises(ValueError, match=r"cannot read .*broken.png as an image"):
        embedder().embed(path)


def shown(model: Embedder, image) -> list:
    """What the network is shown, in 0 to 255, colours last."""
    (batch,) = inputs.batches(image, model.shape, 1)
    return batch[0].permute(1, 2, 0).tolist()


@pytest.mark.parametrize(
    ("name", "image", "pixel"),
    [
        ("clear.png", Image.new("RGBA", (2, 2), (200, 0, 0, 0)), [255, 255, 255]),
        ("grey16.png", Image.fromarray(np.full((2, 2), 0x80FF, np.uint16)), [128, 128, 128]),
        ("white16.png", Image.fromarray(np.full((2, 2), 0xFFFF, np.uint16)), [255, 255, 255]),
        ("cmyk.tif", Image.new("CMYK", (2, 2), (0, 255, 255, 0)), [255, 0, 0]),
        ("palette.png", Image.new("RGB", (2, 2), (0, 255, 0)).quantize(), [0, 255, 0]),
        ("bits.png", Image.new("1", (2, 2), 1), [255, 255, 255]),
        ("large.png", Image.new("L", (200, 90), 7), [7, 7, 7]),
    ],
)
def test_kinds_of_files(name, image, pixel, tmp_path):
    image.save(tmp_path / name)
    assert shown(embedder(shape=(3, 2, 2)), tmp_path / name) == [[pixel] * 2] * 2
    assert shown(embedder(shape=(3, 2, 2)), image) == [[pixel] * 2] * 2


def test_what_shows_through_a_palette_is_white(tmp_path):
    Image.new("P", (2, 2)).save(tmp_path / "palette.png", transparency=0)
    assert shown(embedder(shape=(1, 2, 2)), tmp_path / "palette.png") == [[[255]] * 2] * 2


def test_numbers_without_a_range_are_refused(tmp_path):
    Image.new("F", (2, 2), 0.5).save(tmp_path / "x.tif")
    with pytest.raises(ValueError, match=r"cannot read .*x.tif as an image: its numbers are neither 8 nor 16 bits"):
        embedder().embed(tmp_path / "x.tif")


def quarter_turned(values: np.ndarray, path) -> None:
    """A file that says it is to be turned a quarter clockwise."""
    picture = Image.fromarray(values)
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(path, exif=exif)


def test_pictures_stand_upright(tmp_path):
    quarter_turned(np.arange(6, dtype=np.uint8).reshape(2, 3), tmp_path / "turned.png")
    assert shown(embedder(shape=(1, 3, 2)), tmp_path / "turned.png") == [[[3], [0]], [[4], [1]], [[5], [2]]]


@pytest.mark.parametrize("shape", [(1, 12, 10), (3, 12, 10), (3, 40, 90)])
def test_files_are_read_as_the_data_package_reads_them(shape, tmp_path):
    from likewise.imaging.decode import decode

    photo = np.asarray(Image.fromarray(noise(20, 30, 3).numpy()).resize((330, 210)))
    Image.fromarray(photo).save(tmp_path / "colour.jpg", quality=90)
    Image.fromarray(photo[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(photo[..., 0].astype(np.uint16) * 200).save(tmp_path / "grey16.png")
    Image.fromarray(photo).convert("CMYK").save(tmp_path / "cmyk.jpg")
    quarter_turned(photo, tmp_path / "turned.jpg")
    for path in tmp_path.iterdir():
        (ours,) = inputs.batches(path, shape, 1)
        assert torch.equal(ours[0], decode(path, shape)), path.name


@pytest.mark.parametrize("image", [Image.new("L", (4, 4)), [Image.new("L", (4, 4))]])
def test_a_model_of_vectors_takes_no_picture(image, tmp_path):
    with pytest.raises(ValueError, match=r"takes vectors of shape \(6,\), not images"):
        embedder(shape=(6,)).embed(image)
    Image.new("L", (4, 4)).save(tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"x.png .*takes vectors"):
        embedder(shape=(6,)).embed(tmp_path / "x.png")


# --- saved and loaded ------------------------------------------------------------------------------------------------

CONFIG = {"shape": (1, 16, 16), "dim": 3, "mean": 0.1307, "std": 0.3081, "sim": "dot", "classes": ("ä", "b")}


@pytest.fixture
def saved(tmp_path):
    model = embedder("lenet", **CONFIG)
    model.info = {"threshold": 0.25, "scores": {"knn@1": [0.1, None, True]}, "ü": "—"}
    model.save(tmp_path / "model")
    return model, tmp_path / "model"


def test_all_of_it_comes_back(saved):
    model, folder = saved
    again = Embedder.load(folder)
    assert (again.config, again.info, again.sim, again.classes) == (model.config, model.info, "dot", ("ä", "b"))
    assert not again.training
    assert torch.equal(again.embed(noise(3, 1, 16, 16)), model.embed(noise(3, 1, 16, 16)))
    assert sorted(p.name for p in folder.iterdir()) == ["model.json", "model.safetensors"]


def test_the_run_folder_will_do(saved):
    assert Embedder.load(saved[1].parent).config == saved[0].config
    assert Embedder.load(os.fspath(saved[1])).config == saved[0].config


def test_saving_what_was_loaded_gives_the_same_bytes(saved, tmp_path):
    Embedder.load(saved[1]).save(tmp_path / "again")
    for name in ("model.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (saved[1] / name).read_bytes()


def test_the_config_builds_the_same_model(saved):
    config = json.loads(json.dumps(saved[0].config))
    assert Embedder(**config).config == saved[0].config


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_precision_comes_back(dtype, tmp_path):
    model = embedder("small_resnet(width=4)", shape=(1, 8, 8)).to(dtype)
    model.save(tmp_path)
    again = Embedder.load(tmp_path)
    assert all(
        a.dtype == b.dtype and torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True)
    )
    assert torch.equal(again.embed(noise(3, 1, 8, 8)), model.embed(noise(3, 1, 8, 8)))


def test_a_model_without_weights(tmp_path):
    model = embedder("identity", shape=(3,), dim=0)
    model.save(tmp_path)
    assert torch.equal(Embedder.load(tmp_path).embed([[3.0, 0, 4.0]]), torch.tensor([[0.6, 0, 0.8]]))


def tied_net(shape):
    """Two layers that are one."""
    first = nn.Linear(shape[0], shape[0])
    network = nn.Sequential(first, nn.ReLU(), first)
    network.width = shape[0]
    return network


def test_shared_weights_are_saved_and_stay_shared(tmp_path):
    model = embedder(f"{__name__}:tied_net", shape=(5,))
    model.save(tmp_path)
    again, x = Embedder.load(tmp_path, trust_code=True), torch.randn(3, 5)
    assert torch.equal(again.embed(x), model.embed(x))
    assert again.backbone[0] is again.backbone[2]


def test_loading_and_saving_leave_the_random_stream_alone(saved):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Embedder.load(saved[1]).save(saved[1])
    assert torch.equal(torch.rand(3), expected)


def test_channels_lie_together_also_in_copies_and_after_loading(saved):
    for model in (saved[0], copy.deepcopy(saved[0]), Embedder.load(saved[1])):
        assert model.backbone[3].weight.stride() == (150, 1, 30, 6)  # 16 x 6 x 5 x 5


def test_a_copy_is_its_own(saved):
    twin = copy.deepcopy(saved[0])
    with torch.no_grad():
        next(twin.parameters()).add_(1)
    assert not torch.equal(twin.embed(noise(1, 1, 16, 16)), saved[0].embed(noise(1, 1, 16, 16)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40)
@given(st.dictionaries(st.text(), JSON, max_size=4), st.lists(st.text(), max_size=3))
def test_any_info_and_class_names_come_back(tmp_path_factory, info, classes):
    folder = tmp_path_factory.mktemp("model")
    model = embedder("identity", shape=(2,), dim=1, classes=classes)
    model.info = info
    model.save(folder)
    again = Embedder.load(folder)
    assert (again.info, again.classes) == (info, tuple(classes))


def test_info_that_is_no_json_is_refused_and_the_old_model_stays(saved):
    model, folder = saved
    before = (folder / "model.safetensors").read_bytes()
    model.info = {"threshold": torch.tensor(1.0)}
    with pytest.raises(ValueError, match=r"info holds numbers, text, lists and dicts only: .*Tensor"):
        model.save(folder)
    assert (folder / "model.safetensors").read_bytes() == before


def edit(folder, **changes) -> None:
    about = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(about | changes))


def retensor(folder, change) -> None:
    """Other tensors, honestly described."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    about = json.loads((folder / "model.json").read_text())
    weights.save(folder, tensors, {key: about[key] for key in ("config", "info")})


@pytest.mark.parametrize("version", [0, 2, 99, None, "1"])
def test_another_format_is_told(saved, version):
    edit(saved[1], format=version)
    with pytest.raises(ValueError, match=rf"format {version!r} and this version reads 1; update likewise"):
        Embedder.load(saved[1])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.pop("head.linear.bias"), "do not fit lenet: missing: head.linear.bias$"),
        (lambda t: t.update(more=torch.ones(1)), "unknown: more$"),
        (
            lambda t: t.update({"head.linear.weight": torch.ones(3, 7)}),
            r"of another shape: head.linear.weight \[3, 7\] where \[3, 128\] is needed$",
        ),
        (lambda t: (t.clear(), t.update(a=torch.ones(1))), r"missing: backbone.0.weight, .* and 7 more; unknown: a$"),
    ],
)
def test_tensors_that_do_not_fit_are_named(saved, change, sentence):
    retensor(saved[1], change)
    with pytest.raises(ValueError, match=sentence):
        Embedder.load(saved[1])


def test_no_model_there(tmp_path, saved):
    for nothing in (tmp_path / "none", tmp_path.parent / "x"):
        with pytest.raises(ValueError, match=r"no model at .*; give a run folder or its model folder"):
            Embedder.load(nothing)
    (saved[1] / "model.json").unlink()
    with pytest.raises(ValueError, match=r"no readable model.json"):
        Embedder.load(saved[1])


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"format": 1}', '{"format": 1, "crc32": 0, "info": {}}']
)
def test_a_broken_description_is_told(saved, text):
    (saved[1] / "model.json").write_text(text)
    with pytest.raises(ValueError, match=r"model"):
        Embedder.load(saved[1])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_damage_to_the_tensors_goes_unnoticed(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("model")
    model = embedder(shape=(2, 2, 2))
    model.save(folder)
    path, whole = folder / "model.safetensors", (folder / "model.safetensors").read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = whole[:at] + bytes([whole[at] ^ (1 << data.draw(st.integers(0, 7)))]) + whole[at + 1 :]
    path.write_bytes(data.draw(st.sampled_from([whole[:at], flipped, whole + b"x"])))
    try:
        again = Embedder.load(folder)
    except ValueError:
        return  # SpecError included: one clear sentence
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))


def test_one_flipped_bit_in_a_weight_is_told(saved):
    path = saved[1] / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model.safetensors is damaged: its checksum"):
        Embedder.load(saved[1])


def test_a_file_is_on_disk_before_it_takes_its_name_and_leaves_nothing_when_it_cannot(saved, monkeypatch):
    calls = []
    really = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (calls.append("fsync"), really(file)))

    def replace(source, target):
        calls.append(target.name)
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match="disk full"):
        saved[0].save(saved[1])
    assert calls == ["fsync", "model.safetensors"]
    assert sorted(p.name for p in saved[1].iterdir()) == ["model.json", "model.safetensors"]


class Stopped(BaseException):
    """A kill, as far as a test can have one."""


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_stopped_at_any_rename_the_model_is_the_old_or_the_new_one(saved, monkeypatch, renames):
    old, folder = saved
    new = embedder("lenet", **CONFIG | {"dim": 2}, seed=9)
    new.info = {"new": True}
    really, done = os.replace, []

    def replace(source, target):
        if len(done) == renames:
            raise Stopped
        done.append(target)
        really(source, target)

    monkeypatch.setattr(os, "replace", replace)
    try:
        new.save(folder)
    except Stopped:
        assert renames < 2
    expected = new if renames else old
    found = Embedder.load(folder)
    assert (found.config, found.info) == (expected.config, expected.info)
    assert torch.equal(found.embed(noise(2, 1, 16, 16)), expected.embed(noise(2, 1, 16, 16)))


# --- weights from elsewhere ------------------------------------------------------------------------------------------


def published(rows: int = 7, cols: int = 120, width: int = 5) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    body = {"1.weight": torch.randn(width, cols), "1.bias": torch.randn(width)}
    return body | {"fc.last.weight": torch.randn(rows, width), "fc.last.bias": torch.randn(rows)}


@pytest.mark.parametrize("form", ["plain.pth", "nested.pth", "parallel.pth", "plain.safetensors"])
@pytest.mark.parametrize("dim", [7, 3, 0])
def test_published_weights_load_by_name_and_the_head_where_it_fits(form, dim, tmp_path):
    tensors, path = published(), tmp_path / form
    if form.endswith("safetensors"):
        save_file(tensors, path)
    else:
        state = {f"module.{name}": t for name, t in tensors.items()} if "parallel" in form else tensors
        torch.save({"state_dict": state, "epoch": 3} if "nested" in form else state, path)
    model = embedder(PUBLISHED, dim=dim)
    fresh = copy.deepcopy(model.state_dict())
    unused = model.load_weights(path)
    assert torch.equal(model.backbone[1].weight, tensors["1.weight"])
    assert unused == (() if dim == 7 else ("head.linear.bias", "head.linear.weight"))
    if dim:
        expected = tensors["fc.last.bias"] if dim == 7 else fresh["head.linear.bias"]
        assert torch.equal(model.head.linear.bias, expected)


def test_weights_of_another_embedder(saved):
    other = embedder("lenet", **CONFIG | {"dim": 9}, seed=4)
    assert other.load_weights(saved[1]) == ("head.linear.bias", "head.linear.weight")
    assert torch.equal(other.features(noise(2, 1, 16, 16)), saved[0].features(noise(2, 1, 16, 16)))
    same = embedder("lenet", **CONFIG, seed=4)
    assert same.load_weights(saved[1].parent) == ()
    assert torch.equal(same.embed(noise(2, 1, 16, 16)), saved[0].embed(noise(2, 1, 16, 16)))


def test_published_weights_that_do_not_fit_change_nothing(tmp_path):
    save_file(published(cols=99), tmp_path / "x.safetensors")
    model = embedder(PUBLISHED)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(
        ValueError, match=r"x.safetensors do not fit .*backbone.1.weight \[5, 99\] where \[5, 120\] is needed"
    ):
        model.load_weights(tmp_path / "x.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))


class Evil:
    def __reduce__(self):
        return (os.mkdir, ("made-by-a-pickle",))


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"1.weight": Evil()}, "evil.pth")
    with pytest.raises(ValueError, match=r"cannot read evil.pth as plain tensors"):
        embedder(PUBLISHED).load_weights("evil.pth")
    assert os.listdir() == ["evil.pth"]


def test_no_weights_there(tmp_path):
    for name in ("none.pth", "none.safetensors"):
        with pytest.raises(ValueError, match=f"cannot read .*{name}"):
            embedder().load_weights(tmp_path / name)


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "near"),
    [({"network": "convent"}, "convnet"), ({"network": "mlp(width=3)"}, "widths"), ({"sim": "cosin"}, "cosine")],
)
def test_an_unknown_name_offers_the_nearest(wrong, near):
    with pytest.raises(SpecError, match=near):
        embedder(**wrong)


def test_each_float_image_is_checked_before_it_is_joined_with_others():
    """Negative values are other measurements; beside one of them an image of 0 to 255 is still a mistake."""
    shape = (1, 4, 4)
    wrong, other, grey = torch.full(shape, 255.0), torch.full(shape, -9.0), torch.zeros(shape, dtype=torch.uint8)
    wrong[0, 0, 0] = 0.0
    for items in ([wrong], [other, wrong], [wrong, other], [grey, other, wrong]):
        with pytest.raises(ValueError, match="images of floats are 0 to 1, and they hold 0 to 255"):
            list(inputs.batches(items, shape, 8))
        assert [len(batch) for batch in inputs.batches(items, shape, 8, unit_range=False)] == [len(items)]
    assert [len(batch) for batch in inputs.batches([other, grey], shape, 8)] == [2]
    vectors = [torch.full((3,), 255.0), torch.zeros(3)]
    assert [len(batch) for batch in inputs.batches(vectors, (3,), 8)] == [2]
