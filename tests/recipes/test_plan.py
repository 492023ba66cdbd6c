"""The plan for a user's own data, splits that keep scenes whole, and the quick look for near-copies."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from likewise.cli import main
from likewise.data import files, load
from likewise.data.images import Images
from likewise.data.scenes import clusters, overlaps
from likewise.data.split import auto, by_scene, given
from likewise.experiment.near_copies import look
from likewise.recipes.load import load_recipe
from likewise.recipes.plan import Facts, Plan, epochs_for, fitted, plan, rules, sampler

FACTS = Facts(
    images=1000, train=700, val=100, test=200, classes=10, smallest_class=60, median_class=70, largest_class=80,
    side=28, channels=1, groups=0, drawn=("val", "test"), open=False,
)  # fmt: skip

HEADS = ("data", "parts", "network", "training", "cost")


def bursts(seed: int = 0) -> Images:
    """Two classes of 20 bursts, five shots each: one colour image with little noise."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (40, 3, 4, 4)).repeat(8, 2).repeat(8, 3)
    pixels = np.clip(blocks.repeat(5, 0) + rng.normal(0, 3, (200, 3, 32, 32)), 0, 255).astype(np.uint8)
    labels = torch.arange(200) // 100
    ids = tuple(f"{i:03d}" for i in range(200))
    return Images(torch.from_numpy(pixels), labels, ("a", "b"), ids, torch.zeros(200, dtype=torch.uint8))


@pytest.mark.parametrize("split", [by_scene, auto])
def test_no_burst_is_cut(split):
    images = split(bursts(), val=0.2, test=0.2)
    parts = images.split.numpy().reshape(40, 5)
    assert (parts == parts[:, :1]).all()
    assert np.bincount(parts[:, 0]).tolist() == [24, 8, 8]
    assert images.drawn == ("val", "test")
    assert np.array_equal(clusters(bursts()), np.arange(200) // 5)


def test_a_published_test_part_is_never_cut_again():
    images = bursts()
    images.split[::2] = 2
    assert torch.equal(by_scene(images).split == 2, images.split == 2)
    drawn = auto(images)
    assert torch.equal(drawn.split == 2, images.split == 2)
    assert drawn.drawn == ("val",)


def test_auto_is_given_where_there_are_neither_groups_nor_copies():
    rng = np.random.default_rng(0)
    images = replace(bursts(), pixels=torch.from_numpy(rng.integers(0, 256, (200, 3, 32, 32), np.uint8)))
    assert torch.equal(auto(images, seed=3).split, given(images, seed=3).split)


def test_the_quick_look_names_the_way_out():
    messages: list[str] = []
    look(given(bursts()), "given", messages.append)
    assert any("test" in m and "split=by_scene" in m for m in messages)
    messages.clear()
    look(by_scene(bursts()), "by_scene", messages.append)
    assert not messages
    assert all(o.copies == 0 for o in overlaps(by_scene(bursts())))


def test_digits_are_not_taken_for_bursts():
    messages: list[str] = []
    look(load("digits"), "given", messages.append)
    assert not messages


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"classes": 2, "median_class": 400}, "pk(classes=2, images=64)"),
        ({"classes": 10, "median_class": 70}, "pk(classes=10, images=12)"),
        ({"classes": 10_000, "median_class": 3}, "pk(classes=42, images=3)"),
        ({"classes": 100, "median_class": 1}, "pk(classes=64, images=2)"),
        ({"classes": 5, "median_class": 4}, "pk(classes=5, images=4)"),
    ],
)
def test_the_batch_is_filled(changes, wanted):
    assert sampler(replace(FACTS, **changes), 128) == wanted


def test_rules(monkeypatch, tmp_path):
    assert rules(FACTS)[0]["network"] == "small_resnet"
    assert rules(FACTS)[0]["size"] == 0
    assert rules(replace(FACTS, median_class=5, largest_class=900))[0]["balanced"]
    monkeypatch.setenv("LIKEWISE_DATA", str(tmp_path / "none" / "data"))
    photo = replace(FACTS, side=300, channels=3)
    chosen, notes = rules(photo)
    assert "network" not in chosen
    assert "published weights would help" in notes[0]
    weights = tmp_path / "none" / "data" / "weights"
    weights.mkdir(parents=True)
    (weights / "mobilenet_v2-b0353104.pth").touch()
    assert rules(photo)[0]["size"] == 160
    assert rules(replace(photo, side=100))[0]["size"] == 100
    assert "cosface" in rules(photo)[0]["loss"]
    assert "supcon" in rules(replace(photo, classes=10_000, median_class=3))[0]["loss"]
    assert [epochs_for(n, 30) for n in (100, 2000, 10_000, 60_000, 10**7)] == [90, 30, 30, 12, 3]


