"""Signals, spectrograms and other arrays that are no square images: shapes by hand, a training, what is refused."""

import numpy as np
import pytest
import torch

from likewise import api
from likewise.data import from_arrays, load
from likewise.data.arrays import kind_of
from likewise.data.options import LoadOptions
from likewise.experiment.evaluate_on import read_images
from likewise.experiment.recipe import Recipe
from likewise.export.making import export
from likewise.imaging.sizes import sides_of
from likewise.imaging.values import check_unit_range
from likewise.models import Embedder
from likewise.recipes.load import load_recipe
from likewise.recipes.plan import plan
from likewise.spec import SpecError

RATE, LENGTH = 2000, 400  # samples a second, and of a chirp


def chirps(each: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """int16 [N, 1, T] of three words: a rising tone, a falling one, a steady one; any pitch, place and loudness."""
    rng = np.random.default_rng(seed)
    second = np.arange(LENGTH) / RATE
    words = {"rises": 1500.0, "falls": -1500.0, "stays": 0.0}
    spoken, labels = [], []
    for word, slope in words.items():
        for _ in range(each):
            pitch = rng.uniform(300, 500) - slope * 0.1
            phase = 2 * np.pi * (pitch * second + slope * second**2 / 2 + rng.uniform())
            spoken.append(rng.uniform(2000, 9000) * np.sin(phase) + rng.normal(0, 300, LENGTH))
            labels.append(word)
    order = rng.permutation(len(labels))
    return np.array(spoken)[order, None].astype(np.int16), np.array(labels)[order]


@pytest.mark.parametrize(
    ("shape", "dtype", "kind", "seen"),
    [
        ((4, 1, 400), np.int16, "auto", (1, 400)),
        ((4, 12, 96), np.float64, "auto", (12, 96)),
        ((4, 12, 95), np.float32, "auto", (1, 12, 95)),  # less than 8 times as long as there are channels
        ((4, 17, 400), np.float32, "auto", (1, 17, 400)),
        ((4, 2, 100), np.uint8, "auto", (1, 2, 100)),  # bytes are images
        ((4, 12, 96), np.float32, "images", (1, 12, 96)),
        ((4, 40, 64), np.float32, "signals", (40, 64)),
        ((4, 300), np.float32, "signals", (1, 300)),
        ((4, 300), np.float32, "auto", (300,)),
        ((4, 1, 40, 64), np.float32, "auto", (1, 40, 64)),
    ],
)
def test_which_arrays_are_signals(shape, dtype, kind, seen):
    X = -np.ones(shape, dtype) if dtype != np.uint8 else np.ones(shape, dtype)
    images = from_arrays(X, [0, 0, 1, 1], kind=kind)
    assert images.shape == seen
    assert images.pixels.dtype == (torch.uint8 if dtype == np.uint8 else torch.float32)


@pytest.mark.parametrize(("name", "kind"), [("waveforms", "signals"), ("X", "rows")])
def test_a_name_says_signals(tmp_path, name, kind):
    np.savez(tmp_path / "a.npz", **{name: np.ones((4, 300)), "labels": [0, 0, 1, 1], "group": ["a", "b", "c", "d"]})
    assert kind_of(tmp_path / "a.npz") == kind
    images = load(str(tmp_path / "a.npz"))
    assert images.shape == ((1, 300) if kind == "signals" else (300,))
    assert images.groups == ("a", "b", "c", "d")
    assert load_recipe(tmp_path / "a.npz").network.startswith("conv1d" if kind == "signals" else "mlp")


@pytest.mark.parametrize(
    ("X", "kind", "why"),
    [
        (np.ones((2, 3, 4, 5)), "signals", r"signals are numbers \[N, C, T\] or \[N, T\]; got float64 of shape"),
        (np.ones((2, 2000, 2)), "signals", r"at most 1,024 channels; .* save \[N, T, C\] as X.transpose"),
        (np.full((2, 1, 20), np.nan), "auto", "X holds NaN or infinity; fill or leave out those signals first"),
        (np.ones((2, 4)), "signal", "no kind='signal' of arrays; did you mean signals"),
        (np.full((2, 4, 4), 9.0), "auto", "images of floats are 0 to 1, .* subtract the mean of other measurements"),
    ],
)
def test_what_is_refused(X, kind, why):
    with pytest.raises(ValueError, match=why):
        from_arrays(X, [0, 1], kind=kind)


def test_decibels_are_standardised_per_channel():
    rng = np.random.default_rng(0)
    decibels = rng.normal([[[[-60.0]], [[-20.0]]]], [[[[9.0]], [[3.0]]]], (64, 2, 10, 16))
    check_unit_range(decibels)
    images = from_arrays(decibels, [0, 1] * 32)
    model = api_model(images)
    seen = model.prepare(images.pixels)
    torch.testing.assert_close(seen.mean((0, 2, 3)), torch.zeros(2), atol=1e-3, rtol=0)
    torch.testing.assert_close(seen.std((0, 2, 3)), torch.ones(2), atol=1e-2, rtol=0)
    assert not model.unit_range
    assert model.embed(np.full((1, 2, 10, 16), 5.0, np.float32)).shape == (1, 4)
    usual = Embedder("small_resnet(width=4)", shape=(1, 8, 8), mean=0.4, std=0.2)
    with pytest.raises(ValueError, match="images of floats are 0 to 1"):
        usual.embed(np.full((1, 1, 8, 8), 5.0, np.float32))


def api_model(images) -> Embedder:
    from likewise.experiment.build import embedder, resolve_defaults

    return embedder(resolve_defaults(Recipe(network="small_resnet(width=4)", dim=4)), images)


def test_colours_of_decibels_are_not_changed():
    from likewise.data.augment import light, photo

    decibels = torch.full((2, 1, 8, 8), -40.0)
    torch.testing.assert_close(light()(decibels), decibels)
    with pytest.raises(ValueError, match="these hold -40 to -40; use augment=light, affine or none"):
        photo()(decibels)


@pytest.mark.parametrize(
    ("size", "sides", "kept"),
    [(0, None, 0), (64, (64, 64), 64), ("64", (64, 64), 64), ("40x64", (40, 64), "40x64"), (" 8 X 8 ", (8, 8), 8)],
)
def test_sizes(size, sides, kept):
    assert sides_of(size) == sides
    assert LoadOptions(size=size).sides == sides
    recipe = Recipe(size=size)
    assert recipe.size == kept
    assert Recipe.from_toml(recipe.to_toml()).size == kept
    assert Recipe().override(f"size={size}").size == kept


@pytest.mark.parametrize("size", ["40x", "x40", "0x40", "40x50x60", "4097", "-1", "40*64", "big", -1, 5000, True, 1.5])
def test_wrong_sizes_are_one_sentence(size):
    with pytest.raises(SpecError, match=r"^size is .* 40x64.*, got .*"):
        Recipe(size=size)


def test_images_of_a_rectangle(tmp_path):
    X = np.random.default_rng(0).integers(0, 256, (8, 20, 32), np.uint8)
    np.savez(tmp_path / "a.npz", X=X, y=np.arange(8) % 2)
    images = load(str(tmp_path / "a.npz"), size="40x64")
    assert images.shape == (1, 40, 64)
    model = Embedder("small_resnet(width=4)", shape=(1, 40, 64))
    assert read_images(tmp_path / "a.npz", model).shape == (1, 40, 64)
    assert model.embed(list(X[:, None])).shape == (8, 64)


def test_a_network_that_needs_more_keeps_the_longer_side(tmp_path):
    from likewise.experiment.build import load_images

    np.savez(tmp_path / "a.npz", X=np.zeros((8, 10, 50), np.uint8), y=np.arange(8) % 2)
    assert load_images(Recipe(data=str(tmp_path / "a.npz"), network="lenet")).shape == (1, 16, 50)


def test_signals_are_used_as_they_are(tmp_path):
    model = Embedder("conv1d(channels=(4, 8))", shape=(1, 100), dim=4, mean=0.0, std=900.0)
    spoken = np.random.default_rng(0).normal(0, 900, (5, 1, 100)).astype(np.float32)
    assert model.embed(spoken).shape == (5, 4)
    torch.testing.assert_close(model.embed(spoken[0]), model.embed(spoken)[:1])
    model.save(tmp_path)
    torch.testing.assert_close(Embedder.load(tmp_path).embed(spoken), model.embed(spoken))
    with pytest.raises(ValueError, match=r"the model takes \[N, 1, 100\], got \[5, 1, 90\]"):
        model.embed(spoken[:, :, :90])
    with pytest.raises(ValueError, match=r"takes signals of shape \(1, 100\), not images"):
        model.embed([tmp_path / "a.png"])


def test_a_plan_for_arrays_whose_kind_is_said(tmp_path):
    np.savez(
        tmp_path / "a.npz", X=-np.ones((40, 40, 64), np.float32) * np.arange(40)[:, None, None], y=np.arange(40) % 2
    )
    told = [f"data=arrays(path={str(tmp_path / 'a.npz')!r}, kind='signals')"]
    drawn_up = plan(load_recipe(tmp_path / "a.npz"), told, measure=False)
    assert (drawn_up.recipe.network, drawn_up.recipe.size, drawn_up.recipe.augment) == ("conv1d", 0, "")
    assert drawn_up.facts.kind() == "signals of 40 channels, 64 samples"
    drawn_up = plan(load_recipe(tmp_path / "a.npz"), measure=False)
    assert (drawn_up.recipe.network, drawn_up.recipe.size) == ("small_resnet", 0)
    assert drawn_up.facts.kind() == "40 x 64 px, floats"


@pytest.mark.slow
def test_chirps_are_learnt_exported_and_evaluated(tmp_path):
    X, y = chirps(60)
    np.savez(tmp_path / "chirps.npz", signals=X, y=y)
    drawn_up = plan(load_recipe(tmp_path / "chirps.npz"), ["epochs=12"])
    assert "signals of 1 channel, 400 samples" in " ".join(" ".join(drawn_up.lines()).split())
    assert drawn_up.recipe.network == "conv1d"
    assert not drawn_up.recipe.size
    run = api.train(drawn_up.recipe, out=tmp_path / "runs", name="chirps")
    scores = run.metrics()["scores"]
    assert scores["knn@1"]["value"] >= 0.9
    new_X, new_y = chirps(20, seed=1)
    np.savez(tmp_path / "new.npz", signals=new_X, y=new_y)
    assert api.evaluate_on(run.path, tmp_path / "new.npz")["scores"]["knn@1"]["value"] >= 0.9
    made = export(run.path)
    assert made.difference <= 1e-4
    assert "float32 [N, 1, 400]" in (made.folder / "README.md").read_text()