def test_minutes_set_the_epochs(monkeypatch):
    monkeypatch.setattr("likewise.recipes.plan.measured", lambda recipe, images: (6.0, "never", ""))
    recipe = load_recipe("digits")
    assert fitted(recipe, FACTS, [], 1.0, set(), bursts()).recipe.epochs == 9
    assert fitted(recipe, FACTS, [], 1.0, {"epochs"}, bursts()).recipe.epochs == recipe.epochs
    assert fitted(recipe, FACTS, [], 0.0, set(), bursts()).recipe.epochs == recipe.epochs


def test_plan_stops_before_training(tmp_path, capsys, monkeypatch):
    def command(*words: str) -> str:
        monkeypatch.setattr("sys.argv", ["likewise", *words])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert not stopped.value.code
        return capsys.readouterr().out

    np.savez(
        tmp_path / "a.npz", X=np.random.default_rng(0).integers(0, 256, (80, 16, 16), np.uint8), y=np.arange(80) % 4
    )
    path = str(tmp_path / "a.npz")
    out = command("train", path, "dim=8", "--plan", "--out", str(tmp_path / "runs"))
    heads = [line.split()[0] for line in out.splitlines() if not line.startswith(" ")]
    assert heads == list(HEADS)
    assert max(map(len, out.splitlines())) <= 80
    assert "dim=8" in out
    assert json.loads(command("train", path, "--plan", "--json"))["data"]["classes"] == 4
    assert not (tmp_path / "runs").exists()
    with pytest.raises(ValueError, match="--minutes"):
        plan(load_recipe(path), minutes=-1.0)


def test_the_plan_fits_80_columns():
    long = replace(load_recipe("digits"), loss="sum(losses=['supcon(temperature=0.1)', 'triplet(margin=0.2)'])")
    notes = ("published weights would help: put mobilenet_v2-b0353104.pth into LIKEWISE_DATA/weights",) * 2
    facts = replace(FACTS, images=1_000_000, near_copies=(("test", "train", 0.5), ("val", "train", 0.4)))
    lines = Plan(long, facts, notes, 1.0, 1.0, "bfloat16 31 ms a step, float32 70 ms").lines()
    assert max(map(len, lines)) <= 80
    assert [line[:9] for line in lines if line[0] != " "] == [f"{x:<9}" for x in HEADS]
    assert all(line.startswith(" " * 9) for line in lines if line[0] == " ")


@pytest.mark.parametrize("side", [24, 70])
def test_the_plan_reads_each_file_once(tmp_path, monkeypatch, side):
    rng = np.random.default_rng(0)
    for i in range(40):
        folder = tmp_path / "data" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).save(folder / f"{i}.png")
    read: list[object] = []
    of_file = files.decode

    def counted(source, *given, **named):
        if not isinstance(source, torch.Tensor):
            read.append(source)
        return of_file(source, *given, **named)

    monkeypatch.setattr(files, "decode", counted)
    monkeypatch.setenv("LIKEWISE_DATA", str(tmp_path / "none"))
    drawn_up = plan(load_recipe(tmp_path / "data"), ["network=small_resnet(width=4)"])
    assert drawn_up.minutes > 0
    assert len(read) == len(set(read)) == 40


def test_a_float_image_that_is_long_keeps_its_aspect():
    spectrogram = replace(FACTS, side=80, shape=(1, 80, 200), negative=True)
    assert rules(spectrogram)[0]["size"] == "64x160"
    assert rules(replace(spectrogram, channels=2, shape=(2, 80, 80)))[0]["size"] == 64
    assert rules(replace(spectrogram, shape=(1, 80, 2000)))[0]["size"] == "64x256"
    assert spectrogram.kind() == "80 x 200 px, floats"
